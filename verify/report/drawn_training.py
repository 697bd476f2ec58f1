"""What is drawn of trained networks: step times, paired differences, the path of training, distances of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from verify.report.svg import Figure, Rung, Scale, Series, ladder, panel, spanning
from verify.report.text import number

Rows = Sequence[Mapping[str, Any]]
BASELINE = "dense"


def step_times(claim: Mapping[str, Any], rows: Rows, ident: str) -> list[Figure]:
    """Ratios with their intervals against the claim's bound, and round by round where the seconds are there."""
    paper = claim.get("bound")
    ends = [end for row in rows for end in (row["low"], row["high"])]
    scale = spanning("step time over dense", ends if paper is None else [*ends, paper])
    rungs = [(row["name"], [Rung(row["ratio"], (row["low"], row["high"]))]) for row in rows]
    said = "; ".join(f"{r['name']} {number(r['ratio'])} in [{number(r['low'])}, {number(r['high'])}]" for r in rows)
    description = f"Step time over that of the dense model, medians with their intervals: {said}."
    description += "" if paper is None else f" The line is the paper’s {number(paper)}."
    found = [ladder(ident, "Step time over dense", description, scale, rungs, reference=paper)]
    seconds = claim["details"].get("seconds") or {}
    if BASELINE in seconds:
        found.append(_rounds(seconds, [row["name"] for row in rows], f"{ident}-rounds"))
    return found


def _rounds(seconds: Mapping[str, Sequence[float]], names: Sequence[str], ident: str) -> Figure:
    ratios = {name: [a / b for a, b in zip(seconds[name], seconds[BASELINE], strict=True)] for name in names}
    series = [
        Series(name, [(k + 1.0, ratio) for k, ratio in enumerate(found)], colour, ("dot", "triangle")[colour % 2])
        for colour, (name, found) in enumerate(ratios.items())
    ]
    values = [ratio for found in ratios.values() for ratio in found]
    rounds = len(seconds[BASELINE])
    x, y = spanning("round", [1.0, float(rounds)]), spanning("step time over dense", values)
    description = f"The ratios round by round: {rounds} rounds, from {number(min(values))} to {number(max(values))}."
    return panel(ident, "Round by round", description, x, y, series)


def paired_differences(claim: Mapping[str, Any], rows: Rows, ident: str) -> list[Figure]:
    """coupled minus each other arm, one mark per seed that has both; nothing without such a seed."""
    losses = {(row["arm"], row["seed"]): row["validation_loss"] for row in rows}
    others = [arm for arm in dict.fromkeys(arm for arm, _ in losses) if arm != "coupled"]
    pairs = {
        arm: [losses["coupled", s] - losses[arm, s] for other, s in losses if other == arm and ("coupled", s) in losses]
        for arm in others
    }
    pairs = {arm: found for arm, found in pairs.items() if found}
    if not pairs:
        return []
    rungs = [(f"coupled − {arm}", [Rung(d) for d in found]) for arm, found in pairs.items()]
    interval = claim.get("interval") or ()
    if claim.get("measured") is not None and interval:
        rungs.insert(0, ("the claim’s mean and interval", [Rung(claim["measured"], (interval[0], interval[1]), 3)]))
    margin = claim["details"].get("margin")
    band = () if margin is None else (-margin, margin)
    values = [d for found in pairs.values() for d in found]
    scale = spanning("nats per token", [*values, *interval, *band, 0.0])
    said = "; ".join(f"coupled − {arm} from {number(min(d))} to {number(max(d))}" for arm, d in pairs.items())
    stripe = "" if margin is None else f" The stripe is ± {number(margin)}."
    description = f"Differences of the validation loss, nats per token, a mark for each paired seed: {said}.{stripe}"
    stripe_ends = None if margin is None else (-margin, margin)
    return [ladder(ident, "Paired differences", description, scale, rungs, reference=0.0, band=stripe_ends)]


def training_path(claim: Mapping[str, Any], rows: Rows, ident: str) -> list[Figure]:
    """Each quantity of the path over the tokens trained."""
    found = []
    for k, key in enumerate(key for key in rows[0] if key not in ("tokens", "seeds")):
        points = [(row["tokens"] / 1e6, float(row[key])) for row in rows if row[key] is not None]
        if not points:
            continue
        x = spanning("training tokens (millions)", [0.0, *(a for a, _ in points)])
        y = spanning(key, [0.0, *(b for _, b in points)])
        description = (
            f"{key} along training, mean over seeds: {number(points[0][1])} at {number(points[0][0])} million tokens, "
            f"{number(points[-1][1])} at {number(points[-1][0])} million."
        )
        series = [Series(key, points, 0, "dot", line=True)]
        found.append(panel(f"{ident}-{k}", "Along training", description, x, y, series))
    return found


def block_distances(claim: Mapping[str, Any], rows: Rows, ident: str) -> list[Figure]:
    """The relative distance to the nearest generator, a rung per block and axis, a mark per seed."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(f"block {row['block']}, {row['axis']}", []).append(float(row["shifted distance"]))
    scale = Scale("relative distance", 0.0, max(1.0, *(d for group in groups.values() for d in group)))
    rungs = [(name, [Rung(d) for d in group]) for name, group in groups.items()]
    said = "; ".join(f"{name} {number(min(group))} to {number(max(group))}" for name, group in groups.items())
    description = (
        "Relative distance to the nearest generator at the best multiple of the identity, one mark per seed; 0 would "
        f"be a generator: {said}."
    )
    return [ladder(ident, "Distance to the nearest generator", description, scale, rungs, reference=0.0)]
