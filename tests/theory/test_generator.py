"""What counts as a generator: the checks, their messages, the constructors and the recurrent classes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import theory
from theory import GeneratorError, check_generator, from_rates, from_row_convention, recurrent_classes

pytestmark = pytest.mark.numerical


def rates(draw_seed: int, n: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    rng = np.random.default_rng(draw_seed)
    return torch.from_numpy(10.0 ** rng.uniform(low, high, (n, n)))


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0, 100))
def test_columns_sum_to_zero_and_every_valid_generator_is_accepted(seed, n, spread):
    A = from_rates(rates(seed, n, -spread, spread))
    check_generator(A)
    check_generator(A.numpy())
    assert torch.equal(A.diagonal(), -(A - torch.diag(A.diagonal())).sum(-2))
    off = ~torch.eye(n, dtype=torch.bool)
    assert (A[off] >= 0).all() and (A.diagonal() <= 0).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([torch.float32, torch.float64]))
def test_the_tolerance_scales_with_the_data_and_the_dtype(seed, dtype):
    A = from_rates(rates(seed, 6, -8, 8)).to(dtype)
    check_generator(A)
    j = seed % 6
    A[j, j] -= 8 * 6 * torch.finfo(dtype).eps * A[:, j].abs().sum()
    with pytest.raises(GeneratorError, match=f"column {j} of A sums to -"):
        check_generator(A)


def test_from_rates_ignores_the_diagonal_and_keeps_its_argument():
    R = torch.rand(2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    R[:, 1, 1] = float("nan")
    before = R.clone()
    A = from_rates(R)
    assert torch.equal(R.nan_to_num(), before.nan_to_num())
    check_generator(A)
    assert from_rates([[0, 3], [2, 0]]).tolist() == [[-2.0, 3.0], [2.0, -3.0]]


def test_row_convention_is_transposed_and_checked():
    Q = np.array([[-1.0, 1.0, 0.0], [0.0, -2.0, 2.0], [3.0, 0.0, -3.0]])
    assert np.array_equal(from_row_convention(Q).numpy(), Q.T)
    with pytest.raises(GeneratorError, match="columns of Q sum to zero"):
        from_row_convention(Q.T)


@pytest.mark.parametrize(
    "A, message",
    [
        (np.zeros((2, 3)), r"shape \(2, 3\)"),
        (np.zeros((0, 0)), r"shape \(0, 0\)"),
        (np.zeros(4), r"shape \(4,\)"),
        (np.array([[-1.0, np.nan], [1.0, -1.0]]), r"non-finite entry nan at \[0, 1\]"),
        (np.array([[-np.inf, 1.0], [np.inf, -1.0]]), r"non-finite entry inf at \[1, 0\]"),
        (np.array([[1.0, 1.0], [-1.0, -1.0]]), r"negative rate -1 at \[1, 0\]"),
        (np.array([[-1.0, 1.0], [2.0, -2.0]]), "column 0 of A sums to 1.*looks transposed.*from_row_convention"),
        (np.array([[-1.0, 1.0], [2.0, -1.0]]), "column 0 of A sums to 1.*from_rates"),
        (np.zeros((2, 2), complex), "complex128"),
        (np.zeros((2, 2), np.float16), "float16"),
        (np.zeros((2, 2), bool), "dtype bool"),
        (np.array([["a", "b"], ["c", "d"]]), "dtype"),
        (torch.zeros(2, 2, dtype=torch.float16), "torch.float16"),
        (torch.zeros(2, 2, dtype=torch.complex64), "complex"),
        (torch.zeros(2, 2).to_sparse(), "to_dense"),
    ],
)
def test_what_is_refused_and_how(A, message):
    with pytest.raises(GeneratorError, match=message):
        check_generator(A)


@pytest.mark.parametrize("fault, message", [("nan", "non-finite"), ("sign", "negative rate"), ("sum", "column 1 of A")])
def test_the_bad_element_of_a_batch_is_named(fault, message):
    A = from_rates(torch.ones(2, 3, 4, 4, dtype=torch.float64))
    bad = A[1, 2]
    if fault == "nan":
        bad[0, 1] = float("nan")
    elif fault == "sign":
        bad[0, 1], bad[1, 1] = -1.0, -1.0
    else:
        bad[1, 1] = -2.0
    with pytest.raises(GeneratorError, match=rf"{message}.*\(batch element \[1, 2\]\)"):
        check_generator(A)


def test_only_the_bad_element_decides_whether_it_looks_transposed():
    good = from_rates(torch.tensor([[0.0, 1.0], [5.0, 0.0]], dtype=torch.float64))
    with pytest.raises(GeneratorError, match="looks transposed"):
        check_generator(torch.stack([good, good.T]))


def test_integers_read_only_and_foreign_byte_orders_are_read():
    A = np.array([[-2, 1], [2, -1]])
    check_generator(A)
    A.setflags(write=False)
    check_generator(A)
    check_generator(A.astype(">f8"))
    check_generator(A.astype(float)[::-1, ::-1])
    check_generator(np.array([[-1e308, 1e308, 1e308], [1e308, -1e308, 0], [0, 0, -1e308]]))
    check_generator(np.array([[-5e-324, 5e-324], [5e-324, -5e-324]]))


def test_recurrent_classes():
    assert recurrent_classes(np.zeros((3, 3))) == [[0], [1], [2]]
    assert recurrent_classes(from_rates(torch.ones(3, 3))) == [[0, 1, 2]]
    R = np.zeros((6, 6))
    R[4, 1], R[1, 4], R[0, 5], R[3, 5], R[2, 2] = 1, 1, 1, 1, 9
    assert recurrent_classes(from_rates(R)) == [[0], [1, 4], [2], [3]]
    with pytest.raises(GeneratorError, match="one square matrix"):
        recurrent_classes(np.zeros((2, 3, 3)))


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.floats(0.02, 0.6))
def test_recurrent_classes_are_those_of_reachability(seed, n, density):
    rng = np.random.default_rng(seed)
    jump = (rng.random((n, n)) < density) & ~np.eye(n, dtype=bool)
    reach = np.linalg.matrix_power((jump | np.eye(n, dtype=bool)).astype(float), n).T > 0  # [from, to]
    expected = {
        tuple(np.flatnonzero(reach[i]).tolist()) for i in range(n) if all(reach[j, i] for j in np.flatnonzero(reach[i]))
    }
    assert {tuple(c) for c in recurrent_classes(from_rates(jump.astype(float)))} == expected


def test_what_is_sparse_or_ragged_is_named_for_what_it_is():
    import scipy.sparse

    A = np.array([[-1.0, 2.0], [1.0, -2.0]])
    theory.check_generator(scipy.sparse.csr_array(A))
    with pytest.raises(theory.GeneratorError, match="column 0"):
        theory.check_generator(scipy.sparse.coo_array(A.T))
    with pytest.raises(theory.GeneratorError, match=r"A is sparse.*A\.toarray\(\)"):
        theory.group_inverse(scipy.sparse.csr_matrix(A))
    with pytest.raises(theory.GeneratorError, match="no rectangular array"):
        theory.check_generator([[1.0, 2.0], [1.0]])


def test_from_row_convention_does_not_send_the_caller_back_to_itself():
    A = [[-1.0, 2.0], [1.0, -2.0]]
    with pytest.raises(theory.GeneratorError, match="in the column convention already: use it as A"):
        theory.from_row_convention(A)
    with pytest.raises(theory.GeneratorError, match="Q must be square"):
        theory.from_row_convention([1.0, 2.0])
