"""Cells: run once, kept whole, failures apart, killed workers, Dask. Issue 5 and FAULTS 43, 44, 47."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from verify.cells import Cell, core_count, read_cell, run_cells, source_fingerprint
from verify.command_line import UsageError

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.workers


def noted(configuration):
    """Leave a note each time, so that a test can count."""
    with open(configuration["notes"], "a") as file:
        file.write(f"{configuration['number']}\n")


def square(configuration):
    noted(configuration)
    return {"square": configuration["number"] ** 2, "half": configuration["number"] / 2}


def odd_ones_fail(configuration):
    noted(configuration)
    if configuration["number"] % 2:
        raise ValueError(f"{configuration['number']} is odd")
    return configuration["number"]


def dies_the_first_time(configuration):
    noted(configuration)
    if configuration["number"] == 1 and Path(configuration["notes"]).read_text().split().count("1") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return configuration["number"]


def always_dies(configuration):
    if configuration["number"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return configuration["number"]


def not_finite(_):
    return {"value": float("nan"), "pair": (1, 2)}


def pid_and_threads(_):
    import torch

    return [os.getpid(), torch.get_num_threads()]


@pytest.fixture
def cells(tmp_path):
    def make(work, count=4, **more):
        notes = str(tmp_path / "notes")
        Path(notes).touch()
        return [Cell(work, {"number": k, "notes": notes, **more}, f"cell {k}") for k in range(count)]

    return make


def runs(tmp_path):
    return sorted((tmp_path / "notes").read_text().split())


def test_results_come_in_order_and_nothing_runs_twice(cells, tmp_path):
    four, seen = cells(square), []
    found = run_cells(four, folder=tmp_path / "cells", jobs=2, finished=seen.append)
    assert [one.result["square"] for one in found] == [0, 1, 4, 9]
    assert not any(one.resumed or one.failed for one in found) and len(seen) == 4
    again = run_cells([*four, *cells(square, 6)[4:]], folder=tmp_path / "cells", jobs=2)
    assert [one.result for one in again[:4]] == [one.result for one in found]
    assert [one.resumed for one in again] == [True] * 4 + [False] * 2
    assert runs(tmp_path) == ["0", "1", "2", "3", "4", "5"]
    run_cells(four[:1], folder=tmp_path / "cells", jobs=1, fresh=True)
    assert runs(tmp_path).count("0") == 2


def test_the_key_is_the_work_and_the_whole_configuration():
    one = Cell(square, {"a": 1, "b": [1, 2]})
    assert one.key == Cell(square, {"b": (1, 2), "a": 1}, "another label").key
    assert len({one.key, Cell(square, {"a": 1}).key, Cell(odd_ones_fail, {"a": 1, "b": [1, 2]}).key}) == 3


def test_two_cells_of_one_key_run_once(cells, tmp_path):
    (one,) = cells(square, 1)
    found = run_cells([one, one], folder=tmp_path / "cells", jobs=2)
    assert len(found) == 2 and runs(tmp_path) == ["0"]


def test_a_failed_cell_is_reported_and_tried_again_next_time(cells, tmp_path):
    found = run_cells(cells(odd_ones_fail), folder=tmp_path / "cells", jobs=2)
    assert [one.failed for one in found] == [False, True, False, True]
    assert found[1].error == "ValueError: 1 is odd" and "odd_ones_fail" in found[1].traceback
    assert len(list((tmp_path / "cells").glob("*.json"))) == 2
    run_cells(cells(odd_ones_fail), folder=tmp_path / "cells", jobs=2)
    assert runs(tmp_path) == ["0", "1", "1", "2", "3", "3"]


def test_a_killed_worker_costs_only_the_time_of_its_cell(cells, tmp_path):
    found = run_cells(cells(dies_the_first_time), folder=tmp_path / "cells", jobs=2)
    assert [one.result for one in found] == [0, 1, 2, 3]
    assert runs(tmp_path) == ["0", "1", "1", "2", "3"]


def test_a_cell_that_always_kills_its_worker_fails_alone(cells, tmp_path):
    found = run_cells(cells(always_dies), folder=tmp_path / "cells", jobs=2)
    assert [one.result for one in found] == [0, None, 2, 3]
    assert "its process died 2 times" in found[1].error


def test_fresh_and_resumed_results_are_the_same_data(tmp_path):
    cell = Cell(not_finite, {})
    (first,) = run_cells([cell], folder=tmp_path, jobs=1)
    (second,) = run_cells([cell], folder=tmp_path, jobs=1)
    assert first.result == second.result == {"value": None, "pair": [1, 2]}


def test_workers_are_processes_of_one_thread(tmp_path):
    (found,) = run_cells([Cell(pid_and_threads, {})], folder=tmp_path)
    assert found.result[0] != os.getpid() and found.result[1] == 1
    assert core_count() >= 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"identity": {}, "result": 1, "seconds": 0}'])
def test_a_foreign_file_is_an_error_with_its_path(tmp_path, content):
    cell = Cell(square, {"number": 1})
    (tmp_path / f"{cell.key}.json").write_text(content)
    with pytest.raises(ValueError, match=f"{cell.key}.json is not the finished cell"):
        read_cell(cell, tmp_path)


@pytest.mark.thorough
def test_the_fingerprint_is_that_of_every_file():
    assert source_fingerprint("theory") == source_fingerprint("theory")
    assert (
        len({source_fingerprint("theory"), source_fingerprint("verify"), source_fingerprint("theory", "verify")}) == 3
    )
    with pytest.raises(RuntimeError, match="'no_such_package' is not installed"):
        source_fingerprint("no_such_package")


STUDY = """
import multiprocessing, os, sys, time
from pathlib import Path
from verify.cells import Cell, run_cells

def slow(configuration):
    global lock  # as tqdm holds one: in a spawned process it is a named semaphore
    lock = multiprocessing.RLock()
    with open(configuration["notes"], "a") as file:
        file.write(f"{configuration['number']}\\n")
    time.sleep(0.0 if configuration["number"] < 2 else float(os.environ["SLEEP"]))
    return configuration["number"]

if __name__ == "__main__":
    import study
    cells = [Cell(study.slow, {"number": k, "notes": sys.argv[2]}) for k in range(4)]
    try:
        run_cells(cells, folder=Path(sys.argv[1]), jobs=2)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def eventually_gone(group):
    """Whether no process of the group is left; Python's own resource tracker ends a moment after its parent."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.fixture
def study(tmp_path):
    """A run with two finished cells and two at work, as a process group; with it its command and environment."""
    (tmp_path / "study.py").write_text(textwrap.dedent(STUDY))
    command = [sys.executable, "study.py", "cells", "notes"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "SLEEP": "600"}
    pipes = {"stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **pipes)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        notes = (tmp_path / "notes").read_text().split() if (tmp_path / "notes").exists() else []
        if len(notes) == 4 and len(list((tmp_path / "cells").glob("*.json"))) == 2:
            break
        time.sleep(0.1)
    yield process, command, environment
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_ctrl_c_keeps_what_is_finished_and_leaves_no_process(study, tmp_path):
    process, command, environment = study
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and said == "", "a worker was not ended in order, or left a semaphore behind"
    assert eventually_gone(process.pid)
    again = subprocess.run(
        command, cwd=tmp_path, env=environment | {"SLEEP": "0"}, timeout=120, capture_output=True, text=True
    )
    assert again.returncode == 0 and again.stderr == ""
    assert sorted((tmp_path / "notes").read_text().split()) == ["0", "1", "2", "2", "3", "3"]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_workers_do_not_outlive_their_parent(study, end):
    process = study[0]
    os.kill(process.pid, end)
    process.wait(30)
    assert eventually_gone(process.pid)


def test_a_scheduler_that_does_not_answer_is_a_usage_error(cells, tmp_path, monkeypatch):
    monkeypatch.setattr("verify.cells.dask_cluster.CONNECT_TIMEOUT", 0.5)
    with pytest.raises(UsageError, match=r"--scheduler tcp://127\.0\.0\.1:9: no Dask scheduler answers there"):
        run_cells(cells(square), folder=tmp_path / "cells", scheduler="tcp://127.0.0.1:9")


CLUSTER = """
import json, os, sys, warnings
from pathlib import Path
from distributed import LocalCluster
sys.path.insert(0, "tests/verify")
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
import test_cells
from verify.cells import Cell, run_cells

if __name__ == "__main__":
    folder, work = Path(sys.argv[1]), getattr(test_cells, sys.argv[2])
    notes = str(folder / "notes")
    Path(notes).touch()
    cells = [Cell(work, {"number": k, "notes": notes}) for k in range(4)]
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        found = run_cells(cells, folder=folder / "cells", scheduler=cluster.scheduler_address)
    print(json.dumps([[one.result, one.error] for one in found]))
"""


@pytest.mark.thorough
@pytest.mark.parametrize("work", ["odd_ones_fail", "dies_the_first_time"])
def test_a_two_worker_cluster_gives_the_local_results(cells, tmp_path, work):
    pytest.importorskip("distributed", reason="dask.distributed, the extra `cluster`, is not installed")
    local = run_cells(cells(globals()[work]), folder=tmp_path / "local", jobs=2)
    (tmp_path / "remote").mkdir()
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    command = [sys.executable, str(script), str(tmp_path / "remote"), work]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[one.result, one.error] for one in local]
