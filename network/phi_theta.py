"""φ_θ: the MLP y[..., m] -> x[..., n] that learns the critical manifold x = φ(y).

`depth` hidden layers of `width` units on the standardised input (y − center)/scale, then one linear map. The head
decides what comes out:

* `simplex`: x = softmax(·), a probability vector by construction; this is the φ_θ held against p_st. `log_prob` gives
  log x without the underflow that log(softmax) has (p_st of a metastable system reaches 1e-49 and below).
* `linear`: x in R^n; this is the φ_θ inside the language model, where x is an activation and not a probability.

With depth 1, width 256 and tanh it is exactly "256 tanh features and a linear map on log-probabilities", the form whose
last layer variable projection solves for (Golub and Pereyra, SIAM J. Numer. Anal. 10, 1973).
"""

from __future__ import annotations

import itertools
import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from network.arguments import Device, Integer, Numbers, Text

_ACTIVATIONS = {"tanh": torch.tanh, "gelu": F.gelu}
_HEADS = ("simplex", "linear")


class PhiTheta(nn.Module):
    """φ_θ(y[..., m]) -> x[..., n].

    n_slow, n_states: m and n. width, depth: units per hidden layer, number of hidden layers (>= 1).
    head: `simplex` (softmax, a probability vector) or `linear`. activation: `tanh` (smooth to any order) or `gelu`.
    generator: the torch.Generator that the initial weights are drawn from (torch's current one if None).
    device, dtype: as for any torch module. `center` and `scale`, both [m], are buffers: 0 and 1 until `standardise`.

    Raises `ValueError` for sizes below one and for unknown names, naming the argument.

    Examples:
        >>> import torch
        >>> from network import PhiTheta
        >>> phi = PhiTheta(2, 5)
        >>> x = phi(torch.zeros(3, 2))
        >>> x.shape, bool((x.sum(-1) - 1).abs().max() < 1e-6)
        (torch.Size([3, 5]), True)
    """

    n_slow: int
    n_states: int
    width: int
    depth: int
    activation: str
    hidden: nn.ModuleList
    out: nn.Linear
    center: Tensor
    scale: Tensor

    def __init__(
        self,
        n_slow: Integer,
        n_states: Integer,
        width: Integer = 256,
        depth: Integer = 1,
        head: Text = "simplex",
        *,
        activation: Text = "tanh",
        generator: torch.Generator | None = None,
        device: Device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        for name, value in (("n_slow", n_slow), ("n_states", n_states), ("width", width), ("depth", depth)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer >= 1, got {value!r}")
        if head not in _HEADS:
            raise ValueError(f"head must be one of {', '.join(_HEADS)}; got {head!r}")
        if activation not in _ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(_ACTIVATIONS)}; got {activation!r}")
        super().__init__()
        self.n_slow, self.n_states, self.width, self.depth = n_slow, n_states, width, depth
        self.head, self.activation = head, activation
        factory = {"device": torch.empty(0, device=device).device, "dtype": dtype}
        self.register_buffer("center", torch.zeros(n_slow, **factory))
        self.register_buffer("scale", torch.ones(n_slow, **factory))
        sizes = [n_slow] + [width] * depth
        self.hidden = nn.ModuleList(_linear(a, b, generator, factory) for a, b in itertools.pairwise(sizes))
        self.out = _linear(width, n_states, generator, factory)

    def standardise(self, center: Numbers, scale: Numbers) -> None:
        """Set the input standardisation (y − center)/scale, numbers or [m]; `ValueError` unless finite, scale > 0."""
        like = {"dtype": self.center.dtype, "device": self.center.device}
        center, scale = torch.as_tensor(center, **like), torch.as_tensor(scale, **like)
        for name, value in (("center", center), ("scale", scale)):
            if value.ndim and value.shape != (self.n_slow,):
                raise ValueError(f"{name} must be a number or have shape [{self.n_slow}], got {list(value.shape)}")
            if not bool(torch.isfinite(value).all()):
                raise ValueError(f"{name} must be finite, got {value.tolist()}")
        if not bool((scale > 0).all()):
            raise ValueError(f"scale must be > 0, got {scale.tolist()}; give a constant input the scale 1")
        with torch.no_grad():
            self.center.copy_(center)
            self.scale.copy_(scale)

    def features(self, y: Tensor) -> Tensor:
        """The last hidden layer's units [..., width]: the basis in which the output is linear."""
        self.check_input(y)
        z = (y - self.center) / self.scale
        act = _ACTIVATIONS[self.activation]
        for layer in self.hidden:
            z = act(layer(z))
        return z

    def check_input(self, y: Tensor) -> None:
        """Raise `ValueError` unless y[..., m] fits in shape, dtype and device."""
        if y.ndim == 0 or y.shape[-1] != self.n_slow:
            raise ValueError(f"y must have shape [..., {self.n_slow}] (n_slow), got {list(y.shape)}")
        if y.dtype != self.center.dtype and not torch.is_autocast_enabled(y.device.type):
            raise ValueError(f"y has dtype {y.dtype} and φ_θ has {self.center.dtype}: convert one with .to(dtype)")
        if y.device != self.center.device:
            raise ValueError(f"y is on {y.device} and φ_θ on {self.center.device}: move one with .to(device)")

    def forward(self, y: Tensor) -> Tensor:
        """φ_θ(y): y[..., m] -> x[..., n]."""
        z = self.out(self.features(y))
        return z.softmax(-1) if self.head == "simplex" else z

    def log_prob(self, y: Tensor) -> Tensor:
        """log φ_θ(y)[..., n] of the simplex head; `ValueError` for the linear one, whose output is no probability."""
        if self.head != "simplex":
            raise ValueError(f"log_prob needs head='simplex'; this φ_θ has head={self.head!r}")
        return self.out(self.features(y)).log_softmax(-1)

    def extra_repr(self) -> str:
        """The arguments, for `print(phi_theta)`."""
        return (
            f"n_slow={self.n_slow}, n_states={self.n_states}, width={self.width}, depth={self.depth}, "
            f"head={self.head!r}, activation={self.activation!r}"
        )


def _linear(fan_in: int, fan_out: int, generator: torch.Generator | None, factory: dict[str, Any]) -> nn.Linear:
    # Drawn on the generator's own device and then moved, so that one seed gives one φ_θ on every device.
    layer = cast(nn.Linear, nn.utils.skip_init(nn.Linear, fan_in, fan_out, **factory))
    source = generator.device if generator is not None else torch.device("cpu")
    bound = 1.0 / math.sqrt(fan_in)
    with torch.no_grad():
        for parameter in layer.parameters():
            draw = torch.rand(parameter.shape, generator=generator, device=source, dtype=parameter.dtype)
            parameter.copy_(bound * (2.0 * draw - 1.0))
    return layer
