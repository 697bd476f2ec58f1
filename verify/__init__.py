"""Measurements of the paper's claims.

Nothing is imported here: `python -m verify.manifold_gap --help` must answer at once.
"""
