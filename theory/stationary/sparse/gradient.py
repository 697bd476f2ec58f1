"""p_st of a sparse torch tensor, with a backward pass that is sparse too: the gradient in every stored rate.

Forward is the sparse elimination; backward one more, of the chain stopped at its likeliest state, and two solves
(`theory.stationary.sparse.response`). No dense matrix is formed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from theory.errors import GeneratorError
from theory.stationary.sparse.distribution import sparse_stationary_distribution
from theory.stationary.sparse.response import Response


def stationary_of_sparse_tensor(A: Tensor) -> Tensor:
    """p[n] of a sparse Tensor A[n, n] (COO, CSR or CSC), on the CPU; differentiable once, in reverse mode.

    Derivatives are those in the rates A_ij, i != j; the diagonal's is zero. Raises as `stationary_distribution` does.
    """
    if A.ndim != 2 or A.layout not in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc):
        raise GeneratorError(
            f"A is a tensor of layout {A.layout} and shape {list(A.shape)}; pass A.to_dense(), or one matrix [n, n] as "
            "A.to_sparse_coo()"
        )
    if A.device.type != "cpu":
        raise GeneratorError(f"A is sparse and on {A.device}; sparse elimination runs on the CPU: pass A.cpu()")
    coordinates = (A if A.layout == torch.sparse_coo else A.to_sparse_coo()).coalesce()
    return _Stationary.apply(coordinates.values(), coordinates.indices(), A.shape[0])


class _Stationary(torch.autograd.Function):
    @staticmethod
    def forward(values: Tensor, indices: Tensor, n: int) -> Tensor:
        return torch.from_numpy(sparse_stationary_distribution(_matrix(values, indices, n)))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        values, indices, n = inputs
        ctx.save_for_backward(values, indices, output)
        ctx.n = n

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        values, indices, p = ctx.saved_tensors
        response = Response(_matrix(values, indices, ctx.n), p.numpy())
        lam = response.adjoint(cotangents[0].detach().to(torch.float64).numpy())
        i, j = indices.numpy()
        gradient = np.where(i == j, 0.0, (lam[i] - lam[j]) * response.p[j])
        return torch.from_numpy(gradient).to(values.dtype), None, None


def _matrix(values: Tensor, indices: Tensor, n: int) -> Any:
    from scipy.sparse import coo_array

    return coo_array((values.detach().numpy(), tuple(indices.numpy())), shape=(n, n))
