"""Lumping: blocks of states become the states of a smaller chain.

With a partition of the states into blocks I, the chain between blocks has the rates

    Â_IJ = Σ_{i∈I} Σ_{j∈J} A_ij w_j,     Σ_{j∈J} w_j = 1,

and it is Markov whatever the start if and only if Σ_{i∈I} A_ij is the same for all j of J, for every I ≠ J: A is then
lumpable (Kemeny and Snell, *Finite Markov Chains*, 1960, thm 6.3.2), and the weights do not matter. Otherwise w = p_st
within the block makes Â the chain seen at equilibrium: it has the stationary probabilities and flows of the blocks
exactly, and is what is left when the states within each block mix fast (Simon and Ando, *Econometrica* 29, 1961).
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from theory.chain.absorption import checked_sets
from theory.errors import GeneratorError, NotUniqueError
from theory.generators.checks import as_real_tensor, batch_element, check_generator, comes_from
from theory.generators.doors import from_rates
from theory.kinds import Chain, Columns, Dense, Partition, Sparse
from theory.stationary.distribution import stationary_distribution
from theory.transforms import plain


def is_lumpable(A: Chain, partition: Partition, *, rtol: float | None = None) -> bool:
    """Whether A[..., n, n] is lumpable by the partition (every matrix of a batch), within `rtol` of the block's rates.

    partition: blocks of states, [[0, 1], [2]], or the block of each state, [0, 0, 1]. rtol defaults to 8 n η. Dense A
    of any batch shape, or scipy.sparse. Raises `GeneratorError`, and `ValueError` for a partition that is none.

    Examples:
        >>> is_lumpable([[-3, 1, 1], [1, -2, 1], [2, 1, -2]], [[0], [1, 2]])
        True
    """
    checked, blocks = _checked(A, partition)
    into = _into_blocks(checked, blocks)
    return bool(_same_within(into, blocks, checked.shape[-1], rtol).all())


@overload
def lump(A: Sparse, partition: Partition) -> Columns: ...
@overload
def lump(A: Dense, partition: Partition) -> Tensor: ...
def lump(A: Chain, partition: Partition) -> Any:
    """The generator Â[..., k, k] between k blocks; exact where A is lumpable, weighted by p_st within blocks elsewhere.

    partition as `is_lumpable`; block I is state I of Â. Dense A: a Tensor, batched, differentiable; scipy.sparse gives
    a csc_array. p_st-weighted lumping keeps the stationary probabilities and flows of the blocks whether or not A is
    lumpable: see `is_lumpable` for whether it keeps more.

    Raises `GeneratorError`, `ValueError` for a partition that is none, and where weights are needed and missing:
    `NotUniqueError` for several recurrent classes, `GeneratorError` for a block that p_st does not visit.

    Examples:
        >>> lump([[-3.0, 1, 1], [1, -2, 1], [2, 1, -2]], [[0], [1, 2]]).tolist()
        [[-3.0, 1.0], [3.0, -1.0]]
    """
    checked, blocks = _checked(A, partition)
    n, k = checked.shape[-1], len(blocks)
    label = np.empty(n, np.int64)
    for b, members in enumerate(blocks):
        label[members] = b
    into = _into_blocks(checked, blocks)
    same = _same_within(into, blocks, n, None)  # [..., k]: whether the states of block J leave alike
    sparse = comes_from(checked, "scipy.sparse")
    try:
        p = torch.from_numpy(stationary_distribution(checked)) if sparse else stationary_distribution(checked)
    except NotUniqueError:
        if not bool(same.all()):
            raise
        p = torch.ones(checked.shape[:-1], dtype=torch.float64 if sparse else checked.dtype)
    member = torch.zeros(n, k, dtype=p.dtype, device=p.device)
    member[torch.arange(n), torch.from_numpy(label)] = 1.0
    mass = p @ member
    empty = plain(mass) < torch.finfo(p.dtype).tiny
    if bool((empty & ~same).any()):
        *index, b = (int(i) for i in (empty & ~same).nonzero()[0])
        raise GeneratorError(
            f"block {b}{batch_element(index)} of the partition, {blocks[b][:8]}, has no stationary probability to "
            "weigh its states by, and they leave at different rates: make each a block of its own"
        )
    uniform = 1.0 / member.sum(0)
    place = torch.from_numpy(label).to(p.device)
    weight = torch.where(empty[..., place], uniform[place], p / torch.where(empty, 1.0, mass)[..., place])
    if sparse:
        from scipy.sparse import csc_array

        weights = csc_array((weight.numpy(), (np.arange(n), label)), shape=(n, k))
        return from_rates(csc_array(into @ weights)).astype(checked.dtype if checked.dtype.kind == "f" else np.float64)
    return from_rates((into * weight[..., None, :]) @ member)


def _checked(A: Any, partition: Any) -> tuple[Any, list[list[int]]]:
    if not comes_from(A, "scipy.sparse"):
        A = as_real_tensor(A)
    check_generator(A)
    n = A.shape[-1]
    array = partition.tolist() if isinstance(partition, (Tensor, np.ndarray)) else list(partition)
    if len(array) == n and all(isinstance(b, int) and not isinstance(b, bool) for b in array) and n:
        labels = sorted(set(array))
        if labels == list(range(len(labels))):
            array = [[state for state, b in enumerate(array) if b == label] for label in labels]
    blocks = checked_sets(array, n, "partition")
    missing = sorted(set(range(n)) - {state for members in blocks for state in members})
    if missing:
        raise ValueError(
            f"partition leaves out {len(missing)} states, {missing[:8]}: every state needs a block, or give the block "
            "of each state, numbered from 0"
        )
    return A, blocks


def _into_blocks(A: Any, blocks: list[list[int]]) -> Any:
    """[..., k, n]: the rate from each state into each other block; within its own block 0."""
    n, k = A.shape[-1], len(blocks)
    label = np.empty(n, np.int64)
    for b, members in enumerate(blocks):
        label[members] = b
    if comes_from(A, "scipy.sparse"):
        from scipy.sparse import csc_array

        entries = A.tocoo()
        row, column = entries.coords
        crossing = label[row] != label[column]
        value = entries.data[crossing].astype(np.float64)
        return csc_array((value, (label[row[crossing]], column[crossing])), shape=(k, n))
    summed = torch.stack([A[..., members, :].sum(-2) for members in blocks], -2)
    own = torch.from_numpy(label).to(A.device) == torch.arange(k, device=A.device)[:, None]
    return summed.masked_fill(own, 0.0)


def _same_within(into: Any, blocks: list[list[int]], n: int, rtol: float | None) -> Tensor:
    """[..., k]: whether the states of block J go into each other block at the same rate."""
    if comes_from(into, "scipy.sparse"):
        within = 8 * n * np.finfo(np.float64).eps / 2 if rtol is None else rtol
        alike = []
        for members in blocks:
            part = into[:, members]
            top, low = part.max(axis=1).toarray(), part.min(axis=1).toarray()
            alike.append(bool((top - low <= within * top).all()))
        return torch.tensor(alike)
    values = plain(into)
    within = 8 * n * torch.finfo(values.dtype).eps / 2 if rtol is None else rtol
    parts = [values[..., members] for members in blocks]
    spread = [part.amax(-1) - part.amin(-1) <= within * part.amax(-1) for part in parts]
    return torch.stack([alike.all(-1) for alike in spread], -1)
