"""How far a matrix is from a generator, in figures that do not change with its scale, and what chance would give.

For M[n, n] in column convention (row convention: pass Mᵀ):

    sum_defect         Σ_j |Σ_i M_ij| / Σ_ij |M_ij|                  0 for a generator
    negative_mass      Σ_{i≠j} max(0, −M_ij) / Σ_{i≠j} |M_ij|        0 for a generator, 1/2 by chance
    distance           min_A ‖M − A‖_F / ‖M‖_F                       0 for a generator, at most 1
    shifted_distance   min_c min_A ‖M − cI − A‖_F / ‖M − (tr M/n) I‖_F
    shift              that c;  shifted_sum_defect is the sum_defect of M − cI
    abscissa           the largest real part of the eigenvalues      0 for a generator; not free of scale

The shifted distance is divided by what no c changes: over ‖M − cI‖ it would fall to 1/√n for *any* M as c grows, since
−cI alone is that close to a generator. For the same reason a small plain distance may be nothing but a negative
diagonal: read it beside the shifted one and the negative mass. A matrix that is zero where the figure divides counts
as a generator (0).

No figure means anything by itself: nulls.py has what a block is held against. `gaussian_null` here gives those of
matrices with independent normal entries of the same size and support, which no network has, trained or not;
`rotated_null` those of the matrix itself in random orthonormal bases. The stream of a network with RMSNorm and without
gains and biases has no preferred basis, so a channel matrix that is no nearer to a generator in the network's own basis
than in random ones has no generator structure in its channels. Of a network with LayerNorm that is no null. Only the
spectrum is free of the basis: every generator has abscissa 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from theory import nearest_generator, nearest_generator_shift

SCALE_FREE = ("sum_defect", "negative_mass", "distance", "shifted_distance", "shifted_sum_defect")
LEVEL = 0.95


@dataclass(frozen=True)
class DefectFigures:
    """The figures of one matrix, or their means over several."""

    sum_defect: float
    negative_mass: float
    distance: float
    shifted_distance: float
    shifted_sum_defect: float
    shift: float
    abscissa: float


@dataclass(frozen=True)
class Null:
    """What chance gives for a single matrix: the mean, and the central 95 % of the sample."""

    mean: float
    low: float
    high: float


def figures(M: Float[Tensor, "*batch n n"], *, spectrum: bool = True) -> dict[str, Tensor]:
    """Every figure for each matrix of M[..., n, n], column convention: name -> [...]; without `spectrum` no abscissa,
    whose eigenvalues cost more than all the others."""
    n = M.shape[-1]
    eye = torch.eye(n, dtype=M.dtype, device=M.device)
    c = nearest_generator_shift(M)
    shifted = M - c[..., None, None] * eye
    off = M.masked_fill(eye.bool(), 0.0)
    centred = M - M.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] * eye
    found = {
        "sum_defect": _sum_defect(M),
        "negative_mass": _ratio(off.clamp(max=0.0).abs().sum((-2, -1)), off.abs().sum((-2, -1))),
        "distance": _ratio(_norm(M - nearest_generator(M)), _norm(M)),
        "shifted_distance": _ratio(_norm(shifted - nearest_generator(shifted)), _norm(centred)),
        "shifted_sum_defect": _sum_defect(shifted),
        "shift": c,
    }
    return found | {"abscissa": torch.linalg.eigvals(M).real.amax(-1)} if spectrum else found


def mean_figures(M: Float[Tensor, "*batch n n"]) -> DefectFigures:
    """The figures of each matrix of M[..., n, n], averaged."""
    return DefectFigures(**{name: float(value.mean()) for name, value in figures(M).items()})


def gaussian_null(n: int, *, samples: int, seed: int, causal: bool = False) -> dict[str, Null]:
    """The scale-free figures of n × n matrices of independent normal entries, by Monte Carlo.

    causal: entries above the diagonal are zero, as on the token axis of a causal model (row convention).
    """
    rng = torch.Generator().manual_seed(seed)
    M = torch.randn(samples, n, n, generator=rng, dtype=torch.float64)
    return ranges(M.tril().mT if causal else M)


def rotated_null(M: Float[Tensor, "n n"], *, samples: int, seed: int) -> dict[str, Null]:
    """The scale-free figures of R M Rᵀ for random rotations R (Haar measure: QR of a normal matrix, signs fixed)."""
    R = rotations(M.shape[-1], samples=samples, seed=seed)
    return ranges(R @ M.detach().cpu().double() @ R.mT)


def rotations(n: int, *, samples: int, seed: int) -> Float[Tensor, "samples n n"]:
    """Random rotations [samples, n, n] by the Haar measure."""
    rng = torch.Generator().manual_seed(seed)
    R, triangle = torch.linalg.qr(torch.randn(samples, n, n, generator=rng, dtype=torch.float64))
    return R * triangle.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)


def average(several: list[DefectFigures]) -> DefectFigures:
    """The mean of each figure."""
    return DefectFigures(
        **{f.name: sum(getattr(one, f.name) for one in several) / len(several) for f in fields(DefectFigures)}
    )


def plain(figures_or_nulls: DefectFigures | dict[str, Null]) -> dict[str, object]:
    """As JSON values."""
    if isinstance(figures_or_nulls, DefectFigures):
        return asdict(figures_or_nulls)
    return {name: asdict(null) for name, null in figures_or_nulls.items()}


def ranges(M: Float[Tensor, "samples n n"]) -> dict[str, Null]:
    """The scale-free figures over a sample of matrices: mean and central 95 %."""
    found = figures(M, spectrum=False)
    ends = torch.tensor([0.5 - LEVEL / 2, 0.5 + LEVEL / 2], dtype=torch.float64)
    nulls = {}
    for name in SCALE_FREE:
        low, high = found[name].quantile(ends).tolist()
        nulls[name] = Null(float(found[name].mean()), low, high)
    return nulls


def _sum_defect(M: Tensor) -> Tensor:
    return _ratio(M.sum(-2).abs().sum(-1), M.abs().sum((-2, -1)))


def _norm(M: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(M)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / torch.where(whole > 0, whole, 1.0), 0.0)
