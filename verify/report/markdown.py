"""The report as Markdown: the words of the page in the same order, with each figure's description in its place."""

from __future__ import annotations

from collections.abc import Sequence

from verify.report.content import INTRODUCTION, TITLE, Content, Section
from verify.report.glossary import GLOSSARY
from verify.report.mapping import LINKS, node
from verify.report.mapping_picture import drawn
from verify.report.pretrained import Network
from verify.report.tables import Table
from verify.report.text import as_markdown


def markdown(content: Content) -> str:
    """The whole report."""
    parts = [
        f"# {as_markdown(TITLE)}",
        as_markdown(INTRODUCTION),
        as_markdown(content.made_with),
        f"**{as_markdown(content.summary)}**",
    ]
    if content.remarks:
        items = [f"- {as_markdown(ident)}: {as_markdown(words)}" for ident, words in content.remarks]
        parts.append("Not as it must be:\n\n" + "\n".join(items))
    parts += ["## The mapping", *_mapping(content.sections), "## All claims", _table(content)]
    for section in content.sections:
        parts += _section(section)
    parts += _networks(content.networks)
    made = [f"- {as_markdown(key)}: {as_markdown(value)}" for key, value in content.provenance]
    parts += ["## Glossary", grid(("word", "what it means here"), GLOSSARY)]
    return "\n\n".join([*parts, "## Made with", "\n".join(made)]) + "\n"


def _mapping(sections: Sequence[Section]) -> list[str]:
    shown = drawn(sections)
    rows = [[*(node(name).name for name in LINKS[s.id]), f"{s.tag}, {s.verdict}", s.id] for s in shown]
    out = [grid(("from", "to", "link", "claim"), rows)] if shown else []
    beside = [section.id for section in sections if section not in shown]
    return out + ([f"Without a place in the picture: {as_markdown(', '.join(beside))}."] if beside else [])


def _table(content: Content) -> str:
    columns = [column for column in content.sections[0].row if column != "mutant" or content.with_mutants]
    return grid(columns, [[section.row[column] for column in columns] for section in content.sections])


def _section(section: Section) -> list[str]:
    facts = list(section.facts)
    facts += [(label, words) for label, words in (("how", section.how), ("mutant", section.mutant)) if words]
    lines = [f"- *{label}:* {as_markdown(words)}" for label, words in facts]
    if section.place:
        tested = f", tested in {section.tested}" if section.tested else ""
        lines.append(f"- *code:* {as_markdown(section.place + tested)}")
    lines.append(f"- *cost:* {section.row['cost']}")
    out = [f"### {as_markdown(section.id)}", f"**{as_markdown(section.tag)}, {as_markdown(section.verdict)}**"]
    out += [f"> {as_markdown(section.statement)}"] if section.statement else []
    out += [f"Source: {as_markdown(section.source)}"] if section.source else []
    out.append("\n".join(lines))
    out += [f"*Figure, {as_markdown(figure.title)}:* {as_markdown(figure.description)}" for figure in section.figures]
    out += [f"No figure: {as_markdown(section.undrawn)}."] if section.undrawn else []
    return out + _details(section.tables)


def _networks(networks: Sequence[Network]) -> list[str]:
    out = ["## Pretrained networks"] if networks else []
    for one in networks:
        out += [f"### {as_markdown(one.name)}", as_markdown(one.words)]
        out += [f"*Figure, {as_markdown(f.title)}:* {as_markdown(f.description)}" for f in one.figures]
        out += _details(one.tables)
    return out


def _details(tables: Sequence[Table]) -> list[str]:
    if not tables:
        return []
    out = ["<details><summary>The figures behind it</summary>"]
    for table in tables:
        out += [as_markdown(table.name), grid(table.columns, table.cells)]
        out += [f"{table.left_out:,} more rows are in claims.json."] if table.left_out else []
    return [*out, "</details>"]


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *([as_markdown(cell) for cell in row] for row in rows)]
    lines[0] = [as_markdown(column) for column in columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
