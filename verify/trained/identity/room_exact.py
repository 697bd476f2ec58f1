"""Room 1, exact: on real text, m⁺ − p_st(A) = A^# K b / P for labels from the trained slow state.

The slow state after a block (clusters of it), or the class of the block's last token, is held while the next P tokens
are read; the same blocks begin at every P. The identity is a theorem of counting (`theory.stream_identity`), so its
residual is rounding whatever the network learned; what must be refused is in the row beside it: the ends swapped
(b → −b), and another label's chain.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from network.tokenizer import Tokenizer
from theory import BlockCounts, StreamIdentity, count_blocks, identity_of_counts
from verify.statistics.verdict import ExactVerdict
from verify.trained.identity.rooms import Room, Row, slope_of
from verify.trained.identity.text_states import TextStates, clusters, resampled

PERIODS = (4, 8, 16, 32, 64, 128, 256, 512)
LABELS = 16
TOLERANCE = 1e-13
REPLICATES = 30
STRETCHES = 100  # of the bootstrap at most: beyond it neighbouring ones are put together
MOST_COUNTS = 2**25  # of all stretches together, above which no bootstrap is made


def exact_room(tokens: Tensor, states: TextStates, tokenizer: Tokenizer, n_states: int) -> Room:
    """The room on tokens[T] for blocks that begin where `states` stand."""
    states = states.take(states.start + PERIODS[-1] < len(tokens))
    if len(states) == 0:
        raise ValueError(f"the text is shorter than a block of {PERIODS[-1]} tokens: add text")
    names, rank = states.stretch.unique(return_inverse=True)
    states = replace(states, stretch=rank * STRETCHES // max(STRETCHES, len(names)))
    kinds = {
        f"{LABELS} clusters of y": clusters(states.y, LABELS),
        "class of the last token": token_classes(tokenizer, n_states).to(tokens.device)[tokens[states.start]],
    }
    rows: list[Row] = []
    intervals: dict[str, tuple[float, float] | None] = {}
    slopes: dict[str, float | None] = {}
    for kind, labels in kinds.items():
        own, gaps = [], []
        for period in PERIODS:
            by_stretch = _counts(tokens, states, labels, period, n_states, whole=bool(rows))
            whole = _sum(by_stretch, None)
            found = identity_of_counts(whole)
            own.append(_row(found, kind))
            if len(by_stretch) > 1:
                gaps.append([_gap(_sum(by_stretch, w)) for w in _weights(states, by_stretch)])
        rows += own
        usable = [k for k, row in enumerate(own) if row["set_aside"] == 0]
        slopes[kind] = slope_of([own[k] for k in usable])
        if gaps:
            replicates = torch.tensor([gaps[k] for k in usable]).T
            intervals[kind] = _interval([int(own[k]["period"]) for k in usable], replicates)
        else:
            intervals[kind] = None
    worst = max(max(float(row["residual"]), 0.0) for row in rows)
    mutants = [row[key] for row in rows for key in ("swapped_residual", "other_residual")]
    refused = min(float(residual) for residual in mutants if residual is not None)
    first = next(iter(kinds))
    verdict = ExactVerdict.HOLDS if worst <= TOLERANCE < refused else ExactVerdict.VIOLATED
    return Room(
        name="exact",
        verdict=verdict,
        reason=f"largest residual {worst:.1e} over {len(rows)} rows (tolerance {TOLERANCE:.0e}); swapped ends and "
        f"another label's chain leave at least {refused:.1e}",
        slope=slopes[first],
        slope_interval=intervals[first],
        constant_ratio=1.0 if worst <= TOLERANCE else None,
        rows=rows,
        facts={"slopes": slopes, "slope_intervals": intervals, "blocks": len(states)},
    )


def token_classes(tokenizer: Tokenizer, n_states: int) -> Tensor:
    """[V]: 0 space, 1 vowel, 2 another small letter, 3 a capital, 4 the rest, by the last character of each token."""
    kinds = []
    for token in range(n_states):
        last = tokenizer.decode([token])[-1:] or "\0"
        kinds.append(
            0 if last.isspace() else 1 if last in "aeiou" else 2 if last.islower() else 3 if last.isupper() else 4
        )
    return torch.tensor(kinds).unique(return_inverse=True)[1]


def _row(found: StreamIdentity, kind: str) -> Row:
    weight, p = found.weights, found.stationary
    other = p.roll(1, 0) if len(p) > 1 else None  # another label's, where there is another
    tv = lambda difference: 0.5 * difference.abs().sum(-1)  # noqa: E731
    return {
        "labels": kind,
        "period": found.period,
        "gap_tv": float(weight @ found.gap),
        "predicted_tv": float(weight @ tv(found.boundary)),
        "residual": float(found.residual.max()),
        "swapped_residual": float(weight @ tv(found.after - p + found.boundary)),
        "other_residual": None if other is None else float(weight @ tv(found.after - other - found.boundary)),
        "other_gap_tv": None if other is None else float(weight @ tv(found.after - other)),
        "spread_tv": float(weight @ tv(found.after - (weight[:, None] * found.after).sum(0))),
        "set_aside": len(found.without_column) + len(found.several_classes),
    }


def _counts(
    tokens: Tensor, states: TextStates, labels: Tensor, period: int, n: int, *, whole: bool
) -> list[BlockCounts]:
    """The counts of each stretch of text, or of the whole where one asks for it or they would fill the memory."""
    many = int(labels.max()) + 1
    names = states.stretch.unique()
    if whole or len(names) * many * n * n > MOST_COUNTS:
        return [count_blocks(tokens, labels, n_states=n, starts=states.start, period=period, n_labels=many)]
    found = []
    for name in names:
        own = states.stretch == name
        starts = states.start[own]
        low, high = int(starts.min()), int(starts.max()) + period + 1
        found.append(
            count_blocks(tokens[low:high], labels[own], n_states=n, starts=starts - low, period=period, n_labels=many)
        )
    return found


def _sum(parts: list[BlockCounts], weights: Tensor | None) -> BlockCounts:
    fields = ("transitions", "first", "last", "blocks")
    if weights is None:
        return replace(parts[0], **{f: torch.stack([getattr(p, f) for p in parts]).sum(0) for f in fields})
    return replace(
        parts[0],
        **{f: torch.einsum("s,s...->...", weights, torch.stack([getattr(p, f) for p in parts])) for f in fields},
    )


def _weights(states: TextStates, parts: list[BlockCounts]) -> Tensor:
    return resampled(torch.arange(len(parts), device=states.y.device), REPLICATES, seed=1)


def _gap(counts: BlockCounts) -> float:
    found = identity_of_counts(counts)
    return float(found.weights @ found.gap)


def _interval(periods: list[int], gaps: Tensor) -> tuple[float, float] | None:
    """The central 95 % of the slopes of gaps[replicate, period]."""
    slopes = [
        s
        for row in gaps.tolist()
        if (s := slope_of([{"period": p, "gap_tv": g} for p, g in zip(periods, row, strict=True)]))
    ]
    if len(slopes) < len(gaps):
        return None
    low, high = torch.tensor(slopes).double().quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return low, high
