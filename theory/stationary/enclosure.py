"""p_st with proof: numbers of the working precision that enclose every entry, by ball arithmetic (extra `rigorous`).

What is enclosed is the p_st of the chain that the off-diagonal rates define, each taken as the exact dyadic number that
it is; the stored diagonal is not read, for it is the column sum up to rounding. Its recurrent class is found first, in
exact comparisons; outside of it p is exactly 0.

The elimination of `stationary_distribution` is run in balls [m ± r] of Arb (Johansson, *IEEE Trans. Comput.* 66, 2017,
1281). At 53 bits the dependency between the balls would make the result useless: each state eliminated loses about a
bit. So it is run at 128 bits, then 256, 512, …, until each ball, rounded outward, lies between neighbouring
floating-point numbers. A ball around a number that is itself one never does; whether p is exactly that number is then
decided in whole numbers, by A p = 0 (or, where other entries are not such numbers, by an exact solve).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any, TypeAlias, cast, overload

import numpy as np
import torch
from torch import Tensor

from theory.errors import NotUniqueError, NumericalError
from theory.generators.checks import as_real_tensor, check_generator
from theory.kinds import Chain, Listed, Sparse, Table

_FIRST, _LAST = 128, 1 << 16  # bits; the last is far beyond what a double's exponents can ask for
_Ball: TypeAlias = Any  # flint.arb, imported where it is needed
_EXACT = 512  # bits at which an entry that still straddles a number is taken to be that number, and proven so


@overload
def enclosure(A: Tensor) -> tuple[Tensor, Tensor]: ...
@overload
def enclosure(A: np.ndarray | Sparse | Table | Listed) -> tuple[np.ndarray, np.ndarray]: ...
def enclosure(A: Chain) -> Any:
    """(lower[..., n], upper[..., n]) with lower <= p_st <= upper, proven; of A's kind, Tensor or ndarray, and dtype.

    A[..., n, n] is a generator in column convention (dense, or scipy.sparse A[n, n]; float64 or float32, integers
    become float64). upper is lower or the next floating-point number, and equal to it where p is that number, as for
    transient states. Entries below the smallest number lie between 0 and it. The cost is that of an elimination in
    multiple precision, 0.05 s at n = 64 and growing as n³; sparse chains cost what their elimination fills in. Not
    differentiable.

    Raises `ImportError` where python-flint is missing; `GeneratorError` and `NotUniqueError` as
    `stationary_distribution`; `NumericalError` where 65,536 bits do not decide.

    Examples:
        >>> import torch
        >>> lower, upper = enclosure(torch.tensor([[-1.0, 2.0], [1.0, -2.0]], dtype=torch.float64))
        >>> bool(lower[0] <= 2 / 3 <= upper[0]), bool((torch.nextafter(lower, upper) == upper).all())
        (True, True)
    """
    _flint()
    sparse = type(A).__module__.startswith("scipy.sparse")
    check_generator(A)
    if sparse:
        lower, upper = _enclosed(cast(Any, A).tocsc().astype(np.float64))
        return lower, upper
    M = as_real_tensor(A)
    host = M.detach().cpu()
    kind = np.float32 if M.dtype == torch.float32 else np.float64
    ends = [_enclosed(one, kind) for one in host.reshape(-1, *M.shape[-2:]).numpy()]
    shape = (2, *M.shape[:-1])
    found = np.stack(ends, 1).reshape(shape) if ends else np.empty(shape, kind)
    if isinstance(A, Tensor):
        lower, upper = torch.from_numpy(found).to(M.device)
        return lower, upper
    return found[0], found[1]


def _flint() -> Any:
    try:
        import flint
    except ImportError:
        raise ImportError(
            "enclosures need python-flint, which is not installed: pip install 'fastslow[rigorous]'"
        ) from None
    return flint


def _enclosed(A: Any, kind: type = np.float64) -> np.ndarray:
    """[2, n]: the enclosing numbers of one generator, in dtype `kind`."""
    columns = _columns(A)
    classes = _closed_classes(columns)
    if len(classes) > 1:
        raise NotUniqueError(
            f"A has {len(classes)} recurrent classes, {classes[:8]}: each has a stationary distribution of its own. "
            "Restrict A to one class, or add the rates that connect them; theory.stationary_distributions(A) gives "
            "them all, without enclosures",
            classes,
        )
    (states,) = classes
    place = {state: k for k, state in enumerate(states)}
    rates = [{place[i]: rate for i, rate in columns[state].items()} for state in states]
    found = np.zeros((2, len(columns)), kind)
    found[:, states] = _bounds(rates, kind)
    return found


def _closed_classes(columns: Sequence[dict[int, float]]) -> list[list[int]]:
    """The recurrent classes: strongly connected states that no jump leaves."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    n, counts = len(columns), [len(column) for column in columns]
    heads = [i for column in columns for i in column]
    jumps = csr_array((np.ones(len(heads), np.int8), heads, np.cumsum([0, *counts])), shape=(n, n))
    count, label = connected_components(jumps, directed=True, connection="strong")
    tails = np.repeat(np.arange(n), counts)
    leaky = set(label[tails[label[tails] != label[heads]]].tolist())
    return sorted(np.flatnonzero(label == c).tolist() for c in range(count) if c not in leaky)


def _columns(A: Any) -> list[dict[int, float]]:
    """The positive rates out of each state j, as {i: A_ij}."""
    if type(A).__module__.startswith("scipy.sparse"):
        A.sum_duplicates()
        cuts, rows, values = A.indptr, A.indices.tolist(), A.data.tolist()
        pairs = [zip(rows[a:b], values[a:b], strict=True) for a, b in pairwise(cuts)]
    else:
        pairs = [enumerate(column) for column in A.T.astype(np.float64).tolist()]
    return [{i: rate for i, rate in column if i != j and rate > 0} for j, column in enumerate(pairs)]


def _bounds(rates: Sequence[dict[int, float]], kind: type) -> np.ndarray:
    """[2, n] for an irreducible chain, at the first precision that decides all entries."""
    bits = _FIRST
    while bits <= _LAST:
        with _precision(bits):
            balls = _eliminated(rates)
            if all(ball.is_finite() for ball in balls):
                lower = np.array([_rounded(ball.lower(), kind, up=False) for ball in balls], kind)
                upper = np.array([_rounded(ball.upper(), kind, up=True) for ball in balls], kind)
                step = np.nextafter(lower, np.array(np.inf, kind))
                open_ones = upper > step
                if not open_ones.any():
                    return np.stack([lower, upper])
                if bool((upper == np.nextafter(step, np.array(np.inf, kind)))[open_ones].all()):
                    candidates = np.where(open_ones, step, np.nan).astype(np.float64)
                    proven = _balanced(rates, candidates) or (bits >= _EXACT and _solved(rates, candidates))
                    lower, upper = np.where(proven, step, lower), np.where(proven, step, upper)
                    if not (upper > np.nextafter(lower, np.array(np.inf, kind))).any():
                        return np.stack([lower, upper])
        bits *= 2
    raise NumericalError(
        f"p_st is not enclosed between neighbouring {np.dtype(kind).name} numbers at {_LAST} bits: lump states whose "
        "rates differ by thousands of decades"
    )


def _eliminated(rates: Sequence[dict[int, float]]) -> list[_Ball]:
    """p as balls at the precision set: states n − 1 … 1 are taken out, then put back."""
    arb = _flint().arb
    columns: list[dict[int, _Ball]] = [{i: arb(rate) for i, rate in column.items()} for column in rates]
    removed: list[tuple[dict[int, _Ball], _Ball]] = []
    for k in range(len(columns) - 1, 0, -1):
        out = columns[k]
        total = sum(out.values(), arb(0))
        share = [(i, rate / total) for i, rate in out.items()]
        arriving: dict[int, _Ball] = {}
        for j in range(k):
            flow = columns[j].pop(k, None)
            if flow is None:
                continue
            arriving[j] = flow
            column = columns[j]
            for i, part in share:
                if i in column:
                    column[i] = column[i] + flow * part
                elif i != j:
                    column[i] = flow * part
        removed.append((arriving, total))
    p: list[_Ball] = [arb(1)]
    for arriving, total in reversed(removed):
        p.append(sum((flow * p[j] for j, flow in arriving.items()), arb(0)) / total)
    mass = sum(p, arb(0))
    return [one / mass for one in p]


def _rounded(number: Any, kind: type, *, up: bool) -> Any:
    """The exact binary number `number`, m 2^e, rounded down or up to dtype `kind` within [0, 1]."""
    mantissa, exponent = (int(part) for part in number.man_exp())
    if mantissa <= 0:
        return kind(0.0)
    top, bottom = (mantissa << exponent, 1) if exponent >= 0 else (mantissa, 1 << -exponent)
    if top >= bottom:
        return kind(1.0)
    near = kind(top / bottom)  # correctly rounded by Python, then perhaps once more to float32
    over, under = float(near).as_integer_ratio()
    difference = over * bottom - top * under
    if up and difference < 0:
        return np.nextafter(near, kind(np.inf))
    return np.nextafter(near, kind(-np.inf)) if not up and difference > 0 else near


def _balanced(rates: Sequence[dict[int, float]], candidates: np.ndarray) -> bool:
    """Whether the candidates are all of p: A p = 0 and 1ᵀp = 1 in rational numbers."""
    if np.isnan(candidates).any():
        return False
    fmpq = _flint().fmpq
    p = [fmpq(*value.as_integer_ratio()) for value in candidates.tolist()]
    net = [fmpq(0) for _ in p]
    for j, column in enumerate(rates):
        for i, rate in column.items():
            flow = fmpq(*rate.as_integer_ratio()) * p[j]
            net[i], net[j] = net[i] + flow, net[j] - flow
    return sum(p, fmpq(0)) == 1 and all(one == 0 for one in net)


def _solved(rates: Sequence[dict[int, float]], candidates: np.ndarray) -> np.ndarray:
    """Where p is exactly the candidate (NaN: none there), by an exact solve."""
    flint = _flint()
    n, fmpq = len(rates), flint.fmpq
    M, right = flint.fmpq_mat(n, n), flint.fmpq_mat(n, 1)
    for j, column in enumerate(rates):
        exact = {i: fmpq(*rate.as_integer_ratio()) for i, rate in column.items()}
        M[j, j] = -sum(exact.values(), fmpq(0))
        for i, rate in exact.items():
            M[i, j] = rate
    for j in range(n):  # the last balance follows from the others: the sum takes its place
        M[n - 1, j] = fmpq(1)
    right[n - 1, 0] = fmpq(1)
    p = M.solve(right)
    values = enumerate(candidates.tolist())
    return np.array([v == v and p[j, 0] == fmpq(*v.as_integer_ratio()) for j, v in values])


def _precision(bits: int) -> AbstractContextManager[Any]:
    """Balls of `bits` bits within, and what was set before afterwards."""
    return _flint().ctx.workprec(bits)
