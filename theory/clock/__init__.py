"""The token clock: P fast steps for each slow one, and the mean of the block."""
