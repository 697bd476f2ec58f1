"""Attention with frozen weights as a Markov chain: A = Wᵀ − I of a row-stochastic W, and what it says of a head.

W_ts is the weight that token t gives to token s: the chain jumps t -> s. Causal attention (W_ts = 0 for s > t) has
token 0 absorbing, so p_st = e_0 for any weights and says nothing of training. What says something:

    weight on token 0    W_t0;
    steps to token 0     m = (I − W_{1:,1:})⁻¹ 1, the mean first-passage time of the causal chain;
    gap                  1 − max_{t≥1} W_tt, causal (it says nothing of relaxation: W_{t,t−1} = 1 has gap 1, m_t = t);
    restarted p          token 0 restarts at a token drawn uniformly from all T: p_0 = 1/(1 + mean of m over all T).

With full attention p_st > 0 is informative itself, and the gap is that of A.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from theory.chain.absorption import first_passage_to
from theory.chain.relaxation import spectral_gap
from theory.errors import GeneratorError
from theory.generators.checks import as_real_tensor, batch_element, raise_first, require_square
from theory.generators.doors import from_rates
from theory.kinds import Dense
from theory.stationary.distribution import stationary_distribution
from theory.transforms import full_precision, plain

ROW_SUM = 1e-6  # frameworks compute softmax in single precision


@dataclass(frozen=True, eq=False)
class AttentionChain:
    """The figures of each attention map W[..., T, T], in W's dtype.

    weight_on_first[...]: the mean of W_t0 over tokens t >= 1. steps_to_first[...]: the mean over tokens t >= 1 of the
    expected steps to token 0, of which `steps`[..., T] holds every token's. gap[...]: the spectral gap.
    stationary[..., T]: p_st; of the chain restarted at token 0 where the map is causal. causal[...]: whether it is.

    Examples:
        >>> import theory
        >>> chain = theory.attention_chain([[1.0, 0.0], [0.25, 0.75]])
        >>> round(float(chain.gap), 6)  # 1 - W_11
        0.25
    """

    weight_on_first: Tensor
    steps_to_first: Tensor
    gap: Tensor
    stationary: Tensor
    steps: Tensor
    causal: Tensor


@full_precision
def attention_chain(W: Dense) -> AttentionChain:
    """The chain of attention weights W[..., T, T] as frameworks give them: rows sum to one within 1e-6, W >= 0.

    float32 or float64, any batch shape (heads, layers), causal maps and others in one batch; a map is causal where all
    weights above its diagonal are exactly 0. Rows are divided by their sums and computed in float64. steps is inf
    where token 0 may never be reached, as from a row that looks at itself alone (which single precision can round to).
    Differentiable. T = 1 has weight and steps NaN, a mean of nothing.

    Raises `GeneratorError` with the batch element where W is negative, not finite or not row-stochastic, and
    `NotUniqueError` where the chain has several recurrent classes.

    Examples:
        >>> W = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.25, 0.25]], dtype=torch.float64)
        >>> found = attention_chain(W)
        >>> found.steps.tolist(), found.gap.item()
        ([0.0, 2.0, 2.0], 0.5)
    """
    given = as_real_tensor(W, "W")
    require_square(given, "W")
    values = plain(given)
    raise_first(
        ~((values >= 0) & torch.isfinite(values)),
        values,
        "W has the weight {value} at {where}; weights must be finite and >= 0: pass them after the softmax",
    )
    sums = values.double().sum(-1)
    bad = (sums - 1).abs() > ROW_SUM
    if bad.any():
        *index, t = (int(i) for i in bad.nonzero()[0])
        columns = bool(((values[tuple(index)].double().sum(-2) - 1).abs() <= ROW_SUM).all())
        raise GeneratorError(
            f"row {t} of W{batch_element(index)} sums to {float(sums[(*index, t)]):.7g}, not to 1 within {ROW_SUM:g}: "
            + ("its columns do: pass W.mT" if columns else "pass attention weights without dropout, after the softmax")
        )
    weights = given.double()
    weights = weights / weights.sum(-1, keepdim=True)
    T = weights.shape[-1]
    above = torch.ones(T, T, dtype=torch.bool, device=weights.device).triu(1)
    causal = ~((values > 0) & above).any(-1).any(-1)
    A = from_rates(weights.mT)
    steps = first_passage_to(A, [0])
    restart = torch.zeros(T, T, dtype=torch.bool, device=A.device)
    restart[:, 0] = True
    restarted = torch.where(causal[..., None, None] & restart, 1.0 / T, A)
    stationary = stationary_distribution(from_rates(restarted))
    leaving = -A.diagonal(dim1=-2, dim2=-1)[..., 1:]
    if T == 1:
        gap = torch.full_like(weights[..., 0, 0], torch.inf)
    elif bool(causal.all()):
        gap = leaving.amin(-1)
    else:
        every = torch.where(causal[..., None, None], torch.full_like(A, 1.0 / T), A)  # a harmless chain in their place
        gap = torch.where(causal, leaving.amin(-1), spectral_gap(from_rates(every)))
    found = weights[..., 1:, 0].mean(-1), steps[..., 1:].mean(-1), gap, stationary, steps
    weight, to_first, gap, stationary, steps = (value.to(given.dtype) for value in found)
    return AttentionChain(weight, to_first, gap, stationary, steps, causal)
