"""Numbers, formulas and escapes as the report prints them, in HTML, in SVG and in Markdown.

Claims write their formulas as plain text: p_st, φ_θ, e^{−gap·t}, 3e-14. `pieces` finds the indices and exponents in it
and whatever stands between backticks; each of the three forms sets them in its own way. Names of files and systems,
such as two_state, are no formulas.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable
from typing import Any

Number = float | int
NOTHING = "—"
TIMES = "\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MARKED = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|(?<=(?<!\w)[^\W\d_])_(?P<sub>\{[^{}]*\}|st|[^\W_]{1,2})(?!\w)"  # p_st, W_tt; not two_state
    r"|(?<=(?<!\w)D[^\W\d_])_(?P<derived>st)(?!\w)"  # Dp_st
    r"|(?<=[\w)\]])\^(?P<sup>\{[^{}]*\}|#|[^\W_]+)"  # A^#, R^k, ε^{k+1}
)
EXPONENT = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)e([+-]?\d+)(?!\w)")
ARGUMENTS = re.compile(r"(?<=[\w\[(])([,;]) (?=[^\s()]{1,4}[)\]])")  # f(x, y) stays on one line


def pieces(text: str) -> list[tuple[str, str]]:
    """`text` as (kind, part) with kind "", "sub", "sup" or "code"; the marks and braces are gone."""
    found, start = [], 0
    for match in MARKED.finditer(text):
        if match.start() > start:
            found.append(("", _plain(text[start : match.start()])))
        kind = {"code": "code", "sup": "sup"}.get(match.lastgroup or "", "sub")
        part = match[match.lastgroup or 0]
        found.append((kind, part[1:-1] if part.startswith("{") else part))
        start = match.end()
    if start < len(text):
        found.append(("", _plain(text[start:])))
    return found


def _plain(text: str) -> str:
    text = EXPONENT.sub(lambda match: f"{match[1]}{TIMES}{power(int(match[2]))}", text)
    return ARGUMENTS.sub("\\1\N{NO-BREAK SPACE}", text)


def as_html(text: str) -> str:
    """Escaped, with indices lowered and exponents raised."""
    return _tagged(text, html.escape)


def as_markdown(text: str) -> str:
    """On one line, with nothing left that Markdown or HTML would read, indices and exponents as HTML."""
    return _tagged(" ".join(text.split()), lambda part: re.sub(r"([\\`*_\[\]<>|#~&$])", r"\\\1", part))


def _tagged(text: str, escape: Callable[[str], str]) -> str:
    return "".join(f"<{kind}>{escape(part)}</{kind}>" if kind else escape(part) for kind, part in pieces(text))


def as_svg(text: str, size: Number) -> str:
    """The inside of a <text> element of that font size: shifted tspans, which every browser knows."""
    out, level = [], 0.0
    for kind, part in pieces(text):
        wanted = {"sub": 0.25, "sup": -0.35}.get(kind, 0.0) * size
        small = f' font-size="{0.75 * size:g}"' if kind in ("sub", "sup") else ""
        shift = f' dy="{wanted - level:g}"' if wanted != level else ""
        level = wanted
        out.append(f"<tspan{shift}{small}>{html.escape(part)}</tspan>" if shift or small else html.escape(part))
    return "".join(out)


def wrap(text: str, width: Number, size: Number) -> list[str]:
    """Lines of `text` that fit into `width` at font size `size`, by a mean glyph of 0.56 em.

    Only words that are longer than a line are broken, and f(x, y) is one word.
    """
    most = max(1, int(width / (0.56 * size)))
    lines: list[str] = []
    for word in _plain(text).split(" "):
        if lines and _glyphs(f"{lines[-1]} {word}") <= most:
            lines[-1] += f" {word}"
            continue
        while _glyphs(word) > most:
            lines.append(word[:most])
            word = word[most:]
        lines.append(word)
    return lines


def _glyphs(text: str) -> Number:
    return sum(len(part) * (0.75 if kind in ("sub", "sup") else 1.0) for kind, part in pieces(text))


def number(value: Any, *, digits: int = 4) -> str:
    """A figure for people: 1,000; 0.8591; 8.9 × 10⁻¹⁶; words and truth values as they are; — for nothing."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return NOTHING
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        plain = f"{value:,.{digits}g}" if abs(value) < 1e4 else f"{value:,.0f}"
        return plain.replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}{TIMES}{power(int(exponent))}".replace("-", "−")


def power(exponent: int) -> str:
    """10 to that power, as text."""
    return "10" + str(exponent).translate(SUPERSCRIPTS)


def measured_in(value: Number | None, ends: tuple[Number, Number] | list[Number] | None) -> tuple[str, str]:
    """A figure and its interval, both to the decimals that the width of the interval can tell apart."""
    if ends is None or None in ends:
        return number(value), NOTHING
    low, high = ends
    width = high - low
    if not 1e-5 <= width < 10:
        return number(value), f"[{number(low)}, {number(high)}]"
    places = max(0, math.ceil(-math.log10(width)) + 1)
    shown = NOTHING if value is None else f"{value:.{places}f}"
    return shown.replace("-", "−"), f"[{low:.{places}f}, {high:.{places}f}]".replace("-", "−")


def duration(seconds: Number) -> str:
    """Seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def ident_of(words: str) -> str:
    """`words` as part of an id: different words stay different."""
    return "".join(c if c == "_" or (c.isascii() and c.isalnum()) else f"-{ord(c):x}-" for c in words)
