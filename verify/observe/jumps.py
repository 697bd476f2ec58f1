"""Pairs from sampled tokens: (y_k, how often each state was seen among tokens of the block at y_k).

y is the token clock's own, driven by block means from a broad start, and the states are sampled *along* it:
E[frequencies | y] is then the clock's block mean x̄, with the same leading term. States that move y themselves have
another slow manifold (`theory.manifold.self_driven`), which is why they are not used here.

Two ways to see tokens, of one mean:
- independent: each token is drawn uniformly from the block of a chain of its own, so N of them are one multinomial draw
  from x̄: any N at the same cost;
- chain: whole blocks of simulated jump chains, P tokens each, noisier for their correlation.

Either way the noise falls as 1/√N and the gap as 1/P: from some P on, sampling decides what can be seen, and the
expected TV of the noise stands beside the gap.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from theory import FastSlowSystem, stationary_distribution, token_clock
from theory.arguments import check_integer
from theory.clock.block_mean import propagator
from theory.jumps.tokens import sample_tokens, token_frequency_covariance
from verify.observe import Observation, clock

SAMPLED = True
TOKENS = 10**8
WAYS = ("independent", "chain")


@dataclass(frozen=True)
class JumpPairs:
    """y[N, m] and counts[N, n] of the states of `tokens` tokens each; what is known about them stands beside.

    mean[N, n]: the block mean x̄ behind the counts. variance[N, n]: the variance of the frequencies (theory's, for the
    chain from stationarity).
    """

    y: Tensor
    counts: Tensor
    tokens: int
    mean: Tensor
    variance: Tensor

    @property
    def frequencies(self) -> Tensor:
        """counts over tokens [N, n]."""
        return self.counts.to(self.y.dtype) / self.tokens

    @property
    def sampling_tv(self) -> Tensor:
        """The expected TV [N] of the frequencies to x̄, ½ Σ_i √(2 σ_i²/π): it falls as 1/√tokens."""
        return expected_tv(self.variance)


def expected_tv(variance: Tensor) -> Tensor:
    """½ Σ_i √(2 σ_i²/π) [...], the mean TV of normal noise with the variances [..., n]."""
    return 0.5 * (2.0 * variance / math.pi).sqrt().sum(-1)


def collect(
    system: FastSlowSystem,
    period: int,
    step: float,
    n_pairs: int,
    *,
    seed: Any,
    samples: Any = TOKENS,
    n_blocks: int | None = None,
    way: str = "independent",
    kernel: str = "exp",
    device: str = "cpu",
) -> JumpPairs:
    """Tokens of the last of `n_blocks` blocks of the token clock, from `n_pairs` starts uniform in the box.

    n_blocks: None for as many as `--observe clock` takes.
    samples: tokens seen at each y; for way="chain" it is rounded up to whole blocks of `period` tokens. The
    trajectories are those of `--observe clock` at the same seed; one that left the box is left out. Raises `ValueError`
    for bad input.
    """
    samples = check_integer(samples, "samples", least=1)
    seed = check_integer(seed, "seed")
    check_integer(n_pairs, "n_pairs", least=1)
    if way not in WAYS:
        raise ValueError(f"way must be one of {', '.join(WAYS)}; got {way!r}")
    n_blocks = clock.number_of_blocks(system, step) if n_blocks is None else n_blocks
    if n_blocks < 2:
        raise ValueError(f"n_blocks must be at least 2, got {n_blocks!r}: the last block starts where another ended")
    y0 = system.uniform(n_pairs, seed=seed, device=device)
    x0 = torch.full((n_pairs, system.n_states), 1.0 / system.n_states, dtype=y0.dtype, device=y0.device)
    euler = kernel == "euler"
    blocks = token_clock(system, x0, y0, period=period, n_blocks=n_blocks, step=step, euler=euler)
    stayed = blocks.inside.all(-1)
    y, mean, start = blocks.y[stayed, -1], blocks.mean[stayed, -1], blocks.x[stayed, -2]
    if way == "independent":
        counts = _multinomial(mean, samples, _stream(seed, period))
        return JumpPairs(y, counts, samples, mean, mean * (1 - mean) / samples)
    chains = -(-samples // period)
    A = system.A(y)
    K = propagator(A, step, euler=euler)
    counts = sample_tokens(K, start, period, chains=chains, seed=_stream(seed, period))
    covariance = token_frequency_covariance(K, stationary_distribution(A), period)
    variance = covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0.0) / chains
    return JumpPairs(y, counts, chains * period, mean, variance)


def observe(
    system: FastSlowSystem,
    period: int,
    *,
    step: float,
    kernel: str,
    count: int,
    seed: int,
    device: str = "cpu",
    samples: int = TOKENS,
    way: str = "independent",
) -> Observation:
    """The clock's observation with sampled frequencies in place of block means, and their expected TV beside it."""
    exact = clock.observe(system, period, step=step, kernel=kernel, count=count, seed=seed, device=device)
    pairs = collect(system, period, step, count, seed=seed, samples=samples, way=way, kernel=kernel, device=device)
    noise = float(pairs.sampling_tv.detach().mean())
    note = f"{pairs.tokens:.3g} sampled tokens a pair ({way}): the noise in φ_θ falls as one over its square root"

    def seen_as(p: Tensor) -> Tensor:
        return _multinomial(p, pairs.tokens, _stream(seed, 0)).to(p) / pairs.tokens

    return dataclasses.replace(
        exact, x=pairs.frequencies, mean=exact.x, sampling_tv=noise, seen_as=seen_as, notes=[*exact.notes, note]
    )


def _stream(seed: int, period: int) -> int:
    """A seed of its own for each period: noise that all periods share would move their gaps together, and no slope over
    them could be told from it. 0 stands for the exact pairs of the floor."""
    return int(np.random.SeedSequence([seed, period]).generate_state(1, np.uint64)[0]) >> 1


def _multinomial(mean: Tensor, samples: int, seed: int) -> Tensor:
    """One multinomial draw [N, n] of `samples` tokens for each row of mean[N, n]."""
    law = mean.detach().cpu().numpy()
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.multinomial(samples, law / law.sum(-1, keepdims=True))).to(mean.device)
