"""`GeneratorLM`: a language model in the linear-generator regime, whose own φ_θ can be held against its own p_st.

The fast path is a Markov chain on the V tokens, the slow path d numbers y ∈ (−1, 1)^d that set the chain:

    slow   y_k = y_{k−1} + h ⊙ (G(x̄_k) − y_{k−1}),   G(x̄) = tanh(W₂ gelu(W₁ Eᵀx̄ + b₁) + b₂),   y = 0 before block 0
    fast   K_θ(y)[i, j] = softmax_i(B_ij + (U diag(Wy) Vᵀ)_ij + (Cy)_i),   A_θ(y) = K_θ(y) − I

x̄_k is the mean of the one-hot tokens of block k (P tokens, `network.pooling`), h ∈ (0, 1)^d one learned rate a channel.
Token t → t + 1 is drawn from K_θ(y) with the y of the newest block that is complete at t, as in `unpool`: no token
reads its own future. Each column of K_θ is an attention row over all tokens, so A_θ is 'attention minus the identity',
a generator by construction; the matrix I + A_θ is the Euler step of size one.

φ_θ is a `PhiTheta` with the simplex head. It is trained by the cross-entropy of the tokens of the *next* block,
−Σ_i x̄_{k+1,i} log φ_θ,i(y_k), whose optimum is E[x̄ | y]: by theory p_st(A_θ(y)) up to a term in ε = 1/P. Nothing else
ties it to A_θ. The model is a probe, and no competitor of a dense one on the same tokens.

Sizes follow n_embd: hidden layers of G and φ_θ n_embd wide, U and V of rank n_embd/2, E n_embd/4 wide.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from network.arguments import Model, Tokens
from network.config import FastSlowConfig
from network.phi_theta import PhiTheta
from network.pooling import block_mean, unpool
from network.token_arguments import check_tokens

SHORTEST, LONGEST = 1.0, 8.0  # blocks over which the channels of y forget at the start of training


class SlowState(nn.Module):
    """The slow path: tokens[B, T] -> y at the token clock [B, T, d], 0 before the first complete block."""

    period: int
    tokens: nn.Parameter
    inner: nn.Parameter
    inner_bias: nn.Parameter
    outer: nn.Parameter
    outer_bias: nn.Parameter
    rate_logit: nn.Parameter

    def __init__(self, config: FastSlowConfig, generator: torch.Generator | None) -> None:
        super().__init__()
        vocabulary, slow, hidden, narrow = config.vocab_size, config.n_slow, config.n_embd, config.n_embd // 4
        self.period = config.period
        self.tokens = _drawn((vocabulary, narrow), 1.0, generator)
        self.inner = _drawn((hidden, narrow), narrow**-0.5, generator)
        self.inner_bias = nn.Parameter(torch.zeros(hidden))
        self.outer = _drawn((slow, hidden), 2.0 * hidden**-0.5, generator)
        self.outer_bias = nn.Parameter(torch.zeros(slow))
        lengths = torch.exp(torch.linspace(math.log(SHORTEST), math.log(LONGEST), slow)).clamp_min(1.01)
        self.rate_logit = nn.Parameter(torch.logit(1.0 / lengths))
        # An attribute, so that a check can put a broken one in its place and be seen to notice.
        self.unpool = unpool

    @property
    def rates(self) -> Tensor:
        """h[d], each in (0, 1)."""
        return torch.sigmoid(self.rate_logit)

    def target(self, x: Tensor) -> Tensor:
        """G(x): x[..., V] -> [..., d] in (−1, 1)."""
        return self._outer(x @ self.tokens)

    def drive(self, tokens: Tensor) -> Tensor:
        """G of the block means of tokens[B, T]: [B, ⌊T/P⌋, d]. The mean of Eᵀe_t is Eᵀ of the mean."""
        return self._outer(block_mean(F.embedding(tokens, self.tokens), self.period))

    def _outer(self, embedded: Tensor) -> Tensor:
        inner = F.gelu(F.linear(embedded, self.inner, self.inner_bias))
        return torch.tanh(F.linear(inner, self.outer, self.outer_bias))

    def states(self, drive: Tensor, start: Tensor | None = None) -> Tensor:
        """y[B, N, d] after each of the blocks whose G are drive[B, N, d], from `start`[B, d] (0 if None).

        By doubling: y_k = Σ_j (1 − h)^j h G_{k−j} in log₂ N steps; later blocks enter no sum.
        """
        keep = 1.0 - self.rates
        y, length, span = self.rates * drive, drive.shape[1], 1
        while span < length:
            y = y + F.pad(y[:, :-span], (0, 0, span, 0)) * keep**span
            span *= 2
        if start is None:
            return y
        fading = keep ** torch.arange(1, length + 1, device=y.device)[:, None]
        return y + fading * start[:, None, :]

    def blocks(self, tokens: Tensor) -> Tensor:
        """y[B, ⌊T/P⌋, d] after each complete block of tokens[B, T]; no block, no y."""
        if tokens.shape[1] < self.period:
            return self.rate_logit.new_zeros(len(tokens), 0, len(self.rate_logit))
        return self.states(self.drive(tokens))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens[B, T] -> [B, T, d]: at each token the y of the newest complete block, 0 before the first."""
        return self.unpool(self.blocks(tokens), self.period, tokens.shape[1])


class GeneratorLM(nn.Module):
    """The generator language model of `config` (arm `generator`); tokens[B, T] -> logits[B, T, V].

    generator: what the initial weights are drawn from (torch's current one if None), on the CPU in float32: one seed
    gives one model, wherever `.to(...)` then moves it. At the start C = 0 and B is near 0.

    Raises `ValueError` for a config of another arm.

    Examples:
        >>> from network import FastSlowConfig, GeneratorLM
        >>> model = GeneratorLM(FastSlowConfig(arm="generator", vocab_size=27, period=4))
        >>> A = model.generator(torch.zeros(2))
        >>> A.shape, bool((A.sum(0).abs() < 1e-6).all())
        (torch.Size([27, 27]), True)
    """

    slow: SlowState
    base: nn.Parameter
    into: nn.Parameter
    out_of: nn.Parameter
    modulation: nn.Parameter
    shift: nn.Parameter
    phi_theta: PhiTheta
    low: Tensor
    high: Tensor

    coupling = None  # nothing stands behind a gate here
    coupled = False

    def __init__(self, config: Model, *, generator: torch.Generator | None = None) -> None:
        if not isinstance(config, FastSlowConfig) or config.arm != "generator":
            arm = f"arm={config.arm!r}" if isinstance(config, FastSlowConfig) else type(config).__name__
            raise ValueError(f"GeneratorLM needs a FastSlowConfig with arm='generator', got {arm}")
        super().__init__()
        self.config = config
        vocabulary, slow, rank = config.vocab_size, config.n_slow, config.n_embd // 2
        self.slow = SlowState(config, generator)
        self.base = _drawn((vocabulary, vocabulary), 0.02, generator)
        self.into = _drawn((vocabulary, rank), rank**-0.5, generator)
        self.out_of = _drawn((vocabulary, rank), 1.0, generator)
        self.modulation = _drawn((rank, slow), 0.3, generator)
        self.shift = nn.Parameter(torch.zeros(vocabulary, slow))
        self.phi_theta = PhiTheta(slow, vocabulary, width=config.n_embd, generator=generator, device="cpu")
        self.register_buffer("low", torch.full((slow,), -1.0))
        self.register_buffer("high", torch.full((slow,), 1.0))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.base.device

    def forward(
        self, tokens: Tokens, *, closed: bool = False, targets: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits of the next token at each position [B, T, V]; with `targets`, (logits, φ_θ's cross-entropy).

        tokens[B, T]: integer ids below vocab_size, 1 <= T <= block_size; a sequence shorter than the period has y = 0
        throughout. closed: hold y at 0. φ_θ's cross-entropy is the mean over pairs of neighbouring complete blocks, in
        nats per token, 0 where there is no pair. Raises `ValueError` for other shapes, dtypes, ids or devices.
        """
        self.check_tokens(tokens)
        y = self.slow(tokens)
        logits = self.logits(tokens, torch.zeros_like(y) if closed else y)
        return logits if targets is None else (logits, self.block_loss(tokens))

    def logits(self, tokens: Tensor, y: Tensor) -> Tensor:
        """Logits[..., V] of the token after tokens[...] under y[..., d]."""
        modulated = F.linear(y, self.modulation) * F.embedding(tokens, self.out_of)
        return F.embedding(tokens, self.base.mT) + F.linear(modulated, self.into) + F.linear(y, self.shift)

    def block_loss(self, tokens: Tensor, y: Tensor | None = None) -> Tensor:
        """−Σ_i x̄_{k+1,i} log φ_θ,i(y_k), a mean over the pairs of neighbouring complete blocks of tokens[B, T].

        y[B, N, d]: other slow states than their own.
        """
        period, pairs = self.config.period, tokens.shape[1] // self.config.period - 1
        if pairs < 1:
            return sum((weight.sum() * 0.0 for weight in self.phi_theta.parameters()), self.base.new_zeros(()))
        y = self.slow.blocks(tokens) if y is None else y
        following = tokens[:, period : (pairs + 1) * period].unflatten(1, (pairs, period))
        return -self.phi_theta.log_prob(y[:, :-1]).gather(-1, following).mean()

    def kernel(self, y: Tensor) -> Tensor:
        """K_θ(y): y[..., d] -> [..., V, V], columns of sum one."""
        weights = F.linear(y, self.modulation)[..., None, :] * self.into
        return (self.base + weights @ self.out_of.mT + F.linear(y, self.shift)[..., None]).softmax(-2)

    def generator(self, y: Tensor) -> Tensor:
        """A_θ(y) = K_θ(y) − I: y[..., d] -> [..., V, V], the diagonal taken from the other rates of its column."""
        rates = self.kernel(y)
        rates = rates - torch.diag_embed(rates.diagonal(dim1=-2, dim2=-1))
        return rates - torch.diag_embed(rates.sum(-2))

    def velocity(self, x: Tensor, y: Tensor) -> Tensor:
        """g_θ(x, y) = h ⊙ (G(x) − y): x[..., V], y[..., d] -> [..., d], per block."""
        return self.slow.rates * (self.slow.target(x) - y)

    @torch.no_grad()
    def remember_box(self, tokens: Tensor) -> None:
        """Take the box low … high of the slow variables from those that tokens[B, T] visit (kept with the weights)."""
        visited = self.slow.blocks(tokens).flatten(0, 1)
        if len(visited):
            self.low.copy_(visited.amin(0))
            self.high.copy_(visited.amax(0))

    def system_arguments(self) -> dict[str, Any]:
        """The trained network as a fast-slow system: plain callables and sizes, for `theory.FastSlowSystem(**…)`.

        generator(y) = A_θ(y) and slow(x, y) = g_θ(x, y) of a float64 copy of the weights as they are now; the token
        clock of the network is the kernel 'euler' with step 1. Box: the y that training text visited (`remember_box`).
        """
        frozen = copy.deepcopy(self).double().requires_grad_(False)
        return {
            "generator": frozen.generator,
            "slow": frozen.velocity,
            "n_states": self.config.vocab_size,
            "n_slow": self.config.n_slow,
            "low": frozen.low.cpu(),
            "high": frozen.high.cpu(),
            "name": f"generator_lm_P{self.config.period}_d{self.config.n_slow}",
        }

    def check_tokens(self, tokens: Tokens) -> None:
        """Raise the errors of `forward` for tokens that it would refuse."""
        check_tokens(tokens, self.config, self.device)


def _drawn(shape: tuple[int, ...], deviation: float, generator: torch.Generator | None) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=generator) * deviation)
