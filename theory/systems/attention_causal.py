"""Causal attention as a generator: token 0 is absorbing and p_st = e_0 for every y (see `attention`)."""

from __future__ import annotations

from theory.fast_slow import FastSlowSystem
from theory.systems import attention


def system() -> FastSlowSystem:
    """`attention.system(causal=True)`."""
    return attention.system(causal=True)
