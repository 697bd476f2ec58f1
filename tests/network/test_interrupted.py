"""Ctrl-C, SIGTERM and a full disk: answered at once, what was finished is kept and what is whole is said."""

import os
import resource
import signal

import pytest
import torch

import network.training as training_module
from network.checkpoint import NotSaved, load_checkpoint, save_checkpoint
from network.command_line import exit_code
from network.config import FastSlowConfig
from network.model import FastSlowLM
from network.train import main

SMALL = ["--tokens", "768", "--block-size", "32", "--n-layer", "1", "--n-embd", "8", "--n-head", "2", "--period", "4"]
SMALL += ["--eval-tokens", "64", "--evaluations", "1", "--quiet"]


@pytest.fixture
def at_step(monkeypatch):
    """at_step(k, action): called within the k-th step."""
    true, calls = training_module.cross_entropy, []

    def plant(step, action):
        def watched(*arguments):
            calls.append(1)
            if len(calls) == step:
                action()
            return true(*arguments)

        monkeypatch.setattr(training_module, "cross_entropy", watched)

    return plant


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_answered_at_once_and_saved(number, at_step, corpus_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "cache"))
    at_step(2, lambda: signal.raise_signal(number))
    before = signal.getsignal(number)
    assert main(["--corpus", str(corpus_folder), "--out", str(tmp_path / "run"), *SMALL]) == 130
    err = capsys.readouterr().err
    assert "finishing this step; again to stop now" in err and "go on with --resume" in err
    assert load_checkpoint(tmp_path / "run").step == 2 and signal.getsignal(number) is before


def test_the_second_stops_now(at_step, corpus_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "cache"))

    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

    at_step(2, twice)
    assert main(["--corpus", str(corpus_folder), "--out", str(tmp_path / "run"), *SMALL]) == 130
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_sigterm_ends_any_command_as_ctrl_c_does(capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert exit_code(lambda: signal.raise_signal(signal.SIGTERM) or 0, "prog") == 130
    assert capsys.readouterr().err == "prog: interrupted\n" and signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("limit", [4_096, 20_000])
def test_a_disk_that_takes_no_more_is_said_with_what_is_whole(limit, tmp_path):
    """A bound on the size of files is met in the writers of safetensors and of torch, as a full disk is."""
    model = FastSlowLM(FastSlowConfig(vocab_size=16, block_size=16, n_layer=1, n_embd=16, n_head=2))
    state = {"optimizer": torch.zeros(20_000)}

    def save(step):
        return save_checkpoint(tmp_path, model, step=step, config={}, counters={}, training_state=state)

    first = save(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        with pytest.raises(NotSaved, match=f"what was saved before is whole: {first}. Make room on the disk"):
            save(2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert load_checkpoint(tmp_path).step == 1
    assert not [name for name in os.listdir(tmp_path / "checkpoints") if name.startswith(".tmp")]
    assert save(2).name == "00000002"
