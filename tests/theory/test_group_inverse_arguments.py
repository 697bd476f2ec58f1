"""What sensitivities, sum-zero solves and the certificate make of arguments that do not belong together."""

import pytest
import torch

import theory
from theory.chain.inverse import sensitivity, solve_sum_zero

pytestmark = pytest.mark.numerical

F64 = torch.float64
A = theory.from_rates(torch.rand(3, 3, generator=torch.Generator().manual_seed(0), dtype=F64))
V = torch.tensor([1.0, -0.25, -0.75], dtype=F64)
Q = torch.full((3,), 1 / 3, dtype=F64)


@pytest.mark.parametrize("dA", [torch.zeros(2, 2, dtype=F64), torch.zeros(3, dtype=F64), torch.zeros(3, 3)])
def test_a_direction_unlike_the_generator_is_refused(dA):
    with pytest.raises(ValueError, match=r"dA must be like A, \[3, 3\] in torch.float64"):
        sensitivity(A, dA)


@pytest.mark.parametrize("v", [V[:2], V.float(), torch.tensor(1.0, dtype=F64)])
def test_a_vector_that_does_not_fit_is_refused(v):
    with pytest.raises(ValueError, match=r"v must be \[\.\.\., n\] for A, \[3, 3\]"):
        solve_sum_zero(A, v)


@pytest.mark.parametrize("wrong", [A[0], A[:2], A[:, :2], A[:0, :0]])
def test_a_matrix_beside_a_given_p_is_square(wrong):
    with pytest.raises(ValueError, match=r"p must be \[\.\.\., n\] for A, \["):
        solve_sum_zero(wrong, V, Q)


def test_batches_that_do_not_broadcast_are_refused_by_name():
    for call in (
        lambda: sensitivity(A.expand(2, 3, 3), torch.zeros(4, 3, 3, dtype=F64)),
        lambda: solve_sum_zero(A.expand(2, 3, 3), V.expand(4, 3)),
        lambda: theory.certificate(A.expand(2, 3, 3), Q.expand(4, 3)),
    ):
        with pytest.raises(ValueError, match=r"the batch shapes do not broadcast: A \[2\], \w+ \[4\]"):
            call()


def test_lists_are_taken_as_float64():
    dA = theory.from_rates(torch.ones(3, 3, dtype=F64))
    assert torch.equal(solve_sum_zero(A.tolist(), V.tolist()), solve_sum_zero(A, V))
    assert torch.equal(sensitivity(A.tolist(), dA.tolist()), sensitivity(A, dA))
    assert torch.equal(theory.certificate(A.tolist(), Q.tolist()), theory.certificate(A, Q))


def test_the_certificate_refuses_what_is_no_generator():
    bad = A.clone()
    bad[0, 0] -= 1e-6
    with pytest.raises(theory.GeneratorError, match="column 0"):
        theory.certificate(bad, Q)


def test_batches_go_beside_one_another():
    """Five vectors for one generator, and one direction for five: an axis of the batch is never taken for one of A."""
    batch = torch.stack([V * k for k in range(1, 6)])
    assert torch.allclose(solve_sum_zero(A, batch)[4], 5 * solve_sum_zero(A, V), rtol=1e-14)
    bound = theory.certificate(A, Q.expand(2, 3))
    assert bound.shape == (2,) and float(bound[1]) == pytest.approx(float(theory.certificate(A, Q)), rel=1e-13)
    assert float(theory.spectral_gap(A[None])) == float(theory.spectral_gap(A)) < torch.inf
    assert theory.spectral_gap(torch.zeros(2, 1, 1, dtype=F64)).tolist() == [torch.inf] * 2


def tilted(n: int, miss: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A chain, and a direction whose column 0 sums to `miss` roundings, n η of what both hold in that column. Their
    row 0 holds far more."""
    R = torch.ones(n, n, dtype=F64)
    R[:, 2] = 1e6
    dA = torch.zeros(n, n, dtype=F64)
    dA[0, 0], dA[1, 0] = -0.5, 0.5 + miss * n * torch.finfo(F64).eps * (1 + 2 * (n - 1))
    dA[0, 2], dA[1, 2] = 1e6, -1e6
    return theory.from_rates(R), dA


@pytest.mark.parametrize("batch", [(), (1,), (200,)])
@pytest.mark.parametrize("n", [3, 64])
def test_a_column_of_a_direction_may_miss_zero_by_rounding_and_by_no_more(n, batch):
    chain, dA = tilted(n, 3.75)
    whole = dA.clone()
    whole[0, 0] = -dA[1, 0]
    moved = sensitivity(chain, dA.expand(*batch, n, n))
    assert torch.allclose(moved, sensitivity(chain, whole).expand_as(moved), rtol=1e-12)  # the diagonal is made anew
    with pytest.raises(ValueError, match="columns of dA must sum to zero"):
        sensitivity(chain, tilted(n, 4.25)[1].expand(*batch, n, n))


@pytest.mark.thorough
def test_the_difference_of_two_close_generators_is_a_direction():
    """Its columns sum to zero to the rounding of the two, not to that of the small difference."""
    rates = torch.rand(6, 6, generator=torch.Generator().manual_seed(1), dtype=F64)
    step = 1e-9 * torch.rand(6, 6, generator=torch.Generator().manual_seed(2), dtype=F64)
    a, b = theory.from_rates(rates), theory.from_rates(rates + step)
    assert float((b - a).sum(-2).abs().max()) > 1e-17
    moved = theory.stationary_distribution(b) - theory.stationary_distribution(a)
    assert torch.allclose(sensitivity(a, b - a), moved, rtol=1e-4, atol=1e-15)
    whole = theory.from_rates((b - a).fill_diagonal_(0.0))  # the same rates, and columns that sum to zero
    assert torch.allclose(sensitivity(a, b - a), sensitivity(a, whole), rtol=1e-12, atol=0)


@pytest.mark.parametrize("spread", [0.0, 8.0])
@pytest.mark.parametrize("digits", [torch.float64, torch.float32])
def test_a_q_may_miss_one_by_its_rounding_and_by_no_more(digits, spread):
    """16 (n‖q‖₁ + 1) half units of q's own precision."""
    q = torch.tensor([0.25 + spread, 0.25 - spread, 0.5], dtype=digits)
    unit = torch.finfo(digits).eps
    most = int(8 * (3 * float(q.abs().sum()) + 1))
    step = max(1, int(spread))  # what 0.25 + 8 can be moved by
    for units, fine in ((most - step, True), (most + step, False), (-most + step, True), (-most - step, False)):
        moved = q.clone()
        moved[2] += units * unit
        assert float(moved.double().sum() - 1) == units * unit
        if fine:
            assert theory.certificate(A, moved) >= units * unit / 2
        else:
            with pytest.raises(ValueError, match=rf"sums to 1 \+ {units * unit:.6g}"):
                theory.certificate(A, moved)


def test_the_message_names_the_sum_of_the_vector_that_is_wrong():
    for batch in (torch.stack([Q, 1.5 * Q]), torch.stack([Q, Q, Q, 1.5 * Q])):
        with pytest.raises(ValueError, match=r"one of its vectors sums to 1 \+ 0\.5"):
            theory.certificate(A, batch)


def test_eigenvalues_that_do_not_converge_are_an_error_of_the_theory(monkeypatch):
    def fails(_):
        raise torch.linalg.LinAlgError("too many iterations")

    monkeypatch.setattr(torch.linalg, "eigvals", fails)
    with pytest.raises(theory.NumericalError, match=r"do not converge.*too many iterations"):
        theory.spectral_gap(A)
