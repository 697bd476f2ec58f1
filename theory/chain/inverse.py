"""The group inverse A^# of a generator, and what follows from it: sensitivities and the certificate.

A^# is the only matrix with A A^# A = A, A^# A A^# = A^#, A A^# = A^# A; the last product is I − p 1ᵀ, with p = p_st
(Meyer, *SIAM Review* 17, 1975, 443; Campbell & Meyer, *Generalized Inverses of Linear Transformations*, 1979, ch. 8).
It is not the Moore-Penrose inverse. With any w, 1ᵀw != 0, B = A − w1ᵀ is invertible and M = B⁻¹ equals A^# on vectors
of sum zero. w = c p with c a rate makes the whole of M a function of A that scales as 1/time, whatever the unit.

On metastable chains (slowest rate far below the others) A^# is large, 1/gap, and rounding in the inverse grows with
it. `group_inverse` measures the defect of its own inverse and, where a third of the digits is gone, takes the mean
first-passage times m_ij instead, which need no subtraction: (A^#)_ii = −p_i Σ_k m_ik p_k, (A^#)_ij = (A^#)_ii + p_i
m_ij (from A^# p = 0). The `certificate` widens, up to the trivial bound, rather than claim more than it can prove.
"""

from __future__ import annotations

import torch
from torch import Tensor

from theory.arguments import check_broadcast
from theory.chain.first_passage import mean_first_passage_times
from theory.errors import NumericalError
from theory.generators.checks import as_real_tensor, batch_element, check_generator, comes_from
from theory.generators.doors import from_rates
from theory.kinds import Chain, Dense
from theory.lu import inv_ex, lu_factor_ex
from theory.stationary.distribution import stationary_distribution
from theory.transforms import full_precision, plain


@full_precision
def group_inverse(A: Dense) -> Tensor:
    """A^#[..., n, n] = (A − c p1ᵀ)⁻¹ + p1ᵀ/c of a generator A[..., n, n]; differentiable to any order.

    Right to two thirds of the digits at least, relative to its largest entry, on metastable chains too. Raises
    `GeneratorError` where A is not a generator, `NotUniqueError` where it has several recurrent classes,
    `NumericalError` where rounding decides the inverse and first-passage times do not serve either: transient states,
    or times or probabilities beyond the range of numbers. Source: Campbell & Meyer 1979, thm 8.2.1 adapted to
    generators; c is the largest exit rate.

    Examples:
        >>> import theory
        >>> theory.group_inverse([[-1.0, 1.0], [1.0, -1.0]])
        tensor([[-0.2500,  0.2500],
                [ 0.2500, -0.2500]], dtype=torch.float64)
    """
    A = as_real_tensor(A)
    p = stationary_distribution(A)
    c = _rate(A)
    rank_one = p[..., :, None].expand(A.shape)
    B = A - c * rank_one
    M, info = inv_ex(B)
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    defect = (identity - M.detach() @ B.detach()).abs().sum(-2)
    lost = (info != 0) | ~(defect <= torch.finfo(A.dtype).eps ** (2 / 3)).all(-1)
    if not bool(plain(lost).any()):
        return M + rank_one / c
    if bool(plain(lost).all()):
        return _by_first_passage(A, p)
    # Each element by its own route; in the other stands a chain that it serves, so that no derivative there is NaN.
    uniform, where = c * (1.0 / A.shape[-1] - identity), lost[..., None, None]
    passage = _by_first_passage(torch.where(where, A, uniform), torch.where(lost[..., None], p, 1.0 / A.shape[-1]))
    direct = inv_ex(torch.where(where, identity, B))[0] + rank_one / c
    return torch.where(where, passage, direct)


def _by_first_passage(A: Tensor, p: Tensor) -> Tensor:
    times = mean_first_passage_times(A)
    to_typical = (times @ p[..., None])[..., 0]
    inverse = p[..., None] * (times - to_typical[..., None])
    seen = plain(p) >= torch.finfo(p.dtype).tiny  # a p_i that underflows would take p_i m_ij with it
    good = torch.isfinite(plain(inverse)).all(-1).all(-1) & seen.all(-1)
    if not bool(good.all()):
        where = batch_element([int(i) for i in (~good).nonzero()[0]])
        raise NumericalError(
            f"rounding decides A^#{where}: the slowest rate is too far below the others, and with transient states, or "
            "times or probabilities beyond the range of numbers, it has no other route; in float32, pass A.double(), "
            "else lump the states that hardly communicate, theory.lump(A, partition)"
        )
    return inverse


@full_precision
def solve_sum_zero(A: Chain, v: Dense, p: Dense | None = None) -> Tensor:
    """A^# v [..., n] for v[..., n] of sum zero: the only sum-zero solution of A z = v. `p` is p_st(A), if it is at
    hand; A is not checked then.

    Its error relative to ‖A^#‖‖v‖ is some n η times (largest exit rate)/gap. Raises `NumericalError` where A is
    singular to working precision but for p, `ValueError` where shapes or dtypes do not belong together. By LU factors
    and not `torch.linalg.solve`, whose second forward derivative is silently wrong (PyTorch issue 192540).

    Dense A: batched, differentiable. scipy.sparse A[n, n] and v[n]: a float64 Tensor by one sparse elimination stopped
    at the likeliest state, without derivatives.

    Examples:
        >>> import theory
        >>> theory.solve_sum_zero([[-1.0, 1.0], [1.0, -1.0]], [1.0, -1.0])
        tensor([-0.5000,  0.5000], dtype=torch.float64)
    """
    if comes_from(A, "scipy.sparse"):
        from theory.chain.sparse_response import sparse_solve_sum_zero

        return sparse_solve_sum_zero(A, v, p)
    A = as_real_tensor(A)
    stationary = stationary_distribution(A) if p is None else _beside(A, as_real_tensor(p, "p"), "p")
    v = _beside(A, as_real_tensor(v, "v"), "v")
    factors, pivots, info = lu_factor_ex(A - _rate(A) * stationary[..., :, None])
    if bool((plain(info) != 0).any()):
        raise NumericalError(
            f"A z = v is singular to working precision{batch_element([int(i) for i in plain(info).nonzero()[0]])}: the "
            "slowest rate of A is too far below the others; lump the states that hardly communicate, "
            "theory.lump(A, partition)"
        )
    return torch.linalg.lu_solve(factors, pivots, v[..., :, None])[..., 0]


@full_precision
def sensitivity(A: Chain, dA: Chain) -> Tensor:
    """Dp_st[dA] = −A^# dA p [..., n]: how p_st moves when A[..., n, n] moves along dA, whose columns sum to zero.

    As p_st depends on the rates of A alone, so does this on the off-diagonal entries of dA: its diagonal is checked,
    to the rounding of A and dA, since a direction is often the difference of two generators, and completed anew.

    Raises `ValueError` where dA has another shape or dtype than A, or a column of it does not sum to zero within
    rounding; errors of A as `group_inverse`. Source: Meyer, *SIAM J. Matrix Anal. Appl.* 15 (1994) 715. Accurate where
    A is well conditioned; on metastable chains differentiate `stationary_distribution`. scipy.sparse A and
    dA[n, n]: a float64 Tensor; `theory.rate_gradient` is the adjoint, the gradient in all rates at once.

    Examples:
        >>> import theory
        >>> theory.sensitivity([[-1.0, 1.0], [1.0, -1.0]], [[-1.0, 0.0], [1.0, 0.0]])
        tensor([-0.2500,  0.2500], dtype=torch.float64)
    """
    if comes_from(A, "scipy.sparse"):
        from theory.chain.sparse_response import sparse_sensitivity

        return sparse_sensitivity(A, dA)
    A = as_real_tensor(A)
    p = stationary_distribution(A)
    dA = as_real_tensor(dA, "dA")
    if dA.ndim < 2 or dA.shape[-2:] != A.shape[-2:] or dA.dtype != A.dtype or dA.device != A.device:
        raise ValueError(
            f"dA must be like A, {list(A.shape)} in {A.dtype} on {A.device}; got {list(dA.shape)} in {dA.dtype} on "
            f"{dA.device}"
        )
    check_broadcast(A=A.shape[:-2], dA=dA.shape[:-2])
    sums = dA.sum(-2)
    tolerance = 4 * dA.shape[-1] * torch.finfo(dA.dtype).eps * (dA.abs().sum(-2) + A.abs().sum(-2))
    if not bool(plain(torch.isfinite(tolerance) & (sums.abs() <= tolerance)).all()):
        largest = float(plain(sums.abs()).max())
        raise ValueError(f"the columns of dA must sum to zero, and be finite; the largest sum is {largest:.3g}")
    return -solve_sum_zero(A, (dA @ p[..., None])[..., 0] - sums * p, p)


@full_precision
def certificate(A: Chain, q: Dense) -> Tensor:
    """An upper bound [...] on TV(q, p_st) that needs no p_st, for A[..., n, n] and q[..., n] with 1ᵀq = 1 (they
    broadcast).

    A is taken from its rates alone, as p_st is: its diagonal is checked and completed anew. The arithmetic is double,
    whatever the dtypes and modes of torch; the bound is given, rounded up, in the wider of the two dtypes. 1ᵀq = 1 must
    hold within the rounding of q's own, and what is missing of it is added to the bound. With B = A − w1ᵀ, M its
    computed inverse and E = I − MB: q − p = (I − E)⁻¹ M A q. Hence, with r = A q and δ the rounding in r, the smaller
    of ½ τ (‖r‖₁ + ‖δ‖₁) and ½ (‖M r‖₁ + ‖ |M| δ ‖₁), over 1 − ‖E‖₁; τ = max_ij ½‖M(e_i − e_j)‖₁ (Seneta, *Adv. Appl.
    Probab.* 20 (1988) 228, for the coefficient of ergodicity). Never above the trivial bound ½(‖q‖₁ + 1), which is 1
    for a probability vector and is what remains when rounding makes M meaningless.

    scipy.sparse A[n, n] and q[n]: by two sparse eliminations (`sparse_certificate`).

    Raises `GeneratorError` where A is not a generator, `ValueError` where q is not finite or does not sum to one.

    Examples:
        >>> import theory
        >>> A, q = theory.from_rates([[0.0, 2.0], [1.0, 0.0]]), [0.6, 0.4]
        >>> bound, truth = theory.certificate(A, q), theory.total_variation(theory.stationary_distribution(A), q)
        >>> bool(truth <= bound < 1.01 * truth)
        True
    """
    if comes_from(A, "scipy.sparse"):
        from theory.chain.sparse_response import sparse_certificate

        return sparse_certificate(A, q)
    A = as_real_tensor(A)
    check_generator(A)
    q = as_real_tensor(q, "q").to(A.device)
    given = 0.5 * torch.finfo(q.dtype).eps
    dtype = torch.promote_types(A.dtype, q.dtype)
    double = torch.float32 if A.device.type == "mps" else torch.float64  # which has no float64
    A, q = from_rates(A.to(double)), q.to(double)
    n = A.shape[-1]
    if q.ndim == 0 or q.shape[-1] != n:
        raise ValueError(f"q must be [..., {n}] for A of shape {tuple(A.shape)}; got {tuple(q.shape)}")
    check_broadcast(A=A.shape[:-2], q=q.shape[:-1])
    unit = 0.5 * torch.finfo(A.dtype).eps
    mass_error = (q.sum(-1) - 1).abs()
    size = q.abs().sum(-1)
    mass_rounding = n * unit * size
    # How far 1ᵀq may miss 1 is a matter of the precision q came in; what it does miss is added to the bound below.
    bad = ~(torch.isfinite(q).all(-1) & (mass_error <= 16 * given * (n * size + 1)))
    if bool(plain(bad).any()):
        sums = plain(q.sum(-1) - 1)[plain(bad)]
        raise ValueError(f"q must be finite and sum to 1; one of its vectors sums to 1 + {float(sums[0]):.6g}")
    c = _rate(A)
    B = A - c / n
    M, info = inv_ex(B)
    M = torch.where((info == 0)[..., None, None], M, torch.full_like(M, torch.nan))
    size_MB = (M.abs() @ B.abs()).sum(-2).amax(-1)
    identity = torch.eye(n, dtype=A.dtype, device=A.device)
    defect = (identity - M @ B).abs().sum(-2).amax(-1) + (n + 2) * unit * size_MB
    tau = 0.5 * torch.cdist(M.mT.contiguous(), M.mT.contiguous(), p=1.0).amax((-2, -1))
    residual = (A @ q[..., None])[..., 0]
    # n η for the product and as much for the diagonal, which is a rounded sum itself
    rounding = 2 * n * unit * (A.abs() @ q.abs()[..., None])[..., 0]
    by_norm = tau * (residual.abs().sum(-1) + rounding.sum(-1))
    by_vector = (M @ residual[..., None])[..., 0].abs().sum(-1) + (M.abs() @ rounding[..., None])[..., 0].sum(-1)
    # A q is exactly the image of q − p only for 1ᵀq = 1: what is missing of that is added, M w = −p having norm 1.
    bound = 0.5 * (torch.minimum(by_norm, by_vector) / (1 - defect) + mass_error + mass_rounding)
    bound = bound * (1 + torch.finfo(dtype).eps)  # and so not below itself when it is rounded to dtype
    trivial = (0.5 * (size + 1)).expand(bound.shape)
    proven = (defect < 1) & torch.isfinite(bound)
    return torch.where(proven, torch.minimum(bound, trivial), trivial).to(dtype)


def _beside(A: Tensor, v: Tensor, name: str) -> Tensor:
    """v[..., n], or a `ValueError` where it cannot stand beside A[..., n, n]."""
    n = A.shape[-1] if A.ndim > 1 and A.shape[-1] == A.shape[-2] else 0
    if n == 0 or v.ndim == 0 or v.shape[-1] != n or v.dtype != A.dtype or v.device != A.device:
        raise ValueError(
            f"{name} must be [..., n] for A, {list(A.shape)} in {A.dtype} on {A.device}; got {list(v.shape)} in "
            f"{v.dtype} on {v.device}"
        )
    check_broadcast(A=A.shape[:-2], **{name: v.shape[:-1]})
    return v


def _rate(A: Tensor) -> Tensor:
    """The largest exit rate [..., 1, 1], the natural unit of A; 1 for the 1 × 1 generator, whose only rate is zero."""
    largest = A.detach().diagonal(dim1=-2, dim2=-1).abs().amax(-1)
    return torch.where(largest > 0, largest, torch.ones_like(largest))[..., None, None]
