"""The jump process of a generator: paths of the continuous-time Markov chain that A describes, simulated exactly.

A path in state j stays for a time of law Exp(|A_jj|) and then goes to i with probability A_ij / |A_jj| (Norris, *Markov
Chains*, 1997, sec. 2.6). Its law at time t is e^{At} e_{state0}; the fraction of time that it spends in each state, its
occupation, tends to p_st and carries a statistical interval (`theory.chain.occupation`).

Randomness: path b of the batch reads its own stream, expanded from (seed, b) by NumPy's `SeedSequence`. One seed gives
one result, whatever the number of threads, whether paths are recorded or not, and however many paths come after.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Size, Tensor

from theory.arguments import check_integer, check_positive, to_tensor
from theory.chain.occupation import occupation_interval
from theory.errors import GeneratorError, NumericalError
from theory.generators.checks import as_real_tensor, check_generator, comes_from
from theory.generators.sparse import checked_rates
from theory.jumps.tables import Tables, dense_tables, sparse_tables
from theory.kinds import Chain, Indices, Integer, Number, Sparse


@dataclass(frozen=True, eq=False)
class JumpPath:
    """Paths on [0, t], right-continuous: in states[..., k] from times[..., k] on.

    times[..., k]: 0, then the moment of each jump; states[..., k]: state0, then where each jump went. Paths of a batch
    are filled up to the longest with (t, last state), `jumps[...]` counts the real ones. With `record=False` only the
    start and the end are kept: times (0, t) and two states.
    occupation[..., n]: fraction of [0, t] spent in each state. A: the generator, a Tensor or sparse as it was given; t:
    the horizon.

    Examples:
        >>> import theory
        >>> path = theory.sample_jumps([[-1.0, 2.0], [1.0, -2.0]], 0, 1000.0, seed=0)
        >>> path.occupation.shape, path.interval.shape, int(path.states[0])
        (torch.Size([2]), torch.Size([2, 2]), 0)
    """

    times: Tensor
    states: Tensor
    jumps: Tensor
    occupation: Tensor
    A: Tensor | Sparse
    t: float

    @cached_property
    def interval(self) -> Tensor:
        """A 95 % interval [..., n, 2] of each p_st,i from this path and its start, (lower, upper), transient states and
        metastable chains included; `occupation_interval` says how, and has other levels.

        Raises `NotUniqueError` where A has several recurrent classes: the occupation then estimates no single p_st, and
        `GeneratorError` where A is sparse: the spread of each state takes A^#, which is dense.
        """
        if not isinstance(self.A, Tensor):
            raise GeneratorError(
                "the path's A is sparse, and an interval takes A^#, which is dense: of a chain that is small enough, "
                "pass it dense, theory.occupation_interval(path.A.toarray(), path.occupation, path.t), or lump it "
                "first, theory.lump(path.A, partition)"
            )
        start = torch.nn.functional.one_hot(self.states[..., 0], self.A.shape[-1]).to(self.A)
        return occupation_interval(self.A, self.occupation, self.t, start=start)


def sample_jumps(
    A: Chain, state0: Indices, t: Number, *, seed: Integer, record: bool = True, max_jumps: Integer = 10_000_000
) -> JumpPath:
    """Simulate the jump process of A[..., n, n] from state0[...] (integers) to time t; the batch shapes broadcast.

    A: float64 or integers, dense with any batch shape, or one scipy.sparse A[n, n], which takes memory for its rates
    and n numbers a path. t is in units of the inverse rates. `record=False` keeps no path, only the occupation, for
    long horizons. The simulation runs on the host, in float64 and as many threads as torch is set to use; results go to
    the device of A. No derivatives: a path does not depend smoothly on its rates.

    Raises `GeneratorError` where A is not a generator or not float64, `ValueError` for a state0 that is not an integer
    in 0 … n − 1, a t that is not positive and finite, or a seed that is not an integer >= 0, and `NumericalError` where
    a path needs more than `max_jumps` jumps.

    Examples:
        >>> import theory
        >>> path = theory.sample_jumps([[-1.0, 2.0], [1.0, -2.0]], 0, 1e5, seed=0, record=False)
        >>> bool((path.occupation - theory.stationary_distribution(path.A)).abs().max() < 0.02)
        True
    """
    kept, groups, n, device, tables = _prepared(A)
    start = check_states(state0, n)
    horizon, seed, max_jumps = _check_run(t, seed, max_jumps)
    try:
        batch = torch.broadcast_shapes(groups, start.shape)
    except RuntimeError:
        raise ValueError(
            f"state0 has shape {list(start.shape)} and the batch of A {list(groups)}: they must broadcast"
        ) from None
    table = torch.arange(math.prod(groups)).reshape(groups).expand(batch).reshape(-1).numpy()
    run = _Run(tables(), table, start.expand(batch).reshape(-1).numpy(), horizon, seed)
    times, states = run.to_the_end(record, max_jumps)

    def shaped(array: np.ndarray, *tail: int) -> Tensor:
        return torch.from_numpy(array).reshape((*batch, *tail)).to(device)

    return JumpPath(
        times=shaped(times, times.shape[-1]),
        states=shaped(states, states.shape[-1]),
        jumps=shaped(run.jumps),
        occupation=shaped(run.spent / horizon, n),
        A=kept,
        t=horizon,
    )


def _prepared(A: Any) -> tuple[Any, Size, int, torch.device, Callable[[], Tables]]:
    """A as it is kept, its batch shape, n, its device, and what makes its tables; raises where A is no generator."""
    if comes_from(A, "scipy.sparse"):
        found = checked_rates(A)
        if found.dtype != np.float64:
            raise GeneratorError(f"A has dtype {found.dtype}; simulations are float64 only: pass A.astype(float)")
        return A, Size(), A.shape[0], torch.device("cpu"), lambda: sparse_tables(found)
    M = as_real_tensor(A).detach()
    if M.dtype != torch.float64:
        raise GeneratorError(f"A has dtype {M.dtype}; simulations are float64 only: pass A.double()")
    check_generator(M)
    return M, M.shape[:-2], M.shape[-1], M.device, lambda: dense_tables(M.cpu())


class _Run:
    """The arrays of one simulation: the tables, and per path its random stream, clock, state and sums."""

    def __init__(self, tables: Tables, table: np.ndarray, start: np.ndarray, horizon: float, seed: int) -> None:
        from theory.jumps import kernels as jump_kernels

        count = len(start)
        self.kernels, self.tables = jump_kernels, tables
        self.table, self.start, self.horizon = table, start, horizon
        self.rng = streams(seed, count)
        self.now, self.state, self.jumps = np.zeros(count), start.copy(), np.zeros(count, np.int64)
        self.spent = np.zeros((count, tables.dwell.shape[1]))

    def to_the_end(self, record: bool, max_jumps: int) -> tuple[np.ndarray, np.ndarray]:
        """Advance every path to the horizon; times[B, k] and states[B, k]."""
        count = len(self.start)
        room = min(max_jumps, 64) if record else max_jumps
        times, states = (np.empty((count, room + 1 if record else 1), kind) for kind in (np.float64, np.int64))
        times[:, 0], states[:, 0] = 0.0, self.start
        while True:
            self._advance(room, record, times, states)
            if not count or self.now.min() >= self.horizon:
                break
            if room == max_jumps:
                slow = int(self.now.argmin())
                raise NumericalError(
                    f"path {slow} of the batch made max_jumps = {max_jumps} jumps and has only reached "
                    f"t = {self.now[slow]:.6g} of {self.horizon:.6g}: shorten t, or raise max_jumps (record=False "
                    "spares memory)"
                )
            # By the mean pace so far, and by no more than eightfold: the first jumps may be much faster than the rest.
            pace = float((self.jumps / np.maximum(self.now, np.finfo(float).tiny)).max())
            room = min(max(2 * room, min(8 * room, int(min(1.1 * pace * self.horizon, 1e18)) + 64)), max_jumps)
            times, states = (_widened(array, room + 1) for array in (times, states))
        if not record:
            ends = np.full(count, self.horizon)
            return np.stack([times[:, 0], ends], -1), np.stack([self.start, self.state], -1)
        longest = 1 + (int(self.jumps.max()) if count else 0)
        self.kernels.fill(times, states, self.jumps, self.horizon, self.state)
        return np.ascontiguousarray(times[:, :longest]), np.ascontiguousarray(states[:, :longest])

    def _advance(self, room: int, record: bool, times: np.ndarray, states: np.ndarray) -> None:
        def part(first: int, last: int) -> None:
            self.kernels.advance(
                *(first, last, self.horizon, room, record, self.table, tuple(self.tables)),
                *(self.rng, self.now, self.state, self.jumps, self.spent, times, states),
            )

        in_parts(part, len(self.start))


def streams(seed: int, count: int) -> np.ndarray:
    """The random state [count, 4] of `count` independent streams; stream b depends on `seed` and b alone."""
    return np.random.SeedSequence(seed).generate_state(4 * count, np.uint64).reshape(count, 4)


def in_parts(work: Any, count: int) -> None:
    """Call work(first, last) over 0 … count, split among as many threads as torch is set to use."""
    threads = max(1, min(torch.get_num_threads(), count))
    if threads == 1:
        work(0, count)
        return
    cuts = [round(k * count / threads) for k in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, cuts[:-1], cuts[1:]))


def _widened(array: np.ndarray, width: int) -> np.ndarray:
    wide = np.empty((len(array), width), array.dtype)
    wide[:, : array.shape[1]] = array
    return wide


def check_states(state0: Any, n: int) -> Tensor:
    """state0 as an int64 tensor on the host, or a `ValueError` that names the bad one."""
    try:
        states = to_tensor(state0).detach().cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"state0 must hold integers from 0 to {n - 1}, got {type(state0).__name__}: {error}") from None
    if states.is_floating_point() or states.is_complex() or states.dtype == torch.bool:
        raise ValueError(f"state0 has dtype {states.dtype}; pass integers from 0 to {n - 1}")
    outside = (states < 0) | (states >= n)
    if bool(outside.any()):
        where = [int(i) for i in outside.nonzero()[0]]
        at = f" at index {where}" if where else ""
        raise ValueError(f"state0 holds {int(states[tuple(where)])}{at}; the states of A are 0 to {n - 1}")
    return states.to(torch.int64)


def _check_run(t: Any, seed: Any, max_jumps: Any) -> tuple[float, int, int]:
    """Horizon, seed and jump limit, or a `ValueError` that names the bad one."""
    if not isinstance(t, Real) and getattr(t, "ndim", 1) != 0:
        raise ValueError(f"t must be one number, the time at which the paths end; got {t!r}")
    return check_positive(t, "t"), check_integer(seed, "seed"), check_integer(max_jumps, "max_jumps", least=1)
