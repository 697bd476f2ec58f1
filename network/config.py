"""What a fast-slow language model is built from: one frozen, validated record, saved as JSON beside the weights.

ε = 1/P is the ratio of the two clocks: the fast path updates once a token, the slow path once per `period` P tokens.
The arms are what the comparison needs, and share everything but the coupling:

* `dense`: the fast path alone.
* `frozen`: the gate fixed at 0. Equal to `dense` bit for bit, so the slow path is skipped unless `compute_frozen` asks
  for it (to time it).
* `coupled`: slow attention over the pooled tokens, fed back through a gate that starts at 0.
* `blind`: as `coupled`, but fed another sequence's pooled tokens: the added capacity without the content.
* `local`: φ_θ on the block means directly, without slow attention: the content of the pool without slow dynamics.

A sixth arm, `generator`, is another model on the same clocks, `GeneratorLM` (generator_lm.py): its fast path is a
Markov chain whose generator the slow state sets, so that its own φ_θ can be held against a stationary distribution.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from network.arguments import Fields, Flag, Integer, Number, Text
from network.defaults import ADDED_MODEL, FIRST_MODEL, differing, filled

ARMS = ("dense", "frozen", "coupled", "blind", "local")  # of a FastSlowLM: what the comparison of couplings is among
ALL_ARMS = (*ARMS, "generator")
GATES = ("scalar", "channel", "projection")
SLOW_ATTENTION = ("block_causal", "full_leaking")
_SIZES = ("vocab_size", "block_size", "n_layer", "n_slow_layer", "n_embd", "n_head", "period", "n_slow")


@dataclass(frozen=True)
class FastSlowConfig:
    """Sizes and choices of a `FastSlowLM`, or with arm `generator` of a `GeneratorLM`.

    vocab_size: number of token ids (256: bytes).
    block_size: the longest sequence T, in tokens; it need not be a multiple of the period: the tokens after the last
    complete block read the blocks before it.
    n_layer, n_slow_layer: fast and slow blocks (`local` and `dense` build no slow ones).
    n_embd, n_head: width d and number of heads, of both paths. period: P, the tokens per slow update.
    gate: what multiplies the fed-back signal, zero at the start: one number, one per channel, or a d × d projection.
    slow_attention: `block_causal`, or `full_leaking`, which reads the future and exists to be measured doing so.
    attention_window: how many tokens a fast layer reads, its own counted (None: all before it); L layers reach back
    L(w − 1) + 1 tokens. The slow path is never windowed.
    gate_start: where the gate starts: α, or W = gate_start · I. At 0 the coupled model is the dense one at init;
    `dense` and `frozen` ignore it.
    n_slow: slow variables of arm `generator`, which reads vocab_size, block_size, period, n_embd and n_slow alone.

    Raises `ValueError` naming the field, its value and the remedy.

    Examples:
        >>> from network import FastSlowConfig
        >>> config = FastSlowConfig(arm="coupled", period=16)
        >>> config.epsilon, FastSlowConfig.from_dict(config.to_dict()) == config
        (0.0625, True)
    """

    vocab_size: Integer = 256
    block_size: Integer = 256
    n_layer: Integer = 4
    n_slow_layer: Integer = 1
    n_embd: Integer = 64
    n_head: Integer = 4
    period: Integer = 8
    arm: Text = "coupled"
    gate: Text = "scalar"
    slow_attention: Text = "block_causal"
    compute_frozen: Flag = False
    attention_window: Integer | None = None
    gate_start: Number = 0.0
    n_slow: Integer = 2

    def __post_init__(self) -> None:
        for field in _SIZES:
            value, least = getattr(self, field), 0 if field == "n_slow_layer" else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{field} must be an integer >= {least}, got {value!r}")
        if self.period > self.block_size:
            raise ValueError(
                f"period = {self.period} exceeds block_size = {self.block_size}: no block would ever be complete, "
                f"so the slow path would never speak; take period <= block_size"
            )
        if self.n_embd % self.n_head or (self.n_embd // self.n_head) % 2:
            raise ValueError(
                f"n_embd = {self.n_embd} must be an even multiple of n_head = {self.n_head}: rotary positions turn "
                f"pairs of channels within each head"
            )
        if self.arm not in ALL_ARMS:
            raise ValueError(f"arm must be one of {', '.join(ALL_ARMS)}; got {self.arm!r}")
        if self.arm == "generator" and self.n_embd < 4:
            raise ValueError(
                f"n_embd = {self.n_embd} is too narrow for arm 'generator', which takes a quarter of it: 4 or more"
            )
        if not isinstance(self.compute_frozen, bool):
            raise ValueError(f"compute_frozen must be True or False, got {self.compute_frozen!r}")
        if self.compute_frozen and self.arm != "frozen":
            raise ValueError(f"compute_frozen=True needs arm='frozen', got arm={self.arm!r}")
        if self.n_slow_layer == 0 and self.arm not in ("dense", "local", "generator"):
            raise ValueError(f"n_slow_layer = 0 leaves arm={self.arm!r} without slow dynamics; that is arm='local'")
        _check_gate(self.gate)
        _check_window(self.attention_window)
        start = self.gate_start
        if isinstance(start, bool) or not isinstance(start, int | float) or not math.isfinite(start):
            raise ValueError(f"gate_start must be a finite number, got {start!r}; 0 is the paper's")
        _check_slow_attention(self.slow_attention)

    @property
    def coupling_layer(self) -> int:
        """How many fast blocks come before the coupling: half of them, at least one."""
        return max(1, self.n_layer // 2)

    @property
    def epsilon(self) -> float:
        """ε = 1/P."""
        return 1.0 / self.period

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Fields) -> FastSlowConfig:
        """The record back from `to_dict`, of this version or an older one (network.defaults says what it meant).

        Raises `ValueError` for a field that is unknown, and for one of the first version that is missing.
        """
        return cls(**filled(cls, values, FIRST_MODEL, ADDED_MODEL, "a configuration"))

    def differing(self) -> dict[str, Any]:
        """The fields that differ from their neutral values: what names the model in the key of a cell."""
        return differing(self, FIRST_MODEL, ADDED_MODEL)


def _check_gate(gate: Any) -> None:
    if gate in GATES:
        return
    parts = [part.strip() for part in gate.split("+")] if isinstance(gate, str) else []
    if len(parts) > 1 and all(part in GATES for part in parts):
        raise ValueError(
            f"gate = {gate!r} puts {len(parts)} zero factors in a row: the gradient of each carries the others as a "
            f"factor, so all stay zero for ever; choose one of {', '.join(GATES)}"
        )
    raise ValueError(f"gate must be one of {', '.join(GATES)}; got {gate!r}")


def _check_window(window: Any) -> None:
    if window is None:
        return
    if isinstance(window, bool) or not isinstance(window, int) or window < 1:
        raise ValueError(
            f"attention_window must be an integer >= 1, the token itself counted, or None for all earlier tokens; "
            f"got {window!r}"
        )


def _check_slow_attention(slow_attention: Any) -> None:
    if slow_attention in SLOW_ATTENTION:
        return
    if slow_attention == "full":
        raise ValueError(
            "slow_attention = 'full' lets every pooled token see later ones, so a language model reads its own future; "
            "take 'block_causal', or 'full_leaking' if the leak itself is to be measured"
        )
    raise ValueError(f"slow_attention must be one of {', '.join(SLOW_ATTENTION)}; got {slow_attention!r}")
