"""The types of public arguments, for editors and type checkers.

At run time each name is `Any`: a wrong argument meets our own message, which says what to pass, and no shape check
before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from fractions import Fraction

    import numpy as np
    import torch
    from torch import Tensor

    from network.config import FastSlowConfig
    from network.generator_lm import GeneratorLM

    Integer = int
    Number = float
    Probability = float | Fraction
    Text = str
    Flag = bool
    Tokens = Tensor
    Integers = int | Sequence[int]
    Numbers = float | Sequence[float] | np.ndarray | Tensor
    Device = torch.device | str | int
    Fields = Mapping[str, Any]
    Model = FastSlowConfig
    Probe = GeneratorLM
else:
    Integer = Number = Probability = Text = Flag = Tokens = Integers = Numbers = Device = Fields = Model = Probe = Any
