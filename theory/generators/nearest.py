"""The generator nearest to a matrix in the Frobenius norm, and how much of the identity to take off first.

Generators (column convention, A_ij >= 0 for i != j, columns sum to zero) form a closed convex cone, so every real
matrix M has one nearest generator, and columns separate. With a_1 >= a_2 >= … the off-diagonal entries of column j,
the Karush-Kuhn-Tucker conditions have one multiplier s for the column sum:

    s = max_k (M_jj + a_1 + … + a_k)/(k + 1),    A_ij = max(0, M_ij − s),    A_jj = M_jj − s = −Σ_i A_ij

The maximum stands for the usual search for k: the averages rise as long as the next entry lies above them, as in the
projection onto the simplex (Held, Wolfe and Crowder, Math. Programming 6, 1974).

A residual map x + F(x) and the map x ↦ Wx of attention differ from a generator by the identity at least, so the
distance of M − cI is wanted at its minimum over c. It is convex in c, with derivative −2 Σ_j s_j, and each s_j is a
maximum of increasing linear functions of −c: Newton's method on Σ_j s_j = 0 falls monotonically after its first step
and ends at the exact root after finitely many.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from theory.errors import GeneratorError, NumericalError
from theory.generators.checks import as_real_tensor
from theory.generators.doors import from_rates
from theory.kinds import Dense
from theory.transforms import plain

_NEWTON_STEPS = 200  # each one but the first removes an entry from some column's active set; a dozen is usual


def nearest_generator(M: Dense) -> Tensor:
    """The generator A[..., n, n] with the smallest ‖M − A‖_F, for any real M[..., n, n]; row convention: pass Mᵀ.

    Exact up to rounding, float32 or float64 as M is (integers become float64). Not differentiated. Raises
    `GeneratorError` for a matrix that is not square, real and finite.

    Examples:
        >>> import theory
        >>> theory.nearest_generator([[-1.0, -0.5], [2.0, 0.0]])
        tensor([[-1.5000,  0.0000],
                [ 1.5000,  0.0000]], dtype=torch.float64)
    """
    tensor = _checked(M)
    unit, top = _scaled(tensor)
    s, _ = _multipliers(unit.diagonal(dim1=-2, dim2=-1), _sums_of_largest(unit))
    return from_rates((unit - s.unsqueeze(-2)).clamp(min=0.0)) * top


def nearest_generator_shift(M: Dense) -> Tensor:
    """The c[...] at which the distance of M − cI to the generators is smallest, for M[..., n, n]; it is unique.

    Raises `GeneratorError` as `nearest_generator` does, and `NumericalError` where the root is not settled.

    Examples:
        >>> import theory, torch
        >>> A = theory.from_rates([[0.0, 2.0], [1.0, 0.0]])
        >>> round(float(theory.nearest_generator_shift(A + 3.0 * torch.eye(2, dtype=A.dtype))), 6)
        3.0
    """
    tensor = _checked(M)
    unit, top = _scaled(tensor)
    sums, diagonal = _sums_of_largest(unit), unit.diagonal(dim1=-2, dim2=-1)
    c = diagonal.mean(-1)
    change = c
    rounding = 8 * torch.finfo(unit.dtype).eps
    for _ in range(_NEWTON_STEPS):
        s, slope = _multipliers(diagonal - c.unsqueeze(-1), sums)
        change = s.sum(-1) / slope.sum(-1)
        c = c + change
        if bool(plain(change.abs() <= rounding * (1.0 + c.abs())).all()):
            return c * top[..., 0, 0]
    raise NumericalError(
        f"the multiple of the identity has not settled after {_NEWTON_STEPS} Newton steps; the last change was "
        f"{float(plain(change.abs()).max()):.3g} of the largest entry: rescale M"
    )


def _checked(M: Any) -> Tensor:
    tensor = as_real_tensor(M, "M").detach()
    if tensor.ndim < 2 or tensor.shape[-1] != tensor.shape[-2] or tensor.shape[-1] == 0:
        raise GeneratorError(f"M must be square, [..., n, n] with n >= 1; got shape {tuple(tensor.shape)}")
    values = plain(tensor)
    bad = ~torch.isfinite(values)
    if bool(bad.any()):
        index = tuple(int(i) for i in bad.nonzero()[0])
        raise GeneratorError(f"M{list(index)} = {float(values[index])} is not finite: nothing is nearest to it")
    return tensor


def _scaled(M: Float[Tensor, "*batch n n"]) -> tuple[Tensor, Tensor]:
    """M over its largest entry, so that no sum overflows, and that entry [..., 1, 1] (1 for a zero matrix)."""
    top = M.abs().amax((-2, -1), keepdim=True)
    top = torch.where(top > 0, top, 1.0)
    return M / top, top


def _sums_of_largest(M: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """Row k of column j: the sum of the k largest off-diagonal entries of that column, k = 0 … n − 1."""
    eye = torch.eye(M.shape[-1], dtype=torch.bool, device=M.device)
    largest = M.masked_fill(eye, -torch.inf).sort(-2, descending=True).values[..., :-1, :]
    return torch.cat([torch.zeros_like(M[..., :1, :]), largest.cumsum(-2)], -2)


def _multipliers(
    diagonal: Float[Tensor, "*batch n"], sums: Float[Tensor, "*batch n n"]
) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch n"]]:
    """s of every column, and its slope 1/(k + 1) in the diagonal entry."""
    count = torch.arange(1, sums.shape[-1] + 1, dtype=sums.dtype, device=sums.device)
    s, k = ((diagonal.unsqueeze(-2) + sums) / count[:, None]).max(-2)
    return s, 1.0 / count[k]
