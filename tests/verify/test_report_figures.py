"""What the report draws, and how it writes numbers and formulas."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.claims._training import judge_neutrality, planted_cells
from verify.report.drawn import DRAWN, figures
from verify.report.svg import Rung, Scale, Series, ladder, panel, spanning
from verify.report.tables import LONGEST, tables
from verify.report.text import (
    as_html,
    as_markdown,
    as_svg,
    duration,
    ident_of,
    measured_in,
    number,
    pieces,
    power,
    wrap,
)

OVER_EPSILON = [{"epsilon": 0.5**k, "residual": 0.1**k, "floor_limited": k == 4} for k in range(5)]
GAPS = [
    {"epsilon": 0.5**k, "gap_tv": 0.3 * 0.5**k, "predicted_tv": 0.31 * 0.5**k, "pre_asymptotic": k == 0}
    for k in range(4)
]
SYSTEM = {"predicted": 1.0, "tolerance": 0.01, "reason": "", "verdict": "HOLDS"}
CELLS = planted_cells(dense=2.1, coupled=2.09, frozen=2.1, local=2.1)
DETAILS = {
    "orders": {
        "systems": [
            {**SYSTEM, "system": "ring, k = 0", "measured": 1.0, "interval": [0.99, 1.01], "rows": OVER_EPSILON},
            {**SYSTEM, "system": "ring, k = 1", "measured": 1.1, "interval": [1.0, 1.2], "rows": OVER_EPSILON[:3]},
            {**SYSTEM, "system": "stuck", "measured": None, "interval": None, "verdict": "INCONCLUSIVE", "rows": []},
        ]
    },
    "gap": {"systems": [{**SYSTEM, "system": "ring", "measured": 1.0, "interval": [0.9, 1.1], "rows": GAPS}]},
    "errors": {"ratios": [{"of": "one", "ratio": 0.5}, {"of": "none", "ratio": 0.0}, {"of": "lost", "ratio": None}]},
    "routes": {"routes": [{"route": "a long name of a route by simulation", "ratio": 0.25}]},
    "leak": {"models": [{"period": p, "share": 0.5 / p} for p in (1, 2, 8)]},
    "cost": {"rows": [{"period": p, "ratio": float(p * p), "expected": float(p * p)} for p in (1, 2, 4)]},
    "network": {
        "rows": [
            {"vocabulary": name, "period": p, "gap_tv": 0.1 / p, "predicted_tv": 0.1 / p}
            for name in ("letters", "bytes")
            for p in (4, 32, 256)
        ]
    },
    "times": {
        "rows": [{"name": "equal", "ratio": 1.1, "low": 1.0, "high": 1.2}],
        "seconds": {"dense": [1.0, 2.0], "equal": [1.1, 2.3]},
    },
    "cells": judge_neutrality(CELLS).details,
    "path": {"path": [{"tokens": 500_000 * k, "gate": 0.1 * k, "seeds": 2} for k in (1, 2, 3)]},
    "blocks": {"blocks": [{"block": 0, "axis": a, "seed": 0, "shifted distance": 0.5} for a in ("token", "channel")]},
}
COUNTS = {"orders": 2, "gap": 2, "times": 2}


def claim(name, **changes):
    return {"id": name, "measured": 1.0, "bound": 1.0, "interval": [0.5, 1.5], "details": DETAILS[name]} | changes


@pytest.mark.parametrize("name", DETAILS)
def test_what_built_in_claims_hold_is_drawn_with_words_for_it(name):
    found, undrawn = figures(claim(name))
    assert undrawn == "" and len(found) == COUNTS.get(name, 1)
    idents = re.findall(r'id="([^"]+)"', "".join(figure.svg for figure in found))
    assert len(set(idents)) == len(idents) == 2 * len(found)
    for figure in found:
        assert figure.title and len(figure.description) > 40 and "nan" not in figure.svg.lower()
        assert figures(claim(name))[0] == found


def test_every_kind_of_details_has_its_test():
    assert {key for details in DETAILS.values() for key in details} >= set(DRAWN)


def test_marks_are_as_many_as_the_values():
    orders, over = figures(claim("orders"))[0]
    assert len(re.findall('class="mark c', orders.svg)) == 2 + 2  # two values, two styles in the legend
    assert "INCONCLUSIVE" in orders.svg and "2 of 3 measurements on 2 systems conclude" in orders.description
    assert len(re.findall('class="mark stroke c0"', over.svg)) == 1 + 1  # at the floor, and its legend
    assert (
        len(re.findall('class="mark c0"', over.svg)) == 4 + 1 and len(re.findall('class="mark c1"', over.svg)) == 3 + 1
    )
    (_, gaps), _ = figures(claim("gap"))
    assert len(re.findall('class="mark c0"', gaps.svg)) == 3 + 1
    assert len(re.findall('class="mark stroke c0"', gaps.svg)) == 1 + 1
    (errors,), _ = figures(claim("errors"))
    assert len(re.findall('class="mark', errors.svg)) == 1 and ">0<" in errors.svg and "not finite" in errors.svg
    (cells,), _ = figures(claim("cells", measured=-0.01, interval=[-0.02, 0.0]))
    assert len(re.findall('class="mark', cells.svg)) == 3 * 5 + 1


def test_what_was_not_measured_is_left_out_of_the_figure():
    (cells,), _ = figures(claim("cells", measured=None, interval=None))
    assert len(re.findall('class="mark', cells.svg)) == 3 * 5  # the pairs, without a mean and its interval
    lonely = [cell for cell in CELLS if cell["arm"] != "coupled"]
    assert figures(claim("cells", details={"cells": lonely}))[0] == ()
    (leak,), _ = figures(claim("leak", measured=None))
    assert "median" not in leak.svg and "median" in figures(claim("leak"))[0][0].svg
    times = {"rows": DETAILS["times"]["rows"], "seconds": {"equal": [1.1, 2.3]}}
    assert len(figures(claim("times", details=times))[0]) == 1  # ratios round by round need the dense model's seconds
    path = [{**row, "cost": None} for row in DETAILS["path"]["path"]]
    assert [figure.description[:4] for figure in figures(claim("path", details={"path": path}))[0]] == ["gate"]
    unpredicted = [{**row, "predicted_tv": 0.0} for row in GAPS]
    gap = {"systems": [{**DETAILS["gap"]["systems"][0], "rows": unpredicted}]}
    assert "predicted</text>" in figures(claim("gap"))[0][1].svg
    assert "predicted</text>" not in figures(claim("gap", details=gap))[0][1].svg


@pytest.mark.parametrize(
    "details",
    [
        {"systems": [{"system": "x"}]},
        {"ratios": 3},
        {"models": [{"period": 0, "share": "much"}]},
        {"blocks": [{}]},
        {"systems": [{**SYSTEM, "predicted": 0.0, "system": "x", "measured": 1.0, "interval": [0.0, 1.0]}]},
    ],
)
def test_details_of_another_kind_are_named_and_nothing_is_drawn(details):
    found, undrawn = figures(claim("errors", details=details))
    assert found == () and undrawn.startswith("the details could not be drawn, ")


@given(
    low=st.floats(-1e6, 1e6),
    width=st.floats(1e-6, 1e6),
    log=st.booleans(),
    values=st.lists(st.floats(0, 1), min_size=1),
)
def test_ticks_are_few_round_and_on_the_axis(low, width, log, values):
    scale = spanning("x", [low, low + width, *(low + v * width for v in values)], log=log)
    marks = scale.marks()
    assert len(marks) <= 8
    if not log:
        assert len(marks) >= 3 and len({label for _, label in marks}) == len(marks)
    for value, _ in marks:
        assert -1e-6 <= scale.at(value) <= 1 + 1e-6
        assert scale.low - 1e-9 * abs(scale.low) <= value * (1 + 1e-12) or not log


def test_places_on_an_axis():
    assert Scale("", 0.0, 4.0).at(1.0) == 0.25 and Scale("", 1.0, 100.0, log=True).at(10.0) == pytest.approx(0.5)
    assert Scale("", 0.0, 1.0).at(2.0) == 1.0 and Scale("", 1.0, 10.0, log=True).at(0.0) == 0.0
    assert [label for _, label in Scale("", 1e-4, 1.0, log=True).marks()] == ["10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "10⁰"]
    svg = panel("i", "t", "d", Scale("x", 0.0, 1.0), Scale("y", 0.0, 1.0), [Series("one", [(1.0, 1.0)])]).svg
    assert 'cx="326.0" cy="40.0"' in svg  # the upper right corner


def test_a_ladder_is_as_tall_as_its_rungs():
    scale = Scale("x", 0.0, 1.0)
    few, many = (ladder("i", "t", "d", scale, [("a", [Rung(0.5)] * count)]).height for count in (1, 9))
    assert many - few == 8 * 15


# words


@pytest.mark.parametrize(
    "text, expected",
    [
        ("p_st(y) of φ_θ", "p<sub>st</sub>(y) of φ<sub>θ</sub>"),
        ("A^# Dp_st", "A<sup>#</sup> Dp<sub>st</sub>"),
        ("O(ε^{k+1}), R^k", "O(ε<sup>k+1</sup>), R<sup>k</sup>"),
        ("two_state, n_embd, gap_tv, no_future_leak", "two_state, n_embd, gap_tv, no_future_leak"),
        ("3.1e-14 and 2e5, 1e", "3.1\xa0×\xa010⁻¹⁴ and 2\xa0×\xa010⁵, 1e"),
        ("`a_b < c` & f(x, y)", "<code>a_b &lt; c</code> &amp; f(x,\xa0y)"),
        ("W_tt < 1", "W<sub>tt</sub> &lt; 1"),
    ],
)
def test_formulas(text, expected):
    assert as_html(text) == expected


def test_formulas_in_svg_end_on_their_line():
    shifts = [float(shift) for shift in re.findall(r'dy="([^"]+)"', as_svg("p_st of A^# x", 10.0))]
    assert len(shifts) == 4 and sum(shifts) == pytest.approx(0.0)


@given(st.text(max_size=60))
def test_no_text_becomes_markup(text):
    assert re.sub(r"</?(?:sub|sup|code)>|&\w+;|&#x?\w+;", "", as_html(text)).count("<") == 0
    left = re.sub(r"</?(?:sub|sup|code)>", "", re.sub(r"\\.", "", as_markdown(text)))
    assert not set(left) & set("<>`|*[]") and "\n" not in left
    assert all(part for _, part in pieces(text))
    assert re.fullmatch(r"[\w-]*", ident_of(text), re.ASCII)


@given(st.text("ab _x", max_size=40), st.integers(20, 200))
def test_wrapped_lines_fit_and_lose_nothing(text, width):
    lines = wrap(text, width, 10)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(len(line) <= max(1, int(width / 5.6)) or "_" in line for line in lines)


@pytest.mark.parametrize(
    "value, expected",
    [
        (None, "—"), (math.nan, "—"), (True, "yes"), (0.0, "0"), (1.0, "1"), (1234567, "1,234,567"), (-3, "−3"),
        (0.859131, "0.8591"), (-0.00123, "−0.00123"), (8.881784e-16, "8.88\xa0×\xa010⁻¹⁶"), (-2e7, "−2\xa0×\xa010⁷"),
        (12345.6, "12,346"), ("words", "words"),
    ],
)  # fmt: skip
def test_numbers_for_people(value, expected):
    assert number(value) == expected


@given(st.floats(-1e300, 1e300))
def test_numbers_are_right_to_their_last_digit(value):
    shown = number(value).replace("−", "-").replace(",", "")
    if "×" in shown:
        mantissa, exponent = shown.split("\xa0×\xa010")
        shown = mantissa + "e" + exponent.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    assert float(shown) == pytest.approx(value, rel=6e-3, abs=5e-324)


def test_figures_and_intervals_share_their_decimals():
    assert measured_in(1.0062436, (0.99214, 1.01945)) == ("1.006", "[0.992, 1.019]")
    assert measured_in(-0.00101, (-0.0044, 0.0024)) == ("−0.0010", "[−0.0044, 0.0024]")
    assert measured_in(0.5, None) == ("0.5", "—") and measured_in(None, None) == ("—", "—")
    assert measured_in(1e-20, (0.0, 2e-20)) == ("1\xa0×\xa010⁻²⁰", "[0, 2\xa0×\xa010⁻²⁰]")
    assert (duration(9.41), duration(191.2), duration(7260.0)) == ("9.4 s", "3 min 11 s", "2 h 1 min")
    assert power(-12) == "10⁻¹²"


# tables


def test_tables_of_any_plain_data():
    details = {
        "count": 3,
        "rows": [{"name": "a", "x": 0.5, "path": [{"k": 1}, {"k": 2}]}, {"name": "b", "y": None, "path": []}],
        "seconds": {"one": [1.0, 2.0], "two": [3.0, 4.0]},
        "mixed": {"n": 1, "list": [1, 2]},
        "plain": [1, 2],
        "empty": [],
    }
    found = {table.name: table for table in tables(details)}
    assert list(found) == ["values", "rows", "rows: path", "seconds", "mixed", "plain"]
    assert found["values"].cells == (("count", "3"),)
    assert found["rows"].columns == ("name", "x", "y") and found["rows"].cells == (("a", "0.5", ""), ("b", "", "—"))
    assert found["rows: path"].cells == (("a", "1"), ("a", "2"))
    assert found["seconds"].cells == (("1", "3"), ("2", "4"))
    assert found["mixed"].cells == (("n", "1"), ("list", "[1, 2]"))


def test_a_long_table_says_how_much_is_left_out():
    (table,) = tables({"rows": [{"k": k} for k in range(LONGEST + 7)]})
    assert len(table.cells) == LONGEST and table.left_out == 7
