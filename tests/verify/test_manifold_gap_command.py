"""`python -m verify.manifold_gap`: exit codes, one-line errors, files, streams. FAULTS 39 to 43, 45 to 48."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from verify import manifold_gap
from verify.manifold_gap import main

ROOT = Path(__file__).parents[2]
FAST = ["--system", "two_state", "--periods", "64,128,256"]

USER_SYSTEM = """
import torch
from theory import FastSlowSystem, from_rates

def generator(y):
    up, down = torch.exp(y[..., 0]), torch.exp(-y[..., 0])
    zero = torch.zeros_like(up)
    return from_rates(torch.stack([torch.stack([zero, down], -1), torch.stack([up, zero], -1)], -2))

def my_system():
    return FastSlowSystem(generator=generator, slow=lambda x, y: x[..., 1:] - y,
                          n_states=2, n_slow=1, low=0.0, high=1.0)

def transposed():
    return FastSlowSystem(generator=lambda y: generator(y).mT, slow=lambda x, y: x[..., 1:] - y,
                          n_states=2, n_slow=1, low=0.1, high=1.0)

def wrong_g():
    return FastSlowSystem(generator=generator, slow=lambda x, y: x, n_states=2, n_slow=1, low=0.0, high=1.0)

def raises():
    raise KeyError("my own mistake")

def not_a_system():
    return 42

def phi():
    return lambda y: torch.softmax(torch.cat([y, 1 - y], -1), -1)

def phi_of(period):
    return phi()

def bad_phi():
    return lambda y: torch.cat([y, y], -1)
"""


@pytest.fixture
def user_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(USER_SYSTEM)
    return file


def usage_error(arguments: list[str], capsys) -> str:
    """The one line on stderr of a command that must exit with 2."""
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2, (code, out, err)
    assert out == "" and len(err.strip().splitlines()) == 1, err
    return err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--periods", "nan"], "'nan' is not a list of integers"),
        (["--periods", "-1"], "'-1' must hold integers >= 1"),
        (["--periods", "0"], "'0' must hold integers >= 1"),
        (["--periods", ""], "must hold integers"),
        (["--system", "nowhere"], "unknown system 'nowhere'; choose all, FILE.py:FACTORY or one of attention"),
        (["--sys", "two_state"], "unrecognized arguments: --sys"),
        (["--step", "0"], "'0' must be positive and finite"),
        (["--step", "x"], "'x' is not a number"),
        (["--kernel", "rk4"], "invalid choice: 'rk4'"),
        (["--seed", "-1"], "--seed: must be >= 0"),
        (["--phi-theta", "x.safetensors", "--system", "all"], "a φ_θ belongs to one system"),
        ([*FAST, "--device", "abacus"], "--device abacus: not a device"),
        ([*FAST, "--device", "meta"], "--device meta: has no float64"),
        ([*FAST, "--phi-theta", "nowhere.safetensors"], "nowhere.safetensors: no such file"),
        (["--system", "nowhere.py:f"], "nowhere.py: no such file"),
        ([*FAST, "--kernel", "euler", "--step", "10"], "take the exp kernel or a smaller step"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # a progress bar may have started before a numerical refusal: keep it out of the one line
    monkeypatch.setattr("tqdm.tqdm", lambda iterable, **_: iterable)
    assert message in usage_error(arguments, capsys)


def test_cuda_where_there_is_none_is_an_error_and_never_a_silent_cpu_run(capsys, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert "no such CUDA device" in usage_error([*FAST, "--device", "cuda", "--out", str(tmp_path)], capsys)


def test_an_out_that_is_not_writable_is_refused_before_anything_is_computed(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(manifold_gap, "measure", lambda *a, **k: pytest.fail("it computed"))
    assert "cannot write there" in usage_error([*FAST, "--out", str(tmp_path / "file")], capsys)


@pytest.mark.parametrize(
    "factory, message",
    [
        ("missing", "has no function 'missing'; it defines"),
        ("raises", "calling it raised KeyError: 'my own mistake'"),
        ("not_a_system", "returned int, not a theory.FastSlowSystem"),
        ("transposed", "looks transposed"),
        ("wrong_g", "the map g"),
    ],
)
def test_user_code_that_fails_is_named_with_its_file_and_cause(factory, message, user_file, capsys, tmp_path):
    error = usage_error(["--system", f"{user_file}:{factory}", "--out", str(tmp_path)], capsys)
    assert "mine.py" in error and message in error


def test_a_user_file_that_does_not_import_is_named(tmp_path, capsys):
    file = tmp_path / "broken.py"
    file.write_text("import nothing_of_this_name")
    error = usage_error(["--system", f"{file}:f", "--out", str(tmp_path)], capsys)
    assert "broken.py: importing it raised ModuleNotFoundError" in error


def test_a_user_system_of_ten_lines_runs_and_writes_whole_files(user_file, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["--system", f"{user_file}:my_system", "--periods", "64,128,256,512", "--out", str(out)]) == 0
    text, progress = capsys.readouterr()
    assert "verdict: HOLDS" in text and "manifold_gap.png" in text and "4/4" in progress
    names = {file.name for file in out.iterdir()}
    assert names == {
        "manifold_gap.json",
        "manifold_gap.csv",
        "manifold_gap.svg",
        "manifold_gap.png",
        "phi_theta.safetensors",
    }
    data = json.loads((out / "manifold_gap.json").read_text(), parse_constant=pytest.fail)
    rows = list(csv.DictReader((out / "manifold_gap.csv").read_text().splitlines()))
    assert [float(row["gap_tv"]) for row in rows] == [row["gap_tv"] for row in data["rows"]]
    assert (out / "manifold_gap.png").read_bytes().startswith(b"\x89PNG")
    # its own φ_θ, saved at P = 512, is measured again: nearest to the pairs it was trained on
    assert main(["--system", f"{user_file}:my_system", "--periods", "64,512", "--out", str(out), "--json",
                 "--phi-theta", str(out / "phi_theta.safetensors")]) == 3  # fmt: skip
    again = json.loads(capsys.readouterr().out)
    assert again["fit"] == "given"
    assert again["rows"][1]["gap_tv"] == pytest.approx(data["rows"][3]["gap_tv"], rel=1e-9)
    assert again["rows"][1]["learning_tv"] < again["rows"][0]["learning_tv"]


def test_json_alone_on_stdout_and_progress_on_stderr(tmp_path, capsys):
    assert main([*FAST, "--json", "--out", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out, parse_constant=pytest.fail)["verdict"] == "HOLDS"
    assert json.loads(out) == json.loads((tmp_path / "manifold_gap.json").read_text())
    assert "3/3" in err


def test_exit_code_1_for_a_violated_and_3_for_an_inconclusive_measurement(user_file, tmp_path, capsys):
    system = ["--system", f"{user_file}:my_system", "--out", str(tmp_path)]
    assert main([*system, "--periods", "64,128,256", "--phi-theta", f"{user_file}:phi"]) == 1
    assert "does not shrink" in capsys.readouterr().out
    assert main([*system, "--periods", "64,128"]) == 3
    assert main([*system, "--periods", "64,128,256", "--phi-theta", f"{user_file}:phi_of"]) == 1


def test_a_phi_off_the_simplex_is_refused(user_file, tmp_path, capsys):
    arguments = ["--system", f"{user_file}:my_system", "--phi-theta", f"{user_file}:bad_phi", "--out", str(tmp_path)]
    assert "must sum to one over states" in usage_error(arguments, capsys)


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"not a tensor file at all"])
def test_a_foreign_or_truncated_phi_file_is_refused_with_its_path(content, tmp_path, capsys):
    file = tmp_path / "phi.safetensors"
    file.write_bytes(content)
    assert "phi.safetensors: not a whole safetensors file" in usage_error(
        [*FAST, "--phi-theta", str(file), "--out", str(tmp_path)], capsys
    )


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


def command(*arguments: str, **options) -> subprocess.Popen:
    environment = {**os.environ, "DISPLAY": "", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "verify.manifold_gap", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options,
    )  # fmt: skip


def test_it_runs_without_git_display_or_network(tmp_path):
    """An empty PATH, a backend that needs a window, and sockets that refuse to open."""
    code = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise OSError('no network')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
        "from verify.manifold_gap import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment |= {"PATH": "", "MPLBACKEND": "TkAgg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *FAST, "--json", "--out", str(tmp_path)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["provenance"]["commit"] == "unknown"
    assert (tmp_path / "manifold_gap.png").read_bytes().startswith(b"\x89PNG")


def test_a_closed_pipe_is_quiet(tmp_path):
    process = command(*FAST, "--out", str(tmp_path))
    process.stdout.close()
    with process.stderr as stream:
        err = stream.read()
    assert process.wait(120) == 0
    assert "Traceback" not in err and "BrokenPipe" not in err and "Exception" not in err


def test_a_real_ctrl_c_exits_130_without_a_traceback(tmp_path):
    process = command("--out", str(tmp_path))
    while "P/s" not in process.stderr.readline(400):  # wait for the progress bar
        assert process.poll() is None
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_help_names_every_built_in_system(capsys):
    import theory

    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out.replace("\n", " ")
    assert all(name in text for name in theory.list_systems())


def test_two_runs_into_one_folder_leave_whole_files(tmp_path):
    both = [command(*FAST, "--seed", seed, "--out", str(tmp_path), "--json") for seed in ("1", "2")]
    outputs = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert (tmp_path / "manifold_gap.json").read_text() in outputs
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]
