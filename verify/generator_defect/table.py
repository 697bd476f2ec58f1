"""Generator defects as plain text: one network, several seeds together, and the true generator beside them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from verify.generator_defect.distance import SCALE_FREE

if TYPE_CHECKING:
    from verify.generator_defect.block import BlockDefect
    from verify.generator_defect.distance import DefectFigures, Null
    from verify.generator_defect.measurement import GeneratorDefect
    from verify.generator_defect.reference import Reference

COLUMNS = ("sum_defect", "negative_mass", "distance", "shifted_distance")
_HEAD = f"{'':24}{'sums':>16}{'negative':>16}{'distance':>16}{'after shift':>16}{'shift c':>9}{'abscissa':>10}"


def defect_table(defect: GeneratorDefect) -> str:
    """A line per block and axis with its nulls, then attraction, fixed point and φ_θ of every block."""
    model, size = defect.settings["model"], defect.settings
    lines = [
        f"arm {model['arm']}, P = {model['period']}, d = {model['n_embd']}: {size['sequences']} sequences of "
        f"{size['length']} tokens; a generator has 0 in every column",
        _HEAD,
    ]
    for block in defect.blocks:
        lines.extend(_block(block))
    lines.append(_nulls("Gaussian, channel", defect.channel_null))
    lines.append(_nulls("Gaussian, token", defect.token_null))
    lines.extend(_attraction(block) for block in defect.blocks)
    return "\n".join(lines)


def block_table(block: BlockDefect) -> str:
    """The lines of one block: both axes with their nulls, then attraction and fixed point."""
    return "\n".join([_HEAD, *_block(block), _attraction(block)])


def _block(block: BlockDefect) -> list[str]:
    name = f"block {block.block}" + " (coupled)" * block.coupled
    return [
        _figures(f"{name}: channel", block.channel),
        _nulls("  in random bases", block.rotated),
        _figures("  each token", block.channel_each),
        _nulls("  signs at random", block.channel_nulls.sign_flip),
        _figures("  token axis", block.token),
        _nulls("  signs at random", block.token_nulls.sign_flip),
        _figures("  signs turned", block.token_nulls.negated),
    ]


def reference_table(references: Iterable[Reference]) -> str:
    """The true generator: a line per period."""
    lines = [
        "true generator block: columns of J and rows of W − I, at most; φ_θ to the fixed point",
        f"{'P':>4} {'sums':>9} {'negative':>9} {'distance':>9} {'attracting':>10} {'reached':>8} {'φ_θ to x*':>10} "
        f"{'TV':>9}",
    ]
    for r in references:
        worst = {name: max(getattr(r.block.channel_each, name), getattr(r.block.token, name)) for name in COLUMNS}
        found = r.block.phi_fixed_point
        away = f"{'none':>10}" if found is None else f"{found.distance:10.2e}"
        lines.append(
            f"{r.period:4d} {worst['sum_defect']:9.1e} {worst['negative_mass']:9.1e} {worst['distance']:9.1e} "
            f"{r.block.attracting:10.0%} {r.block.fixed_point.reached:8.0%} {away} {r.phi_tv:9.2e}"
        )
    return "\n".join(lines)


def spread(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and Student's 95 % interval over seeds, for records (`asdict` of a defect, with `step`, `training` and, if
    known, the `data`) that differ in their seed alone: one entry per group and block, `figures` name -> [mean, low,
    high] (None below two). Of records with one seed, the same network measured twice, the first counts."""
    from verify.statistics.paired import t_interval

    groups: dict[str, dict[int, dict[str, Any]]] = {}
    for record in records:
        training = {k: v for k, v in record["training"].items() if k != "seed"}
        group = groups.setdefault(repr((record["settings"], training, record["step"], record.get("data"))), {})
        group.setdefault(record["training"]["seed"], record)
    entries = []
    for members in map(list, map(dict.values, groups.values())):
        for blocks in zip(*(member["blocks"] for member in members), strict=True):
            flat = [_flat(block) for block in blocks]
            shared = [name for name in flat[0] if all(name in one for one in flat)]
            found = {}
            for name in shared:
                values = [one[name] for one in flat]
                low, high = t_interval(values, within=_within(name)) or (None, None)
                found[name] = [statistics.fmean(values), low, high]
            first = members[0]
            entries.append(
                {
                    "arm": first["settings"]["model"]["arm"],
                    "period": first["settings"]["model"]["period"],
                    "step": first["step"],
                    "block": blocks[0]["block"],
                    "coupled": blocks[0]["coupled"],
                    "seeds": sorted(member["training"]["seed"] for member in members),
                    "figures": found,
                }
            )
    return entries


def spread_table(records: Sequence[dict[str, Any]]) -> str:
    """A line per group and block, for groups of two seeds or more; '' where there is none."""
    lines = []
    for entry in spread(records):
        if len(entry["seeds"]) > 1:
            cells = [_mean_and_half(entry["figures"][f"channel.{name}"]) for name in COLUMNS]
            cells += [_mean_and_half(entry["figures"][f"token.{name}"]) for name in COLUMNS[2:]]
            cells += [_mean_and_half(entry["figures"][name]) for name in ("attracting", "fixed_point.reached")]
            name = f"P = {entry['period']}, step {entry['step']}, block {entry['block']}" + "*" * entry["coupled"]
            lines.append(f"{name:30}" + "".join(f"{cell:>16}" for cell in cells))
    if not lines:
        return ""
    heads = ("sums", "negative", "distance", "after shift", "token: distance", "after shift", "attracting", "reached")
    title = "mean over the seeds ± half of Student's 95 % interval (* the coupling enters here)"
    return "\n".join([title, " " * 30 + "".join(f"{head:>16}" for head in heads), *lines, ""])


def _flat(block: dict[str, Any]) -> dict[str, float]:
    """Every number of a block by its dotted name; a null by its mean."""
    found: dict[str, float] = {}
    for name, value in block.items():
        if isinstance(value, dict) and value.keys() == {"mean", "low", "high"}:
            found[name] = value["mean"]
        elif isinstance(value, dict):
            found |= {f"{name}.{inner}": v for inner, v in _flat(value).items()}
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
    return found


def _within(name: str) -> tuple[float, float] | None:
    """Between which numbers the figure of that name must lie: shares and relative sizes between 0 and 1."""
    last = name.rsplit(".", 1)[-1]
    if last == "correlation_with_attention":
        return (-1.0, 1.0)
    return (0.0, 1.0) if last in (*SCALE_FREE, "attracting", "contracting", "reached", "sine") else None


def _mean_and_half(values: list[float | None]) -> str:
    mean, _, high = values
    return "" if mean is None else f"{mean:.3f}" if high is None else f"{mean:.3f} ± {high - mean:.3f}"


def _figures(name: str, figures: DefectFigures) -> str:
    cells = "".join(f"{getattr(figures, column):16.3f}" for column in COLUMNS)
    return f"{name:24}{cells}{figures.shift:9.3f}{figures.abscissa:10.3f}"


def _nulls(name: str, nulls: dict[str, Null]) -> str:
    cells = "".join(f" {nulls[c].mean:.2f} ({nulls[c].low:.2f}–{nulls[c].high:.2f})" for c in COLUMNS)
    return f"{name:24}{cells}".rstrip()


def _attraction(block: BlockDefect) -> str:
    point = block.fixed_point
    line = (
        f"block {block.block}: attracting at {block.attracting:.0%} of the tokens (largest Re λ {block.abscissa:.2f}), "
        f"contracting at {block.contracting:.0%}; {point.reached:.0%} reach a fixed point in {point.iterations} "
        f"iterations (‖x‖ × {point.growth:.3g}, last step {point.residual:.1e})"
    )
    if block.correlation_with_attention is not None:
        line += f"; C and the attention weights correlate by {block.correlation_with_attention:.2f}"
    for what, found in (("the state", block.phi_state), ("the fixed point", block.phi_fixed_point)):
        if found is not None:
            line += f"; φ_θ to {what}: {found.distance:.2f}, sine {found.sine:.3f}"
    if block.coupled and block.phi_fixed_point is None:
        line += "; no fixed point to hold φ_θ against"
    return line
