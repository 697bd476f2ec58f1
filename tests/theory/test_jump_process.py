"""Jump paths against the laws that define them, and every way of calling them wrongly."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import theory
from theory.errors import GeneratorError, NotUniqueError, NumericalError
from theory.jumps import kernels
from theory.jumps.process import in_parts, streams

pytestmark = pytest.mark.numerical


def random_generator(n, seed=0):
    rates = np.random.default_rng(seed).random((n, n))
    return theory.from_rates(torch.from_numpy(rates))


def test_random_bits_are_xoshiro256plusplus():
    def reference(s):
        mask = (1 << 64) - 1
        rotl = lambda x, k: ((x << k) | (x >> (64 - k))) & mask  # noqa: E731
        out = (rotl((s[0] + s[3]) & mask, 23) + s[0]) & mask
        t = (s[1] << 17) & mask
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 45)
        return out

    ours, theirs = [np.uint64(k) for k in (1, 2, 3, 4)], [1, 2, 3, 4]
    drawn = []
    for _ in range(500):
        bits, *ours = kernels._next(*(np.uint64(value) for value in ours))
        drawn.append(int(bits))
        assert drawn[-1] == reference(theirs)
    # The first outputs of the authors' own implementation from the state (1, 2, 3, 4).
    assert drawn[:4] == [41943041, 58720359, 3588806011781223, 3591011842654386]


def test_ziggurat_layers_have_equal_area_and_close_at_the_top():
    x, f = kernels._ziggurat()
    areas = x[1:256] * (f[2:257] - f[1:256])
    assert np.abs(areas / areas[0] - 1).max() < 1e-11
    assert abs((x[1] * f[1] + np.exp(-x[1])) / areas[0] - 1) < 1e-12
    assert (np.diff(x) < 0).all() and x[256] == 0


def exponentials(count, seed):
    # n = 2 with rates 1: the waiting times of a path are the exponentials themselves.
    path = theory.sample_jumps(torch.tensor([[-1.0, 1.0], [1.0, -1.0]]).double(), 0, float(count), seed=seed)
    return np.diff(path.times.numpy())


def test_waiting_times_are_exponential_in_the_body_and_in_the_tail():
    draws = exponentials(1_000_000, seed=2)
    assert stats.kstest(draws, "expon").pvalue > 0.01
    tail = draws[draws > 7.0] - 7.0  # mostly beyond the last layer, where a separate branch draws
    assert len(tail) > 700
    assert stats.kstest(tail, "expon").pvalue > 0.01
    assert draws.min() > 0


@given(
    st.lists(st.floats(0, 1e3), min_size=2, max_size=20).filter(lambda w: max(w) > 1e-3),
    st.floats(-300, 300),
)
def test_alias_tables_hold_exactly_the_weights(weights, exponent):
    w = np.array(weights)
    n = len(w)
    with np.errstate(over="ignore", under="ignore"):
        scaled = w * 10.0**exponent
    if not (np.isfinite(scaled).all() and scaled.max() > 1e-300):
        return
    table = np.tile(scaled, (1, n, 1))
    accept, alias = np.empty(table.shape), np.empty(table.shape, np.uint64)
    kernels.alias_tables(table, accept, alias)
    assert ((accept >= 0) & (accept <= 1)).all()
    drawn = accept[0, 0] / n
    np.add.at(drawn, alias[0, 0].astype(int), (1 - accept[0, 0]) / n)
    exact = scaled / scaled.max() / (scaled / scaled.max()).sum()
    np.testing.assert_allclose(drawn, exact, atol=4e-16 * n)
    assert (drawn[w == 0] == 0).all(), "a destination without weight must never be drawn"
    # the same as a list, behind a row without jumps and with one of a single jump after it: destinations 7, 8, …
    start, target = np.array([0, 0, n, n + 1], np.int32), np.append(np.arange(7, n + 7), 3).astype(np.int32)
    accept, alias = np.empty(n + 1), np.empty(n + 1, np.int32)
    kernels.alias_lists(np.append(scaled, 2.0), start, target, accept, alias)
    listed = np.zeros(n + 7)
    np.add.at(listed, target[:-1], accept[:-1] / n)
    np.add.at(listed, alias[:-1], (1 - accept[:-1]) / n)
    np.testing.assert_array_equal(listed[7:], drawn)
    assert accept[-1] == 1.0 or alias[-1] == 3


def test_the_law_at_the_end_is_the_matrix_exponential():
    A = random_generator(6, seed=3)
    for t, start in ((0.2, 4), (1.5, 0)):
        path = theory.sample_jumps(A, torch.full((40_000,), start), t, seed=11, record=False)
        seen = torch.bincount(path.states[:, -1], minlength=6).numpy()
        law = torch.linalg.matrix_exp(t * A)[:, start].numpy()
        assert stats.chisquare(seen, 40_000 * law).pvalue > 0.01


@pytest.mark.parametrize("kind", [torch.as_tensor, sp.csr_array, sp.coo_matrix])
def test_jumps_follow_the_rates_and_waits_the_exit_rates(kind):
    A = random_generator(5, seed=4)
    A[3, 1] += A[1, 1]  # the rate 1 -> 3 …
    A[3, 1] = 0.0  # … is taken out
    A = theory.from_rates(A.clamp(min=0))
    path = theory.sample_jumps(kind(A), 2, 40_000.0, seed=5)
    states, waits = path.states.numpy(), np.diff(path.times.numpy())
    assert (states[1:] != states[:-1]).all()
    for j in range(5):
        to = np.bincount(states[1:][states[:-1] == j], minlength=5)
        weights = np.where(np.arange(5) == j, 0.0, A[:, j].numpy())
        assert (to[weights == 0] == 0).all()
        allowed = weights > 0
        assert stats.chisquare(to[allowed], to.sum() * weights[allowed] / weights.sum()).pvalue > 0.001
        assert stats.kstest(waits[states[:-1] == j] * -float(A[j, j]), "expon").pvalue > 0.001


def test_a_sparse_chain_of_many_states_takes_memory_for_its_rates():
    """Births at 50, deaths at k: p_st is Poisson; an absorbing state and a batch of starts."""
    n = 100_000
    A = theory.from_rates(
        sp.diags_array([np.full(n - 1, 50.0), np.arange(1.0, n)], offsets=[-1, 1], format="csc", shape=(n, n))
    )
    theory.sample_jumps(A[:3, :3] - sp.diags_array(A[:3, :3].sum(axis=0)), 0, 1.0, seed=0, record=False)  # compiles
    tracemalloc.start()
    path = theory.sample_jumps(A, 50, 2000.0, seed=0, record=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * A.nnz  # 60 MB, where a table of whole rows would take 160 GB
    p = theory.stationary_distribution(A)
    tv = float(theory.total_variation(path.occupation, torch.from_numpy(p)))
    lumped = theory.stationary_distribution(A[:120, :120] - sp.diags_array(A[:120, :120].sum(axis=0)))
    assert np.abs(lumped - p[:120]).max() < 1e-12  # whose 120 states are all that is visited
    dense = theory.from_rates((A[:120, :120] - sp.diags_array(A[:120, :120].diagonal())).toarray())
    assert tv < 2 * float(theory.expected_occupation_tv(dense, 2000.0))
    with pytest.raises(GeneratorError, match=r"occupation_interval\(path.A.toarray"):
        _ = path.interval
    ends = theory.sample_jumps(sp.csr_array(([1.0, -1.0], ([0, 1], [1, 1])), shape=(2, 2)), [[0], [1]], 40.0, seed=0)
    assert ends.occupation.shape == (2, 1, 2) and ends.states[..., -1].tolist() == [[0], [0]]


def test_the_number_of_jumps_agrees_with_a_plain_simulation():
    A = random_generator(4, seed=6).numpy()
    rng = np.random.default_rng(0)
    plain = []
    for _ in range(1500):
        s, clock, count = 0, 0.0, -1
        while clock < 5.0:
            count += 1
            clock += rng.exponential(1 / -A[s, s])
            rates = np.where(np.arange(4) == s, 0.0, A[:, s])
            s = rng.choice(4, p=rates / rates.sum())
        plain.append(count)
    ours = theory.sample_jumps(A, np.zeros(20_000, int), 5.0, seed=1, record=False).jumps.numpy()
    assert stats.ttest_ind(plain, ours, equal_var=False).pvalue > 0.01
    assert np.std(plain) == pytest.approx(ours.std(), rel=0.1)


def test_the_occupation_is_the_time_spent_along_the_path():
    A = random_generator(7, seed=7)
    path = theory.sample_jumps(A, torch.arange(7), 13.0, seed=8)
    ends = torch.cat([path.times[:, 1:], torch.full((7, 1), 13.0, dtype=torch.float64)], 1)
    spent = torch.zeros(7, 7, dtype=torch.float64).scatter_add(1, path.states, ends - path.times)
    torch.testing.assert_close(path.occupation, spent / 13.0, rtol=0, atol=1e-14)
    for b in range(7):
        k = int(path.jumps[b])
        assert (path.times[b, : k + 1].diff() > 0).all()
        assert (path.times[b, k + 1 :] == 13.0).all()
        assert (path.states[b, k + 1 :] == path.states[b, k]).all()
    assert path.times.shape[-1] == int(path.jumps.max()) + 1
    assert (path.times[:, 0] == 0).all() and (path.states[:, 0] == torch.arange(7)).all()


def test_one_seed_one_result():
    A = random_generator(9, seed=9)
    start = torch.arange(9).repeat(30)
    one = theory.sample_jumps(A, start, 30.0, seed=17)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        again = theory.sample_jumps(A, start, 30.0, seed=17)
    finally:
        torch.set_num_threads(threads)
    bare = theory.sample_jumps(A, start, 30.0, seed=17, record=False)
    fewer = theory.sample_jumps(A, start[:11], 30.0, seed=17)
    other = theory.sample_jumps(A, start, 30.0, seed=18)
    assert torch.equal(one.times, again.times) and torch.equal(one.states, again.states)
    assert torch.equal(one.occupation, again.occupation)
    assert torch.equal(one.occupation, bare.occupation) and torch.equal(one.jumps, bare.jumps)
    assert torch.equal(bare.states[:, -1], one.states[:, -1]) and torch.equal(bare.times[0], torch.tensor([0, 30.0]))
    assert torch.equal(fewer.occupation, one.occupation[:11])
    assert not torch.equal(other.occupation, one.occupation)
    assert len(torch.unique(one.times[:, 1])) == len(start), "every path has a stream of its own"


def test_simulating_changes_no_global_state():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = (torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads())  # noqa: NPY002
    A = random_generator(3)
    kept = A.clone()
    theory.sample_jumps(A, 0, 5.0, seed=3)
    assert torch.equal(before[0], torch.get_rng_state()) and torch.get_num_threads() == before[2]
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert torch.equal(A, kept)


def test_parts_cover_the_batch_once():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        for count in (0, 1, 3, 4, 17):
            seen = []
            in_parts(lambda a, b: seen.append((a, b)), count)  # noqa: B023
            assert sorted(k for a, b in seen for k in range(a, b)) == list(range(count))
    finally:
        torch.set_num_threads(threads)
    assert (streams(5, 4) == streams(5, 9)[:4]).all()


def test_batches_broadcast_and_every_generator_keeps_its_own_tables():
    A = torch.stack([random_generator(4, seed=k) for k in range(3)])[:, None]
    start = torch.tensor([0, 3])
    path = theory.sample_jumps(A, start, 4000.0, seed=21)
    assert path.occupation.shape == (3, 2, 4) and path.interval.shape == (3, 2, 4, 2)
    assert path.times.shape[:2] == (3, 2) and path.states.shape == path.times.shape
    error = theory.total_variation(path.occupation, theory.stationary_distribution(A))
    assert bool((error < 3 * theory.expected_occupation_tv(A, 4000.0)).all())
    assert torch.equal(path.states[..., 0], start.expand(3, 2))


def test_special_chains():
    alone = theory.sample_jumps(torch.zeros(1, 1, dtype=torch.float64), 0, 2.0, seed=0)
    assert alone.states.tolist() == [0] and alone.occupation.tolist() == [1.0]
    lower, upper = alone.interval[0].tolist()  # as wide as the rounding of a variance, 4 n η, under the root
    assert 1.0 - 4.5 * (4 * 2.0**-52) ** 0.5 <= lower <= upper == 1.0
    absorbing = theory.from_rates([[0.0, 2.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    path = theory.sample_jumps(absorbing, torch.full((500,), 2), 60.0, seed=0)
    assert (path.jumps == 2).all() and (path.states[:, -1] == 0).all()
    assert float(path.times[:, 2].mean()) == pytest.approx(1.5, rel=0.1)  # E = 1/1 + 1/2
    cycle = theory.from_rates(np.roll(np.eye(5), 1, axis=0))
    turn = theory.sample_jumps(cycle, 0, 50.0, seed=1)
    assert (turn.states == torch.arange(len(turn.states)) % 5).all()
    split = theory.from_rates(np.kron(np.eye(2), np.ones((2, 2))))
    halves = theory.sample_jumps(split, [0, 3], 20.0, seed=1)
    assert halves.states[0].max() <= 1 and halves.states[1].min() >= 2
    with pytest.raises(NotUniqueError):
        _ = halves.interval
    empty = theory.sample_jumps(split, torch.zeros(0, dtype=torch.long), 20.0, seed=1)
    assert empty.occupation.shape == (0, 4) and empty.times.shape[0] == 0


@pytest.mark.parametrize("scale", [1e-150, 1e150, 1e-290, 1e290])
def test_the_unit_of_time_does_not_matter(scale):
    A = random_generator(5, seed=2)
    plain = theory.sample_jumps(A, 1, 20.0, seed=4)
    scaled = theory.sample_jumps(A * scale, 1, 20.0 / scale, seed=4)
    assert torch.equal(plain.states, scaled.states)
    torch.testing.assert_close(plain.times, scaled.times * scale, rtol=1e-13, atol=0)


def test_rates_of_very_different_size():
    A = theory.from_rates([[0.0, 1e150, 1e-150], [1e150, 0.0, 0.0], [1.0, 0.0, 0.0]])
    path = theory.sample_jumps(A, 0, 1e-146, seed=0)
    assert float(path.occupation[:2].sum()) == pytest.approx(1.0) and int(path.jumps) > 1000
    assert float(theory.sample_jumps(A, 2, 1.0, seed=0).occupation[2]) == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"state0": 3}, "state0 holds 3; the states of A are 0 to 2"),
        ({"state0": torch.tensor([[0, 1], [-1, 2]])}, r"state0 holds -1 at index \[1, 0\]"),
        ({"state0": 0.5}, "state0 has dtype"),
        ({"state0": True}, "state0 has dtype"),
        ({"t": 0.0}, "t must be positive"),
        ({"t": -1}, "t must be positive"),
        ({"t": float("nan")}, "t must be positive"),
        ({"t": float("inf")}, "t must be positive"),
        ({"t": torch.ones(2)}, "t must be one number"),
        ({"t": "soon"}, "t must be one number"),
        ({"seed": -1}, "seed must be an integer >= 0"),
        ({"seed": 1.0}, "seed must be an integer >= 0"),
        ({"seed": True}, "seed must be an integer >= 0"),
        ({"max_jumps": 0}, "max_jumps must be an integer >= 1"),
        ({"A": torch.eye(3).double()}, "sums to"),
        ({"A": torch.zeros(3, 3)}, "float64 only"),
        ({"A": sp.csr_array((3, 3), dtype=np.float32)}, "float64 only: pass A.astype"),
        ({"A": sp.csr_array((3, 3)), "state0": 3}, "state0 holds 3; the states of A are 0 to 2"),
        ({"A": sp.csr_array(np.eye(3))}, "sums to"),
        ({"A": torch.zeros(2, 3, 3).double(), "state0": torch.zeros(3, dtype=torch.long)}, "must broadcast"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    good = {"A": random_generator(3), "state0": 0, "t": 1.0, "seed": 0}
    with pytest.raises(ValueError, match=message):
        theory.sample_jumps(**(good | arguments))


def test_a_transposed_generator_is_named():
    with pytest.raises(GeneratorError, match="transposed"):
        theory.sample_jumps(random_generator(4).mT, 0, 1.0, seed=0)


@pytest.mark.parametrize("record", [True, False])
def test_too_many_jumps_are_refused_with_the_time_reached(record):
    A = random_generator(3) * 1e6
    with pytest.raises(NumericalError, match=r"made max_jumps = 1000 jumps and has only reached t ="):
        theory.sample_jumps(A, 0, 1.0, seed=0, record=record, max_jumps=1000)
