"""What sensitivities, sum-zero solves and the certificate make of arguments that do not belong together."""

import pytest
import torch

import theory
from theory.group_inverse import sensitivity, solve_sum_zero

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
