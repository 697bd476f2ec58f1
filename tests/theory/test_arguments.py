"""The checks of single arguments: what is taken, and that each refusal names its argument."""

import math
import warnings

import numpy as np
import pytest
import torch

import theory
from theory.arguments import check_broadcast, check_float64, check_integer, check_positive, check_simplex, check_vectors

F64 = torch.float64


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int8(2), np.array(2.0), torch.tensor(2)])
def test_a_positive_number_of_any_kind(value):
    assert check_positive(value, "h") == 2.0 and type(check_positive(value, "h")) is float


@pytest.mark.parametrize(
    "value",
    [0, -1.0, math.nan, math.inf, True, np.True_, None, "2", 2j, [2.0], np.array([2.0]), torch.ones(1), 10**400],
)
def test_no_positive_number(value):
    with pytest.raises(ValueError, match="h must be positive and finite"):
        check_positive(value, "h")


def test_a_positive_number_below_a_bound():
    assert check_positive(0.5, "level", below=1.0) == 0.5
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got 1"):
        check_positive(1, "level", below=1.0)


@pytest.mark.parametrize("value", [1.0, True, "1", None, math.nan, 0])
def test_no_integer(value):
    with pytest.raises(ValueError, match="P must be an integer >= 1"):
        check_integer(value, "P", least=1)


def test_arrays_that_torch_warns_of_or_refuses():
    """Read-only, reversed, strided and big-endian arrays, without a warning and without touching them."""
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_float64("x", frozen).tolist() == [0, 1, 2]
        assert check_float64("x", frozen[::-1]).tolist() == [2, 1, 0]
        assert check_float64("x", np.arange(6.0)[::2]).tolist() == [0, 2, 4]
        assert check_float64("x", np.arange(3.0).astype(">f8")).tolist() == [0, 1, 2]
        assert check_float64("x", np.arange(3, dtype=np.uint16)).dtype == F64
    owner = np.arange(3.0)
    check_float64("x", owner).zero_()
    assert owner.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "value", [None, "x", [[1.0], [1.0, 2.0]], np.array([1j]), np.array(["a"]), [10**400], object()]
)
def test_no_real_array(value):
    with pytest.raises(ValueError, match=r"^x (must hold real numbers|has dtype)"):
        check_float64("x", value)


def test_a_sparse_tensor_is_refused_by_name():
    with pytest.raises(ValueError, match=r"x is a tensor of layout torch.sparse_coo; pass x.to_dense\(\)"):
        check_float64("x", torch.eye(2, dtype=F64).to_sparse())


def test_vectors_and_batches():
    assert check_vectors("y", [1.0, 2.0], 2, "slow variables").shape == (2,)
    for wrong in (1.0, [1.0], [[1.0], [2.0]]):
        with pytest.raises(ValueError, match=r"y must be \[..., 2\], slow variables; got"):
            check_vectors("y", wrong, 2, "slow variables")
    assert check_broadcast(x=(3, 1), y=(4,)) == (3, 4)
    with pytest.raises(ValueError, match=r"do not broadcast: x \[3\], y \[2\]"):
        check_broadcast(x=(3,), y=(2,))


def test_the_simplex_has_one_tolerance_everywhere():
    """A state that a simulation returned, off by 1e-13, is a start for each of them; one off by 1e-11 is not."""
    system = theory.get_system("two_state")

    def calls(x0):
        y0 = torch.tensor([0.5], dtype=F64)
        yield lambda: theory.simulate(system, x0, y0, [0.0, 0.1], 0.1)
        yield lambda: theory.reduced_flow(system, y0, [0.0, 0.1], order=1, eps=0.1, x0=x0)
        yield lambda: theory.token_clock(system, x0, y0, period=4, n_blocks=1, step=0.1)
        yield lambda: theory.sample_fast_slow_jumps(system, 0, y0, 0.01, 1.0, seed=0, x0=x0)

    for near in ([0.5 + 1e-13, 0.5], [-1e-13, 1.0]):
        for call in calls(torch.tensor(near, dtype=F64)):
            call()
    for far in ([0.5 + 1e-11, 0.5], [-1e-11, 1.0 + 1e-11], [math.nan, 1.0]):
        for call in calls(torch.tensor(far, dtype=F64)):
            with pytest.raises(ValueError, match=r"x0 (must be|is not)"):
                call()
    with pytest.raises(ValueError, match=r"got \[0.5, 0.6\] \(trajectory 1\), whose sum is 1.1"):
        check_simplex("x0", torch.tensor([[0.5, 0.5], [0.5, 0.6]], dtype=F64))


def test_recurrent_classes_read_no_rate_that_is_none():
    for bad in (math.nan, math.inf, -1.0):
        with pytest.raises(theory.GeneratorError, match=r"A has the rate .* at \[0, 1\]"):
            theory.recurrent_classes([[0.0, bad], [1.0, 0.0]])
    assert theory.recurrent_classes([[math.nan, 1.0], [1.0, 0.0]]) == [[0, 1]]  # the diagonal is not read


def test_a_number_is_no_vector():
    with pytest.raises(ValueError, match=r"q must be \[..., 1\]"):
        theory.certificate([[0.0]], 1.0)
    with pytest.raises(ValueError, match="p and q must be"):
        theory.total_variation(torch.ones(1), torch.tensor(1.0))
    with pytest.raises(ValueError, match="p must be"):
        theory.relative_entropy([1.0], 1.0)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda A, v: theory.certificate(A, v), "q"),
        (lambda A, v: theory.propagate(A, v, [1.0]), "p0"),
        (lambda A, v: theory.entropy_production(A, v), "x"),
        (lambda A, v: theory.solve_sum_zero(A, v - v), "v"),
        (lambda A, v: theory.occupation_mean(A, v, 1.0), "x0"),
        (lambda A, v: theory.occupation_interval(A, v, 1.0), "occupation"),
    ],
)
def test_batches_that_do_not_broadcast(call, name):
    A = theory.from_rates(torch.ones(3, 2, 2, dtype=F64))
    assert call(A, torch.full((3, 2), 0.5, dtype=F64)) is not None
    with pytest.raises(ValueError, match=rf"do not broadcast: A \[3\], {name} \[2\]"):
        call(A, torch.full((2, 2), 0.5, dtype=F64))


def test_sensitivity_takes_what_belongs_to_its_generator():
    A = theory.from_rates(torch.ones(2, 2, dtype=F64))
    dA = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=F64)
    assert theory.sensitivity(A, dA.tolist()).tolist() == theory.sensitivity(A, dA).tolist() == [-0.25, 0.25]
    for wrong in (dA[:1], dA.float(), dA[0]):
        with pytest.raises(ValueError, match="dA must be like A"):
            theory.sensitivity(A, wrong)
    with pytest.raises(ValueError, match="columns of dA must sum to zero, and be finite"):
        theory.sensitivity(A, dA * math.nan)
    with pytest.raises(ValueError, match="v must be"):
        theory.solve_sum_zero(A, dA[:, 0].float())


@pytest.mark.parametrize("t", [None, "t", [1j], [True], [10**400], torch.ones(2).to_sparse()])
def test_times_that_are_none(t):
    A = theory.from_rates(torch.ones(2, 2, dtype=F64))
    with pytest.raises(ValueError, match="t must hold"):
        theory.propagate(A, [0.5, 0.5], t)


def test_a_system_refuses_corners_that_are_no_real_numbers():
    for low in (1j, True, torch.zeros(1).to_sparse(), "0", None):
        with pytest.raises(theory.FastSlowSystemError, match="low must hold"):
            theory.FastSlowSystem(generator=len, slow=len, n_states=2, n_slow=1, low=low, high=1.0)
    system = theory.get_system("two_state")
    for count, seed, name in ((-1, 0, "count"), (1.5, 0, "count"), (1, -1, "seed"), (1, "0", "seed")):
        with pytest.raises(ValueError, match=f"{name} must be an integer"):
            system.uniform(count, seed=seed)


def test_an_empty_batch_has_an_empty_answer():
    none = torch.empty(0, 2, 2, dtype=F64)
    assert theory.occupation_covariance(none).shape == (0, 2, 2)
    assert theory.expected_occupation_tv(none, 1.0).shape == (0,)
    with pytest.raises(theory.GeneratorError, match="A must be square"):
        theory.has_detailed_balance(1.0)
