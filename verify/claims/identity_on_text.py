"""On real text p_st of the conditional bigrams is the block mean less a boundary term, exactly, for any label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from verify.claim import Exact, ExactClaim, Mutant, Profile
from verify.claims._generator_network import QUICK_TEXT, TEXT, states, trained_network

if TYPE_CHECKING:
    from torch import Tensor

    from theory import BlockCounts, StreamIdentity

    Counts = Callable[[BlockCounts], BlockCounts]
    Parts = Callable[[StreamIdentity], tuple[Tensor, Tensor]]

BOUND = 1e-13  # some n η ‖A^#‖; the smallest mutant leaves 1e-8
QUICK, PERIODS, ONE = (4, 64), (4, 8, 16, 32, 64, 128, 256, 512), (16,)
STRIDE = 16


def check(profile: Profile) -> Exact:
    """The largest residual over periods and labels, for letters under a trained slow state and for bytes."""
    return _measured(profile, QUICK if profile.name == "quick" else PERIODS, ("letters", "bytes"))


def mutant(profile: Profile) -> Exact:
    """The two ends of every block exchanged: b → −b."""
    return _measured(profile, ONE, ("letters",), parts=lambda found: (found.stationary, -found.boundary))


def _measured(
    profile: Profile,
    periods: tuple[int, ...],
    vocabularies: tuple[str, ...],
    *,
    counts: Counts | None = None,
    parts: Parts | None = None,
) -> Exact:
    """counts, parts: what a mutant makes of the counted blocks, and of (p_st, boundary)."""
    rows: list[dict[str, Any]] = []
    for name in vocabularies:
        kind, tokens, starts, labels, n = _stream(profile, name)
        for period in periods:
            found = _identity(tokens, starts, labels, period, n, counts)
            p, boundary = (found.stationary, found.boundary) if parts is None else parts(found)
            missed = 0.5 * (found.after - p - boundary).abs().sum(-1)
            rows.append(
                {
                    "vocabulary": name,
                    "labels": kind,
                    "period": period,
                    "gap_tv": float(found.weights @ found.gap),
                    "predicted_tv": float(found.weights @ (0.5 * boundary.abs().sum(-1))),
                    "residual": float(missed.max()),
                    "set_aside": len(found.without_column) + len(found.several_classes),
                }
            )
    gaps = [row["gap_tv"] for row in rows]
    return Exact(
        quantity="largest ½‖m⁺ − p_st − A^# K b / P‖₁ over periods, labels and vocabularies",
        measured=max(row["residual"] for row in rows),
        bound=BOUND,
        reason=f"gaps {min(gaps):.1e} … {max(gaps):.1e} TV over P = {periods[0]} … {periods[-1]}; "
        f"{sum(row['set_aside'] for row in rows)} labels set aside",
        details={"rows": rows},
    )


def _identity(
    tokens: Tensor, starts: Tensor, labels: Tensor, period: int, n: int, change: Counts | None
) -> StreamIdentity:
    from theory import count_blocks, identity_of_counts

    fits = starts + period < len(tokens)
    found = count_blocks(tokens, labels[fits], n_states=n, starts=starts[fits], period=period)
    if change is None:
        return identity_of_counts(found)
    # m⁺ is that of the honest counts: the fault is in what p_st is made of.
    broken, honest = identity_of_counts(change(found)), identity_of_counts(found)
    broken, honest = _only(broken, honest.labels), _only(honest, broken.labels)
    return replace(broken, after=honest.after, blocks=honest.blocks)


def _only(found: StreamIdentity, labels: Tensor) -> StreamIdentity:
    """`found` for those of its labels that are among `labels`."""
    import torch

    kept = torch.isin(found.labels, labels)
    names = ("labels", "blocks", "K", "A", "before", "after", "ends", "stationary", "boundary")
    return replace(found, **{name: getattr(found, name)[kept] for name in names})


def _stream(profile: Profile, vocabulary: str) -> tuple[str, Tensor, Tensor, Tensor, int]:
    """(kind of label, tokens, starts, labels, n): letters under clusters of a trained y, bytes under their classes."""
    import numpy as np
    import torch

    from network.corpus import open_corpus
    from network.data import load_data
    from verify.trained.identity.room_exact import LABELS, token_classes
    from verify.trained.identity.text_states import clusters

    if vocabulary == "letters":
        run, training = trained_network(profile), states(profile, 1).training
        every = training.take(torch.arange(0, len(training), STRIDE // run.model.config.period))
        labels = clusters(every.y, LABELS, steps=4)
        return f"{LABELS} clusters of y", states(profile, 1).tokens, every.start, labels, run.data.vocab_size
    data = load_data(open_corpus("shakespeare"))
    most = QUICK_TEXT if profile.name == "quick" else TEXT
    raw = torch.from_numpy(np.asarray(data.training[:most]).astype(np.int64)).to(profile.device)
    # Everywhere: a rare byte that only ends blocks would set its label aside.
    starts = torch.arange(len(raw) - 1, device=profile.device)
    classes = token_classes(data.tokenizer, data.vocab_size).to(profile.device)[raw[starts]]
    return "class of the last byte", raw, starts, classes, data.vocab_size


def _few(*, counts: Counts | None = None, parts: Parts | None = None) -> Callable[[Profile], Exact]:
    return lambda profile: _measured(profile, ONE, ("letters",), counts=counts, parts=parts)


def _one_transition(counts: BlockCounts) -> BlockCounts:
    """The commonest transition of the first label is counted once too often."""
    J = counts.transitions.clone()
    J[0].view(-1)[J[0].argmax()] += 1
    return replace(counts, transitions=J)


def _bare(found: StreamIdentity) -> tuple[Tensor, Tensor]:
    """A^# b / P: the boundary without K."""
    from theory import solve_sum_zero

    b = found.ends - found.stationary * found.ends.sum(-1, keepdim=True)
    return found.stationary, solve_sum_zero(found.A, b, found.stationary) / found.period


CLAIM = ExactClaim(
    id="identity_on_text",
    statement="On any text, with any label, the block mean is p_st of the label's conditional bigrams plus a boundary "
    "term in ε = 1/P, m⁺ − p_st(A) = ε A^# K b, with no Markov assumption.",
    source="counting and telescoping (docs, the identity on any stream of tokens); Meyer (1975) for A^#",
    check=check,
    mutant=mutant,
    mutation="the two ends of every block exchanged",
    mutants=(
        Mutant(
            "another_label",
            "p_st and boundary of the next label",
            _few(parts=lambda found: (found.stationary.roll(1, 0), found.boundary.roll(1, 0))),
        ),
        Mutant(
            "against_time",
            "the transitions counted backwards, i → j",
            _few(counts=lambda counts: replace(counts, transitions=counts.transitions.mT)),
        ),
        Mutant("one_transition", "one transition of all blocks counted once too often", _few(counts=_one_transition)),
        Mutant(
            "longer_blocks",
            "1/(P + 1) in place of 1/P",
            _few(parts=lambda found: (found.stationary, found.boundary * found.period / (found.period + 1))),
        ),
        Mutant("without_K", "A^# b in place of A^# K b", _few(parts=_bare)),
        Mutant(
            "without_boundary",
            "the block mean held for p_st itself",
            _few(parts=lambda found: (found.stationary, 0.0 * found.boundary)),
        ),
    ),
)
