"""A pretrained model as plain text: a line per layer, each figure beside what chance and initialisation give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from verify.generator_defect.layers import FIGURE

WIDTHS = (5, 7, 14, 14, 7, 14, 14, 9, 7, 11, 8, 8, 8, 10)
HEADS = (
    ("", "channel", "", "", "token", "", "", "", "C and", "", "weight", "steps", "", "restarted"),
    ("layer", "", "init", "signs", "", "init", "signs", "negated", "W", "attracting", "on 0", "to 0", "gap", "at 0"),
)


def layer_table(found: Mapping[str, Any]) -> str:
    """A line per layer of the plain data of a `PretrainedDefect`: shifted distances on both axes, each with the range
    of its initialisations and the central 95 % of random signs; then correlation, attraction and attention chain."""
    settings = found["settings"]
    lines = [
        f"{found['model']} ({settings['architecture']}), T = {found['length']}, {settings['dtype']}: distance to the "
        f"nearest generator at the best multiple of the identity, beside {len(settings['init_seeds'])} initialisations",
        *("".join(word.rjust(width) for word, width in zip(head, WIDTHS, strict=True)) for head in HEADS),
    ]
    for row in found["layers"]:
        channel, token = row["channel"], row["token"]
        cells = [
            str(row["layer"]),
            f"{channel[FIGURE]:.3f}",
            _range(channel["init"]),
            _range(channel["sign_flip"]),
            f"{token[FIGURE]:.3f}",
            _range(token["init"]),
            _range(token["sign_flip"]),
            f"{token['negated']:.3f}",
            f"{row['correlation_with_attention']:.2f}",
            f"{row['attracting']:.0%}",
            f"{row['weight_on_first']:.3f}",
            f"{row['steps_to_first']:.2f}",
            f"{row['gap']:.3f}",
            f"{row['restarted_first']:.3f}",
        ]
        lines.append("".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True)))
    floor = max(row["float32_floor"] for row in found["layers"])
    if floor > 0:
        lines.append(
            f"casts to float32 inside the blocks were computed in float64; left alone, they move F by {floor:.0e}"
        )
    return "\n".join(lines)


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f}–{max(values):.2f}" if values else "not yet"
