"""Pretrained networks in the report: what `python -m verify.generator_defect --model … --out DIR` left beside the run.

Each file is a network, or the committed study of several (`benchmarks/pretrained.py`): figures over its depth and a
table of its layers, every figure beside its two nulls, the same blocks at random initialisation and the same Jacobians
with random signs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verify.report.svg import Figure, Scale, Series, panel, spanning
from verify.report.tables import Table
from verify.report.text import number

PATTERN = "pretrained*.json"
COMMAND = "python -m verify.generator_defect --model"
AXES = ("channel", "token")
COLUMNS = (
    "layer",
    *(f"{axis} axis{null}" for axis in AXES for null in ("", ", initialised", ", random signs")),
    "corr(C, W)",
    "weight on token 0",
    "initialised",
    "steps to it",
)


@dataclass(frozen=True)
class Network:
    """One network. words: what was measured, or why nothing is shown of its file."""

    name: str
    words: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()


def beside(folder: Path) -> list[Path]:
    """The files of networks in `folder` and in its own folders."""
    return sorted({*folder.glob(PATTERN), *folder.glob(f"*/{PATTERN}")})


def networks(files: Iterable[Path]) -> tuple[Network, ...]:
    """What each file says; one that says something else is named as that."""
    found = []
    for k, file in enumerate(files):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            studies = _studies(content) if "studies" in content else [content]
            found += [_network(one, f"fig-pretrained-{k}-{j}") for j, one in enumerate(studies)]
        except (OSError, ValueError, LookupError, TypeError) as error:
            found.append(Network(file.name, f"not the JSON of {COMMAND} ({type(error).__name__}: {error})"))
    return tuple(found)


def _studies(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The networks of the committed study, each with what is said once there of its weights."""
    return [
        one | {"settings": {"weights": content["models"][one["model"]]["weights"]} | one["settings"]}
        for one in content["studies"].values()
    ]


def _network(found: Mapping[str, Any], ident: str) -> Network:
    settings, rows = found["settings"], found["layers"]
    name = str(found["model"]).rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1]
    weights = f", {settings['weights']}" if "weights" in settings else ""
    words = (
        f"{settings['architecture']}{weights}; the first {found['length']} "
        f"tokens of {settings.get('text', found.get('text', 'a text'))}; {len(settings['init_seeds'])} "
        f"initialisations, {settings['null_samples']} draws of random signs, Jacobians in {settings['dtype']}. The "
        "relative distance to the nearest generator at the best multiple of the identity; 0 would be a generator."
    )
    figures = (*(_over_depth(rows, axis, f"{ident}-{axis}") for axis in AXES), _sink(rows, f"{ident}-sink"))
    return Network(name, words, figures, (Table("layers", COLUMNS, tuple(map(_cells, rows))),))


def _over_depth(rows: Sequence[Mapping[str, Any]], axis: str, ident: str) -> Figure:
    trained = [(float(row["layer"]), float(row[axis]["shifted_distance"])) for row in rows]
    initial = [(float(row["layer"]), float(value)) for row in rows for value in row[axis]["init"]]
    signs = [(float(row["layer"]), float(value)) for row in rows for value in row[axis]["sign_flip"]]
    distances = [value for _, value in trained]
    description = (
        f"Relative distance to the nearest generator on the {axis} axis over {len(rows)} layers: from "
        f"{number(min(distances))} to {number(max(distances))}; "
        + (
            f"the same blocks initialised, {number(min(v for _, v in initial))} to "
            f"{number(max(v for _, v in initial))}; "
            if initial
            else "no initialisation was measured; "
        )
        + f"with random signs, {number(min(v for _, v in signs))} to {number(max(v for _, v in signs))}."
    )
    series = [
        Series("trained", trained, 0, "dot", line=True),
        Series("initialised", initial, 1, "triangle"),
        Series("random signs, ends of 95 %", signs, 4, "cross"),
    ]
    y = Scale("relative distance", 0.0, max(1.0, *(v for _, v in (*trained, *initial, *signs))))
    return panel(ident, f"{axis.capitalize()} axis", description, _depth(rows), y, series)


def _sink(rows: Sequence[Mapping[str, Any]], ident: str) -> Figure:
    trained = [(float(row["layer"]), float(row["weight_on_first"])) for row in rows]
    initial = [(float(row["layer"]), float(value)) for row in rows for value in row["init"]["weight_on_first"]]
    weights = [value for _, value in trained]
    description = (
        f"Attention on token 0, mean over tokens and heads, over {len(rows)} layers: from {number(min(weights))} to "
        f"{number(max(weights))}."
    )
    series = [Series("trained", trained, 0, "dot", line=True), Series("initialised", initial, 1, "triangle")]
    return panel(ident, "Attention sink", description, _depth(rows), Scale("weight on token 0", 0.0, 1.0), series)


def _depth(rows: Sequence[Mapping[str, Any]]) -> Scale:
    return spanning("layer", [float(row["layer"]) for row in rows])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    axes = [
        words
        for axis in AXES
        for words in (
            number(row[axis]["shifted_distance"]),
            _between(row[axis]["init"]),
            _between(row[axis]["sign_flip"]),
        )
    ]
    return (
        str(row["layer"]),
        *axes,
        number(row["correlation_with_attention"]),
        number(row["weight_on_first"]),
        _between(row["init"]["weight_on_first"]),
        number(row["steps_to_first"]),
    )


def _between(values: Sequence[float]) -> str:
    return f"{number(min(values))} to {number(max(values))}" if values else "not measured"
