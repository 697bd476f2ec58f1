"""The trainable fast-slow language model and the MLP φ_θ that stands for its slow manifold."""
