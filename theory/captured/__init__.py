"""Systems as machine code: what torch functions of a few numbers compute, captured once and compiled."""

from theory.captured.system import Captured, captured, forget

__all__ = ["Captured", "captured", "forget"]
