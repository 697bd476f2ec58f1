"""Where a chain arrives first, and when: hitting probabilities, committors and first-passage times to sets.

T_1, …, T_k are disjoint sets of states. From state j, h_tj is the probability that T_t is entered before the others
(1 in T_t itself, 0 where no target can be reached), and m_j the expected time until their union is entered. Both are
expected rewards of the chain that stops at the targets: with the reward rate c_j,

    Σ_{i≠j} A_ij (m_i − m_j) = −c_j   off the targets,   m = 0 on them;   c = 1: times;   c_j = Σ_{i∈T_t} A_ij: h_t

(Norris, *Markov Chains*, 1997, thms 3.3.1 and 3.3.3). States are taken out by censoring: s_e is the rate at which e is
left for what remains, targets included; a jump j -> e earns c_e/s_e and goes on to k with probability A_ke/s_e,

    A_kj += A_ke A_ej / s_e,   c_j += c_e A_ej / s_e,        and backwards   m_e = (c_e + Σ_k m_k A_ke) / s_e.

Sums, products and quotients of positive numbers only, so a probability of 1e-130 is as accurate as one of a half; a
linear solve loses it. The committor of transition path theory is h of [source, target], row 1.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from theory.errors import GeneratorError
from theory.generators.checks import as_real_tensor, check_generator, comes_from
from theory.kinds import Chain, Targets


def hitting_probabilities(A: Chain, targets: Targets) -> Tensor:
    """h[..., k, n]: the probability, from each state, that target k is hit first, for A[..., n, n].

    targets: k states, or k sets of states, disjoint. Right to a few n η relative, also where h is 1e-300 (1e-200 and
    below by an elimination with exponents, sparse); exactly 0 where a target cannot be reached. Columns sum to one
    where some target is reached with certainty.

    Dense A: batched, float32 stays float32, differentiable in the rates to any order. scipy.sparse A[n, n]: by one
    sparse elimination; float64, no derivatives. Transition matrices and counts through their doors. Raises
    `GeneratorError`, and `ValueError` for targets that are no states, repeated or none.

    Examples:
        >>> gambler = [[0.0, 0.6, 0, 0], [0, -1, 0.6, 0], [0, 0.4, -1, 0], [0, 0, 0.4, 0.0]]
        >>> hitting_probabilities(gambler, [0, 3])[1].round(decimals=4).tolist()
        [0.0, 0.2105, 0.5263, 1.0]
    """
    if comes_from(A, "scipy.sparse"):
        from theory.chain.sparse_absorption import sparse_hitting_probabilities

        return sparse_hitting_probabilities(A, checked_sets(targets, A.shape[-1], "targets"))
    A = as_real_tensor(A)
    check_generator(A)
    sets = checked_sets(targets, A.shape[-1], "targets")
    return _until(A, sets, timed=False)


def first_passage_to(A: Float[Tensor, "*batch n n"], target: list[int]) -> Float[Tensor, "*batch n"]:
    """m[..., n], the expected time from each state until the set is entered, of a checked generator."""
    return _until(A, [target], timed=True)[..., 0, :]


def checked_sets(targets: Any, n: int, name: str) -> list[list[int]]:
    """`targets` as disjoint sets of states 0 … n − 1: each given as a state or as a collection of states."""
    if isinstance(targets, (str, bytes, Integral)):
        raise ValueError(f"{name} must be a sequence of states or of sets of states, got {targets!r}: pass [{targets}]")
    try:
        items = list(targets.tolist() if isinstance(targets, (Tensor, np.ndarray)) else targets)
        sets = [[item] if isinstance(item, Integral) else list(item) for item in items]
    except TypeError:
        raise ValueError(f"{name} must be a sequence of states or of sets of states, got {targets!r}") from None
    if not sets or not all(sets):
        raise ValueError(f"{name} must name at least one state each, got {targets!r}")
    seen: set[int] = set()
    for state in (state for members in sets for state in members):
        if isinstance(state, bool) or not isinstance(state, Integral) or not 0 <= int(state) < n:
            raise ValueError(f"{name} holds {state!r}; states are the integers 0 … {n - 1}")
        if int(state) in seen:
            raise ValueError(f"{name} name state {int(state)} twice: the sets must be disjoint, leave one out")
        seen.add(int(state))
    return [[int(state) for state in members] for members in sets]


def _until(A: Float[Tensor, "*batch n n"], sets: list[list[int]], *, timed: bool) -> Tensor:
    """[..., r, n]: the expected time to the union of the sets (r = 1), or the probabilities of each (r = len(sets))."""
    n, k = A.shape[-1], len(sets)
    taken = {state for members in sets for state in members}
    free = [state for state in range(n) if state not in taken]
    inner = A[..., free, :][..., :, free]
    onto = torch.stack([A[..., members, :][..., :, free].sum(-2) for members in sets], -2)
    # rows: the targets, "nowhere", where those go who can go on to none of them, and the free states
    rates = torch.cat([onto, torch.zeros_like(onto[..., :1, :]), inner], -2)
    k += 1
    nowhere = torch.arange(k + len(free), device=A.device) == k - 1
    reward = onto.new_ones((*A.shape[:-2], 1, len(free))) if timed else onto
    removed = []
    for e in range(len(free) - 1, -1, -1):
        out, arriving = rates[..., : k + e, e], rates[..., k + e, :e]
        exit_rate = out.sum(-1, keepdim=True)
        trap = exit_rate == 0  # no way on from e: it never arrives
        onward = torch.where(trap, nowhere[: k + e].to(A.dtype), out / torch.where(trap, 1.0, exit_rate))
        stay = reward[..., :, e] / torch.where(trap, 1.0, exit_rate)
        stay = torch.where(trap, torch.inf if timed else 0.0, stay)
        rates = rates[..., : k + e, :e] + onward[..., :, None] * arriving[..., None, :]
        share = arriving[..., None, :] * stay[..., :, None]
        reward = reward[..., :, :e] + torch.where(arriving[..., None, :] == 0, 0.0, share)
        removed.append((onward[..., k:], stay))
    found = reward[..., :, :0]
    for onward, stay in reversed(removed):
        share = onward[..., None, :].expand(*found.shape)
        from_e = stay + torch.where(share == 0, 0.0, share * found).sum(-1)
        found = torch.cat([found, from_e[..., None]], -1)
    at_targets = torch.zeros(*A.shape[:-2], 1 if timed else k - 1, len(taken), dtype=A.dtype, device=A.device)
    order = [*free]
    for t, members in enumerate(sets):
        if not timed:
            at_targets[..., t, len(order) - len(free) : len(order) - len(free) + len(members)] = 1.0
        order += members
    place = torch.tensor(order, device=A.device).argsort()
    return torch.cat([found, at_targets], -1)[..., place]


def require_one_matrix(A: Any, what: str) -> None:
    """Raise `GeneratorError` for a batch, whose elements each have another answer of this kind."""
    if len(A.shape) != 2:
        raise GeneratorError(f"A must be one generator [n, n], got {list(A.shape)}: {what}, so call it once for each")
