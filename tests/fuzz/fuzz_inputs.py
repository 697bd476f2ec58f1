"""Inputs of the fuzz tests, and the rule that all of them follow.

The rule: a call ends in a right answer, which the test checks against something independent, or in a documented error:
a ValueError, TypeError or RuntimeError (or one of ours, derived from these) whose message names an argument. Nothing
else may happen: no other exception, no warning (pytest turns them into errors), no change of the caller's array, no
call that takes more than `SECONDS` once the machine code it needs is there. An input that is fine must be answered:
refusing everything is no right answer.

FUZZ_EXAMPLES sets the number of examples per test. JAXTYPING_DISABLE=1 runs the package as users do, without the
run-time shape checks, which would refuse some input before the package's own checks see it.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.sparse
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TALLY: dict[str, Counter[str]] = defaultdict(Counter)
SECONDS = 20.0
F64 = torch.float64

fuzzed = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "40")),
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,  # the suite gives the same result twice; the big run explores
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)


def attempt(function: str, call: Callable[[], Any], *names: str) -> Any:
    """What `call` returns, or None where it ends in a documented error that names one of the arguments `names`."""
    for _ in range(2):  # a first call may compile, which is not its own time
        start, refusal = time.process_time(), None
        try:
            answer = call()
            assert answer is not None
        except (ValueError, TypeError, RuntimeError) as error:
            answer, refusal = None, error
        seconds = time.process_time() - start
        if seconds < SECONDS:
            break
    assert seconds < SECONDS
    TALLY[function]["refused" if refusal else "answered"] += 1
    if refusal:
        kind = type(refusal)
        ours = kind.__module__.split(".")[0] in ("theory", "network", "verify")
        pattern = "|".join(rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z])" for name in names)
        if not (ours or kind in (ValueError, RuntimeError) or issubclass(kind, TypeError)):
            raise AssertionError(f"undocumented {kind.__name__}: {refusal}") from refusal
        if not re.search(pattern, str(refusal)):
            raise AssertionError(f"names none of {names}: {refusal!r}") from refusal
    return answer


@dataclass(frozen=True)
class Case:
    """`value` as passed, the float64 `array` that it stands for (None: none), and whether it must be answered."""

    value: Any
    array: Any
    fine: bool


SPOILS = (
    ["none"] * 8
    + ["nan", "inf", "negative", "defect", "transposed", "zero", "split", "normal", "one entry"]
    + ["wide", "flat", "scalar", "empty", "no batch"]
)
DENSE = (
    ["torch64"] * 6
    + ["torch32", "numpy64", "numpy32", "list", "int", "fortran", "strided", "readonly", "swapped"]
    + ["torch int"]
)
ODD = ["float16", "longdouble", "complex", "object", "bool", "string", "torch16", "torch complex"] + [
    "torch sparse",
    "ragged",
    "None",
    "text",
]
SPARSE = ["csr", "csc", "coo", "bsr", "lil", "dia", "dok", "csr_matrix", "duplicates", "zeros", "int64", "float16"]


@st.composite
def rates(draw: Any, *, most: int = 4, batches: Any = ((), (), (), (1,), (3,), (2, 2), (0,)), reaches: Any = None):
    """R[..., n, n] >= 0, 1 <= n <= most: magnitudes up to 1e±300, dense to sparse; the diagonal holds anything."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, batch = draw(st.integers(1, most)), draw(st.sampled_from(batches))
    reach = draw(st.sampled_from(reaches or (0.0, 1.0, 3.0, 20.0, 150.0, 300.0)))
    R = 10.0 ** rng.uniform(-reach, reach, (*batch, n, n))
    return R * (rng.random(R.shape) < draw(st.sampled_from((0.4, 0.8, 1.0, 1.0))))


def completed(R: np.ndarray, dtype: Any = np.float64) -> np.ndarray:
    """The generator with the off-diagonal entries of R, its diagonal summed in `dtype`."""
    A = np.array(R, dtype)
    n = A.shape[-1]
    A[..., range(n), range(n)] = 0
    with np.errstate(over="ignore"):
        A[..., range(n), range(n)] = -A.sum(-2)
    return A


def spoiled(kind: str, A: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A with one fault."""
    A, n = A.copy(), A.shape[-1]
    i, j = rng.integers(n), rng.integers(n)
    if kind in ("nan", "inf", "negative", "one entry") and A.size:
        A[..., i, j] = {"nan": np.nan, "inf": rng.choice([np.inf, -np.inf]), "negative": -1e-3, "one entry": 1.0}[kind]
    elif kind == "defect":
        A[..., j, j] *= 1 + 10.0 ** rng.uniform(-15, 0)
    elif kind == "transposed":
        A = A.swapaxes(-1, -2)
    elif kind == "zero":
        A = np.zeros_like(A)
    elif kind == "split":
        A[..., :, j] = 0.0
    elif kind == "normal":
        A = rng.standard_normal(A.shape)
    elif kind == "wide":
        A = np.concatenate([A, A[..., :1]], -1)
    elif kind in ("flat", "scalar", "empty", "no batch"):
        A = {"flat": A.reshape(-1), "scalar": np.float64(1.0), "empty": A[..., :0, :0], "no batch": A[None][:0]}[kind]
    return A


def dressed(kind: str, A: np.ndarray) -> Any:
    """The same numbers in another container, dtype or memory order."""
    if kind in ("torch64", "torch32", "torch16", "torch int", "torch complex", "torch sparse"):
        tensor = torch.from_numpy(np.array(A, np.float64))
        kinds = {"torch32": torch.float32, "torch16": torch.bfloat16, "torch complex": torch.complex128}
        if kind == "torch sparse":
            return tensor.to_sparse()
        return (
            tensor.nan_to_num(0, 0, 0).clamp(-9, 9).long() if kind == "torch int" else tensor.to(kinds.get(kind, F64))
        )
    if kind == "strided":
        wide = np.zeros((*A.shape, 2))
        wide[..., 1] = A
        return wide[..., 1]
    if kind == "readonly":
        frozen = np.array(A)  # of a scalar a 0-d array
        frozen.flags.writeable = False
        return frozen
    with np.errstate(all="ignore"):
        return {
            "numpy64": lambda: A,
            "numpy32": lambda: A.astype(np.float32),
            "list": A.tolist,
            "int": lambda: np.nan_to_num(A, nan=0, posinf=9, neginf=-9).clip(-9, 9).astype(int),
            "fortran": lambda: np.asfortranarray(A),
            "swapped": lambda: A.astype(A.dtype.newbyteorder(">")),
            "float16": lambda: A.astype(np.float16),
            "longdouble": lambda: A.astype(np.longdouble),
            "complex": lambda: A.astype(complex),
            "object": lambda: A.astype(object),
            "bool": lambda: A > 0,
            "string": lambda: A.astype(str),
            "ragged": lambda: [[1.0, 2.0], [3.0]],
            "None": lambda: None,
            "text": lambda: "A",
        }[kind]()


@st.composite
def generator_cases(draw: Any, *, most: int = 4, reaches: Any = None, batches: Any = None, odd: bool = True) -> Case:
    """A matrix that is a generator in about half of the cases, in any container."""
    R = draw(rates(most=most, reaches=reaches, batches=batches or ((), (), (), (1,), (3,), (2, 2), (0,))))
    spoil, kind = draw(st.sampled_from(SPOILS)), draw(st.sampled_from(DENSE * 3 + ODD if odd else DENSE))
    if kind in ("int", "torch int"):
        R = np.rint(np.minimum(R, 2.0))
    single = kind in ("numpy32", "torch32")
    with np.errstate(over="ignore"):
        A = completed(R, np.float32 if single else np.float64).astype(np.float64)
    fine = spoil == "none" and kind in DENSE and bool(np.isfinite(A).all()) and not (kind == "list" and A.size == 0)
    if spoil != "none":
        A = spoiled(spoil, A, np.random.default_rng(draw(st.integers(0, 99))))
    value = dressed(kind, A)
    array = None
    if kind in DENSE:
        array = np.array(value.detach().numpy() if isinstance(value, torch.Tensor) else value, np.float64)
    return Case(value, array, fine)


@st.composite
def sparse_cases(draw: Any, *, most: int = 6) -> Case:
    """The same as scipy.sparse, in every format."""
    A = completed(draw(rates(most=most, batches=((),))))
    kind, spoil = draw(st.sampled_from(SPARSE)), draw(st.sampled_from(SPOILS[:-5]))
    if kind == "int64":
        A = completed(np.rint(np.minimum(A.clip(min=0), 9)))
    if spoil != "none":
        A = spoiled(spoil, A, np.random.default_rng(draw(st.integers(0, 99))))
    fine = spoil == "none" and kind != "float16" and bool(np.isfinite(A).all())
    coo = scipy.sparse.coo_array(A)
    if kind == "duplicates":
        i, j = coo.coords
        half = scipy.sparse.coo_array((np.r_[coo.data / 2, coo.data / 2], (np.r_[i, i], np.r_[j, j])), shape=A.shape)
        return Case(half, A, fine and bool((np.abs(A[A != 0]) > 1e-290).all()))
    if kind == "zeros":
        i, j = np.indices(A.shape).reshape(2, -1)
        return Case(scipy.sparse.csr_array(scipy.sparse.coo_array((A[i, j], (i, j)), shape=A.shape)), A, fine)
    if kind in ("int64", "float16", "csr_matrix"):
        dtype = {"int64": np.int64, "float16": np.float16}.get(kind, np.float64)
        with np.errstate(all="ignore"):
            dense = np.nan_to_num(A, nan=0, posinf=9, neginf=-9).astype(dtype) if kind == "int64" else A.astype(dtype)
        if kind == "float16":  # which scipy.sparse does not hold: as single precision, rounded
            return Case(scipy.sparse.csr_array(dense.astype(np.float32)), None, False)
        return Case(scipy.sparse.csr_matrix(dense), dense.astype(np.float64), fine)
    return Case(coo.asformat(kind), A, fine)


def exact_stationary(A: np.ndarray) -> Any:
    """p of one generator A[n, n] in rational arithmetic, from its off-diagonal entries; None: not unique."""
    closed = recurrent(A)
    if len(closed) != 1:
        return None
    p = [Fraction(0)] * len(A)
    states = list(closed[0])
    B = exact_generator(A[np.ix_(states, states)])
    n = len(states)
    system = [B[i] + [Fraction(0)] for i in range(n - 1)] + [[Fraction(1)] * (n + 1)]
    for i, value in zip(states, solve(system), strict=True):
        p[i] = value[0]
    return p


def exact_group_inverse(A: np.ndarray, p: list[Fraction]) -> list[list[Fraction]]:
    """A^# = (A − c p 1ᵀ)⁻¹ + p1ᵀ/c in rational arithmetic, for any c > 0."""
    B, n = exact_generator(A), len(A)
    c = max([-B[j][j] for j in range(n)]) or Fraction(1)
    rows = [[B[i][j] - c * p[i] for j in range(n)] + [Fraction(int(i == j)) for j in range(n)] for i in range(n)]
    return [[value + p[i] / c for value in row] for i, row in enumerate(solve(rows))]


def exact_generator(A: np.ndarray) -> list[list[Fraction]]:
    n = len(A)
    B = [[Fraction(float(A[i, j])) if i != j else Fraction(0) for j in range(n)] for i in range(n)]
    for j in range(n):
        B[j][j] = -sum((B[i][j] for i in range(n)), Fraction(0))
    return B


def recurrent(A: np.ndarray) -> list[tuple[int, ...]]:
    """The recurrent classes."""
    reach = reachable(A)
    mutual = reach & reach.T
    closed = [j for j in range(len(A)) if (reach[j] == mutual[j]).all()]
    return sorted({tuple(np.flatnonzero(mutual[j]).tolist()) for j in closed})


def reachable(A: np.ndarray) -> np.ndarray:
    """reach[j, i]: whether i can be reached from j, by the transitive closure of the jumps."""
    reach = (A.T > 0) | np.eye(len(A), dtype=bool)
    for k in range(len(A)):
        reach |= reach[:, k : k + 1] & reach[k]
    return reach


def solve(rows: list[list[Fraction]]) -> list[list[Fraction]]:
    """X of M X = B from the rows of [M | B], by Gauss-Jordan elimination."""
    n = len(rows)
    rows = [list(row) for row in rows]
    for k in range(n):
        pivot = next(i for i in range(k, n) if rows[i][k])
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [value / rows[k][k] for value in rows[k]]
        for i in range(n):
            if i != k and rows[i][k]:
                rows[i] = [a - rows[i][k] * b for a, b in zip(rows[i], rows[k], strict=True)]
    return [row[n:] for row in rows]


def is_generator(A: np.ndarray, unit: float = 2.0**-53) -> bool:
    """Whether A[..., n, n] is one within twice the documented tolerance (the sums are exact here)."""
    if A.ndim < 2 or A.shape[-1] != A.shape[-2] or not A.shape[-1] or not np.isfinite(A).all():
        return False
    n = A.shape[-1]
    for M in A.reshape(-1, n, n):
        for j in range(n):
            column = [Fraction(float(v)) for v in M[:, j]]
            if any(v < 0 for i, v in enumerate(column) if i != j):
                return False
            if abs(sum(column)) > Fraction(16 * n * unit) * sum(map(abs, column)):
                return False
    return True


def relative_error(value: float, exact: Fraction, tiny: float) -> float:
    """|value/exact − 1|; an exact value below `tiny` must come out at most that large."""
    if exact < Fraction(tiny):
        return 0.0 if abs(value) <= 1.0001 * tiny else float("inf")
    return float(abs(Fraction(float(value)) / exact - 1))


@st.composite
def spoiled_vectors(draw: Any, n: int, *, total: float = 1.0) -> Case:
    """A vector [..., n] of the given sum, a probability vector if that is 1, in about half of the cases."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch, n = draw(st.sampled_from(((), (), (1,)))), max(n, 1)  # which broadcast with every batch of matrices
    v = rng.dirichlet(np.ones(n), batch)
    if total == 0.0:
        v = v - rng.dirichlet(np.ones(n), batch)
        v = v - v.mean(-1, keepdims=True)
    kinds = ["none"] * 8 + ["nan", "inf", "negative", "defect", "tiny", "long", "scalar", "empty"]
    spoil = draw(st.sampled_from(kinds))
    if spoil in ("nan", "inf", "negative", "defect", "tiny"):
        v[..., 0] = {"nan": np.nan, "inf": np.inf, "negative": -0.5, "defect": 2.5, "tiny": v[..., 0] + 1e-13}[spoil]
    elif spoil != "none":
        v = {"long": np.concatenate([v, v], -1), "scalar": np.float64(total), "empty": v[None][:0]}[spoil]
    kind = draw(st.sampled_from(("torch64", "torch64", "numpy64", "list", "strided", "readonly", "swapped", *ODD)))
    value = dressed(kind, v)
    seen = np.asarray(value) if kind == "list" else v  # an empty list forgets its shape
    return Case(value, seen if kind in DENSE else None, spoil == "none" and kind in DENSE)
