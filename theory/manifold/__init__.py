"""The slow manifold of a fast-slow system, order by order in ε."""
