"""The details of a claim, whatever they hold, as tables.

Details are plain data: numbers, lists of rows, rows that hold rows. Single values make one table; each list of rows
makes another, and the lists inside its rows a third, whose lines repeat what names their row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verify.report.text import number

LONGEST = 400  # lines of one table; claims.json holds the rest


@dataclass(frozen=True)
class Table:
    """cells: formatted words, one line per row. left_out: how many further rows there are."""

    name: str
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    left_out: int = 0


def tables(details: Mapping[str, Any]) -> tuple[Table, ...]:
    """All tables of `details`."""
    single = {key: value for key, value in details.items() if not isinstance(value, list | tuple | Mapping)}
    found = []
    if single:
        found.append(_table("values", [{"of": key, "value": value} for key, value in single.items()]))
    for key, value in details.items():
        if isinstance(value, Mapping):
            found += _of_mapping(key, value)
        elif isinstance(value, list | tuple) and value:
            found += _of_rows(key, [row if isinstance(row, Mapping) else {key: row} for row in value])
    return tuple(found)


def _of_mapping(name: str, value: Mapping[str, Any]) -> list[Table]:
    """A mapping of equally long lists is a table by columns; any other one is a list of values."""
    lists = [column for column in value.values() if isinstance(column, list | tuple)]
    if lists and len(lists) == len(value) and len({len(column) for column in lists}) == 1:
        rows = zip(*lists, strict=True)
        return [_table(name, [dict(zip(value, row, strict=True)) for row in rows])]
    return [_table(name, [{"of": key, "value": item} for key, item in value.items()])]


def _of_rows(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    inner = [key for key in rows[0] if isinstance(rows[0][key], list | tuple) and _is_rows(rows, key)]
    found = [_table(name, [{k: v for k, v in row.items() if k not in inner} for row in rows])]
    for key in inner:
        below = [_names(row) | dict(part) for row in rows for part in row.get(key) or ()]
        if below:
            found.append(_table(f"{name}: {key}", below))
    return found


def _is_rows(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    return all(isinstance(part, Mapping) for row in rows for part in row.get(key) or ())


def _names(row: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a row from the others: its first words and whole numbers, two at most."""
    named = {key: value for key, value in row.items() if isinstance(value, str | int) and not isinstance(value, bool)}
    return dict(list(named.items())[:2] if "seed" in named else list(named.items())[:1])


def _table(name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = tuple(dict.fromkeys(key for row in rows for key in row))
    cells = tuple(tuple(_cell(row.get(column, "")) for column in columns) for row in rows[:LONGEST])
    return Table(name, columns, cells, max(0, len(rows) - LONGEST))


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_cell(item) for item in value)}]"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_cell(item)}" for key, item in value.items())
    return number(value, digits=6)
