"""Mean first-passage times and Kemeny's constant, accurate on metastable chains too.

m_ij is the expected time until a chain that starts in j is first in i: the index order of A_ij (rate j -> i), m_ii = 0.
Probability texts write it with the indices exchanged. For an irreducible chain with p = p_st,

    m_ij = ((A^#)_ij − (A^#)_ii) / p_i,        Σ_i p_i m_ij = −tr A^# = Σ_{λ≠0} 1/(−λ)   for every start j

(Meyer, *SIAM Review* 17, 1975, 443; Kemeny and Snell, *Finite Markov Chains*, 1960, thm 4.4.10). The second is Kemeny's
constant: the mean time to a target drawn from p, whatever the start. The transposed (A^#)_ji in the first would be
wrong by an order of magnitude on an ordinary chain.

The formula subtracts: its error relative to m_ij is some η ‖A^#‖/(p_i m_ij), harmless where rates are comparable and
without meaning where p_i = 1e-49. The times are computed by censoring instead (Grassmann, Taksar and Heyman, *Oper.
Res.* 33, 1985, 1107; Hunter, *Linear Algebra Appl.* 549, 2018, 100). To remove state e, let s_e be its exit rate to
the states that remain; a jump j -> e goes on to k with probability A_ke/s_e after a time c_e/s_e, c_e = 1 at first:

    A_kj += A_ke A_ej / s_e,   c_j += c_e A_ej / s_e,        and backwards   m_ie = (c_e + Σ_k m_ik A_ke) / s_e.

Sums, products and quotients of positive numbers only: every m_ij has a relative error of order n η, whatever the rates.
Targets are halved recursively, so that all n² times together cost O(n³).
"""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

from theory.chain.absorption import checked_sets, first_passage_to
from theory.errors import GeneratorError
from theory.generators.checks import as_real_tensor, check_generator, comes_from, recurrent_classes
from theory.kinds import Chain, States
from theory.stationary.distribution import stationary_distribution
from theory.transforms import is_followed, plain


def mean_first_passage_times(A: Chain, targets: States | None = None) -> Tensor:
    """m[..., i, j], the expected time from j to i, of a generator A[..., n, n]; in A's unit of time.

    With `targets`, a state or the states of a set: m[..., j], the expected time from j until the set is entered, 0 in
    it; then also for scipy.sparse A[n, n], as a float64 Tensor, by one sparse elimination and without derivatives.

    inf where the chain may never arrive (i transient, or in another recurrent class) and where the time passes the
    largest floating-point number. A way whose probability is below the smallest normal number is not seen, and where
    one decides whether the chain arrives, neither is that. Differentiable where all times are finite. Raises
    `GeneratorError`, and `ValueError` for targets that are no states.

    Examples:
        >>> mean_first_passage_times([[-1.0, 2.0, 0.0], [1.0, -3.0, 4.0], [0.0, 1.0, -4.0]], targets=[0]).tolist()
        [0.0, 0.625, 0.875]
    """
    sparse = comes_from(A, "scipy.sparse")
    if targets is not None:
        members = [targets] if isinstance(targets, Integral) else targets
        if sparse:
            from theory.chain.sparse_absorption import sparse_first_passage

            return sparse_first_passage(A, _one_set(members, A.shape[-1]))
        A = as_real_tensor(A)
        check_generator(A)
        return first_passage_to(A, _one_set(members, A.shape[-1]))
    if sparse:
        n = A.shape[0]
        raise GeneratorError(
            f"A is sparse, and the times between all {n} states would fill {8e-9 * n * n:.3g} GB: pass targets=[…], "
            "mean_first_passage_times(A, targets), for the times to a state or a set"
        )
    A = as_real_tensor(A)
    check_generator(A)
    times = _between_all(A, torch.ones_like(A[..., 0, :]))
    if bool(torch.isfinite(plain(times)).all()):
        return times
    # c_e A_ej can overflow on the way to finite times: once more in a longer unit of time, in which it does not
    longer = 2.0 ** (math.frexp(torch.finfo(A.dtype).max)[1] // 2)
    again = longer * _between_all(A, torch.full_like(A[..., 0, :], 1 / longer))
    return torch.where(torch.isfinite(times), times, again)


def _one_set(targets: Any, n: int) -> list[int]:
    return [state for members in checked_sets(targets, n, "targets") for state in members]


def kemeny_constant(A: Chain) -> Tensor:
    """K[...] = Σ_i p_i m_ij of a generator A[..., n, n], the same for every recurrent start j; without subtraction.

    For an irreducible chain K = −tr A^# = Σ_{λ≠0} 1/(−λ); transient states are no targets and add nothing, and K has
    derivatives in the rates among recurrent states only: it jumps where a transient state becomes recurrent. Dense A:
    batched, float32 stays float32. scipy.sparse A[n, n]: exact too, from the diagonal of the inverse of the chain
    stopped at its likeliest state (selected inversion); a float64 Tensor, no derivatives. Raises `GeneratorError`, and
    `NotUniqueError` where A has several recurrent classes.

    Examples:
        >>> kemeny_constant([[-1.0, 2.0], [1.0, -2.0]]).item()
        0.3333333333333333
    """
    if comes_from(A, "scipy.sparse"):
        from theory.chain.sparse_kemeny import sparse_kemeny_constant

        return sparse_kemeny_constant(A)
    A = as_real_tensor(A)
    p = stationary_distribution(A)
    if is_followed(A) and not is_functorch_wrapped_tensor(A) and not bool((p > 0).all()):
        # Infinite times, though masked, would leave NaN in the derivatives: recurrent classes alone, which nothing
        # leaves.
        return torch.stack([_of_recurrent(a) for a in A.reshape(-1, *A.shape[-2:])]).reshape(A.shape[:-2])
    return _weighted(A, p)


def _of_recurrent(A: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    (recurrent,) = recurrent_classes(A)
    alone = A[recurrent][:, recurrent]
    return _weighted(alone, stationary_distribution(alone))


def _weighted(A: Float[Tensor, "*batch n n"], p: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    times = mean_first_passage_times(A)
    reached = (p > 0)[..., :, None].expand(times.shape)
    weighted = torch.where(reached, p[..., :, None] * torch.where(reached, times, torch.zeros_like(times)), 0.0)
    start = p.argmax(-1, keepdim=True)  # a recurrent one
    return weighted.sum(-2).gather(-1, start)[..., 0]


def _between_all(rates: Float[Tensor, "*batch n n"], reward: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
    """m for a chain in which a unit of time in state j counts reward_j; the diagonal of `rates` is not read."""
    n = rates.shape[-1]
    if n == 1:
        return torch.zeros_like(rates)
    lower = _to_the_first(n // 2, rates, reward)
    upper = _to_the_first(n - n // 2, rates.flip((-2, -1)), reward.flip(-1)).flip((-2, -1))
    return torch.cat([lower, upper], -2)


def _to_the_first(
    count: int, rates: Float[Tensor, "*batch n n"], reward: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch {count} n"]:
    """The rows of m whose targets are the first `count` states: the others are censored, then read back."""
    removed = []
    for e in range(rates.shape[-1] - 1, count - 1, -1):
        out, arriving = rates[..., :e, e], rates[..., e, :e]
        exit_rate = out.sum(-1, keepdim=True)
        # No way on from e: who gets there never arrives.
        trap = exit_rate == 0
        onward = torch.where(trap, 0.0, out / exit_rate)
        stay = reward[..., e, None] / exit_rate
        rates = rates[..., :e, :e] + onward[..., :, None] * arriving[..., None, :]
        reward = reward[..., :e] + torch.where(arriving == 0, 0.0, arriving * stay)
        removed.append((onward, stay))
    times = _between_all(rates, reward)
    for onward, stay in reversed(removed):
        share = onward[..., None, :].expand(times.shape)
        from_e = stay + torch.where(share == 0, 0.0, share * times).sum(-1)
        times = torch.cat([times, from_e[..., None]], -1)
    return times
