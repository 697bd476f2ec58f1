"""The mapping as a picture: the fast–slow ODE on the left, the network on the right, a link for each measured claim.

A link runs from its two nodes to a box in the middle, which names the claim, its tag and its verdict and leads to its
section. Tags differ by line as well as by colour. The picture is drawn twice, wide and narrow, from the same table; the
style sheet shows the one that fits the screen.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from verify.report.content import Section
from verify.report.mapping import LINKS, NETWORK, ODE, Node, node
from verify.report.text import Number, as_svg, ident_of, wrap

# tag: dash pattern, what it looks like in words, what it means
LINES = {
    "exact": ("", "solid", "an identity, held to rounding"),
    "structural": ("10 4", "dashed", "an order, a limit or a constant, with an interval"),
    "heuristic": ("9 4 2 4", "dash-dotted", "an analogy"),
    "empirical": ("1 5", "dotted", "a finding of an experiment"),
    "gap": ("", "double", "where the network departs from the theory, and by how much"),
    "unknown": ("3 3", "finely dashed", "a file that could not be read"),
}
MARKS = {
    "HOLDS": "✓",
    "CONSISTENT": "≈",
    "MEASURED": "↔",
    "INCONCLUSIVE": "?",
    "INCONSISTENT": "≠",
    "VIOLATED": "✗",
    "NOT_RUN": "–",
}


TOP = 34.0  # pixels, for the headings
BOLD = 1.1  # bold glyphs over plain ones, in width


@dataclass(frozen=True)
class Form:
    """One of the two forms; all lengths in pixels. side: width of a node; box: width of a claim; row: height of one."""

    name: str
    width: Number
    side: Number
    box: Number
    row: Number
    size: Number
    small: Number


WIDE = Form("wide", 1080, 250, 330, 46, 15, 12)
NARROW = Form("narrow", 368, 94, 120, 72, 11.5, 10.5)


def drawn(sections: Sequence[Section]) -> list[Section]:
    """Those that have a place in the picture, in the order of the table."""
    order = list(LINKS)
    return sorted((section for section in sections if section.id in LINKS), key=lambda section: order.index(section.id))


def picture(sections: Sequence[Section], form: Form) -> str:
    """The SVG of one form."""
    links = drawn(sections)
    rows = form.row * len(links)
    height = 8 + max(
        TOP + rows, *(TOP + sum(_deep(name, form) for name in _linked(side, links)) for side in (ODE, NETWORK))
    )
    first = (TOP + height - 8 - rows) / 2
    middle = {section.id: first + form.row * (k + 0.5) for k, section in enumerate(links)}
    left_end, right_start = form.side, form.width - form.side
    box_left, box_right = (form.width - form.box) / 2, (form.width + form.box) / 2
    ends = _ends(links, middle, form, height)
    parts = [
        _heading(form.side / 2, "fast–slow ODE", form),
        _heading(form.width / 2, "link, measured" if form is WIDE else "link", form),
        _heading(form.width - form.side / 2, "network", form),
    ]
    for section in links:
        curves = []
        one, other = LINKS[section.id]
        both_left, both_right = one in ODE and other in ODE, one in NETWORK and other in NETWORK
        for k, name in enumerate((one, other)):
            shift = (-0.18 if k == 0 else 0.18) * form.row if both_left or both_right else 0.0
            a = (left_end, ends[section.id, name]) if name in ODE else (right_start, ends[section.id, name])
            b = (box_left if name in ODE else box_right, middle[section.id] + shift)
            curves.append(_curve(a, b))
        parts.append(_link(section, curves, box_left, middle[section.id], form))
    for side, x in ((ODE, 0.0), (NETWORK, right_start)):
        parts += [_node(name, x, at, form) for name, at in _places(side, links, middle, form, height).items()]
    said = "; ".join(f"{s.id}: {_between(s.id)}, {s.tag}, {s.verdict}" for s in links)
    ident = f"mapping-{form.name}"
    return (
        f'<svg class="{form.name}" viewBox="0 0 {form.width:g} {height:g}" role="group" '
        f'aria-labelledby="{ident}-t {ident}-d"><title id="{ident}-t">The mapping and its links</title>'
        f'<desc id="{ident}-d">{html.escape(said)}</desc>{"".join(parts)}</svg>'
    )


def legend() -> str:
    """What each line means, as an HTML list."""
    items = []
    for tag, (_, looks, means) in LINES.items():
        if tag == "unknown":
            continue
        sample = "".join(_strokes("M2 7H46", tag))
        items.append(
            f'<li><svg class="sample" viewBox="0 0 48 14" role="img" aria-label="{looks} line">'
            f'<title>{looks} line</title><g class="tag-{tag}">{sample}</g></svg> <b>{tag}</b>, {means}</li>'
        )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _between(ident: str) -> str:
    return " to ".join(node(name).name for name in LINKS[ident])


def _heading(x: Number, words: str, form: Form) -> str:
    return f'<text class="quiet" font-size="{form.small:g}" x="{x:g}" y="16" text-anchor="middle">{words}</text>'


def _curve(a: tuple[Number, Number], b: tuple[Number, Number]) -> str:
    """From a node to a box, level at both ends."""
    half = (a[0] + b[0]) / 2
    return f"M{a[0]:.1f} {a[1]:.1f}C{half:.1f} {a[1]:.1f} {half:.1f} {b[1]:.1f} {b[0]:.1f} {b[1]:.1f}"


def _strokes(path: str, tag: str) -> list[str]:
    dash = LINES.get(tag, LINES["unknown"])[0]
    pattern = f' stroke-dasharray="{dash}"' if dash else ""
    if tag == "gap":  # a wide line with the background drawn inside it
        return [f'<path class="outer" d="{path}"/>', f'<path class="inner" d="{path}"/>']
    return [f'<path class="one" d="{path}"{pattern}/>']


def _link(section: Section, curves: Sequence[str], x: Number, y: Number, form: Form) -> str:
    """The box of a claim with its two curves, as one link to its section."""
    tag = section.tag if section.tag in LINES else "unknown"
    pad = 14 if form is WIDE else 10
    lines = wrap(section.id.replace("_", " "), form.box - 1.4 * pad, BOLD * (form.size if form is WIDE else form.small))
    size = form.size - 1 if form is WIDE else form.small
    state = [tag, f"{MARKS.get(section.verdict, '!')} {section.verdict}"]
    if form is WIDE:
        state = [" · ".join(state)]
    words, step = [*lines, *state], size + 3.5
    first = y - step * (len(words) - 1) / 2 + 0.35 * size
    texts = [
        f'<text class="{"state" if k >= len(lines) else "claim"}" '
        f'font-size="{form.small if k >= len(lines) else size:g}" x="{x + pad:g}" y="{first + step * k:.1f}">'
        f"{html.escape(line)}</text>"
        for k, line in enumerate(words)
    ]
    deep = form.row - 8
    body = f'<rect class="box" x="{x:g}" y="{y - deep / 2:.1f}" width="{form.box:g}" height="{deep:g}" rx="6"/>'
    bar = f'<rect class="bar" x="{x:g}" y="{y - deep / 2 + 5:.1f}" width="4" height="{deep - 10:g}"/>'
    label = html.escape(f"{section.id}: {_between(section.id)}; {section.tag}, {section.verdict}")
    strokes = "".join(stroke for curve in curves for stroke in _strokes(curve, tag))
    return (
        f'<a class="tag-{tag}" href="#claim-{ident_of(section.id)}" aria-label="{label}">'
        f"<title>{label}</title>{strokes}{body}{bar}{''.join(texts)}</a>"
    )


def _node(name: str, x: Number, at: Number, form: Form) -> str:
    lines, deep = _words(name, form)
    out = [f'<rect class="node" x="{x:g}" y="{at - deep / 2:.1f}" width="{form.side:g}" height="{deep:g}" rx="6"/>']
    y = at - deep / 2 + 6
    for kind, size, line in lines:
        y += size + 4
        middle = x + form.side / 2
        out.append(
            f'<text class="{kind}" font-size="{size:g}" x="{middle:g}" y="{y - 2:.1f}" text-anchor="middle">'
            f"{as_svg(line, size)}</text>"
        )
    return "".join(out)


def _words(name: str, form: Form) -> tuple[list[tuple[str, Number, str]], Number]:
    """The lines of a node and its height."""
    one = node(name)
    lines = [("formula", form.size, line) for line in wrap(one.name, form.side - 8, BOLD * form.size)]
    lines += [("quiet", form.small, line) for line in wrap(one.meaning, form.side - 8, form.small)]
    return lines, sum(size + 4 for _, size, _ in lines) + 12


def _touching(name: str, links: Sequence[Section]) -> list[str]:
    return [section.id for section in links if name in LINKS[section.id]]


def _linked(side: dict[str, Node], links: Sequence[Section]) -> list[str]:
    return [name for name in side if _touching(name, links)]


def _deep(name: str, form: Form) -> Number:
    """The height of a node with the space around it."""
    return _words(name, form)[1] + 8


def _places(
    side: dict[str, Node], links: Sequence[Section], middle: dict[str, Number], form: Form, height: Number
) -> dict[str, Number]:
    """The height of each linked node: at the mean of its links, moved as little down and up as keeps nodes apart."""
    linked = _linked(side, links)
    touching = {name: [middle[ident] for ident in _touching(name, links)] for name in linked}
    wanted = {name: sum(heights) / len(heights) for name, heights in touching.items()}
    names = sorted(linked, key=lambda name: (wanted[name], linked.index(name)))
    found: dict[str, Number] = {}
    floor = TOP - 8
    for name in names:
        half = _deep(name, form) / 2
        found[name] = max(wanted[name], floor + half)
        floor = found[name] + half
    ceiling = height
    for name in reversed(names):
        half = _deep(name, form) / 2
        found[name] = min(found[name], ceiling - half)
        ceiling = found[name] - half
    return found


def _ends(
    links: Sequence[Section], middle: dict[str, Number], form: Form, height: Number
) -> dict[tuple[str, str], Number]:
    """Where each link meets each of its nodes: spread along the node's edge in the order of the claims."""
    found = {}
    for side in (ODE, NETWORK):
        for name, at in _places(side, links, middle, form, height).items():
            touching = _touching(name, links)
            room = 0.7 * _words(name, form)[1]
            for k, ident in enumerate(touching):
                found[ident, name] = at + room * ((k + 0.5) / len(touching) - 0.5)
    return found
