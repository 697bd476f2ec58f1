"""The gap-marked mapping as a table: what stands on either side, and which two nodes each claim links.

The fast–slow ODE, ε dx/dt = f(x, y), dy/dt = g(x, y), stands on the left; the language model on the right. A claim that
links two nodes of one side is a statement within the theory, or within the network. A claim that is not in `LINKS` is
measured and reported like any other; it has no place in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """One thing that the paper maps: its formula or name, and what it is."""

    name: str
    meaning: str


ODE = {
    "fast": Node("ε dx/dt = f(x, y)", "fast flow of the state x"),
    "generator": Node("f(x, y) = A(y)\N{NO-BREAK SPACE}x", "generator, 1ᵀA\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0"),
    "manifold": Node("x = φ(y)", "equilibrium of the frozen fast flow"),
    "stationary": Node("p_st(y)", "stationary distribution, A(y) p = 0"),
    "slow_manifold": Node("h_ε = φ + ε φ_1", "slow manifold"),
    "epsilon": Node("ε", "ratio of the time scales"),
    "slow": Node("dy/dt = g(x, y)", "slow flow, driven by the past"),
    "coupling": Node("x ⇄ y", "the coupling itself"),
}
NETWORK = {
    "attention": Node("causal attention", "over T tokens, weights frozen"),
    "block": Node("x ↦ x + F(x; y)", "fast block, as trained"),
    "phi_theta": Node("φ_θ(y)", "the MLP that feeds y back"),
    "pooling": Node("block mean over P tokens", "causal pooling, period P"),
    "slow_path": Node("attention over T/P pooled tokens", "slow path"),
    "gate": Node("x + α\N{NO-BREAK SPACE}φ_θ(y)", "gate, α = 0 at the start"),
    "model": Node("the coupled model", "its loss and its step time"),
}
# In the order in which they are drawn.
LINKS = {
    "attention_is_generator": ("generator", "attention"),
    "trained_block_is_not_a_generator": ("generator", "block"),
    "unique_and_attracting": ("generator", "stationary"),
    "manifold_gap_is_first_order": ("fast", "stationary"),
    "equilibrium_is_stationary": ("manifold", "stationary"),
    "variational_minimisers": ("manifold", "phi_theta"),
    "learned_manifold_approaches": ("stationary", "phi_theta"),
    "trained_network_approaches": ("stationary", "phi_theta"),
    "trained_gap_on_text": ("stationary", "phi_theta"),
    "identity_on_text": ("stationary", "pooling"),
    "slow_manifold_orders": ("stationary", "slow_manifold"),
    "token_clock": ("epsilon", "pooling"),
    "no_future_leak": ("slow", "pooling"),
    "slow_attention_cost": ("epsilon", "slow_path"),
    "full_attention_leaks": ("slow", "slow_path"),
    "zero_gate_is_dense": ("coupling", "gate"),
    "wall_clock": ("epsilon", "model"),
    "slow_dynamics_beyond_pooling": ("slow", "model"),
    "neutral_at_500k": ("coupling", "model"),
    "coupling_is_seen_where_it_exists": ("coupling", "model"),
    "neutral_at_scale": ("coupling", "model"),
}


def node(name: str) -> Node:
    """The node of that name, of either side."""
    return ODE[name] if name in ODE else NETWORK[name]
