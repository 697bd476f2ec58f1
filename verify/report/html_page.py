"""The report as one HTML page that asks nobody for anything: style and figures inside, no script, light and dark.

A content security policy in the page forbids every request, so that nothing added later can leave it unnoticed. All
words come from claims, which may be anybody's: everything is escaped.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from importlib.resources import files

from verify.report.content import INTRODUCTION, TITLE, Content, Section
from verify.report.glossary import GLOSSARY
from verify.report.mapping_picture import NARROW, WIDE, drawn, legend, picture
from verify.report.pretrained import Network
from verify.report.svg import Figure
from verify.report.tables import Table
from verify.report.text import as_html, ident_of

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
ROW = 300.0  # pixels: the height of a row of figures
SENTENCE = 45  # letters: a longer cell is wrapped
BAD = ("VIOLATED", "ERROR", "UNNOTICED")


def page(content: Content) -> str:
    """The whole page."""
    style = files("verify.report").joinpath("report.css").read_text(encoding="utf-8")
    parts = [
        *_top(content),
        *_mapping(content.sections),
        *_table(content),
        *map(_section, content.sections),
        *_networks(content.networks),
        _glossary(),
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="color-scheme" content="light dark">\n<title>{as_html(TITLE)}</title>\n'
        f'<link rel="icon" href="data:,">\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n'
        f"{_made_with(content)}\n</main>\n</body>\n</html>\n"
    )


def _top(content: Content) -> list[str]:
    counts = "".join(f"<li>{count} {_chip(word)}</li>" for word, count in content.counts)
    out = [
        f"<h1>{as_html(TITLE)}</h1>",
        f'<p>{as_html(INTRODUCTION)} Words of the field stand in the <a href="#glossary">glossary</a>.</p>',
        f'<p class="made">{html.escape(content.made_with)}</p>',
        f"<p><b>{as_html(content.summary)}</b></p>",
        f'<ul class="counts" aria-label="verdicts">{counts}</ul>',
    ]
    if content.remarks:
        items = "".join(f"<li>{_anchor(ident)}: {as_html(words)}</li>" for ident, words in content.remarks)
        out.append(f'<div class="remarks"><p><b>Not as it must be</b></p><ul>{items}</ul></div>')
    return out


def _mapping(sections: Sequence[Section]) -> list[str]:
    shown = drawn(sections)
    out = ["<h2>The mapping</h2>"]
    if shown:
        out.append(f'<div class="mapping">{picture(sections, WIDE)}{picture(sections, NARROW)}</div>{legend()}')
    beside = [section.id for section in sections if section not in shown]
    if beside:
        out.append(f"<p>Without a place in the picture: {', '.join(map(_anchor, beside))}.</p>")
    return out


def _table(content: Content) -> list[str]:
    columns = [column for column in content.sections[0].row if column != "mutant" or content.with_mutants]
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    rows = "".join(f'<tr role="row">{"".join(_cell(s, column) for column in columns)}</tr>\n' for s in content.sections)
    return [
        "<h2>All claims</h2>",
        f'<table class="all" role="table"><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table>',
    ]


def _cell(section: Section, column: str) -> str:
    words = section.row[column]
    shown = as_html(words)
    if column == "claim":
        shown = _anchor(words)
    elif column == "tag":
        shown = _tag(words)
    elif column in ("verdict", "mutant"):
        shown = _chip(words)
    return f'<td role="cell" data-label="{column}"><span>{shown}</span></td>'


def _section(section: Section) -> str:
    facts = [(label, as_html(words)) for label, words in section.facts]
    if section.how:
        facts.append(("how", as_html(section.how)))
    if section.mutant:
        facts.append(("mutant", as_html(section.mutant)))
    if section.place:
        tested = f", tested in <code>{html.escape(section.tested)}</code>" if section.tested else ""
        facts.append(("code", f"<code>{html.escape(section.place)}</code>{tested}"))
    facts.append(("cost", section.row["cost"]))
    listed = "".join(f"<dt>{label}</dt><dd>{words}</dd>" for label, words in facts)
    figures = "".join(_figure(figure) for figure in section.figures)
    beside = " beside" if len(section.figures) == 1 else ""
    undrawn = f"<p>No figure: {as_html(section.undrawn)}.</p>" if section.undrawn else ""
    return (
        f'<section id="claim-{ident_of(section.id)}">\n'
        f"<header><h3>{html.escape(section.id)}</h3> {_tag(section.tag)} {_chip(section.verdict)}</header>\n"
        f"<blockquote>{as_html(section.statement)}</blockquote>\n"
        + (f'<p class="made">Source: {as_html(section.source)}</p>\n' if section.source else "")
        + f'<div class="body{beside}"><dl>{listed}</dl>\n'
        + (f'<div class="figures">{figures}</div>' if figures else "")
        + "</div>\n"
        + undrawn
        + _details(section.tables)
        + "</section>"
    )


def _networks(networks: Sequence[Network]) -> list[str]:
    out = ["<h2>Pretrained networks</h2>"] if networks else []
    for one in networks:
        drawn_of_it = "".join(map(_figure, one.figures))
        out.append(
            f"<section>\n<header><h3>{html.escape(one.name)}</h3></header>\n<p>{as_html(one.words)}</p>\n"
            + (f'<div class="body"><div class="figures">{drawn_of_it}</div></div>\n' if drawn_of_it else "")
            + _details(one.tables)
            + "</section>"
        )
    return out


def _figure(figure: Figure) -> str:
    """A cell of the grid of figures, or as many below one another as the figure is tall."""
    rows = math.ceil(figure.height / ROW)
    return (
        f'<figure class="tall" style="--rows: {rows}">{figure.svg}</figure>'
        if rows > 1
        else f"<figure>{figure.svg}</figure>"
    )


def _details(tables: Sequence[Table]) -> str:
    if not tables:
        return ""
    inside = []
    for table in tables:
        head = "".join(f'<th scope="col">{as_html(column)}</th>' for column in table.columns)
        rows = "".join(f"<tr>{''.join(map(_data, row))}</tr>\n" for row in table.cells)
        more = f"<p>{table.left_out:,} more rows are in claims.json.</p>" if table.left_out else ""
        inside.append(
            f'<p>{as_html(table.name)}</p><div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{rows}</tbody></table></div>{more}"
        )
    return f"<details><summary>The figures behind it</summary>{''.join(inside)}</details>\n"


def _data(cell: str) -> str:
    """A cell of a table of details: figures on one line, sentences on several."""
    kind = ' class="long"' if len(cell) > SENTENCE else ""
    return f"<td{kind}>{as_html(cell)}</td>"


def _glossary() -> str:
    rows = "".join(f"<dt>{as_html(word)}</dt><dd>{as_html(meaning)}</dd>" for word, meaning in GLOSSARY)
    return f'<h2 id="glossary">Glossary</h2>\n<dl>{rows}</dl>'


def _made_with(content: Content) -> str:
    rows = "".join(f"<dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd>" for key, value in content.provenance)
    return f"<h2>Made with</h2>\n<dl>{rows}</dl>"


def _anchor(ident: str) -> str:
    return f'<a href="#claim-{ident_of(ident)}">{html.escape(ident)}</a>'


def _tag(tag: str) -> str:
    return f'<span class="chip tag {html.escape(tag)}">{html.escape(tag)}</span>'


def _chip(word: str) -> str:
    return f'<span class="chip{" bad" if word in BAD else ""}">{html.escape(word)}</span>'
