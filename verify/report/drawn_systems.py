"""Measurements on many systems: each value over its prediction, with its interval, and the rows behind it over ε.

A measurement is named `system` or `system, variant`: variants of a system share its rung and its panel, and have a mark
of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from verify.report.svg import MARKS, Figure, Rung, Series, ladder, panel, spanning
from verify.report.text import ident_of, number

LOWEST = 1e-17  # nothing below rounding is worth an axis: smaller values are drawn here
Row = Mapping[str, Any]


def systems_figures(claim: Row, rows: Sequence[Row], ident: str) -> list[Figure]:
    """The intervals of all systems, then a panel over ε for each system that has rows."""
    groups: dict[str, dict[str, Row]] = {}
    for row in rows:
        system, _, variant = row["system"].partition(", ")
        groups.setdefault(system, {})[variant] = row
    variants = list(dict.fromkeys(variant for group in groups.values() for variant in group if variant))
    style = {"": 0} | {variant: k for k, variant in enumerate(variants)}
    panels = [_over_epsilon(system, group, style, f"{ident}-{ident_of(system)}") for system, group in groups.items()]
    return [_intervals(claim, groups, variants, style, ident), *(one for one in panels if one is not None)]


def _intervals(
    claim: Row, groups: Mapping[str, Mapping[str, Row]], variants: Sequence[str], style: Mapping[str, int], ident: str
) -> Figure:
    rows = [row for group in groups.values() for row in group.values()]
    concluded = [row for row in rows if row["measured"] is not None and row["interval"] is not None]
    tolerance = max((row.get("tolerance", 0.0) / row["predicted"] for row in concluded), default=0.0)
    ends = [end / row["predicted"] for row in concluded for end in row["interval"]]
    scale = spanning("measured over predicted", [*ends, 1.0 - tolerance, 1.0 + tolerance])
    rungs = []
    for system, group in groups.items():
        found = [_rung(row, style[variant]) for variant, row in group.items() if row in concluded]
        nothing = Rung(None, said=str(next(iter(group.values())).get("verdict", "not measured")))
        rungs.append((system, found or [nothing]))
    worst = max(concluded, key=lambda row: abs(row["measured"] / row["predicted"] - 1.0), default=None)
    farthest = ""
    if worst is not None:
        farthest = f" The farthest is {worst['system']}: {number(worst['measured'] / worst['predicted'])}."
    description = (
        f"{claim.get('quantity', 'Value')}: measured over predicted, with intervals. {len(concluded)} of {len(rows)} "
        f"measurements on {len(groups)} systems conclude. The line is the prediction, the stripe the largest "
        f"tolerance.{farthest}"
    )
    band = (1.0 - tolerance, 1.0 + tolerance)
    title = "Measured over predicted"
    return ladder(ident, title, description, scale, rungs, reference=1.0, band=band, legend=variants)


def _rung(row: Row, style: int) -> Rung:
    low, high = (end / row["predicted"] for end in row["interval"])
    return Rung(row["measured"] / row["predicted"], (low, high), style)


def _over_epsilon(system: str, group: Mapping[str, Row], style: Mapping[str, int], ident: str) -> Figure | None:
    """The rows behind the values of one system; None where there are none over ε."""
    series: list[Series] = []
    shown: list[Any] = []
    what = ""
    for variant, row in group.items():
        points: Sequence[Row] = row.get("rows") or []
        value = next((key for key in ("gap_tv", "residual") if points and key in points[0]), None)
        if value is None or "epsilon" not in points[0] or points in shown:
            continue
        shown.append(points)  # a slope and a constant may rest on the same rows
        what = "total variation" if value == "gap_tv" else "invariance residual"
        series += _marked(points, value, variant if value == "residual" else "measured", style[variant])
        predicted = [(p["epsilon"], p["predicted_tv"]) for p in points if (p.get("predicted_tv") or 0.0) >= LOWEST]
        series += [Series("predicted", predicted, 4, "", line=True)] if predicted else []
    drawn = [point for one in series for point in one.points]
    if not drawn:
        return None
    x = spanning("ε", [a for a, _ in drawn], log=True)
    y = spanning(what, [b for _, b in drawn], log=True)
    seen = [b for one in series if one.mark for _, b in one.points]
    description = (
        f"{system}: {what} over ε, both logarithmic; {len(seen)} values from {number(max(seen))} down to "
        f"{number(min(seen))} for ε from {number(max(a for a, _ in drawn))} to {number(min(a for a, _ in drawn))}."
    )
    if min(seen) == LOWEST:
        description += f" What is below {number(LOWEST)} is drawn there."
    return panel(ident, system, description, x, y, series)


def _marked(points: Sequence[Row], value: str, name: str, colour: int) -> list[Series]:
    """Usable, unsettled and floor-limited rows, each with its mark."""
    early = [p for p in points if p.get("pre_asymptotic")]
    floored = [p for p in points if p.get("floor_limited") and p not in early]
    usable = [p for p in points if p not in early and p not in floored]
    kinds = ((usable, name, MARKS[colour % len(MARKS)]), (early, "not yet settled", "open"))
    return [
        Series(label, [(p["epsilon"], max(p[value], LOWEST)) for p in group], colour, mark)
        for group, label, mark in (*kinds, (floored, "at the floor", "cross"))
        if group
    ]
