"""The types of public arguments, for editors and type checkers.

At run time each name is `Any`: a wrong argument meets our own message, which says what to pass, and no shape check
before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import torch
    from torch import Tensor

    from network.config import FastSlowConfig

    Integer = int
    Number = float
    Text = str
    Flag = bool
    Tokens = Tensor
    Numbers = float | Sequence[float] | np.ndarray | Tensor
    Device = torch.device | str | int
    Fields = Mapping[str, Any]
    Model = FastSlowConfig
else:
    Integer = Number = Text = Flag = Tokens = Numbers = Device = Fields = Model = Any
