"""LU factorisations and inverses of batches, safe on several threads.

On the CPU, PyTorch (2.13 and before) factors the matrices of a batch on several threads at once, and the factorisation
of MKL that it calls is not safe there for matrices beyond some 128 rows: its pivots are wrong, or it does not return
(PyTorch pull request 181570). The batch goes on one thread here. A single matrix keeps its threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from theory.transforms import plain

R = TypeVar("R")
SAFE = 64  # rows; 128 were seen to be safe, 160 were not


def lu_factor(A: Tensor) -> tuple[Tensor, Tensor]:
    """`torch.linalg.lu_factor`: (LU, pivots) of A[..., n, n]."""
    return _alone(torch.linalg.lu_factor, A)


def lu_factor_ex(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`torch.linalg.lu_factor_ex`: (LU, pivots, info) of A[..., n, n]."""
    return _alone(torch.linalg.lu_factor_ex, A)


def inv_ex(A: Tensor) -> tuple[Tensor, Tensor]:
    """`torch.linalg.inv_ex`: (inverse, info) of A[..., n, n]."""
    return _alone(torch.linalg.inv_ex, A)


def _alone(function: Callable[[Tensor], R], A: Tensor) -> R:
    """function(A); on one thread where A is, or in vmap stands for, several matrices that are not safe on more."""
    if A.shape[-1] <= SAFE or A.device.type != "cpu" or plain(A).shape[:-2].numel() == 1:
        return function(A)
    threads = torch.get_num_threads()
    if threads == 1:
        return function(A)
    torch.set_num_threads(1)
    try:
        return function(A)
    finally:
        torch.set_num_threads(threads)
