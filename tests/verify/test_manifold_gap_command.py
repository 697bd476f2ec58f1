"""`python -m verify.manifold_gap`: exit codes, one-line errors, files, streams. FAULTS 39 to 42, 45, 48."""

import csv
import json
from pathlib import Path

import pytest

from verify.manifold_gap import measurement as manifold_gap
from verify.manifold_gap.command import main

ROOT = Path(__file__).parents[2]
FAST = ["--system", "two_state", "--periods", "64,128,256"]

USER_SYSTEM = """
import sys
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

def boxed(**forms):
    return FastSlowSystem(generator=generator, slow=lambda x, y: x[..., 1:] - y,
                          n_states=2, n_slow=1, low=0.1, high=1.0, **forms)

def wrong_p():
    return boxed(stationary=lambda y: torch.cat([y, 1 - y], -1))

def wrong_gap():
    return boxed(spectral_gap=lambda y: 1 + y[..., 0])

def right_forms():
    up, down = lambda y: torch.exp(y), lambda y: torch.exp(-y)
    return boxed(stationary=lambda y: torch.cat([down(y), up(y)], -1) / (up(y) + down(y)),
                 spectral_gap=lambda y: (up(y) + down(y))[..., 0])

def nothing_moves():
    return FastSlowSystem(generator=lambda y: torch.zeros(*y.shape[:-1], 2, 2, dtype=y.dtype),
                          slow=lambda x, y: x[..., 1:] - y, n_states=2, n_slow=1, low=0.0, high=1.0)

def raises_in_A():
    def A(y):
        return torch.eye(3)[y]
    return FastSlowSystem(generator=A, slow=lambda x, y: x[..., 1:] - y, n_states=2, n_slow=1, low=0.0, high=1.0)

def nan_phi():
    return lambda y: torch.cat([y, 1 - y], -1) * torch.nan

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

def nearly_phi():
    return lambda y: phi()(y) * (1 + 2e-13)

def quits():
    sys.exit(0)

def phi_quits():
    return lambda y: sys.exit(0)

def quits_in_g():
    def slow(x, y):
        if len(y) != 64:  # not where it is checked at the start
            sys.exit(0)
        return x[..., 1:] - y
    return FastSlowSystem(generator=generator, slow=slow, n_states=2, n_slow=1, low=0.0, high=1.0)

def raises_in_g():
    def slow(x, y):
        return {64: x[..., 1:] - y}[len(y)]
    return FastSlowSystem(generator=generator, slow=slow, n_states=2, n_slow=1, low=0.0, high=1.0)

def cut():
    return FastSlowSystem(generator=lambda y: generator(y.detach()), slow=lambda x, y: x[..., 1:] - y,
                          n_states=2, n_slow=1, low=0.0, high=1.0)
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


@pytest.mark.parametrize("observe", ["clock", "ode"])
def test_a_system_that_cuts_its_derivatives_gets_no_verdict(observe, user_file, tmp_path, capsys):
    words = ["--system", f"{user_file}:cut", "--periods", "64,128,256", "--observe", observe, "--out", str(tmp_path)]
    assert main(words) == 2  # its φ₁ would be 0, and the constant of the gap unknown
    out, err = capsys.readouterr()
    assert out == "" and "loses its derivative in y" in err and "leave out .detach()" in err


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
        (["--seed", "-1"], "argument --seed: '-1' is not an integer from 0 to 2^63 − 1"),
        (["--seed", str(2**63)], "argument --seed: '9223372036854775808' is not an integer from 0 to 2^63 − 1"),
        (["--samples", "1" + 20 * "0"], "argument --samples: '100000000000000000000' must be at most 2^63 − 1"),
        (["--samples", "0"], "argument --samples: '0' must be an integer >= 1"),
        ([*FAST, "--samples", "9"], "samples is for sampled states (observe jumps); observe is 'clock'"),
        ([*FAST, "--observe", "ode", "--kernel", "euler"], "step and kernel are the token clock's; observe 'ode' has"),
        ([*FAST, "--observe", "ode", "--step", "0.1"], "step and kernel are the token clock's; observe 'ode' has"),
        (["--system", "all", "--observe", "ode", "--step", "0.1"], "step and kernel are the token clock's"),
        (["--system", "all", "--periods", str(2**53 + 1)], "periods must be at most 2^53"),
        (["--phi-theta", "x.safetensors", "--system", "all"], "a φ_θ belongs to one system"),
        ([*FAST, "--device", "abacus"], "--device abacus: not a device"),
        ([*FAST, "--device", "meta"], "--device meta: has no float64"),
        ([*FAST, "--phi-theta", "nowhere.safetensors"], "nowhere.safetensors: no such file"),
        (["--system", "nowhere.py:f"], "nowhere.py: no such file"),
        (["--system", "nowhere.py"], "which function of nowhere.py? nowhere.py:FACTORY"),
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
    told = usage_error([*FAST, "--out", str(tmp_path / "file")], capsys)
    assert f"{tmp_path / 'file'}: is a file; name a folder that can be written" in told


@pytest.mark.parametrize(
    "factory, message",
    [
        ("missing", "has no function 'missing'; it defines"),
        ("raises", "calling it raised KeyError: 'my own mistake' (line 50 in raises)"),
        ("raises_in_A", "IndexError: tensors used as indices"),
        ("raises_in_A", "(line 43 in A)"),
        ("nothing_moves", "mine.py:nothing_moves: at y = [0."),
        ("nothing_moves", "has 2 recurrent classes"),
        ("wrong_p", "stationary(y) is not p_st of A(y) at y = [0."),
        ("wrong_gap", "spectral_gap(y) is not that of A(y) at y = [0."),
        ("not_a_system", "returned int, not a theory.FastSlowSystem"),
        ("transposed", "looks transposed"),
        ("wrong_g", "the map g"),
        ("quits", "calling it raised SystemExit: 0"),
        ("quits_in_g", "measuring it raised SystemExit: 0"),
        ("raises_in_g", "measuring it raised KeyError: "),
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


def test_a_user_file_that_exits_does_not_decide_the_exit_code(user_file, tmp_path, capsys):
    file = tmp_path / "exits.py"
    file.write_text("import sys\nsys.exit(0)")
    for option in ("--system", "--phi-theta"):
        error = usage_error([*FAST, option, f"{file}:f", "--out", str(tmp_path)], capsys)
        assert "exits.py: importing it raised SystemExit: 0" in error
    error = usage_error([*FAST, "--phi-theta", f"{user_file}:phi_quits", "--out", str(tmp_path)], capsys)
    assert "mine.py:phi_quits: φ_θ(y) raised SystemExit: 0" in error


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


@pytest.mark.thorough
def test_exit_code_1_for_a_violated_and_3_for_an_inconclusive_measurement(user_file, tmp_path, capsys):
    system = ["--system", f"{user_file}:my_system", "--out", str(tmp_path)]
    assert main([*system, "--periods", "64,128,256", "--phi-theta", f"{user_file}:phi"]) == 1
    assert "does not shrink" in capsys.readouterr().out
    assert main([*system, "--periods", "64,128"]) == 3
    assert main([*system, "--periods", "64,128,256", "--phi-theta", f"{user_file}:phi_of"]) == 1


def test_closed_forms_that_are_right_are_taken(user_file, tmp_path, capsys):
    arguments = ["--system", f"{user_file}:right_forms", "--out", str(tmp_path), "--periods", "64,128,256"]
    assert main(arguments) == 0 and "HOLDS" in capsys.readouterr().out


def test_a_phi_that_is_not_finite_is_refused(user_file, tmp_path, capsys):
    arguments = ["--system", f"{user_file}:my_system", "--phi-theta", f"{user_file}:nan_phi", "--out", str(tmp_path)]
    assert "mine.py:nan_phi: φ_θ(y) is not finite at y = [0." in usage_error(arguments, capsys)


def test_a_phi_off_the_simplex_is_refused(user_file, tmp_path, capsys):
    arguments = ["--system", f"{user_file}:my_system", "--phi-theta", f"{user_file}:bad_phi", "--out", str(tmp_path)]
    assert "must sum to one over states" in usage_error(arguments, capsys)


def test_a_phi_that_the_certificate_would_refuse_is_refused_at_the_start_with_its_file(
    user_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(manifold_gap, "measure", lambda *a, **k: pytest.fail("it computed"))
    phi = f"{user_file}:nearly_phi"
    error = usage_error(["--system", f"{user_file}:my_system", "--phi-theta", phi, "--out", str(tmp_path)], capsys)
    assert "mine.py:nearly_phi: φ_θ(y) must sum to one over states within rounding" in error and "e-13" in error


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"not a tensor file at all"])
def test_a_foreign_or_truncated_phi_file_is_refused_with_its_path(content, tmp_path, capsys):
    file = tmp_path / "phi.safetensors"
    file.write_bytes(content)
    assert "phi.safetensors: not a whole safetensors file" in usage_error(
        [*FAST, "--phi-theta", str(file), "--out", str(tmp_path)], capsys
    )


@pytest.mark.thorough
@pytest.mark.parametrize("seed, observe", [(2**63 - 1, "clock"), (2**63 - 1, "jumps")])
def test_the_largest_seed_and_the_most_samples_run(seed, observe, tmp_path):
    more = ["--samples", str(2**63 - 1)] if observe == "jumps" else []
    options = ["--observe", observe, "--seed", str(seed), *more, "--out", str(tmp_path)]
    assert main([*FAST, *options]) in (0, 3)
    with pytest.raises(ValueError, match="seed must be at most 2\\^63 − 1, got 9223372036854775808"):
        manifold_gap.measure("two_state", [64], seed=seed + 1)


def test_help_names_every_built_in_system(capsys):
    import theory

    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out.replace("\n", " ")
    assert all(name in text for name in theory.list_systems())


def test_help_states_the_exit_codes_and_that_a_factory_may_take_the_period(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Exit codes: 0 the claim holds; 1 it is VIOLATED; 2 usage or input; 3 numerical failure" in text
    assert "FACTORY that takes the argument `period`" in text and "default 2,4,…,65536" in text
    assert "0 … 2^63 − 1; default 0" in text
