"""The report of `python -m verify`: one page that asks nobody for anything, and the same words as Markdown. Issue 6."""

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from verify.__main__ import main as verify_main
from verify.claim.discovery import BUILT_IN, FoundClaim, discover
from verify.claim.result import ClaimResult, Report
from verify.report.command import main, report_content, write_report
from verify.report.content import TESTS
from verify.report.html_page import page
from verify.report.mapping import LINKS, NETWORK, ODE
from verify.report.mapping_picture import LINES, NARROW, WIDE, picture
from verify.report.markdown import markdown
from verify.report.text import as_html, as_markdown, ident_of

ROOT = Path(__file__).parents[2]
CLAIMS = [found for found in discover() if isinstance(found, FoundClaim)]
VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = "<script>alert('x')</script> & \"q\" | `code` [a](javascript:b) </section></svg> *x* \\ p_<b>"
VERDICTS = {"exact": "HOLDS", "structural": "HOLDS", "empirical": "INCONCLUSIVE", "gap": "MEASURED"}


def result(found, **changes):
    claim = found.claim
    told = {
        "id": claim.id,
        "tag": claim.tag,
        "statement": claim.statement,
        "source": claim.source,
        "verdict": VERDICTS[claim.tag],
        "quantity": "error",
        "measured": 0.25,
        "bound": 1.0,
        "interval": (0.2, 0.3),
        "mutation": claim.mutation,
        "mutant_refuted": True,
        "mutant_reason": "VIOLATED: error 3.1e+14 against 1",
        "seconds": 12.0,
        "reason": "1000 random generators",
        "details": {"ratios": [{"of": "part_one", "ratio": 0.5}, {"of": "none", "ratio": 0.0}], "count": 1000},
        "file": found.file.name,
    }
    return ClaimResult(**told | changes)


MADE_WITH = {
    "versions": {"fastslow": "0.1.0", "torch": "2"}, "processor": "P", "cores": 2, "device": "cpu", "commit": "abc",
    "profile": "quick", "seeds": [0],
}  # fmt: skip


@pytest.fixture(scope="module")
def report():
    return Report(tuple(result(found) for found in CLAIMS), MADE_WITH)


class Page(HTMLParser):
    """What a page holds; fails at the first tag that is not closed where it must be."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.links, self.words = [], Counter(), Counter(), [], []
        self.svgs, self.images = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        named = dict(attrs)
        if "id" in named:
            self.ids[named["id"]] += 1
        self.links += [(tag, key, value) for key, value in attrs if key in ("href", "src", "action", "data", "srcset")]
        assert not [key for key, _ in attrs if key.startswith("on")]
        if tag == "svg":
            self.svgs.append({"attributes": named, "title": "", "desc": ""})
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] in ("title", "desc") and "svg" in self.open:
            self.svgs[-1][self.open[-1]] += data
        elif self.open and self.open[-1] != "style":
            self.words.append(data)


def test_the_page_is_whole_unique_in_its_ids_and_asks_for_nothing(report):
    text = page(report_content(report, CLAIMS))
    found = Page(text)
    assert [name for name, count in found.ids.items() if count > 1] == []
    assert found.tags["script"] == found.tags["iframe"] == found.tags["img"] == 0
    assert {(tag, value) for tag, key, value in found.links if not value.startswith("#")} == {("link", "data:,")}
    assert {value[1:] for _, _, value in found.links if value.startswith("#")} <= set(found.ids)
    assert re.search(r"https?:|url\(|@import", text) is None
    assert "default-src 'none'" in text and "prefers-color-scheme: dark" in text and "@media print" in text


def test_every_claim_has_its_section_and_every_drawing_its_alternative(report):
    found = Page(page(report_content(report, CLAIMS)))
    assert len(CLAIMS) == 21
    assert {f"claim-{ident_of(claim.id)}" for claim in CLAIMS} <= set(found.ids)
    assert len(found.svgs) >= 2 + len(CLAIMS)
    for svg in found.svgs:
        named = svg["attributes"]
        assert svg["title"].strip() and named["role"] in ("img", "group")
        labels = named.get("aria-labelledby", "").split()
        assert set(labels) <= set(found.ids) and ((len(labels) == 2 and svg["desc"].strip()) or "aria-label" in named)


def test_the_section_says_what_the_paper_says_how_it_is_checked_and_where(report):
    text = page(report_content(report, CLAIMS))
    for found in CLAIMS:
        section = text.split(f'id="claim-{found.id}"')[1].split("</section>")[0]
        check = " ".join(found.claim.check.__doc__.split("\n\n")[0].split())
        for words in (found.claim.statement, found.claim.source, found.claim.mutation, check):
            assert as_html(words) in section
        assert f"verify/claims/{found.file.name}" in section and TESTS in section
    assert (ROOT / TESTS).is_file()


def test_json_and_report_give_the_same_page_twice(report, tmp_path):
    first = write_report(report, tmp_path, CLAIMS)
    again = write_report(report.to_json(), tmp_path / "again", CLAIMS)
    assert [path.name for path in first] == ["report.html", "report.md"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_markdown_says_what_the_page_says(report):
    content = report_content(report, CLAIMS)
    text, words = markdown(content), "".join(Page(page(content)).words)
    plain = re.sub(r"</?(?:sub|sup|code)>|\\(?=[^\w\s]|_)", "", text)
    for section in content.sections:
        said = [section.statement, section.source, section.how, section.mutant, section.place]
        said += [*section.row.values()] + [value for _, value in section.facts]
        said += [cell for table in section.tables for row in table.cells for cell in row]
        for one in said:
            assert as_markdown(one) in text
            shown = re.sub(r"</?(?:sub|sup|code)>|\\(?=[^\w\s]|_)", "", as_markdown(one))
            assert shown in plain and shown in words, one
        for figure in section.figures:
            assert as_markdown(figure.description) in text
    assert "could not be drawn" not in text


def test_a_hostile_claim_is_only_words(report, tmp_path):
    hostile = result(
        CLAIMS[0], id='x"><img src=x onerror=y>', statement=HOSTILE, source=HOSTILE, quantity=HOSTILE, reason=HOSTILE,
        mutation=HOSTILE, mutant_reason=HOSTILE, file=HOSTILE, tag='exact" onclick="z', verdict="ERROR",
        details={HOSTILE: 1, "ratios": [{HOSTILE: HOSTILE, "ratio": 0.5}], "list": [{HOSTILE: [HOSTILE]}]},
    )  # fmt: skip
    made = MADE_WITH | {"processor": HOSTILE, HOSTILE: HOSTILE}
    content = report_content(Report((hostile, *report.claims), made), CLAIMS)
    found = Page(page(content))
    honest = Page(page(report_content(report, CLAIMS)))
    assert set(found.tags) == set(honest.tags)
    assert "".join(found.words).count("<script>alert('x')</script>") >= 8
    assert re.search(r"(?<!\\)<script|(?<!\\)\[a\]|\n</section", markdown(content)) is None


def test_what_must_not_be_overlooked_stands_at_the_top(report):
    broken = [
        replace(report.claims[0], verdict="ERROR", reason="KeyError: 1", measured=None, interval=None, details={}),
        replace(report.claims[1], mutant_refuted=False),
        replace(report.claims[2], verdict="INCONCLUSIVE", tag="structural", reason="too few points"),
    ]
    content = report_content(Report((*broken, *report.claims[3:]), MADE_WITH), CLAIMS)
    assert [ident for ident, _ in content.remarks] == [claim.id for claim in broken]
    assert "ERROR: KeyError: 1" in page(content) and "its mutant went unnoticed" in markdown(content)
    assert (
        f"{len(CLAIMS) - 1} of {len(CLAIMS)} mutants refuted" in content.summary and dict(content.counts)["ERROR"] == 1
    )
    sound = report_content(report, CLAIMS)
    assert sound.remarks == () and "Not as it must be" not in page(sound) + markdown(sound)


def test_without_mutants_there_is_no_column_for_them(report):
    alone = Report(tuple(replace(claim, mutant_refuted=None) for claim in report.claims), MADE_WITH)
    assert '<th scope="col">mutant</th>' not in page(report_content(alone))
    assert '<th scope="col">mutant</th>' in page(report_content(report))


# the picture


def test_every_built_in_claim_is_in_the_picture_and_the_links_are_between_nodes():
    assert set(LINKS) == {found.id for found in CLAIMS}
    assert not set(ODE) & set(NETWORK)
    assert all({one, other} <= ODE.keys() | NETWORK.keys() and one != other for one, other in LINKS.values())
    assert {name for ends in LINKS.values() for name in ends} == ODE.keys() | NETWORK.keys()


@pytest.mark.parametrize("form", [WIDE, NARROW], ids=lambda form: form.name)
def test_links_are_labelled_and_drawn_by_their_tag(report, form):
    sections = report_content(report, CLAIMS).sections
    svg = picture(sections, form)
    for section in sections:
        link = re.search(rf'<a class="tag-{section.tag}" href="#claim-{section.id}".*?</a>', svg)[0]
        assert section.tag in re.sub(r"<title>.*?</title>", "", link) and section.verdict in link
        dash = LINES[section.tag][0]
        strokes = re.findall(r'<path class="(?:one|outer)"[^>]*>', link)
        assert len(strokes) == 2 and all((f'stroke-dasharray="{dash}"' in stroke) == bool(dash) for stroke in strokes)
    looks = [look for _, look, _ in LINES.values()]
    assert len(set(looks)) == len(looks)


def test_nodes_do_not_overlap_and_nothing_leaves_the_picture(report):
    sections = report_content(report, CLAIMS).sections
    for form in (WIDE, NARROW):
        for count in (1, 3, 9, 17):
            svg = picture(sections[:count], form)
            height = float(re.search(r'viewBox="0 0 \S+ (\S+)"', svg)[1])
            boxes = re.findall(r'<rect class="(?:node|box)" x="(\S+)" y="(\S+)" width="(\S+)" height="(\S+)"', svg)
            boxes = [tuple(map(float, box)) for box in boxes]
            assert len(boxes) >= count + 2
            for k, (x, y, w, h) in enumerate(boxes):
                assert x >= 0 and y >= 0 and x + w <= form.width and y + h <= height
                for a, b, c, d in boxes[:k]:
                    assert x + w <= a or a + c <= x or y + h <= b or b + d <= y


def test_a_claim_without_a_place_is_named_beside_the_picture(report):
    new = replace(report.claims[0], id="a_new_claim")
    text = page(report_content(Report((new, *report.claims[1:3]), MADE_WITH), CLAIMS))
    assert 'Without a place in the picture: <a href="#claim-a_new_claim">' in text
    only = page(report_content(Report((new,), MADE_WITH)))
    assert Page(only).tags["svg"] == 1  # its own figure


# the commands

CLAIM = """
from verify.claim import *

def check(profile):
    {body}

def mutant(profile):
    return Exact(quantity="error", measured=1.0, bound=0.0)

CLAIM = ExactClaim(id="one", statement="a statement", source="a source", check=check, mutant=mutant, mutation="broken")
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("verify.claim.runner.source_fingerprint", lambda *packages: "as it is")
    (tmp_path / "claims").mkdir()

    def command(body, *arguments):
        (tmp_path / "claims" / "one.py").write_text(CLAIM.format(body=body))
        folder = ["--folder", str(tmp_path / "claims"), "--claim", "one", "--out", str(tmp_path / "out"), "--jobs", "1"]
        code = verify_main([*folder, *arguments])
        return code, *capsys.readouterr(), tmp_path / "out"

    return command


@pytest.mark.parametrize("measured, code", [(0.0, 0), (2.0, 1)])
def test_verify_writes_its_report_whatever_the_verdict(run, measured, code):
    found, out, err, folder = run(
        f"'Of one.'; return Exact(quantity='error', measured={measured}, bound=1.0)", "--json"
    )
    assert found == code and json.loads(out)
    assert f"report: {folder / 'report.html'} and {folder / 'report.md'}" in err
    text = (folder / "report.html").read_text()
    assert ("VIOLATED" if code else "HOLDS") in text and "Of one." in text and "a statement" in text


def test_a_report_that_cannot_be_written_loses_no_result(run, monkeypatch):
    def fails(content):
        raise RuntimeError("no ink")

    monkeypatch.setattr("verify.report.command.page", fails)
    code, out, err, folder = run("return Exact(quantity='error', measured=0.0, bound=1.0)")
    assert code == 3 and "HOLDS" in out and "no ink" in err and "claims.json is whole" in err
    assert json.loads((folder / "claims.json").read_text())["claims"][0]["verdict"] == "HOLDS"


def test_details_that_cannot_be_drawn_are_said_to_be_that(run):
    body = "return Exact(quantity='error', measured=0.0, bound=1.0, details={'systems': [{'system': 'a'}], 'rows': 3})"
    code, _, _, folder = run(body)
    assert code == 0 and "No figure: the details could not be drawn, KeyError" in (folder / "report.html").read_text()


def test_the_command_makes_the_report_again(report, tmp_path, capsys):
    (tmp_path / "claims.json").write_text(report.to_json())
    assert main([str(tmp_path / "claims.json"), "--out", str(tmp_path / "again")]) == 0
    assert str(tmp_path / "again" / "report.html") in capsys.readouterr().err
    expected = page(report_content(report, CLAIMS))
    assert (tmp_path / "again" / "report.html").read_text() == expected


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        ("[]", "no JSON of `python -m verify`"),
        ('{"claims": [], "provenance": {}}', "there is no claim to report"),
        ('{"claims": [{"id": "x"}], "provenance": {}}', "a claim without bound, interval"),
    ],
)
def test_a_file_that_is_no_result_is_named(text, message, tmp_path, capsys):
    file = tmp_path / "claims.json"
    if text is not None:
        file.write_text(text)
    assert main([str(file)]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not (tmp_path / "report.html").exists()


def test_the_page_of_the_claims_is_in_step(tmp_path, capsys):
    assert main(["--docs", str(tmp_path / "claims.md")]) == 0
    text = (tmp_path / "claims.md").read_text()
    assert (ROOT / "docs" / "claims.md").read_text() == text, "run python -m verify.report --docs docs/claims.md"
    for found in CLAIMS:
        assert f"## {found.id}\n" in text and as_markdown(found.claim.statement) in text
    assert text.count("needs --profile paper") == 3 and text.count("needs --profile scale") == 1


def test_the_table_of_the_claims_is_short_and_whole(capsys):
    assert main(["--table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(CLAIMS)
    for line in lines[2:]:
        statement = line.split(" | ")[-1].removesuffix(" |")
        assert 20 < len(re.sub("<[^>]+>", "", statement)) < 200 and statement.count("(") == statement.count(")")


def test_the_documentation_refuses_a_broken_claim(tmp_path, capsys):
    (tmp_path / "broken.py").write_text("import no_such_module")
    assert main(["--folder", str(tmp_path), "--table"]) == 2
    assert "no_such_module" in capsys.readouterr().err


def test_the_style_is_in_the_package():
    assert (BUILT_IN.parent / "report" / "report.css").is_file()
