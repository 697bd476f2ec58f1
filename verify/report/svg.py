"""Two kinds of small figure as SVG text, coloured by the style sheet of the page: light, dark and print need no second
drawing.

`panel` draws series over two axes, `ladder` a value with its interval on each rung. Both are narrow enough to be read
on a phone without being scaled down, carry a title and a description for those who do not see them, and give the same
text for the same numbers. Coordinates are in pixels at the natural size, y downwards.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from verify.report.text import Number, as_svg, number, power, wrap

WIDTH, HEIGHT = 340, 236  # of a panel, without legend
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 40, 42
LABELS, RUNG = 128, 15  # of a ladder: width of the labels, height of a rung
SIZE, SMALL = 12.0, 11.0
MARKS = ("dot", "triangle", "square", "diamond")
Point = tuple[Number, Number]


@dataclass(frozen=True)
class Figure:
    """One drawing; description: what it shows, in words that can stand for it; height: in pixels."""

    title: str
    description: str
    svg: str
    height: Number


@dataclass(frozen=True)
class Scale:
    """An axis from low to high, linear or logarithmic; `ticks` where given, else round numbers."""

    label: str
    low: Number
    high: Number
    log: bool = False
    ticks: tuple[Number, ...] = ()

    def at(self, value: Number) -> Number:
        """`value` on [0, 1], cut off at the ends."""
        low, high, v = (self.low, self.high, value) if not self.log else map(_log, (self.low, self.high, value))
        return min(1.0, max(0.0, (v - low) / (high - low)))

    def marks(self) -> list[tuple[Number, str]]:
        """Values and labels of at most six ticks."""
        if self.ticks:
            return [(tick, number(tick)) for tick in self.ticks]
        if self.log:
            first, last = math.ceil(_log(self.low) - 1e-9), math.floor(_log(self.high) + 1e-9)
            every = max(1, math.ceil((last - first + 1) / 6))
            return [(10.0**k, power(k)) for k in range(first, last + 1, every)]
        step, first, last = _round_step(self.low, self.high)
        places = max(0, -math.floor(math.log10(step) + 1e-9))
        return [(k * step, f"{k * step + 0.0:.{places}f}".replace("-", "−")) for k in range(first, last + 1)]


def spanning(label: str, values: Sequence[Number], *, log: bool = False, ticks: tuple[Number, ...] = ()) -> Scale:
    """A scale that holds `values` with some room; on a logarithmic one only what is positive counts."""
    kept = [v for v in values if math.isfinite(v) and (v > 0 or not log)] or [1.0]
    low, high = min(kept), max(kept)
    if log:
        return (
            Scale(label, low / 1.8, high * 1.8, True, ticks) if low < high else Scale(label, low / 10, low * 10, True)
        )
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return Scale(label, low - room, high + room, False, ticks)


@dataclass(frozen=True)
class Series:
    """Points under one name. mark: a word of `MARKS`, 'open', 'cross', or nothing; line: whether they are joined."""

    name: str
    points: Sequence[Point]
    colour: int = 0
    mark: str = "dot"
    line: bool = False


@dataclass(frozen=True)
class Rung:
    """A value with its interval (None: none), or, where there is no value, what is said instead."""

    value: Number | None
    interval: tuple[Number, Number] | None = None
    style: int = 0
    said: str = ""


def panel(ident: str, title: str, description: str, x: Scale, y: Scale, series: Sequence[Series]) -> Figure:
    """Series over x and y; a legend below where there is more than one, or a mark that needs it."""
    legend = [one for one in series if one.name]
    needed = len(legend) > 1 or any(one.mark in ("open", "cross") for one in legend)
    rows = math.ceil(len(legend) / 2) if needed else 0
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(point: Point) -> Point:
        return LEFT + x.at(point[0]) * (right - LEFT), bottom - y.at(point[1]) * (bottom - TOP)

    out = [text(0, 13, title, "heading"), text(0, 30, y.label, "quiet")]
    for value, label in x.marks():
        at = place((value, y.low))[0]
        out.append(f'<path class="grid" d="M{at:.1f} {TOP}V{bottom}"/>')
        out.append(text(at, bottom + 15, label, "quiet", anchor="middle"))
    for value, label in y.marks():
        at = place((x.low, value))[1]
        out.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{right}"/>')
        out.append(text(LEFT - 6, at + 4, label, "quiet", anchor="end"))
    out.append(text((LEFT + right) / 2, bottom + 33, x.label, "quiet", anchor="middle"))
    for one in series:
        points = [place(point) for point in one.points]
        if one.line and points:
            out.append(f'<path class="line c{one.colour}" d="M{" ".join(f"{a:.1f} {b:.1f}" for a, b in points)}"/>')
        out += [mark(a, b, one.mark, one.colour) for a, b in points if one.mark]
    for k, one in enumerate(legend if rows else ()):
        left, at = (WIDTH / 2) * (k % 2), HEIGHT + 12 + 17 * (k // 2)
        if one.line:
            out.append(f'<path class="line c{one.colour}" d="M{left + 2:.1f} {at - 4:.1f}h16"/>')
        out += [mark(left + 10, at - 4, one.mark, one.colour)] if one.mark else []
        out.append(text(left + 24, at, one.name, "quiet"))
    return drawing(ident, title, description, HEIGHT + 17 * rows + (2 if rows else 0), out)


def ladder(
    ident: str,
    title: str,
    description: str,
    scale: Scale,
    groups: Sequence[tuple[str, Sequence[Rung]]],
    *,
    reference: Number | None = None,
    band: tuple[Number, Number] | None = None,
    legend: Sequence[str] = (),
) -> Figure:
    """A group of rungs per label; `reference` is a line across all of them, `band` a stripe, `legend` names styles."""
    right = WIDTH - RIGHT

    def place(value: Number) -> Number:
        return LABELS + scale.at(value) * (right - LABELS)

    headed = 24 + 17 * math.ceil(len(legend) / 2)
    at, body = headed + 4.0, []
    for name, rungs in groups:
        lines = wrap(name, LABELS - 8, SMALL)
        deep = max(len(rungs) * RUNG, len(lines) * 13) + 5
        first = at + (deep - 13 * (len(lines) - 1)) / 2 + 4
        body += [text(0, first + 13 * k, line, "label") for k, line in enumerate(lines)]
        body.append(f'<path class="grid" d="M0 {at + deep:.1f}H{right}"/>')
        for k, rung in enumerate(rungs):
            height = at + (deep - RUNG * len(rungs)) / 2 + RUNG * (k + 0.5)
            if rung.value is None:
                body.append(text(LABELS, height + 4, rung.said, "quiet said"))
                continue
            if rung.interval is not None:
                a, b = (place(end) for end in rung.interval)
                body.append(f'<path class="line c{rung.style}" d="M{a:.1f} {height:.1f}H{b:.1f}"/>')
            if scale.log and rung.value <= 0:
                body.append(text(LABELS, height + 4, "0", "label"))
            else:
                body.append(mark(place(rung.value), height, MARKS[rung.style % len(MARKS)], rung.style))
        at += deep
    out = [text(0, 13, title, "heading")]
    for k, name in enumerate(legend):
        left, row = (WIDTH / 2) * (k % 2), 32 + 17 * (k // 2)
        out += [mark(left + 6, row - 4, MARKS[k % len(MARKS)], k), text(left + 16, row, name, "quiet")]
    if band is not None:
        a, b = place(band[0]), place(band[1])
        out.append(
            f'<rect class="band" x="{a:.1f}" y="{headed}" width="{max(b - a, 1.0):.1f}" height="{at - headed:.1f}"/>'
        )
    for value, label in scale.marks():
        out.append(f'<path class="grid" d="M{place(value):.1f} {headed}V{at:.1f}"/>')
        out.append(text(place(value), at + 15, label, "quiet", anchor="middle"))
    if reference is not None:
        out.append(f'<path class="reference" d="M{place(reference):.1f} {headed}V{at:.1f}"/>')
    out.append(text(right, at + 32, scale.label, "quiet", anchor="end"))
    return drawing(ident, title, description, at + 40, [*out, *body])


def drawing(ident: str, title: str, description: str, height: Number, parts: Sequence[str]) -> Figure:
    """An <svg> with its text alternatives; `ident` must be unique in the page."""
    svg = (
        f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-labelledby="{ident}-t {ident}-d">'
        f'<title id="{ident}-t">{html.escape(title)}</title><desc id="{ident}-d">{html.escape(description)}</desc>'
        f"{''.join(parts)}</svg>"
    )
    return Figure(title, description, svg, height)


def text(x: Number, y: Number, words: str, kind: str, *, anchor: str = "start") -> str:
    """One line of text of a class of the style sheet."""
    size = SIZE if kind == "heading" else SMALL
    at = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{at}>{as_svg(words, size)}</text>'


def mark(x: Number, y: Number, kind: str, colour: int) -> str:
    """One marker at its place: shapes differ, so that nothing rests on colour."""
    paths = {
        "triangle": f"M{x:.1f} {y - 4.5:.1f}l4.4 8h-8.8z",
        "square": f"M{x - 3.5:.1f} {y - 3.5:.1f}h7v7h-7z",
        "diamond": f"M{x:.1f} {y - 5:.1f}l4.5 5l-4.5 5l-4.5 -5z",
        "cross": f"M{x - 3.5:.1f} {y - 3.5:.1f}l7 7m0 -7l-7 7",
    }
    if kind in paths:
        return f'<path class="mark {"stroke " if kind == "cross" else ""}c{colour}" d="{paths[kind]}"/>'
    hollow = "stroke " if kind == "open" else ""
    return f'<circle class="mark {hollow}c{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.6"/>'


def _log(value: Number) -> Number:
    return math.log10(value) if value > 0 else -math.inf


def _round_step(low: Number, high: Number) -> tuple[Number, int, int]:
    """The widest step of 1, 2 or 5 times a power of ten with three multiples or more on the axis; the first and last
    of them."""
    unit = 10.0 ** math.ceil(math.log10(high - low))
    while True:
        for step in (unit, unit / 2, unit / 5):
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
            if last - first >= 2:
                return step, first, last
        unit /= 10
