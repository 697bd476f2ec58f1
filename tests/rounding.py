"""Bounds on rounding in double precision, from which tolerances of the tests follow: unit round-off times condition.

They hold for any order of summation and with or without fused multiplication, so for the kernels of every processor.
"""

import numpy as np

U = 2.0**-53  # unit round-off


def sum_bound(terms, axis: int = -1) -> np.ndarray:
    """How far the sum of `terms` along `axis`, each itself rounded once (a product), may be from its exact value.

    n terms in any order: n U Σ|terms| to first order, whatever cancels (Higham, Accuracy and Stability of Numerical
    Algorithms, §3.1). Two computed values of one sum differ by at most twice this.
    """
    terms = np.abs(np.asarray(terms))
    return terms.shape[axis] * U * terms.sum(axis)
