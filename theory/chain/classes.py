"""Chains with several recurrent classes: one stationary distribution for each, and where every state ends.

A chain ends in one of its recurrent classes C_1, …, C_c; its long-run law from state j is Σ_c h_cj p^(c), with p^(c)
the stationary distribution on C_c and h_cj the probability of being absorbed there (Kemeny and Snell, *Finite Markov
Chains*, 1960, ch. 3). Every stationary distribution is a mixture of the p^(c).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from theory.chain.absorption import hitting_probabilities, require_one_matrix
from theory.errors import GeneratorError
from theory.generators.checks import as_real_tensor, check_generator, comes_from, recurrent_classes
from theory.kinds import Chain
from theory.stationary.distribution import stationary_distribution

_ENTRIES = 2**28  # of float64: 2 GB


@dataclass(frozen=True, eq=False)
class StationaryDistributions:
    """What `stationary_distributions` finds, classes ordered by their first state.

    classes: the states of each recurrent class. distributions[c, n]: p of class c, 0 elsewhere.
    absorption[c, n]: the probability, from each state, of ending in class c; columns sum to one.

    Examples:
        >>> import theory
        >>> found = theory.stationary_distributions([[0.0, 1.0, 0.0], [0.0, -4.0, 0.0], [0.0, 3.0, 0.0]])
        >>> found.absorption.shape  # [class, from state]
        torch.Size([2, 3])
    """

    classes: list[list[int]]
    distributions: Tensor
    absorption: Tensor


def stationary_distributions(A: Chain) -> StationaryDistributions:
    """One p per recurrent class of A[n, n], and the absorption probabilities from every state.

    Dense A (differentiable, float32 stays float32) or scipy.sparse (float64 Tensors, no derivatives); a batch is
    refused, since each element has classes of its own. Entrywise accuracy as `stationary_distribution` and
    `hitting_probabilities`. Raises `GeneratorError`.

    Examples:
        >>> found = stationary_distributions([[0.0, 1.0, 0.0], [0.0, -4.0, 0.0], [0.0, 3.0, 0.0]])
        >>> found.classes, found.absorption.tolist()
        ([[0], [2]], [[1.0, 0.25, 0.0], [0.0, 0.75, 1.0]])
    """
    sparse = comes_from(A, "scipy.sparse")
    if not sparse:
        A = as_real_tensor(A)
    require_one_matrix(A, "each has recurrent classes of its own")
    check_generator(A)
    classes = recurrent_classes(A)
    n = A.shape[-1]
    if len(classes) * n > _ENTRIES:
        raise GeneratorError(
            f"A has {len(classes)} recurrent classes; their distributions on {n} states would fill "
            f"{8e-9 * len(classes) * n:.3g} GB: theory.recurrent_classes(A) lists them, restrict A to those you need"
        )
    matrix: Any = A
    columns = matrix.tocsc() if sparse else matrix
    rows = []
    for states in classes:
        inside: Any = columns[:, states].tocsr()[states] if sparse else matrix[states][:, states]
        p = torch.as_tensor(np.asarray(stationary_distribution(inside)) if sparse else stationary_distribution(inside))
        place = torch.tensor(states, device=p.device)
        rows.append(torch.zeros(n, dtype=p.dtype, device=p.device).index_put((place,), p))
    return StationaryDistributions(classes, torch.stack(rows), hitting_probabilities(A, classes))
