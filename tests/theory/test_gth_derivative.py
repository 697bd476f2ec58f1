"""Derivatives of p_st against mpmath, closed forms and finite differences, in every combination of modes."""

import itertools

import mpmath
import numpy as np
import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from theory import GeneratorError, NotUniqueError, NumericalError, from_rates, stationary_distribution

pytestmark = pytest.mark.numerical


def log_p(log_rates):
    return stationary_distribution(from_rates(log_rates.exp())).log()


def p_of(rates):
    return stationary_distribution(from_rates(rates))


def reference(log_rates: np.ndarray, direction: np.ndarray, digits: int) -> np.ndarray:
    """d ln p along `direction` in ln A, by central differences with a step of 10^(-digits/4) in mpmath."""
    n = len(log_rates)

    def solve(step):
        M = mpmath.matrix(n)
        for i, j in itertools.permutations(range(n), 2):
            rate = mpmath.exp(mpmath.mpf(float(log_rates[i, j])) + step * mpmath.mpf(float(direction[i, j])))
            M[i, j] = rate
            M[j, j] -= rate
        exits = [-M[j, j] for j in range(n)]
        for i, j in itertools.product(range(n), repeat=2):
            M[i, j] = 1 if i == n - 1 else M[i, j] / exits[j]
        b = mpmath.matrix(n, 1)
        b[n - 1] = 1
        pi = mpmath.lu_solve(M, b)
        p = [pi[j] / exits[j] for j in range(n)]
        total = mpmath.fsum(p)
        return [mpmath.log(q / total) for q in p]

    with mpmath.workdps(digits):
        h = mpmath.mpf(10) ** (-digits // 4)
        return np.array([float((a - b) / (2 * h)) for a, b in zip(solve(h), solve(-h), strict=True)])


def wide_rates(rng):
    return rng.uniform(-30, 30, (16, 16))


def decomposable(rng):
    R = rng.random((16, 16))
    R[:8, 8:] *= 1e-12
    R[8:, :8] *= 1e-12
    return np.log(R)


@pytest.mark.parametrize("rates", [wide_rates, decomposable])
def test_first_derivative_against_mpmath(rates):
    rng = np.random.default_rng(0)
    for _ in range(2):
        theta, E = rates(rng), rng.standard_normal((16, 16))
        exact = reference(theta, E, 200)
        scale = np.maximum(1.0, np.abs(exact))
        theta, E = torch.from_numpy(theta), torch.from_numpy(E)
        forward = jvp(log_p, (theta,), (E,))[1].numpy()
        assert (np.abs(forward - exact) / scale).max() < 1e-12
        with forward_ad.dual_level():
            dual = forward_ad.unpack_dual(log_p(forward_ad.make_dual(theta, E))).tangent.numpy()
        assert (np.abs(dual - exact) / scale).max() < 1e-12
        traced = torch.einsum("kij,ij->k", jacrev(log_p)(theta), E).numpy()
        assert (np.abs(traced - exact) / scale).max() < 1e-9
        leaf = theta.clone().requires_grad_(True)
        by_hand = [torch.autograd.grad(log_p(leaf)[k], leaf)[0] for k in range(16)]
        by_hand = torch.einsum("kij,ij->k", torch.stack(by_hand), E).numpy()
        assert (np.abs(by_hand - exact) / scale).max() < 1e-9


@pytest.mark.parametrize("depth, lowest", [(22.0, 1e-10), (119.0, 1e-52), (645.0, 1e-290)])
@pytest.mark.parametrize("n", [16, 40])
def test_double_well_against_its_product_form(depth, lowest, n):
    """d ln p_i = D_i − Σ p_k D_k with D_i = Σ_{m<i} (d ln up_m − d ln down_m)."""
    rng = np.random.default_rng(1)
    s = np.linspace(-1.3, 1.3, n)
    step = np.diff(depth * ((s**2 - 1) ** 2 + 0.1 * s))
    E_up, E_down = torch.from_numpy(rng.standard_normal((2, n - 1)))

    def log_p_of(up, down):
        return stationary_distribution(from_rates(torch.diag(up.exp(), -1) + torch.diag(down.exp(), 1))).log()

    up, down = torch.from_numpy(np.minimum(-step, 0.0)), torch.from_numpy(np.minimum(step, 0.0))
    p = log_p_of(up, down).exp()
    D = torch.cat([torch.zeros(1, dtype=torch.float64), (E_up - E_down).cumsum(0)])
    exact = D - (p * D).sum()
    assert p.min() < lowest
    tangent = jvp(log_p_of, (up, down), (E_up, E_down))[1]
    assert (tangent - exact).abs().max() < 1e-12
    back = [a @ e for a, e in zip(jacrev(log_p_of, argnums=(0, 1))(up, down), (E_up, E_down), strict=True)]
    assert (back[0] + back[1] - exact).abs().max() < 1e-9
    leaves = up.clone().requires_grad_(True), down.clone().requires_grad_(True)
    for k in (0, int(p.argmin()), n - 1):
        a, b = torch.autograd.grad(log_p_of(*leaves)[k], leaves)
        assert abs(a @ E_up + b @ E_down - exact[k]) < 1e-9


@pytest.mark.parametrize("outer, inner", list(itertools.product([jacfwd, jacrev], repeat=2)))
@pytest.mark.parametrize("spread", [1.0, 12.0])
def test_second_derivative_in_each_combination_of_modes(outer, inner, spread):
    """Central differences of a first derivative that mpmath has confirmed; in ln p and ln A all is of order one."""
    rng = np.random.default_rng(2)
    theta, E, V = torch.from_numpy(rng.uniform(-spread, spread, (3, 4, 4)))
    E, V = E / spread, V / spread
    h = 1e-5

    def first(x):
        return jvp(log_p, (x,), (E,))[1]

    near, far = (first(theta + k * h * V) - first(theta - k * h * V) for k in (1, 2))
    H = outer(inner(log_p))(theta)
    assert torch.allclose(torch.einsum("kijlm,ij,lm->k", H, E, V), (8 * near - far) / (12 * h), rtol=1e-7, atol=1e-8)


@pytest.mark.thorough
def test_nested_directional_derivatives_to_third_order():
    rng = np.random.default_rng(3)
    theta, E = torch.from_numpy(rng.uniform(-1, 1, (2, 4, 4)))

    def along(f):
        return lambda x: jvp(f, (x,), (E,))[1]

    def back(f):
        return lambda x: torch.stack([vjp(f, x)[1](e)[0].mul(E).sum() for e in torch.eye(4, dtype=x.dtype)])

    h = 1e-4
    second = along(along(log_p))
    expected = (second(theta + h * E) - second(theta - h * E)) / (2 * h)
    for modes in itertools.product([along, back], repeat=3):
        f = log_p
        for mode in modes:
            f = mode(f)
        assert torch.allclose(f(theta), expected, rtol=1e-6, atol=1e-6)


def test_autograd_reaches_second_order_through_the_compiled_values():
    rng = np.random.default_rng(4)
    rates = torch.from_numpy(rng.random((2, 4, 4))).requires_grad_(True)
    assert torch.autograd.gradcheck(p_of, (rates,), check_batched_grad=True, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(p_of, (rates,), check_fwd_over_rev=True, fast_mode=True)
    assert torch.allclose(
        torch.autograd.functional.hessian(lambda r: p_of(r)[0, 0], rates.detach()),
        hessian(lambda r: p_of(r)[0, 0])(rates.detach()),
        rtol=1e-10,
        atol=1e-12,
    )


def test_transforms_over_batches():
    rates = torch.from_numpy(np.random.default_rng(5).random((3, 2, 5, 5)))
    p = p_of(rates)
    assert torch.allclose(vmap(vmap(p_of))(rates), p, rtol=1e-14, atol=0)
    assert torch.allclose(vmap(p_of, in_dims=1, out_dims=1)(rates), p, rtol=1e-14, atol=0)
    J = vmap(vmap(jacrev(p_of)))(rates)
    assert torch.allclose(J, vmap(vmap(jacfwd(p_of)))(rates), rtol=1e-12, atol=1e-15)
    assert torch.allclose(J[1, 1], jacfwd(p_of)(rates[1, 1]), rtol=1e-12, atol=1e-15)
    assert torch.allclose(vmap(grad(lambda r: p_of(r)[0, 1]))(rates)[2, 0], J[2, 0, 1], rtol=1e-12, atol=1e-15)


def test_values_are_those_of_the_compiled_kernel():
    rng = np.random.default_rng(6)
    A = from_rates(torch.from_numpy(np.exp(rng.uniform(-20, 20, (5, 12, 12)))))
    p = stationary_distribution(A)
    assert torch.equal(stationary_distribution(A.clone().requires_grad_(True)).detach(), p)
    assert torch.allclose(jvp(stationary_distribution, (A,), (A,))[0], p, rtol=1e-13, atol=0)


def test_derivatives_behind_a_barrier_are_right_or_refused():
    """Both wells are likely and p at the barrier is e^-730, subnormal: right. At e^-2400 the flow is lost: refused."""
    for depth in (730.0, 2400.0):
        step = torch.tensor([-depth / 4] * 4 + [depth / 4] * 4, dtype=torch.float64)
        up, down = step.clamp(max=0.0), -step.clamp(min=0.0)
        E = torch.linspace(-1.0, 2.0, 8, dtype=torch.float64)

        def ends(up, down=down):
            p = stationary_distribution(from_rates(torch.diag(up.exp(), -1) + torch.diag(down.exp(), 1)))
            return torch.log(p[8] / p[0])

        leaf = up.clone().requires_grad_(True)
        if depth < 1000:
            assert abs(jvp(ends, (up,), (E,))[1] - E.sum()) < 1e-12
            assert abs(torch.autograd.grad(ends(leaf), leaf)[0] @ E - E.sum()) < 1e-9
        else:
            assert abs(ends(up)) < 1e-12
            with pytest.raises(NumericalError, match="cannot be differentiated"):
                jvp(ends, (up,), (E,))
            with pytest.raises(NumericalError, match="cannot be differentiated"):
                ends(leaf)


def test_transient_states_have_one_sided_derivatives():
    """A leak of rate ε from the class {0, 1} into state 2, which returns at rate 3: p_2 = ε p_0 / 3 to first order."""
    A = from_rates(torch.tensor([[0.0, 1.0, 3.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64))
    leak = from_rates(torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, 0, 0]], dtype=torch.float64))
    p, dp = jvp(stationary_distribution, (A,), (leak,))
    assert p[2] == 0
    assert torch.allclose(dp[2], p[0] / 3, rtol=1e-14, atol=0)
    leaf = A.clone().requires_grad_(True)
    assert torch.allclose((torch.autograd.grad(stationary_distribution(leaf)[2], leaf)[0] * leak).sum(), p[0] / 3)


def test_float32_has_float32_derivatives():
    rates = torch.rand(4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    (g,) = torch.autograd.grad(p_of(rates)[0], rates)
    (wide,) = torch.autograd.grad(p_of(rates.double())[0], rates)
    assert g.dtype == torch.float32
    assert torch.allclose(g, wide, rtol=1e-5, atol=1e-6)


def test_bad_values_are_refused_under_every_transform():
    bad = torch.tensor([[[-1.0, 1.0], [1.0, -1.0]], [[1.0, -2.0], [-1.0, 2.0]]], dtype=torch.float64)
    closed = torch.zeros(2, 2, dtype=torch.float64)
    with pytest.raises(GeneratorError, match=r"negative rate -2 at \[0, 1\] \(batch element \[1\]\)"):
        vmap(stationary_distribution)(bad)
    for transform in (jacfwd, jacrev, hessian):
        with pytest.raises(NotUniqueError, match="2 recurrent classes"):
            transform(stationary_distribution)(closed)
    with pytest.raises(NotUniqueError):
        stationary_distribution(closed.requires_grad_(True))


@pytest.mark.parametrize(
    "up, down", [(1e-276, 1e-139), (1e-139, 1e-276), (1e276, 1e139), (1e-300, 1e-300), (1e300, 1e300)]
)
def test_rates_near_the_ends_of_the_range_in_every_mode(up, down):
    """Two states: ∂p_0/∂down = up / (up + down)², ∂p_0/∂up = −down / (up + down)², and p_1 = 1 − p_0."""
    R = torch.tensor([[0.0, down], [up, 0.0]], dtype=torch.float64)
    by_down, by_up = up / (up + down) / (up + down), down / (up + down) / (up + down)
    exact = torch.tensor([[[0.0, by_down], [-by_up, 0.0]], [[0.0, -by_down], [by_up, 0.0]]], dtype=torch.float64)
    leaf = R.clone().requires_grad_(True)
    by_hand = torch.stack([torch.autograd.grad(p_of(leaf)[k], leaf)[0] for k in range(2)])
    for J in (jacfwd(p_of)(R), jacrev(p_of)(R), by_hand):
        assert torch.allclose(J, exact, rtol=1e-13, atol=0)


def test_exit_rates_too_far_apart_are_refused_and_their_p_is_not():
    A = from_rates(torch.tensor([[0.0, 1e-5], [1e300, 0.0]], dtype=torch.float64))
    assert torch.allclose(
        vmap(stationary_distribution)(A[None])[0], torch.tensor([1e-305, 1.0], dtype=A.dtype), 1e-14, 0
    )
    for transform in (jacfwd, jacrev):
        with pytest.raises(NumericalError, match="exit rates differ by more than 1e240"):
            transform(stationary_distribution)(A)


@pytest.mark.parametrize("likeliest", [0, 1, 2, 3])
def test_the_likeliest_state_keeps_its_digits(likeliest):
    """d ln p = −Σ_{j≠l} p_j d ln p_j of a state l that holds all but 1e-9 of the probability, wherever it is listed."""
    weight = torch.full((4,), 1e-9, dtype=torch.float64)
    weight[likeliest] = 1.0
    flow = torch.rand(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    R = (flow + flow.T) / weight  # detailed balance: p is in proportion to `weight`
    p = weight / weight.sum()

    def likeliest_of(u):  # multiplies the weight of state j by e^{u_j}
        return p_of(R * torch.exp(-u))[likeliest]

    exact = -p * p[likeliest]
    exact[likeliest] = p[likeliest] * p[torch.arange(4) != likeliest].sum()
    for J in (jacfwd, jacrev):
        assert torch.allclose(J(likeliest_of)(torch.zeros(4, dtype=torch.float64)), exact, rtol=1e-12, atol=0)
