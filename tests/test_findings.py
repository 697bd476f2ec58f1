"""The numbers of docs/findings.md are those of the committed JSON, section by section, to the digits printed.

A number is a decimal fraction or one with an exponent, outside code. It must be in a JSON of benchmarks/results that
its section names (a benchmark names the JSON of its own name), or stand in a sentence that ends in a † (read off a
run), or be one of `STATED`, which no measurement gives. Whole numbers are settings and counts.
"""

import bisect
import json
import math
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TEXT = (ROOT / "docs" / "findings.md").read_text()
# Each stands for a number that no JSON holds.
DAGGERS = 12
NUMBER = re.compile(r"(?<![\w.^])(\d[\d,]*\.\d+(?:e-?\d+)?|\d+e-?\d+)(?![\d.]*\w)")
# By the beginning of the section: what is set, computed from the numbers beside it, or true of other software.
STATED = {
    "Chains as people": {"1e-279", "1e-12", "1e-17", "1e-37", "1e-319", "1e-4", "1e5", "1e-130"},
    "The reduced flow": {"0.2", "0.7", "1.5", "0.033", "0.042", "0.005", "1e-40", "1.2"},
    "The network": {"0.758", "0.87", "0.01", "0.97", "0.10"},
    "Every claim": {"0.01", "0.0115", "0.0086", "97.5", "0.5"},
    "Neutrality": {"0.64", "0.9", "0.01"},
    "The coupling with": {"0.002", "0.001", "0.01"},
    "10M tokens": {"0.058", "0.115", "0.0067"},
    "Loss against": {"0.017", "0.68", "2.24", "0.01"},
    "Intervals": {"0.01", "0.007"},
    "Fuzzing": {"1e-276", "1e-139", "1e240", "1e-11", "1e-9", "1e9", "1e-15", "1e-10", "96.4", "99.3", "96.1", "98.8"},
    "What was noticed": {"2.13", "1.4e-11", "1e4"},
}


def sections():
    raw = re.sub(r"^```.*?^```", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    return {part.split("\n")[0]: part for part in re.split(r"^## ", raw, flags=re.MULTILINE)[1:]}


def numbers_of(value, found):
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int | float):
        found.append(abs(float(value)))
    elif isinstance(value, list) and len(value) == 3 and all(isinstance(one, float) for one in value):
        found.extend([*map(abs, value), (value[2] - value[1]) / 2])  # mean, low, high: the half width too
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            numbers_of(one, found)


def pool_of(section):
    named = set(re.findall(r"(\w+)\.json", section)) | set(re.findall(r"benchmarks/(\w+)\.py", section))
    found = []
    for name in sorted(named):
        if (RESULTS / f"{name}.json").exists():
            numbers_of(json.loads((RESULTS / f"{name}.json").read_text()), found)
    return sorted(one for one in found if math.isfinite(one))


def stands_in(pool, text, percent):
    """Whether a number of the pool is `text` when rounded to its digits (per cent: or a hundredth of it)."""
    mantissa, _, exponent = text.replace(",", "").partition("e")
    digits = len(mantissa.partition(".")[2])
    value, half = float(text.replace(",", "")), 0.50001 * 10.0 ** (int(exponent or 0) - digits)
    for scale in (1.0, 100.0) if percent else (1.0,):
        first = bisect.bisect_left(pool, (value - half) / scale)
        if first < len(pool) and pool[first] <= (value + half) / scale:
            return True
    return False


def read_off_a_run(section, at):
    """Whether a † follows before the sentence, the cell or the list entry ends."""
    rest = section[at:]
    end = re.search(r"\.\s|\n\n|\n- | \| |\n\|", rest)
    return "†" in rest[: end.start() + 1 if end else len(rest)]


def strangers(title, section):
    plain = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", lambda code: " " * len(code[0]), section))
    pool = pool_of(section)
    stated = next((known for start, known in STATED.items() if title.startswith(start)), set())
    found = []
    for match in NUMBER.finditer(plain):
        text, after = match[1], plain[match.end() : match.end() + 12]
        percent = re.match(r"(\s*[±–]\s*[\d.]+)?\s*%", after) is not None
        if text in stated or read_off_a_run(plain, match.end()) or stands_in(pool, text, percent):
            continue
        found.append((text, plain[max(0, match.start() - 40) : match.end() + 20].replace("\n", " ")))
    return found


@pytest.mark.parametrize("title", sections())
def test_every_number_of_a_section_stands_in_the_json_that_it_names(title):
    section = sections()[title]
    if not pool_of(section):
        pytest.skip("names no JSON")
    assert strangers(title, section) == []


def test_there_are_no_more_daggers_than_are_counted():
    assert TEXT.split("\n## ", 1)[1].count("†") <= DAGGERS


def test_the_check_sees_a_number_that_no_json_holds():
    title = next(title for title in sections() if title.startswith("Neutrality"))
    wrong = sections()[title] + "\n\nIt gained 0.7731 nats.\n"
    assert [text for text, _ in strangers(title, wrong)] == ["0.7731"]
