"""What is drawn of a claim, by what its details hold and not by who it is: a new claim with rows of the same keys is
drawn like the built-in ones.

    systems            [{system, predicted, measured, interval, tolerance, verdict, rows}]   `report_figures_systems`
    ratios, routes     [{…, ratio}]                             errors over their bound
    models             [{period, share}]                        a leak by period
    rows               [{period, ratio, expected}]              counted against predicted
    rows               [{period, gap_tv, predicted_tv}]         a gap over P beside what is predicted of it
    rows               [{name, ratio, low, high}]               `report_figures_training`, as what follows
    cells              [{arm, seed, validation_loss}]
    path               [{tokens, …}]
    blocks             [{block, axis, seed, shifted distance}]

Other details appear as tables alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from verify.report.drawn_systems import systems_figures
from verify.report.drawn_training import block_distances, paired_differences, step_times, training_path
from verify.report.svg import MARKS, Figure, Rung, Series, ladder, panel, spanning
from verify.report.text import ident_of, number

POWERS_OF_TWO = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
Rows = Sequence[Mapping[str, Any]]


def figures(claim: Mapping[str, Any]) -> tuple[tuple[Figure, ...], str]:
    """The figures of a claim, and why there is none where details of a name that is drawn hold something else."""
    details = claim.get("details") or {}
    found: list[Figure] = []
    try:
        for key, draw in DRAWN.items():
            if details.get(key):
                found += draw(claim, details[key], f"fig-{ident_of(claim['id'])}-{key}")
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        return (), f"the details could not be drawn, {type(error).__name__}: {error}"
    return tuple(found), ""


def errors_over_bound(claim: Mapping[str, Any], rows: Rows, ident: str) -> list[Figure]:
    """A mark for the worst error of each part; one of exactly 0 is said to be that."""
    named = [(next(str(v) for v in row.values() if isinstance(v, str)), row["ratio"]) for row in rows]
    bound = claim.get("bound") or 1.0
    # An infinite ratio is null in the JSON.
    scale = spanning("error over its bound", [*(r for _, r in named if r is not None), bound], log=True)
    rungs = [(name, [Rung(ratio, said="not finite")]) for name, ratio in named]
    said = "; ".join(f"{name} {number(ratio)}" for name, ratio in named)
    description = f"The largest error of each part, logarithmic; the line is the bound, {number(bound)}. {said}."
    return [ladder(ident, "Errors over their bound", description, scale, rungs, reference=bound)]


def leak_by_period(claim: Mapping[str, Any], rows: Rows, ident: str) -> list[Figure]:
    """The share of each model over P, and what the claim says of all of them."""
    points = [(float(row["period"]), float(row["share"])) for row in rows]
    x = spanning("period P", [p for p, _ in points], log=True, ticks=_powers(p for p, _ in points))
    y = spanning("share of the slow path’s effect", [0.0, *(s for _, s in points)])
    series = [Series("a model", points)]
    if claim.get("measured") is not None:
        series.append(Series("median", [(x.low, claim["measured"]), (x.high, claim["measured"])], 4, "", line=True))
    shares = [s for _, s in points]
    description = (
        f"{len(points)} models: {claim.get('quantity', 'share')}, {number(claim.get('measured'))}; single models from "
        f"{number(min(shares))} to {number(max(shares))}."
    )
    return [panel(ident, "Leak by period", description, x, y, series)]


def rows_figures(claim: Mapping[str, Any], rows: Rows, ident: str) -> list[Figure]:
    """Three kinds of rows are drawn, by their keys."""
    if {"name", "ratio", "low", "high"} <= set(rows[0]):
        return step_times(claim, rows, ident)
    if {"period", "ratio", "expected"} <= set(rows[0]):
        return [_counted(rows, ident)]
    if {"period", "gap_tv", "predicted_tv"} <= set(rows[0]):
        return [_gaps(rows, ident)]
    return []


def _counted(rows: Rows, ident: str) -> Figure:
    measured = [(float(row["period"]), float(row["ratio"])) for row in rows]
    expected = [(float(row["period"]), float(row["expected"])) for row in rows]
    x = spanning("period P", [p for p, _ in measured], log=True, ticks=_powers(p for p, _ in measured))
    y = spanning("products, fast over slow", [r for _, r in (*measured, *expected)], log=True)
    description = (
        f"Products counted in a fast attention layer over those in a slow one, over P, both logarithmic: {len(rows)} "
        f"pairs of P and T, from {number(min(measured)[1])} to {number(max(measured)[1])}, and what is predicted."
    )
    series = [Series("counted", measured, 0, "dot"), Series("predicted", expected, 4, "cross")]
    return panel(ident, "Counted and predicted", description, x, y, series)


def _gaps(rows: Rows, ident: str) -> Figure:
    """By vocabulary where the rows name one."""
    kinds = list(dict.fromkeys(str(row.get("vocabulary", "measured")) for row in rows))
    series = []
    for k, kind in enumerate(kinds):
        own = [row for row in rows if str(row.get("vocabulary", "measured")) == kind]
        series.append(Series(kind, [(float(row["period"]), float(row["gap_tv"])) for row in own], k, MARKS[k]))
    predicted = [(float(row["period"]), float(row["predicted_tv"])) for row in rows]
    series.append(Series("predicted", predicted, 4, "cross"))
    gaps = [gap for one in series[:-1] for _, gap in one.points]
    x = spanning("period P", [p for p, _ in predicted], log=True)
    y = spanning("total variation", [*gaps, *(gap for _, gap in predicted)], log=True)
    description = (
        f"The gap to p_st over P, both logarithmic: {len(rows)} rows, from {number(max(gaps))} down to "
        f"{number(min(gaps))}, and what is predicted of it."
    )
    return panel(ident, "Gap and prediction over P", description, x, y, series)


def _powers(periods: Iterable[float]) -> tuple[float, ...]:
    found = list(periods)
    return tuple(p for p in POWERS_OF_TWO if min(found) <= p <= max(found))


DRAWN = {
    "systems": systems_figures,
    "ratios": errors_over_bound,
    "routes": errors_over_bound,
    "models": leak_by_period,
    "rows": rows_figures,
    "cells": paired_differences,
    "path": training_path,
    "blocks": block_distances,
}
