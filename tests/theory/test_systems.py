"""Every built-in system against what is said of it: closed forms, gaps, detailed balance, box, published rates."""

import itertools
import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rounding import U

from theory import check_generator, get_system, list_systems, recurrent_classes, stationary_distribution
from theory.systems import attention, double_well, driven_cycle, gene_switch, random_exponential, sodium_channel

pytestmark = pytest.mark.numerical

SYSTEMS = {name: get_system(name) for name in list_systems()} | {
    "attention_tied": attention.system(tied=True),
    "random_exponential_2": random_exponential.system(n_states=2, n_slow=1, seed=3),
    "random_exponential_9": random_exponential.system(n_states=9, n_slow=2, seed=4),
}
CLOSED = [name for name, system in SYSTEMS.items() if system.stationary is not None]
every_system = pytest.mark.parametrize("name", SYSTEMS)


def points(system, count=60):
    """Points of the box: uniform ones, its corners and its centre."""
    corners = torch.tensor(list(itertools.product(*zip(system.low.tolist(), system.high.tolist(), strict=True))))
    return torch.cat([system.uniform(count, seed=11), corners.double(), (system.low + system.high)[None] / 2])


def exact_stationary(A, digits=60):
    """p_st of one generator at `digits` digits, its diagonal recomputed from the rates: a reference of its own."""
    n = len(A)
    with mpmath.workdps(digits):
        M = mpmath.matrix(n, n)
        for i, j in itertools.product(range(n), range(n)):
            if i != j:
                M[i, j] = mpmath.mpf(float(A[i, j]))
        for j in range(n):
            M[j, j] = -mpmath.fsum(M[i, j] for i in range(n) if i != j)
        for j in range(n):
            M[n - 1, j] = mpmath.mpf(1)
        p = mpmath.lu_solve(M, mpmath.matrix([0] * (n - 1) + [1]))
        return [p[i] for i in range(n)]


def test_the_systems_promised_are_found_by_name():
    promised = {"two_state", "driven_cycle", "birth_death", "double_well", "gene_switch", "sodium_channel", "attention"}
    assert promised | {"attention_causal", "random_exponential"} <= set(list_systems())
    with pytest.raises(ValueError, match="driven_cycle"):
        get_system("driven_circle")


@every_system
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_generator_and_slow_map_are_valid_on_the_box(name, dtype):
    system = SYSTEMS[name]
    y = points(system).to(dtype)
    system.check_at(y)
    x = torch.full((len(y), system.n_states), 1.0 / system.n_states, dtype=dtype)
    assert system.g(x, y).dtype == dtype and bool(torch.isfinite(system.g(x, y)).all())
    grid = y[:12].reshape(3, 4, -1)
    torch.testing.assert_close(system.A(grid), system.A(y[:12]).reshape(3, 4, *system.A(y[0]).shape))
    torch.testing.assert_close(system.A(y[0]), system.A(y[:12])[0])


@pytest.mark.parametrize("name", CLOSED)
def test_closed_form_is_the_stationary_distribution(name):
    system = SYSTEMS[name]
    y = points(system)
    p, A = system.stationary(y), system.A(y)
    assert p.shape == (*y.shape[:-1], system.n_states) and bool((p >= 0).all())
    torch.testing.assert_close(p.sum(-1), torch.ones(len(y), dtype=y.dtype), rtol=1e-14, atol=0)
    flow = A.abs() @ p[..., None]
    assert bool(((A @ p[..., None]).abs() <= 1e-13 * flow + 1e-300).all())
    if name != "attention_causal":
        torch.testing.assert_close(stationary_distribution(A), p, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", CLOSED)
def test_closed_form_at_sixty_digits(name):
    system = SYSTEMS[name]
    y = system.uniform(2, seed=5)
    for A, p in zip(system.A(y), system.stationary(y), strict=True):
        reference = exact_stationary(A)
        for mine, exact in zip(p.tolist(), reference, strict=True):
            assert abs(mine - exact) <= 3e-14 * abs(exact)


@pytest.mark.parametrize("name", [n for n, s in SYSTEMS.items() if s.spectral_gap is not None and n != "double_well"])
def test_spectral_gap_is_the_slowest_eigenvalue(name):
    system = SYSTEMS[name]
    y = points(system)
    slowest = torch.linalg.eigvals(system.A(y)).real.sort(-1, descending=True).values[..., 1]
    torch.testing.assert_close(system.spectral_gap(y), -slowest, rtol=1e-10, atol=0)


def test_double_well_gap_holds_where_eigenvalues_of_A_are_noise():
    # At 40 digits by Sturm bisection on the symmetrised tridiagonal matrix, for a gap down to 3e-6 and one of 1e-21.
    for barrier, tilt in [(2.0, 0.0), (12.0, -2.0), (50.0, 1.0)]:
        y = torch.tensor([barrier, tilt], dtype=torch.float64)
        gap = double_well.spectral_gap(y).item()
        A = double_well.generator(y)
        with mpmath.workdps(40):
            diagonal = [mpmath.mpf(float(a)) for a in A.diagonal()]
            # The diagonal is recomputed from the rates, as rounding in it would be a leak.
            up, down = [float(a) for a in A.diagonal(-1)], [float(a) for a in A.diagonal(1)]
            for k in range(64):
                diagonal[k] = -(mpmath.mpf(up[k]) if k < 63 else 0) - (mpmath.mpf(down[k - 1]) if k else 0)

            def eigenvalues_above(z, diagonal=diagonal, up=up, down=down):
                count, pivot = 0, diagonal[0] - z
                for k in range(64):
                    if k:
                        pivot = diagonal[k] - z - mpmath.mpf(up[k - 1]) * mpmath.mpf(down[k - 1]) / pivot
                    count += pivot > 0
                return count

            assert eigenvalues_above(-mpmath.mpf(gap) * (1 + mpmath.mpf("1e-11"))) == 2
            assert eigenvalues_above(-mpmath.mpf(gap) * (1 - mpmath.mpf("1e-11"))) == 1


@every_system
def test_detailed_balance_is_as_stated(name):
    system = SYSTEMS[name]
    if system.reversible is None:
        return
    y = points(system)
    A = system.A(y)
    flux = A * stationary_distribution(A)[..., None, :]
    net = (flux - flux.transpose(-1, -2)).abs().flatten(1).amax(-1)
    scale = torch.minimum(flux, flux.transpose(-1, -2)).triu(1).flatten(1).amax(-1)
    if system.reversible:
        assert bool((net <= 1e-12 * scale).all())
    else:
        assert bool((net >= 1e-4 * scale).all())


@every_system
def test_the_box_is_forward_invariant_whatever_x_is(name):
    # Each vertex of the simplex, every face of the box, one slow step of 0.05: g is affine in x, so vertices decide.
    system = SYSTEMS[name]
    x = torch.eye(system.n_states, dtype=torch.float64)
    grid = torch.cartesian_prod(*[torch.linspace(0.0, 1.0, 11, dtype=torch.float64)] * system.n_slow)
    y = system.low + (system.high - system.low) * grid.reshape(-1, system.n_slow)
    after = y[:, None] + 0.05 * system.g(x.expand(len(y), -1, -1), y[:, None].expand(-1, len(x), -1))
    assert bool(system.inside(after).all())


@pytest.mark.parametrize("name", [n for n in SYSTEMS if n != "attention_causal"])
def test_the_reduced_flow_stays_inside(name):
    system = SYSTEMS[name]
    y = points(system, 20)
    for _ in range(80):
        y = y + 0.05 * system.g(stationary_distribution(system.A(y)), y)
        assert bool(system.inside(y).all())


# The first forward-mode derivative of some operations makes torch compile its own decompositions with torch.jit.script.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@every_system
def test_first_and_second_derivatives_against_finite_differences(name):
    system = SYSTEMS[name]
    y = system.uniform(1, seed=2)[0]
    span = system.high - system.low
    v = torch.linspace(0.4, 1.0, system.n_slow, dtype=torch.float64) * span

    def along(s):
        return system.A(y + s * v)

    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)

    def first(s):
        return torch.func.jvp(along, (s,), (one,))[1]

    second = torch.func.jvp(first, (zero,), (one,))[1]
    d = 1e-4
    scale = along(zero).abs().max()
    numeric = (along(d * one) - along(-d * one)) / (2 * d)
    assert float((first(zero) - numeric).abs().max()) <= 1e-5 * float(scale)
    numeric = (first(d * one) - first(-d * one)) / (2 * d)
    assert float((second - numeric).abs().max()) <= 1e-4 * float(scale)
    batch = system.uniform(3, seed=8)
    torch.testing.assert_close(torch.func.vmap(system.generator)(batch), system.A(batch))


def test_driven_cycle_affinity_gap_and_the_matrix_tree_sum():
    y = points(SYSTEMS["driven_cycle"])
    forward, backward = driven_cycle.rates(y)
    affinity = (forward.log() - backward.log()).sum(-1)
    torch.testing.assert_close(affinity, torch.full_like(affinity, 5.0 * math.log(5.0)))
    A = SYSTEMS["driven_cycle"].A(y)
    assert float(-A.diagonal(dim1=-2, dim2=-1).min()) < 16.0
    gap = -torch.linalg.eigvals(A).real.sort(-1, descending=True).values[..., 1]
    assert float(gap.min()) > 4.1 and float(gap.max()) < 5.2
    # Spanning trees enumerated by brute force: each other state picks one way out, and the picks must lead to the root.
    M, p = A[0].tolist(), SYSTEMS["driven_cycle"].stationary(y[0])
    weights = []
    for root in range(5):
        total = 0.0
        others = [k for k in range(5) if k != root]
        for steps in itertools.product((1, -1), repeat=4):
            successor = {k: (k + s) % 5 for k, s in zip(others, steps, strict=True)}
            if all(_reaches(root, k, successor) for k in others):
                total += math.prod(M[successor[k]][k] for k in others)
        weights.append(total)
    torch.testing.assert_close(p, torch.tensor(weights, dtype=torch.float64) / sum(weights), rtol=1e-13, atol=0)


def _reaches(root, state, successor):
    for _ in range(5):
        if state == root:
            return True
        state = successor[state]
    return state == root


def test_double_well_probabilities_span_fifty_decades():
    p = SYSTEMS["double_well"].stationary(torch.tensor([12.0, 2.0], dtype=torch.float64))
    assert 1e-52 < float(p.min()) < 1e-49


def test_gene_switch_promoter_marginal_is_exact():
    y = points(SYSTEMS["gene_switch"])
    p = stationary_distribution(SYSTEMS["gene_switch"].A(y))
    torch.testing.assert_close(p[..., 16:].sum(-1), gene_switch.on_probability(y), rtol=1e-13, atol=0)
    gap = -torch.linalg.eigvals(SYSTEMS["gene_switch"].A(y)).real.sort(-1, descending=True).values[..., 1]
    assert float(gap.min()) > 3.99 and float(gap.max()) < 4.02


def published_rates(V):
    """Hodgkin and Huxley (1952), eqs 20, 21, 23, 24, as printed there: V in mV from rest, depolarisation negative."""
    V = mpmath.mpf(V)
    n = (V + 25) / 10
    alpha_m = mpmath.mpf(1) if n == 0 else mpmath.mpf("0.1") * (V + 25) / mpmath.expm1(n)
    beta_m = 4 * mpmath.exp(V / 18)
    alpha_h = mpmath.mpf("0.07") * mpmath.exp(V / 20)
    beta_h = 1 / (mpmath.exp((V + 30) / 10) + 1)
    return alpha_m, beta_m, alpha_h, beta_h


@given(st.one_of(st.floats(-100.0, 50.0), st.floats(-46.0, -34.0), st.floats(-40.0 - 1e-6, -40.0 + 1e-6)))
def test_sodium_rates_are_the_published_ones(V):
    mine = sodium_channel.gate_rates(torch.tensor(V, dtype=torch.float64))
    for rate, published in zip(mine, published_rates(-(mpmath.mpf(V) + 65)), strict=True):
        assert abs(float(rate) - float(published)) <= 4e-15 * float(published)


def test_sodium_gates_at_rest_are_the_textbook_values():
    alpha_m, beta_m, alpha_h, beta_h = sodium_channel.gate_rates(torch.tensor(-65.0, dtype=torch.float64))
    assert float(alpha_m / (alpha_m + beta_m)) == pytest.approx(0.0529, abs=5e-5)
    assert float(alpha_h / (alpha_h + beta_h)) == pytest.approx(0.5961, abs=5e-5)


@pytest.mark.parametrize("offset", [0.0, 1e-9, -1e-4, 4.999, 5.001, -4.999, -5.001, 30.0])
def test_sodium_alpha_m_is_smooth_through_its_removable_singularity(offset):
    V = torch.tensor(-40.0 + offset, dtype=torch.float64, requires_grad=True)
    value = sodium_channel.gate_rates(V)[0]
    derivatives = [value]
    for _ in range(3):
        derivatives.append(torch.autograd.grad(derivatives[-1], V, create_graph=True)[0])
    with mpmath.workdps(60):

        def exact(v):
            u = (v + 40) / 10
            return mpmath.mpf(1) if u == 0 else u / -mpmath.expm1(-u)

        for order, mine in enumerate(derivatives):
            reference = mpmath.diff(exact, mpmath.mpf(V.item()), order, h=mpmath.mpf("1e-12"))
            assert abs(mine.item() - float(reference)) <= 1e-12


def test_sodium_spectrum_is_the_sum_of_the_gates():
    y = torch.tensor([[-65.0], [-40.0], [10.0]], dtype=torch.float64)
    alpha_m, beta_m, alpha_h, beta_h = sodium_channel.gate_rates(y[..., 0])
    fast, slow = alpha_m + beta_m, alpha_h + beta_h
    expected = torch.stack([-(j * fast + k * slow) for j in range(4) for k in range(2)], -1).sort(-1).values
    spectrum = torch.linalg.eigvals(SYSTEMS["sodium_channel"].A(y)).real.sort(-1).values
    torch.testing.assert_close(spectrum, expected, rtol=1e-5, atol=1e-12)


def test_attention_is_the_softmax_map_and_causal_attention_sinks_in_the_first_token():
    y = points(SYSTEMS["attention"])
    W = attention.attention_weights(y)
    torch.testing.assert_close(W.sum(-1), torch.ones(W.shape[:-1], dtype=W.dtype))
    eye = torch.eye(8, dtype=torch.float64)
    # rows of W sum to one within (n + 1) U, the diagonal of A is a sum of n − 1 of them: 2 n U in all
    torch.testing.assert_close(SYSTEMS["attention"].A(y), W.transpose(-1, -2) - eye, rtol=0, atol=2 * 8 * U)
    assert bool((stationary_distribution(SYSTEMS["attention"].A(y)) > 0).all())
    z = attention.embeddings(y) + y[..., None, :]
    pooled = torch.nn.functional.scaled_dot_product_attention(
        z @ torch.tensor([[1.2, 1.5], [-0.9, 0.8]], dtype=z.dtype), z, z, scale=1.0
    )
    torch.testing.assert_close(W @ z, pooled)
    A = SYSTEMS["attention_causal"].A(y)
    assert recurrent_classes(A[0]) == [[0]]
    assert torch.equal(A.triu(), A)
    assert torch.equal(SYSTEMS["attention_causal"].stationary(y), eye[0].expand(len(y), 8))
    decayed = torch.linalg.matrix_exp(200.0 * A) @ torch.full((8, 1), 0.125, dtype=torch.float64)
    torch.testing.assert_close(decayed[..., 0], eye[0].expand(len(y), 8), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["attention", "attention_causal"])
def test_attention_applied_again_and_again_sends_values_to_their_mean_under_p_st(name):
    y = points(SYSTEMS[name])[:6]
    W = attention.attention_weights(y, causal=name == "attention_causal")
    V = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    limit = stationary_distribution(SYSTEMS[name].A(y)) @ V
    after = torch.linalg.matrix_power(W, 2**12) @ V
    torch.testing.assert_close(after, limit[:, None, :].expand(6, 8, 3), rtol=0, atol=1e-10)
    if name == "attention_causal":
        assert torch.equal(limit, V[0].expand(6, 3))


@given(n=st.integers(1, 12), m=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_random_exponential_is_a_generator_for_every_size_and_seed(n, m, seed):
    before = torch.random.get_rng_state()
    system = random_exponential.system(n_states=n, n_slow=m, seed=seed)
    again = random_exponential.system(n_states=n, n_slow=m, seed=seed)
    assert torch.equal(before, torch.random.get_rng_state())
    y = system.uniform(3, seed=1)
    check_generator(system.A(y))
    assert torch.equal(system.A(y), again.A(y))
    off = system.A(y)[..., ~torch.eye(n, dtype=torch.bool)]
    assert bool((off > 0).all())


def test_random_exponential_log_rates_are_affine():
    system = SYSTEMS["random_exponential_9"]
    y = torch.tensor([[0.0, 0.0], [0.3, -0.2], [0.6, -0.4]], dtype=torch.float64)
    off = system.A(y)[:, ~torch.eye(9, dtype=torch.bool)].log()
    torch.testing.assert_close(off[2] - off[1], off[1] - off[0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("bad", [{"n_states": 0}, {"n_slow": 0}, {"n_states": 2.5}, {"seed": -1}, {"n_slow": True}])
def test_random_exponential_refuses_impossible_sizes(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        random_exponential.system(**bad)
