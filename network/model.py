"""`FastSlowLM`: token embedding → fast blocks → the coupling → fast blocks → tied head.

The coupling reads the stream x[B, T, d] after half of the fast blocks and adds to it:

    y = block_mean(x, P)      c = φ_θ(norm(slow(y)))      x ← x + unpool(gate(c))

all but the first and last step at the pooled rate. The fast path is a plain causal transformer (fast_path.py); ε = 1/P
is the ratio of the two clocks. Arms (config.py) share everything else. Fast weights are drawn before slow ones, so the
models of one seed that differ in arm, period or gate start from the same fast path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from network.arguments import Model, Tokens
from network.config import FastSlowConfig
from network.coupling_loss import next_block_loss
from network.fast_path import Block, KeyValueCache
from network.gate import build_gate
from network.norm import rms_norm
from network.phi_theta import PhiTheta
from network.pooling import block_mean, unpool
from network.rotary import rotary_table
from network.slow_path import SlowPath
from network.token_arguments import check_tokens


class Coupling(nn.Module):
    """x[B, T, d] -> the fed-back signal [B, T, d]: pool, slow path, φ_θ, gate, unpool.

    It serves any causal transformer: `x = x + coupling(x)` between two of its blocks. Of `config` it takes n_embd,
    n_head, period, n_slow_layer, gate, arm and slow_attention; block_size is the longest x. generator: what the initial
    weights are drawn from (torch's current one if None).

    Examples:
        >>> coupling = Coupling(FastSlowConfig(n_embd=16, n_head=2, period=4))
        >>> coupling(torch.randn(2, 10, 16)).shape, coupling(torch.randn(2, 1, 16)).abs().max().item()
        (torch.Size([2, 10, 16]), 0.0)
    """

    period: int
    arm: str
    slow: SlowPath | None
    phi_theta: PhiTheta
    gate: nn.Module
    rotary: Tensor

    def __init__(self, config: FastSlowConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if config.arm == "dense":
            raise ValueError(
                "arm='dense' has no coupling; take arm='coupled', or 'local' for one without slow attention"
            )
        width = config.n_embd
        self.period, self.arm = config.period, config.arm
        self.slow = None
        if config.arm != "local":
            full = config.slow_attention == "full_leaking"
            self.slow = SlowPath(width, config.n_head, config.n_slow_layer, generator, full=full)
        self.phi_theta = PhiTheta(
            width, width, width=4 * width, depth=1, head="linear", activation="gelu", generator=generator, device="cpu"
        )
        self.gate = build_gate(config.gate, width, 0.0 if config.arm == "frozen" else config.gate_start)
        # An attribute, so that a check can put a broken one in its place and be seen to notice.
        self.unpool = unpool
        table = rotary_table(config.block_size // config.period, width, config.n_head)
        self.register_buffer("rotary", table, persistent=False)

    def signal(self, x: Tensor, rotary: Tensor, caches: Sequence[KeyValueCache] | None = None) -> Tensor:
        """The gated signal at the pooled rate, [B, N, d]: the gate applied to `ungated`."""
        return self.gate(self.ungated(x, rotary, caches))

    def ungated(self, x: Tensor, rotary: Tensor, caches: Sequence[KeyValueCache] | None = None) -> Tensor:
        """c = φ_θ(norm(slow(y))) at the pooled rate, [B, N, d] for the N = ⌊T/P⌋ complete blocks of x[B, T, d].

        rotary: the table from the first of these blocks on. caches: of the slow path, for the blocks before them.
        """
        self.phi_theta.check_input(x)
        if x.shape[1] < self.period:
            return x[:, :0]
        if self.arm == "blind" and len(x) == 1:
            raise ValueError("arm 'blind' reads another sequence of the batch; a batch of 1 has none: pass B >= 2")
        y = block_mean(x, self.period)
        if self.arm == "blind":
            y = _partners(y)
        if self.slow is not None:
            y = self.slow(y, rotary[: y.shape[1]], caches)
        return self.phi_theta(rms_norm(y))

    def forward(self, x: Tensor, rotary: Tensor | None = None) -> Tensor:
        """x[B, T, d] -> [B, T, d], exactly 0 before the first complete block: all of it where T < P.

        rotary: the table of the model that the coupling is part of; its own if None. Raises `ValueError` for another
        shape or dtype, and for T > block_size.
        """
        table = self.rotary if rotary is None else rotary
        if x.ndim == 3 and x.shape[1] // self.period > len(table):
            raise ValueError(
                f"x holds T = {x.shape[1]} tokens, {x.shape[1] // self.period} blocks of P = {self.period}, and the "
                f"coupling was built for {len(table)}: build it with block_size >= {x.shape[1]}"
            )
        return self.unpool(self.signal(x, table), self.period, x.shape[1])


def _partners(y: Tensor) -> Tensor:
    """y[B, N, d] with the rows 0 and 1, 2 and 3, … exchanged; of an odd number the last three rotate.

    A batch that is split into even parts is thereby exchanged as the whole is.
    """
    paired = len(y) if len(y) % 2 == 0 else len(y) - 3
    swapped = y[:paired].unflatten(0, (paired // 2, 2)).flip(1).flatten(0, 1)
    return swapped if paired == len(y) else torch.cat([swapped, y[paired:].roll(1, 0)])


class FastSlowLM(nn.Module):
    """The fast-slow language model of `config`; tokens[B, T] -> logits[B, T, V].

    generator: what the initial weights are drawn from, fast ones first (torch's current generator if None). Weights are
    drawn on the CPU in float32: one seed gives one model, wherever `.to(...)` then moves it.

    Examples:
        >>> import torch
        >>> from network import FastSlowConfig, FastSlowLM
        >>> model = FastSlowLM(FastSlowConfig(block_size=32, n_layer=2, n_embd=16, n_head=2, period=4))
        >>> model(torch.zeros(1, 32, dtype=torch.int64)).shape
        torch.Size([1, 32, 256])
    """

    embedding: nn.Embedding
    fast: nn.ModuleList
    coupling: Coupling | None
    rotary: Tensor

    def __init__(self, config: Model, *, generator: torch.Generator | None = None) -> None:
        if not isinstance(config, FastSlowConfig):
            raise ValueError(f"config must be a FastSlowConfig, got {type(config).__name__}")
        if config.arm == "generator":
            raise ValueError("arm 'generator' is another model: GeneratorLM(config)")
        super().__init__()
        self.config = config
        width, heads, depth = config.n_embd, config.n_head, config.n_layer
        self.embedding = nn.Embedding(config.vocab_size, width, _weight=torch.empty(config.vocab_size, width))
        nn.init.normal_(self.embedding.weight, std=width**-0.5, generator=generator)
        window = config.attention_window
        self.fast = nn.ModuleList(Block(width, heads, depth, generator, window=window) for _ in range(depth))
        self.register_buffer("rotary", rotary_table(config.block_size, width, heads), persistent=False)
        self.coupling = None if config.arm == "dense" else Coupling(config, generator)
        if self.coupling is not None and config.arm == "frozen":
            # A closed gate is not trained, and what it skips must not wait for gradients (DDP would).
            self.coupling.requires_grad_(config.compute_frozen)
            self.coupling.gate.requires_grad_(False)

    def forward(
        self, tokens: Tokens, *, closed: bool = False, targets: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits of the next token at each position, [B, T, V]; with targets also the loss of c, (logits, loss).

        tokens[B, T]: integer ids below vocab_size, 1 <= T <= block_size. A sequence shorter than the period has no
        complete block and receives nothing from the slow path. closed: leave the coupling out, as a closed gate would.
        targets[B, T]: the token after each, for `next_block_loss`: how well c alone predicts the next block. It has a
        gradient in the slow path and φ_θ alone: the fast path is the one of a model without it.

        Raises `ValueError` for another shape or dtype, ids out of range, T > block_size, tokens and weights on two
        devices, for targets where no c is trained, and for arm `blind` with a batch of one (it reads another sequence).
        """
        if targets is not None:
            return self._with_coupling_loss(tokens, targets, closed)
        self.check_tokens(tokens)
        rotary = self.rotary[: tokens.shape[1]]
        coupling = self.coupling if self.coupled and not closed and tokens.shape[1] >= self.config.period else None
        return self.logits(tokens, rotary, None if coupling is None else lambda x: coupling(x, rotary))

    def _with_coupling_loss(self, tokens: Tokens, targets: Tensor, closed: bool) -> tuple[Tensor, Tensor]:
        self.check_tokens(tokens)
        coupling, period, length = self.coupling, self.config.period, tokens.shape[1]
        if coupling is None or self.config.arm == "frozen" or closed or length < period:
            raise ValueError(
                f"targets ask what c predicts, and arm {self.config.arm!r} with closed = {closed}, T = {length} and "
                f"P = {period} has no c that learns: leave targets away, or take arm 'coupled', 'blind' or 'local', "
                f"closed=False and T >= P"
            )
        if not isinstance(targets, Tensor) or targets.shape != tokens.shape:
            shape = list(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
            raise ValueError(f"targets must have the shape of tokens, {list(tokens.shape)}, got {shape}")
        rotary, kept = self.rotary[:length], []

        def couple(x: Tensor) -> Tensor:
            # c once more from a stream that no gradient passes: its objective trains the slow path and φ_θ alone.
            kept.append(coupling.ungated(x.detach(), rotary))
            return coupling(x, rotary)

        logits = self.logits(tokens, rotary, couple)
        return logits, next_block_loss(kept[0], self.embedding.weight.detach(), targets, period)

    def logits(
        self,
        tokens: Tensor,
        rotary: Tensor,
        couple: Callable[[Tensor], Tensor] | None,
        caches: Sequence[KeyValueCache | None] | None = None,
    ) -> Tensor:
        """Logits of tokens at the positions of `rotary`: `couple` maps the stream to what is fed back into it."""
        x = F.embedding(tokens, self.embedding.weight)
        for i, block in enumerate(self.fast):
            x = block(x, rotary, None if caches is None else caches[i])
            if couple is not None and i + 1 == self.config.coupling_layer:
                x = x + couple(x)
        return F.linear(rms_norm(x), self.embedding.weight)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.weight.device

    @property
    def coupled(self) -> bool:
        """Whether the slow path is computed: not in `dense`, nor in `frozen` unless compute_frozen asks for it."""
        return self.coupling is not None and (self.config.arm != "frozen" or self.config.compute_frozen)

    def check_tokens(self, tokens: Tokens) -> None:
        """Raise the errors of `forward` for tokens that it would refuse."""
        check_tokens(tokens, self.config, self.device)
