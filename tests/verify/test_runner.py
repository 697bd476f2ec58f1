"""`python -m verify`: selection, exit codes, errors apart, resume, JSON, mutants. Issue 6, FAULTS 39 to 47."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from verify.__main__ import main, parser, table
from verify.claim import Profile
from verify.claim.discovery import load
from verify.claim.result import ClaimResult, Report
from verify.claim.runner import run_claims

ROOT = Path(__file__).parents[2]
KEYS = {"id", "tag", "statement", "source", "verdict", "measured", "bound", "interval", "mutant_refuted", "seconds"}

CLAIM = """
import os, time
from pathlib import Path
from verify.claim import *
from verify.statistics.verdict import *

HERE = Path(__file__).parent

def note():
    with open(HERE / "notes", "a") as file:
        file.write({id!r} + "\\n")

def check(profile):
    note()
    {body}

def mutant(profile):
    {mutant}

CLAIM = {kind}(id={id!r}, statement="a statement", source="a source", check=check, mutant=mutant, mutation="broken")
"""
HOLDS = "return Exact(quantity='error', measured=0.0, bound=0.0)"
VIOLATED = "return Exact(quantity='error', measured=1.0, bound=0.0)"
OPEN = "return Structural(quantity='slope', measured=None, verdict=Verdict.INCONCLUSIVE, reason='too few points')"
RAISES = "raise KeyError('a mistake of its own')"
WRONG = "return Gap(quantity='error', measured=1.0, bound=0.0)"
CONTRADICTED = (
    "return Empirical(quantity='gain', measured=1.0, interval=(0.5, 1.5), verdict=EmpiricalVerdict.INCONSISTENT, "
    "effect_size=2.0, reason='not so')"
)


def write(folder, id, body=HOLDS, mutant=VIOLATED, kind="ExactClaim"):
    (folder / f"{id}.py").write_text(CLAIM.format(id=id, body=body, mutant=mutant, kind=kind))


@pytest.fixture
def folder(tmp_path):
    where = tmp_path / "claims"
    where.mkdir()
    (where / "notes").touch()
    return where


@pytest.fixture
def run(folder, tmp_path, capsys, monkeypatch):
    # The working tree may be edited while the tests run; that the code is in the key is tested with the cells.
    monkeypatch.setattr("verify.claim.runner.source_fingerprint", lambda *packages: "as it is")

    def command(*arguments, claims=True):
        names = [path.stem for path in folder.glob("*.py")] if claims is True else claims
        options = ["--folder", str(folder), "--out", str(tmp_path / "out"), "--jobs", "2"]
        try:
            code = main([*options, *(["--claim", *names] if names else []), *arguments])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return command


def notes(folder):
    return sorted((folder / "notes").read_text().split())


def test_a_claim_that_raises_is_an_error_and_the_others_run(run, folder):
    write(folder, "fine")
    write(folder, "raises", RAISES)
    write(folder, "wrong_type", WRONG)
    (folder / "unreadable.py").write_text("import no_such_module")
    code, out, _ = run("--json")
    verdicts = {claim["id"]: claim["verdict"] for claim in json.loads(out)["claims"]}
    assert verdicts == {"fine": "HOLDS", "raises": "ERROR", "wrong_type": "ERROR", "unreadable": "ERROR"}
    reasons = {claim["id"]: claim["reason"] for claim in json.loads(out)["claims"]}
    assert reasons["raises"] == "KeyError: 'a mistake of its own'"
    assert "must return Exact, not Gap" in reasons["wrong_type"] and "no_such_module" in reasons["unreadable"]
    assert code == 3


@pytest.mark.parametrize(
    "body, kind, code",
    [
        (HOLDS, "ExactClaim", 0),
        (VIOLATED, "ExactClaim", 1),
        (OPEN, "StructuralClaim", 3),
        (CONTRADICTED, "EmpiricalClaim", 0),
        (CONTRADICTED, "HeuristicClaim", 0),
        (WRONG, "GapClaim", 0),
        (RAISES, "EmpiricalClaim", 3),
    ],
)
def test_exit_codes(run, folder, body, kind, code):
    write(folder, "one", body, kind=kind)
    assert run()[0] == code


FORGED = "found = {}; object.__setattr__(found, 'verdict', Verdict.HOLDS); return found".format(
    CONTRADICTED.removeprefix("return ")
)


def test_no_heuristic_or_empirical_claim_can_print_holds(run, folder):
    tries = {
        "exact": HOLDS,
        "structural": "return Structural(quantity='s', measured=1.0, interval=(0.9, 1.1), verdict=Verdict.HOLDS)",
        "empirical": CONTRADICTED.replace("EmpiricalVerdict.INCONSISTENT", "ExactVerdict.HOLDS"),
        "forged": FORGED,
        "bare": "return {'verdict': 'HOLDS', 'refuted': False}",
    }
    for name, body in tries.items():
        for kind in ("HeuristicClaim", "EmpiricalClaim", "GapClaim"):
            write(folder, f"{name}_{kind.lower()}", body, kind=kind)
    code, out, _ = run("--json")
    found = json.loads(out)["claims"]
    assert code == 3 and len(found) == 15 and {claim["verdict"] for claim in found} == {"ERROR"}
    table = run()[1]
    assert not [line for line in table.splitlines()[: len(found) + 1] if "HOLDS" in line]


def test_violated_outranks_inconclusive():
    def result(verdict, tag):
        return ClaimResult(id="x", tag=tag, statement="", source="", verdict=verdict)

    found = (result("INCONCLUSIVE", "structural"), result("VIOLATED", "exact"), result("ERROR", "gap"))
    assert Report(found, {}).exit_code() == 1 and Report(found[::2], {}).exit_code() == 3
    assert Report((), {}).exit_code() == 0


def test_json_has_its_keys_is_strict_and_repeats(run, folder, tmp_path):
    write(folder, "one", "return Exact(quantity='error', measured=float('nan'), bound=0.0)")
    code, out, _ = run("--json", "--mutants")
    content = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))
    assert code == 1 and KEYS | {"reason"} <= set(content["claims"][0]) and content["claims"][0]["measured"] is None
    assert content["claims"][0]["mutant_refuted"] is True and "versions" in content["provenance"]
    assert json.loads((tmp_path / "out" / "claims.json").read_text()) == content
    again = json.loads(run("--json", "--mutants", "--fresh")[1])
    for claim in (*again["claims"], *content["claims"]):
        del claim["seconds"]
    assert again["claims"] == content["claims"]


def test_mutants_run_when_asked_and_an_unnoticed_one_is_said(run, folder):
    write(folder, "blind_check", mutant=HOLDS)
    code, out, _ = run()
    assert code == 0 and "mutant" not in out
    code, out, _ = run("--mutants")
    assert code == 3 and "UNNOTICED" in out and "blind_check: its mutant went unnoticed (broken): HOLDS" in out
    write(folder, "blind_check", mutant=RAISES)
    assert "KeyError" in run("--mutants")[1]


def test_nothing_finished_is_measured_again(run, folder):
    write(folder, "one")
    write(folder, "two", RAISES)
    run()
    _, _, err = run()
    assert notes(folder) == ["one", "two", "two"]
    assert "1 of 2 claims had been measured before; --fresh measures again" in err
    run("--fresh")
    assert notes(folder).count("one") == 2
    write(folder, "one", "return Exact(quantity='another', measured=0.0, bound=0.0)")
    run()
    assert notes(folder).count("one") == 3


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--claim", "no_such_claim"], "unknown claim 'no_such_claim'; there are"),
        (["--claim", "one", "--tag", "gap"], "no claim is selected"),
        (["--tag", "probable"], "invalid choice: 'probable'"),
        (["--seeds", "0,0"], "must hold different integers >= 0"),
        (["--seeds", "x"], "'x' is not a list of integers"),
        (["--jobs", "0"], "must be an integer >= 1"),
        (["--jobs", "1,2"], "is not a whole number such as"),
        (["--profile", "slow"], "invalid choice: 'slow'"),
        (["--prof", "quick"], "unrecognized arguments"),
        (["--device", "abacus"], "--device abacus: not a device"),
        (["--out", "/dev/null/x"], "--out /dev/null/x: cannot write there"),
        (["--folder", "nowhere"], "nowhere: no such folder of claims"),
    ],
)
def test_usage_errors(run, folder, arguments, message):
    write(folder, "one")
    code, out, err = run(*arguments, claims=() if "--claim" in arguments or "--folder" in arguments else True)
    assert code == 2 and out == "" and message in err and err.count("\n") == 1
    assert notes(folder) == []


def test_no_claim_is_no_run(tmp_path):
    with pytest.raises(ValueError, match="no claim is selected"):
        run_claims([], Profile(), folder=tmp_path)


def test_list_shows_tag_and_statement_and_runs_nothing(run, folder):
    write(folder, "one")
    code, out, _ = run("--list")
    assert code == 0 and out.split() == ["one", "exact", "a", "statement"] and notes(folder) == []
    code, out, _ = run("--list", "--tag", "gap", claims=())
    assert code == 0 and "full_attention_leaks" in out and " exact " not in out


def test_help_and_list_need_no_torch_and_answer_at_once():
    for option in ("--help", "--list"):
        start = time.perf_counter()
        code = f"import sys; from verify.__main__ import main\ntry: main(['{option}'])\nexcept SystemExit: pass\n"
        code += "assert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
        assert time.perf_counter() - start < 10  # 0.1 s on an idle machine
    assert parser().prog == "python -m verify"


def test_the_table_shows_what_was_measured():
    one = ClaimResult(
        id="x", tag="structural", statement="", source="", verdict="HOLDS", measured=1.0002, bound=1.0,
        interval=(0.9998, 1.0004), seconds=2.5, mutant_refuted=True, reason="on two systems",
    )  # fmt: skip
    lines = table(Report((one,), {})).splitlines()
    assert lines[0].split() == ["claim", "tag", "verdict", "measured", "bound", "interval", "cost", "mutant"]
    assert lines[1].split() == ["x", "structural", "HOLDS", "1", "1", "[0.9998,", "1]", "2.5", "s", "refuted"]
    assert lines[2] == "x: on two systems"


def test_a_verdict_foreign_to_its_tag_cannot_come_from_a_file(run, folder, tmp_path):
    write(folder, "one")
    run()
    (cell,) = (tmp_path / "out" / "cells").glob("*.json")
    cell.write_text(cell.read_text().replace('"verdict": "HOLDS"', '"verdict": "CONSISTENT"'))
    code, _, err = run()
    assert code == 2 and "claim one is exact and cannot end in 'CONSISTENT'" in err


ABOUT_TRAINING = """
from dataclasses import replace
from verify.cells import Cell

def cells(profile):
    return [Cell(dict, {"value": k}) for k in (1, 2, 3)]

CLAIM = replace(CLAIM, cells=cells)
"""


@pytest.mark.thorough
def test_claims_about_trained_models_get_their_cells(folder, tmp_path):
    body = "return Exact(quantity='sum', measured=sum(cell['value'] for cell in profile.trained) - 6.0, bound=0.0)"
    write(folder, "about_training", body)
    with (folder / "about_training.py").open("a") as file:
        file.write(ABOUT_TRAINING)
    found = load(folder / "about_training.py")
    report = run_claims([found], Profile(), folder=tmp_path / "cells", jobs=2, mutants=True)
    assert report.claims[0].verdict == "HOLDS" and report.claims[0].mutant_refuted is True
    again = run_claims([found], Profile(), folder=tmp_path / "cells", jobs=2)
    assert again.claims[0].resumed


def test_what_was_trained_is_kept_apart_where_asked(run, folder, tmp_path):
    write(folder, "about_training", "return Exact(quantity='sum', measured=0.0, bound=0.0)")
    with (folder / "about_training.py").open("a") as file:
        file.write(ABOUT_TRAINING)
    write(folder, "one")
    shared = tmp_path / "shared"
    assert run("--cells", str(shared))[0] == 0
    assert len(list(shared.glob("*.json"))) == 3 and len(list((tmp_path / "out" / "cells").glob("*.json"))) == 1
    before = {file: file.stat().st_mtime_ns for file in shared.glob("*.json")}
    assert "2 of 2 claims had been measured before" in run("--cells", str(shared))[2]
    assert {file: file.stat().st_mtime_ns for file in shared.glob("*.json")} == before
    assert run("--cells", "/dev/null/x")[0] == 2


def test_a_claim_whose_cells_cannot_be_named_is_an_error_alone(run, folder):
    write(folder, "no_texts")
    with (folder / "no_texts.py").open("a") as file:
        file.write(
            ABOUT_TRAINING.replace("return [", "from network.corpus import open_corpus; open_corpus('gone'); return [")
        )
    write(folder, "one")
    code, out, _ = run("--json", "--mutants")
    found = {claim["id"]: claim for claim in json.loads(out)["claims"]}
    assert code == 3 and found["one"]["verdict"] == "HOLDS" and found["no_texts"]["verdict"] == "ERROR"
    assert found["no_texts"]["reason"].startswith("CorpusError: corpus 'gone' does not exist")
    assert found["no_texts"]["mutant_refuted"] is True


def test_ctrl_c_exits_130_and_the_next_run_goes_on(run, folder, tmp_path):
    write(folder, "fast")
    write(folder, "waits", f"time.sleep(600 if not (HERE / 'go').exists() else 0); {HOLDS}")
    code = "import sys, verify.claim.runner as r; r.source_fingerprint = lambda *packages: 'as it is'; "
    code += "from verify.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "--folder", str(folder), "--claim", "fast", "waits"]
    command += ["--out", str(tmp_path / "out"), "--jobs", "2"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, env=os.environ
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (
        list((tmp_path / "out" / "cells").glob("*.json")) and "waits" in notes(folder)
    ):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err.decode().strip().endswith("python -m verify: interrupted")
    assert "leaked" not in err.decode()
    (folder / "go").touch()
    code, _, err = run()
    assert code == 0 and "1 of 2 claims had been measured before" in err
    assert notes(folder) == ["fast", "waits", "waits"]
    assert "2 of 2 claims had been measured before" in run()[2]
    assert notes(folder) == ["fast", "waits", "waits"]
