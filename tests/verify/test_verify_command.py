"""`python -m verify` as users start it: a claim dropped into a folder, a Dask cluster that loses a worker. Issue 6."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from verify.__main__ import main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

DROPPED = """
import os, time
from pathlib import Path
from verify.claim import Empirical, EmpiricalClaim, Exact, ExactClaim
from verify.statistics.verdict import EmpiricalVerdict

HERE = Path(__file__).parent

def check(profile):
    with open(HERE / "{id}.notes", "a") as file:
        file.write(f"{{os.getpid()}}\\n")
    {body}
    error = abs(3 * ({third}) - 1.0)
    return Exact(quantity="one third, thrice", measured=error, bound=2.0**-53, details={{"seed": profile.seed}})

def mutant(profile):
    return Exact(quantity="one third, thrice", measured=abs(3 * 0.333 - 1.0), bound=2.0**-53)

CLAIM = ExactClaim(
    id="{id}", statement="3 · (1/3) = 1", source="arithmetic", check=check, mutant=mutant, mutation="0.333 for 1/3"
)
"""
WAITS = "if (HERE / 'hold').exists() and len(open(HERE / '{id}.notes').readlines()) == 1: time.sleep(600)"

CLUSTER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


def drop(folder, id, body="pass", third="1 / 3"):
    (folder / f"{id}.py").write_text(DROPPED.format(id=id, body=body.format(id=id), third=third))


def command(folder, out, *arguments):
    names = sorted(path.stem for path in folder.glob("*.py"))
    where = ["--folder", str(folder), "--out", str(out), "--claim", *names]
    return [sys.executable, "-m", "verify", *where, "--json", *arguments]


def run(*arguments):
    return subprocess.run(command(*arguments), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=280)


def same(stdout):
    """The JSON without what two runs may differ in: the time, and the commit that others may make meanwhile."""
    content = json.loads(stdout)
    for claim in content["claims"]:
        del claim["seconds"]
    del content["provenance"]["commit"]
    return content


def times_run(folder, id):
    return len((folder / f"{id}.notes").read_text().split())


def test_a_file_dropped_into_a_folder_is_checked_by_the_command(tmp_path):
    drop(tmp_path, "thirds")
    done = run(tmp_path, tmp_path / "out", "--mutants")
    assert done.returncode == 0, done.stderr
    (claim,) = json.loads(done.stdout)["claims"]
    assert (claim["id"], claim["verdict"], claim["mutant_refuted"]) == ("thirds", "HOLDS", True)
    assert times_run(tmp_path, "thirds") == 1 and "leaked" not in done.stderr


def test_a_claim_that_exits_does_not_decide_the_exit_code(tmp_path):
    drop(tmp_path, "thirds")
    (tmp_path / "quits.py").write_text("import sys\nsys.exit(0)")
    done = run(tmp_path, tmp_path / "out")
    assert done.returncode == 3, done.stderr
    claims = {claim["id"]: claim for claim in json.loads(done.stdout)["claims"]}
    assert claims["thirds"]["verdict"] == "HOLDS" and claims["quits"]["verdict"] == "ERROR"
    assert claims["quits"]["reason"] == "importing quits.py raised SystemExit: 0"


def test_seeds_beyond_what_torch_takes_are_refused(capsys):
    from verify.__main__ import main

    with pytest.raises(SystemExit) as stop:
        main(["--seeds", f"0,{2**63}"])
    assert stop.value.code == 2 and "argument --seeds" in (err := capsys.readouterr().err) and "2^63 − 1" in err


@pytest.mark.thorough
def test_a_cluster_that_loses_a_worker_gives_the_json_of_the_local_run(tmp_path):
    pytest.importorskip("distributed", reason="dask.distributed, the extra `cluster`, is not installed")
    for id, body, third in (
        ("holds", "pass", "1 / 3"),
        ("waits", WAITS, "1 / 3"),
        ("wrong", "pass", "0.3"),
        ("raises", "1 / 0", "1 / 3"),
    ):
        drop(tmp_path, id, body, third)
    local = run(tmp_path, tmp_path / "local", "--mutants", "--jobs", "2")
    assert local.returncode == 1, local.stderr
    verdicts = {claim["id"]: claim["verdict"] for claim in json.loads(local.stdout)["claims"]}
    assert verdicts == {"holds": "HOLDS", "raises": "ERROR", "waits": "HOLDS", "wrong": "VIOLATED"}
    for notes in tmp_path.glob("*.notes"):
        notes.unlink()
    (tmp_path / "hold").touch()
    script = tmp_path / "cluster" / "cluster.py"
    script.parent.mkdir()
    script.write_text(CLUSTER)
    cluster = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = cluster.stdout.readline().strip()
        asked = command(tmp_path, tmp_path / "remote", "--mutants", "--scheduler", address)
        remote = subprocess.Popen(
            asked, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        waiting, finished = tmp_path / "waits.notes", tmp_path / "remote" / "cells"
        deadline = time.monotonic() + 200
        # All cells but the waiting one and the one that raises: what is fetched must not be computed again.
        while time.monotonic() < deadline and (not waiting.exists() or len(list(finished.glob("*.json"))) < 6):
            time.sleep(0.05)
        os.kill(int(waiting.read_text()), signal.SIGKILL)
        out, err = remote.communicate(timeout=200)
    finally:
        cluster.communicate("", timeout=60)
    assert remote.returncode == local.returncode, err
    assert same(out) == same(local.stdout)
    assert times_run(tmp_path, "waits") == 2
    assert [times_run(tmp_path, id) for id in ("holds", "wrong", "raises")] == [1, 1, 1]


def test_options_given_twice_add_up(capsys):
    assert main(["--list", "--claim", "token_clock", "--claim", "wall_clock"]) == 0
    listed = capsys.readouterr().out
    assert "token_clock" in listed and "wall_clock" in listed and listed.count("\n") == 2
    assert main(["--list", "--tag", "gap", "--tag", "empirical"]) == 0
    assert {line.split()[1] for line in capsys.readouterr().out.splitlines()} == {"gap", "empirical"}
    assert main(["--list", "--claim", "token_clock"]) == 0  # nothing is left of an earlier parse
    assert capsys.readouterr().out.count("\n") == 1
