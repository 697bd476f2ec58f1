"""`python -m verify.manifold_gap` interrupted, failing half-way or beside another. FAULTS 43, 46, 47."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from verify.manifold_gap import command as manifold_gap_command
from verify.manifold_gap import measurement as manifold_gap
from verify.manifold_gap.command import main
from verify.statistics.verdict import Verdict

ROOT = Path(__file__).parents[2]
FAST = ["--system", "two_state", "--periods", "64,128,256"]


def test_interrupted_keeps_what_is_finished_and_exits_130(tmp_path, capsys, monkeypatch):
    from verify.observe import clock

    original, calls = clock.observe, []

    def observe(system, period, **rest):
        calls.append(period)
        if calls.count(128) == 1 and period == 128:
            raise KeyboardInterrupt
        return original(system, period, **rest)

    monkeypatch.setattr(clock, "observe", observe)
    assert main([*FAST, "--out", str(tmp_path)]) == 130
    data = json.loads((tmp_path / "manifold_gap.json").read_text())
    assert [row["period"] for row in data["rows"]] == [64]
    assert data["verdict"] == "INCONCLUSIVE" and "interrupted after 1 of 3 periods" in data["reason"]


@pytest.mark.parametrize("good_calls", [0, 2])
def test_ctrl_c_before_the_first_row_exits_130_quietly(good_calls, tmp_path, capsys, monkeypatch):
    from verify.observe import clock

    original, calls = clock.observe, []

    def stop(*arguments, **options):
        calls.append(1)
        if len(calls) > good_calls:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(clock, "observe", stop)
    assert main([*FAST, "--out", str(tmp_path)]) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def three_systems(tmp_path, monkeypatch):
    """`--system all` over three systems, and a function that lets `error` come up before the periods of the second."""
    from theory import get_system

    systems = [dataclasses.replace(get_system("two_state"), name=name) for name in ("first", "second", "third")]
    monkeypatch.setattr(manifold_gap_command, "_load_systems", lambda *arguments: systems)
    floor = manifold_gap._floor

    def run(error, *arguments):
        def fails_once(theory, *rest):
            if theory.name == "second":
                # what has ended is on the disk before the next one has begun
                assert measured_systems(tmp_path) == ["first"]
                raise error
            return floor(theory, *rest)

        monkeypatch.setattr(manifold_gap, "_floor", fails_once)
        return main(["--system", "all", "--periods", "64,128,256", "--out", str(tmp_path), *arguments])

    return run


def measured_systems(folder):
    """The systems of the JSON, which are those of the CSV and of the files with a φ_θ."""
    names = [one["system"] for one in json.loads((folder / "manifold_gap.json").read_text())]
    rows = csv.DictReader((folder / "manifold_gap.csv").read_text().splitlines())
    assert sorted({row["system"] for row in rows}) == names
    assert sorted(file.name for file in folder.glob("phi*")) == [f"phi_theta_{name}.safetensors" for name in names]
    return names


def test_ctrl_c_before_the_periods_of_a_later_system_keeps_the_systems_that_ended(three_systems, tmp_path, capsys):
    assert three_systems(KeyboardInterrupt(), "--json") == 130
    out, err = capsys.readouterr()
    assert measured_systems(tmp_path) == ["first"] == [one["system"] for one in json.loads(out)]
    assert (tmp_path / "manifold_gap.png").exists() and "Traceback" not in err


@pytest.mark.thorough
@pytest.mark.parametrize(
    "error, code, told",
    [
        (ValueError("no such thing"), 2, "second: no such thing\n"),
        (RuntimeError("no digit is left"), 3, "second: no digit is left\n"),
        (MemoryError(), 3, "second: out of memory\n"),
        (KeyError("a mistake"), 3, "second: KeyError: 'a mistake'\n"),
    ],
)
def test_an_error_in_one_system_is_told_and_the_others_run(error, code, told, three_systems, tmp_path, capsys):
    assert three_systems(error) == code
    out, err = capsys.readouterr()
    assert measured_systems(tmp_path) == ["first", "third"] and out.count("verdict: HOLDS") == 2
    assert f"python -m verify.manifold_gap: {told}" in err


@pytest.mark.thorough
def test_a_violated_system_outweighs_another_that_failed(three_systems, monkeypatch):
    true = manifold_gap.measure

    def violated(system, *arguments, **options):
        found = true(system, *arguments, **options)
        return dataclasses.replace(found, verdict=Verdict.VIOLATED) if system.name == "first" else found

    monkeypatch.setattr(manifold_gap, "measure", violated)
    assert three_systems(RuntimeError("no digit is left")) == 1


def test_ctrl_c_after_the_periods_keeps_them_and_their_verdict(tmp_path, capsys, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("verify.manifold_gap.step_limit.step_limit", stop)
    assert main([*FAST, "--out", str(tmp_path)]) == 130
    data = json.loads((tmp_path / "manifold_gap.json").read_text())
    assert len(data["rows"]) == 3 and data["verdict"] == "HOLDS" and data["interrupted"] and data["step_limit"] == []


def test_a_full_disk_is_code_3_and_one_line(tmp_path, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device", "manifold_gap.json")

    monkeypatch.setattr(manifold_gap_command, "write_whole", full)
    assert main([*FAST, "--out", str(tmp_path)]) == 3
    err = capsys.readouterr().err
    assert "python -m verify.manifold_gap: No space left on device: manifold_gap.json\n" in err
    assert "Traceback" not in err


# The command with few training pairs: what these tests ask of it does not depend on how many there are.
FEW = (
    "import sys\n"
    "from verify.manifold_gap import measurement\n"
    "measurement.TRAIN_PAIRS, measurement.TEST_POINTS = 400, 50\n"
    "from verify.manifold_gap.command import main\n"
    "sys.exit(main(sys.argv[1:]))"
)


def command(*arguments: str, **options) -> subprocess.Popen:
    environment = {**os.environ, "DISPLAY": "", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", FEW, *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options,
    )  # fmt: skip


@pytest.mark.thorough
def test_it_runs_without_git_display_or_network(tmp_path):
    """An empty PATH, a backend that needs a window, and sockets that refuse to open."""
    code = (
        "import socket\n"
        "def refuse(*_, **__): raise OSError('no network')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
    ) + FEW
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment |= {"PATH": "", "MPLBACKEND": "TkAgg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *FAST, "--json", "--out", str(tmp_path)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["provenance"]["commit"] == "unknown"
    assert (tmp_path / "manifold_gap.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.thorough
def test_a_closed_pipe_is_quiet(tmp_path):
    process = command(*FAST, "--out", str(tmp_path))
    process.stdout.close()
    with process.stderr as stream:
        err = stream.read()
    assert process.wait(120) == 0
    assert "Traceback" not in err and "BrokenPipe" not in err and "Exception" not in err


@pytest.mark.thorough
def test_a_real_ctrl_c_exits_130_without_a_traceback(tmp_path):
    process = command("--out", str(tmp_path))
    while "P/s" not in process.stderr.readline(400):  # wait for the progress bar
        assert process.poll() is None
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.thorough
def test_two_runs_into_one_folder_leave_whole_files(tmp_path):
    both = [command(*FAST, "--seed", seed, "--out", str(tmp_path), "--json") for seed in ("1", "2")]
    outputs = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert (tmp_path / "manifold_gap.json").read_text() in outputs
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]
