"""The public p_st: its identity as a property of random generators, kinds of input, and what is refused."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from theory import GeneratorError, NotUniqueError, from_rates, recurrent_classes, stationary_distribution
from theory.stationary.dense.gth import solve
from theory.stationary.distribution import _solve_on_device

pytestmark = pytest.mark.numerical


@st.composite
def generators(draw, largest=9, densities=(0.3, 0.6, 1.0), decades=40.0):
    """Sparse to dense, rates over up to eighty decades, always with one recurrent class."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, reach = draw(st.integers(1, largest)), draw(st.floats(0.0, decades))
    R = 10.0 ** rng.uniform(-reach, reach, (n, n)) * (rng.random((n, n)) < draw(st.sampled_from(densities)))
    np.fill_diagonal(R, 0.0)
    target = rng.integers(n)
    for j in set(range(n)) - {target}:
        R[target, j] = max(R[target, j], 10.0 ** rng.uniform(-reach, reach))
    return from_rates(R)


@given(generators())
def test_the_generator_identity(A):
    """p >= 0 sums to one, vanishes off the recurrent class, and A p = 0 relative to the flow through each state."""
    p = stationary_distribution(A)
    (recurrent,) = recurrent_classes(A)
    assert abs(p.sum() - 1) < 1e-14
    assert (p >= 0).all() and set(p.nonzero()[:, 0].tolist()) <= set(recurrent)
    off = A - torch.diag(A.diagonal())
    inflow, outflow = off @ p, -A.diagonal() * p
    assert ((inflow - outflow).abs() <= 1e-13 * outflow + 1e-300).all()


@given(generators(), st.randoms(use_true_random=False))
def test_invariance_under_permutation(A, random):
    n = len(A)
    k = list(range(n))
    random.shuffle(k)
    assert torch.allclose(stationary_distribution(A[k][:, k]), stationary_distribution(A)[k], rtol=1e-13, atol=1e-300)


@given(generators(), st.floats(-100, 100))
def test_invariance_under_a_change_of_the_time_unit(A, log_scale):
    scaled = from_rates(A * 10.0**log_scale)
    assert torch.allclose(stationary_distribution(scaled), stationary_distribution(A), rtol=1e-13, atol=1e-300)


@given(generators(largest=5, densities=(1.0,), decades=10.0), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_lumping(A, copies, seed):
    """Split each state in copies that share its inflow by fixed weights: their sums follow the chain A exactly."""
    n = len(A)
    share = torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(copies), n)) + 1e-3
    share = share / share.sum(-1, keepdim=True)
    R = (A[:, None, :, None] * share[:, :, None, None]).expand(n, copies, n, copies).clone()
    R[torch.arange(n), :, torch.arange(n), :] = torch.rand(n, copies, copies, dtype=A.dtype)
    p = stationary_distribution(from_rates(R.reshape(n * copies, n * copies))).reshape(n, copies).sum(-1)
    assert torch.allclose(p, stationary_distribution(A), rtol=1e-12, atol=0)


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.floats(0.05, 0.5))
def test_not_unique_exactly_where_reachability_says_so(seed, n, density):
    rng = np.random.default_rng(seed)
    A = from_rates((rng.random((n, n)) < density) * rng.random((n, n)))
    classes = recurrent_classes(A)
    if len(classes) == 1:
        p = stationary_distribution(A)
        assert p.nonzero()[:, 0].tolist() == classes[0]
    else:
        with pytest.raises(NotUniqueError) as caught:
            stationary_distribution(A)
        assert caught.value.classes == classes


@pytest.mark.parametrize("n", [1, 2, 5, 24, 25, 40, 191, 192, 200])
def test_batches_agree_with_single_matrices_on_every_kernel(n):
    rng = np.random.default_rng(n)
    A = from_rates(torch.from_numpy(rng.random((3, 3, n, n)))).numpy()
    before = A.copy()
    p = stationary_distribution(A)
    assert p.shape == (3, 3, n) and np.array_equal(A, before)
    for b in np.ndindex(3, 3):
        assert np.abs(p[b] / stationary_distribution(A[b]) - 1).max() < 1e-13


def test_the_two_state_chain_by_hand():
    assert stationary_distribution([[-1, 2], [1, -2]]).tolist() == pytest.approx([2 / 3, 1 / 3], rel=1e-15)
    assert stationary_distribution(np.array([[0]])).tolist() == [1.0]


def test_kinds_and_dtypes():
    A = np.array([[-1, 2], [1, -2]])
    for dtype in (np.int64, np.int8, np.float64):
        p = stationary_distribution(A.astype(dtype))
        assert isinstance(p, np.ndarray) and p.dtype == np.float64
    narrow = stationary_distribution(A.astype(np.float32))
    assert narrow.dtype == np.float32 and np.abs(narrow - [2 / 3, 1 / 3]).max() < 1e-7
    p = stationary_distribution(torch.tensor(A))
    assert isinstance(p, torch.Tensor) and p.dtype == torch.float64
    assert stationary_distribution(torch.tensor(A).float()).dtype == torch.float32
    assert stationary_distribution(np.zeros((0, 4, 4))).shape == (0, 4)


def test_float32_is_checked_at_its_own_precision():
    A = from_rates(torch.rand(50, 30, 30, generator=torch.Generator().manual_seed(0)))
    assert A.dtype == torch.float32
    wide = stationary_distribution(A.double() - torch.diag_embed(A.double().sum(-2)))
    assert (stationary_distribution(A) / wide - 1).abs().max() < 1e-6


def test_every_layout_of_memory_is_read_and_none_is_written():
    A = np.array([[-3.0, 1.0, 0.5], [1.0, -2.0, 0.5], [2.0, 1.0, -1.0]])
    expected = stationary_distribution(A.copy())
    locked = A.copy()
    locked.setflags(write=False)
    big = np.zeros((6, 6))
    big[::2, ::2] = A
    for view in (locked, np.asfortranarray(A), big[::2, ::2], A.astype(">f8"), torch.from_numpy(A.T.copy()).T):
        p = stationary_distribution(view)
        assert np.array_equal(np.asarray(p), expected)
    assert np.array_equal(np.asarray(locked), A)


def test_cyclic_chain_and_rates_at_the_end_of_the_range():
    ring = from_rates(torch.roll(torch.eye(7, dtype=torch.float64), 1, 0))
    assert torch.allclose(stationary_distribution(ring), torch.full((7,), 1 / 7, dtype=torch.float64), rtol=1e-15)
    R = np.array([[0, 1e-150, 1e150], [1e150, 0, 1e-150], [1e-150, 1e150, 0]])
    assert np.abs(stationary_distribution(from_rates(R)).numpy() * 3 - 1).max() < 1e-15
    assert stationary_distribution(np.array([[-1e-150, 1e150], [1e-150, -1e150]])).tolist() == [1.0, 1e-300]


@pytest.mark.parametrize("n", [3, 30, 200])
def test_the_bad_element_of_a_batch_is_named(n):
    A = from_rates(torch.ones(2, 9, n, n, dtype=torch.float64))
    for change, error, message in (
        (lambda M: M.zero_(), NotUniqueError, f"has {n} recurrent classes"),
        (lambda M: M[0, 1].sub_(2.0), GeneratorError, r"negative rate -1 at \[0, 1\]"),
        (lambda M: M[1, 1].sub_(1.0), GeneratorError, "column 1 of A"),
        (lambda M: M[2, 1].fill_(float("nan")), GeneratorError, r"non-finite entry nan at \[2, 1\]"),
    ):
        bad = A.clone()
        change(bad[1, 4])
        with pytest.raises(error, match=r"\(batch element \[1, 4\]\)") as caught:
            stationary_distribution(bad)
        assert caught.match(message)


@pytest.mark.parametrize(
    "A", [np.zeros((2, 3)), np.zeros((0, 0)), np.zeros(3), np.zeros((2, 2), complex), torch.zeros(2, 2).half()]
)
def test_what_is_no_generator_is_refused(A):
    with pytest.raises(GeneratorError):
        stationary_distribution(A)


def test_kernels_do_without_a_cache_folder(monkeypatch):
    from theory import compiled

    compile_at = compiled.njit

    def nowhere_to_write(*args, **options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return compile_at(*args, **options)

    monkeypatch.setattr(compiled, "njit", nowhere_to_write)
    assert compiled.compiled(lambda x: x + 1)(2) == 3


@pytest.mark.parametrize("seed", [196, 1101, 1557])
def test_a_rate_lost_beside_its_exit_rate_is_not_lost_in_p(seed):
    """Rates of 1e±300 in one column: the jump probability underflows, p need not."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 14))
    scale = float(rng.choice([1, 10, 50, 100, 150, 300]))
    linked = rng.random((n, n)) < rng.choice([0.1, 0.3, 1])
    ring = rng.permutation(n)
    linked[np.roll(ring, -1), ring] = True
    np.fill_diagonal(linked, False)
    rates = np.where(linked, 10 ** rng.uniform(-scale, scale, (n, n)), 0.0)
    with mpmath.workdps(700):
        exact = mpmath.matrix(rates.tolist())
        for j in range(n):
            exact[j, j] = -mpmath.fsum(exact[i, j] for i in range(n))
        for j in range(n):
            exact[n - 1, j] = 1
        p = mpmath.lu_solve(exact, mpmath.matrix([0] * (n - 1) + [1]))
        reference = np.array([float(v) for v in p])
    ours = stationary_distribution(rates - np.diag(rates.sum(0)))
    normal = reference > 1e-300
    assert np.abs(ours[normal] / reference[normal] - 1).max() < 1e-13


def test_repeated_solves_leave_the_input_alone():
    A = from_rates(torch.rand(10, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).numpy()
    first = solve(A, 2.0**-53)[0]
    assert np.array_equal(solve(A, 2.0**-53)[0], first)


def test_sparse_and_symbolic_input_keep_their_kind():
    import sympy
    from scipy.sparse import coo_matrix, csr_array

    A = np.array([[-1.0, 2.0], [1.0, -2.0]])
    for kind in (csr_array, coo_matrix):
        p = stationary_distribution(kind(A))
        assert isinstance(p, np.ndarray) and np.abs(p - [2 / 3, 1 / 3]).max() < 1e-15
    a, b = sympy.symbols("a b", positive=True)
    p = stationary_distribution(sympy.Matrix([[-a, b], [a, -b]]))
    assert sympy.simplify(p - sympy.Matrix([b, a]) / (a + b)) == sympy.zeros(2, 1)


def test_the_device_path_hands_hard_matrices_to_the_cpu():
    """It runs on any device, so here on the CPU: all rates positive, transient, wide, and one without a unique p."""
    rng = np.random.default_rng(7)
    A = from_rates(torch.from_numpy(rng.random((2, 3, 5, 5))))
    A[0, 1] = from_rates(torch.diag(torch.ones(4, dtype=torch.float64), -1))
    A[1, 0] = from_rates(torch.diag(torch.tensor([1e-290, 1.0, 1e-290, 1.0], dtype=torch.float64), 1) + 1e-300)
    A[1, 2] = from_rates(torch.from_numpy(np.exp(rng.uniform(-300, 300, (5, 5)))))
    p = _solve_on_device(A, 2.0**-53)
    assert torch.allclose(p, stationary_distribution(A), rtol=1e-14, atol=0)
    assert torch.allclose(_solve_on_device(A[0, 1], 2.0**-53), p[0, 1])
    A[0, 2] = 0.0
    with pytest.raises(NotUniqueError, match=r"\(batch element \[0, 2\]\) has 5 recurrent classes"):
        _solve_on_device(A, 2.0**-53)
