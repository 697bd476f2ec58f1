"""What a block is held against: nulls of its own, for each axis, because a distance to a generator means nothing alone.

* its own random initialisation, over seeds (`measurement.initial_defects`): what the architecture gives without
  training. On the token axis that is far from any matrix of chance: off the diagonal C is about a multiple of the
  attention weights, 0.1 to 0.9 in shifted distance before a step is taken.
* the sign-flip null: diagonal and sizes kept, off-diagonal signs at random. It asks whether the *signs* are those of
  rates.
* the negated off-diagonal: signs all turned. A generator gives its largest distance here.
* rotations, of the channel axis alone. In a network with RMSNorm and no gains no basis is preferred (`rotated_null`).
  LayerNorm prefers one: its mean subtraction singles out the vector 1 and its gains γ single out 1/γ. Of a block behind
  LayerNorm, with S = diag(γ_out)⁻¹ (J + I) diag(γ_in)⁻¹, only rotations Q of S with Q 1 = 1 leave its law as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from verify.generator_defect.distance import DefectFigures, Null, mean_figures, ranges, rotations


@dataclass(frozen=True)
class AxisNulls:
    """The nulls that one matrix brings with it: signs at random, and all off-diagonal entries negated."""

    sign_flip: dict[str, Null]
    negated: DefectFigures


def axis_nulls(M: Float[Tensor, "n n"], *, samples: int, seed: int) -> AxisNulls:
    """The nulls of M[n, n], column convention (on the token axis, whose C is in row convention, pass Cᵀ)."""
    return AxisNulls(sign_flip_null(M, samples=samples, seed=seed), negated(M))


def sign_flip_null(M: Float[Tensor, "n n"], *, samples: int, seed: int) -> dict[str, Null]:
    """The scale-free figures of M with the signs of its off-diagonal entries at random: diagonal and sizes are kept."""
    rng = torch.Generator().manual_seed(seed)
    n = M.shape[-1]
    host = M.detach().cpu().double()
    signs = torch.randint(2, (samples, n, n), generator=rng).to(host.dtype) * 2 - 1
    return ranges(torch.where(torch.eye(n, dtype=torch.bool), host, signs * host.abs()))


def negated(M: Float[Tensor, "n n"]) -> DefectFigures:
    """The figures of M with its off-diagonal entries negated."""
    eye = torch.eye(M.shape[-1], dtype=torch.bool, device=M.device)
    return mean_figures(torch.where(eye, M, -M))


def layer_norm_null(
    M: Float[Tensor, "n n"],
    *,
    samples: int,
    seed: int,
    gain_in: Tensor | None = None,
    gain_out: Tensor | None = None,
) -> dict[str, Null]:
    """The scale-free figures of M[n, n] = J, the mean Jacobian of the update of a block behind LayerNorm, rotated.

    S = diag(γ_out)⁻¹ (J + I) diag(γ_in)⁻¹ is turned by random Q with Q 1 = 1, and put back: diag(γ_out) Q S Qᵀ
    diag(γ_in) − I. gain_in[n], gain_out[n]: the gains of the LayerNorm that made the block's input and of the one that
    makes its output (1 if None). Raises `ValueError` for a gain that is zero somewhere: no rotation passes it.
    """
    n = M.shape[-1]
    host = M.detach().cpu().double()
    ones = torch.ones(n, dtype=host.dtype)
    gains = []
    for name, gain in (("gain_in", gain_in), ("gain_out", gain_out)):
        values = ones if gain is None else gain.detach().cpu().to(host.dtype)
        if values.shape != (n,) or not bool((values != 0).all()):
            raise ValueError(
                f"{name} must be [{n}] without a zero, got {values.tolist()}: leave out channels that are off"
            )
        gains.append(values)
    into, out = gains
    S = (host + torch.eye(n, dtype=host.dtype)) / out[:, None] / into
    Q = rotations_that_keep_the_mean(n, samples=samples, seed=seed)
    return ranges(out[:, None] * (Q @ S @ Q.mT) * into - torch.eye(n, dtype=host.dtype))


def rotations_that_keep_the_mean(n: int, *, samples: int, seed: int) -> Float[Tensor, "samples n n"]:
    """Random rotations Q[samples, n, n] with Q 1 = 1: Haar measure on the complement of 1."""
    basis = torch.linalg.qr(torch.cat([torch.ones(n, 1), torch.eye(n)[:, : n - 1]], -1).double()).Q[:, 1:]
    R = rotations(n - 1, samples=samples, seed=seed)
    return torch.full((n, n), 1.0 / n, dtype=torch.float64) + basis @ R @ basis.T


def correlation_with_attention(C: Float[Tensor, "T T"], W: Float[Tensor, "T T"]) -> float:
    """The correlation of the entries below the diagonal of C (row convention, mean over sequences) and of W.

    0 where one of them does not vary.
    """
    below = torch.ones(C.shape, dtype=torch.bool, device=C.device).tril(-1)
    pair = torch.stack([C[below], W.to(C)[below]])
    away = pair - pair.mean(-1, keepdim=True)
    size = away.norm(dim=-1).prod()
    return float((away[0] @ away[1]) / size) if bool(size > 0) else 0.0
