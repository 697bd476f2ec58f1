"""Sample paths: the jump process of a generator, tokens, and fast-slow jump processes."""
