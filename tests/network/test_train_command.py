"""`python -m network.train`: what it prints and writes, exit codes, one-line errors, Ctrl-C and resuming."""

import json
import signal
import subprocess
import sys
from dataclasses import fields
from functools import partial

import pytest
import torch

import network.training as training_module
from network.checkpoint import load_checkpoint
from network.config import FastSlowConfig
from network.run_log import read_log
from network.train import main, parser
from network.training_config import TrainConfig

SMALL = ["--tokens", "768", "--block-size", "32", "--n-layer", "2", "--n-embd", "16", "--n-head", "2", "--period", "4"]
SMALL += ["--eval-tokens", "256", "--quiet"]


@pytest.fixture
def command(corpus_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "cache"))

    def run(*arguments):
        try:
            code = main([*map(str, arguments)])
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    return run


def test_the_command_trains_reports_and_resumes(command, corpus_folder, tmp_path):
    run = tmp_path / "run"
    code, out, err = command("--corpus", corpus_folder, "--out", run, *SMALL)
    assert (
        (code, err) == (0, "") and "validation loss" in out and "bits per byte" in out and "with the gate closed" in out
    )
    code, out, err = command("--resume", run, "--json", "--quiet")
    result = json.loads(out)
    assert code == 0 and result["tokens"] == 768 and result["evaluation"]["step"] == 6
    assert result["evaluation"]["validation_loss"] == read_log(run)[-1]["validation_loss"]
    code, _, err = command("--resume", run, "--arm", "dense", "--learning-rate", "0.1", "--quiet")
    assert code == 2
    assert "model.arm: 'coupled' in the checkpoint, 'dense' asked for" in err and "training.learning_rate" in err


def test_bpe_from_the_command_line(command, corpus_folder, tmp_path):
    assert command("--corpus", corpus_folder, "--bpe", 280, "--out", tmp_path / "run", *SMALL)[0] == 0
    assert command("--resume", tmp_path / "run", "--quiet")[0] == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"]["vocab_size"] == 280


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--tokens", "0"], "tokens must be an integer >= 1, got 0"),
        (["--tokens", "nan"], "argument --tokens: 'nan' is not a whole number such as 500000, 500k"),
        (["--period", "-1"], "period must be an integer >= 1, got -1"),
        (["--period", "300"], "period = 300 exceeds block_size = 256"),
        (["--arm", "sparse"], "argument --arm: invalid choice: 'sparse'"),
        (["--seed", "-1"], "argument --seed: '-1' is not an integer from 0 to 2^63 − 1"),
        (["--seed", str(2**63)], "argument --seed: '9223372036854775808' is not an integer from 0 to 2^63 − 1"),
        (["--tok", "5"], "unrecognized arguments: --tok 5; did you mean --tokens?"),
        (["--slow-attention", "full"], "invalid choice"),
        (["--learning-rate", "inf"], "learning_rate must be positive and finite"),
        (["--device", "cuda:99"], "device 'cuda:99' is not available here"),
        (["--device", "abacus"], "device 'abacus' is not available here"),
        (["--corpus", "/nowhere/at/all"], "does not exist; pass shakespeare"),
        (
            ["--resume", "/nowhere"],
            "/nowhere/config.json does not describe a run (No such file or directory); pass the folder of a run",
        ),
        (["--resume", "a", "--out", "b"], "leave --out away"),
        (
            ["--out", "/dev/null/run"],
            "--out /dev/null/run: cannot be written (Not a directory); name a folder that does not exist yet",
        ),
    ],
)
def test_usage_errors_are_one_line_and_code_2(command, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*arguments)
    assert code == 2 and out == "" and message in err and err.count("\n") == 1


def test_divergence_is_code_3(command, corpus_folder, tmp_path, nan_at):
    nan_at(3)
    code, out, err = command("--corpus", corpus_folder, "--out", tmp_path / "run", *SMALL)
    assert code == 3 and out == "" and "the loss is nan at step 3" in err


def test_a_full_disk_is_code_3(command, corpus_folder, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    code, _, err = command("--corpus", corpus_folder, "--out", tmp_path / "run", *SMALL)
    assert code == 3 and "No space left" in err and "no checkpoint was saved before it" in err


def test_ctrl_c_saves_and_the_run_goes_on_as_if_nothing_had_been(
    command, corpus_folder, tmp_path, monkeypatch, request
):
    true, calls = training_module.cross_entropy, []
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background start with it ignored

    def interrupt_at_third(*arguments):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return true(*arguments)

    monkeypatch.setattr(training_module, "cross_entropy", interrupt_at_third)
    code, out, _ = command("--corpus", corpus_folder, "--out", tmp_path / "run", *SMALL)
    assert code == 130 and "stopped after 384 tokens" in out and load_checkpoint(tmp_path / "run").step == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert command("--resume", tmp_path / "run", "--quiet")[0] == 0
    assert command("--corpus", corpus_folder, "--out", tmp_path / "whole", *SMALL)[0] == 0
    assert read_log(tmp_path / "run") == read_log(tmp_path / "whole")


def test_the_largest_seed_trains(command, corpus_folder, tmp_path):
    code, _, err = command("--corpus", corpus_folder, "--out", tmp_path / "run", *SMALL, "--seed", 2**63 - 1)
    assert (code, err) == (0, "")


def test_every_option_is_explained():
    groups = {group.title: group._group_actions for group in parser()._action_groups}
    for title in ("options", "model", "training"):
        for option in groups[title]:
            explained = (option.help or "").split("default")[0].strip("; ")
            assert len(explained) > 5 or title == "options", option.option_strings
    assert len(groups["model"]) + len(groups["training"]) == len(fields(FastSlowConfig)) + len(fields(TrainConfig)) - 1
    assert "AdamW's, of the mean squared gradient; default 0.99" in parser().format_help()


def test_help_answers_without_torch():
    code = "import sys; from network.train import parser; parser().format_help(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
