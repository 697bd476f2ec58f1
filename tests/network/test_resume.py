import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from network.checkpoint import CheckpointError, load_checkpoint
from network.config import ALL_ARMS
from network.run_log import read_log
from network.training import train

pytestmark = pytest.mark.numerical


def state_of(run):
    """Every bit that training leaves behind: weights, optimizer, random state."""
    from safetensors.torch import load_file

    checkpoint = load_checkpoint(run)
    training = checkpoint.training_state()
    tensors = [*load_file(checkpoint.path / "model.safetensors").values(), training["random"]["cpu"]]
    for moments in training["optimizer"]["state"].values():
        tensors += moments.values()
    return checkpoint.step, tensors


def assert_same_state(run, other):
    (step, tensors), (other_step, others) = state_of(run), state_of(other)
    assert step == other_step and len(tensors) == len(others)
    assert all(torch.equal(a, b) for a, b in zip(tensors, others, strict=True))


@pytest.mark.parametrize("arm", ALL_ARMS)
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(arm, small_model, small_training, small_data, tmp_path):
    model = replace(small_model, arm=arm)
    whole = train(model, small_training, data=small_data, run=tmp_path / "whole")
    rng = random.Random(arm)
    for resume in (False, True, True, True):
        left = iter(range(rng.randint(1, 8)))
        result = train(
            model,
            small_training,
            data=small_data,
            run=tmp_path / "parts",
            resume=resume,
            stop=lambda left=left: next(left, None) is None,
        )
        assert result.stopped == (len(result.losses) < 24)
    result = train(model, small_training, data=small_data, run=tmp_path / "parts", resume=True)
    assert result.losses == whole.losses and result.evaluations == whole.evaluations
    assert read_log(tmp_path / "parts") == read_log(tmp_path / "whole")
    assert_same_state(tmp_path / "parts", tmp_path / "whole")


def test_a_run_killed_before_its_first_checkpoint_starts_again(small_model, small_training, small_data, tmp_path):
    import shutil

    whole = train(small_model, small_training, data=small_data, run=tmp_path)
    shutil.rmtree(tmp_path / "checkpoints")
    assert train(small_model, small_training, data=small_data, run=tmp_path, resume=True).losses == whole.losses


def test_resuming_what_is_no_run_says_so(small_model, small_training, small_data, tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json does not describe a run"):
        train(small_model, small_training, data=small_data, run=tmp_path, resume=True)
    train(small_model, small_training, data=small_data, run=tmp_path)
    description = (tmp_path / "config.json").read_text()
    for foreign in (
        "{}",
        "[1]",
        description.replace('"period"', '"epoch"'),
        description.replace('"corpus"', '"texts"'),
    ):
        (tmp_path / "config.json").write_text(foreign)
        with pytest.raises(CheckpointError, match=r"config\.json does not describe a run"):
            train(small_model, small_training, data=small_data, run=tmp_path, resume=True)
    (tmp_path / "config.json").write_text(description)
    (newest,) = sorted((tmp_path / "checkpoints").iterdir())[-1:]
    (newest / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match=f"{newest}/model.safetensors is truncated or was altered"):
        train(small_model, small_training, data=small_data, run=tmp_path, resume=True)


def test_a_log_torn_by_a_kill_is_cut_back_to_the_checkpoint(small_model, small_training, small_data, tmp_path):
    whole = train(small_model, small_training, data=small_data, run=tmp_path)
    import shutil

    shutil.rmtree(sorted((tmp_path / "checkpoints").iterdir())[-1])
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"kind": "step", "step": 22, "lo')
    assert load_checkpoint(tmp_path).step == 21
    assert train(small_model, small_training, data=small_data, run=tmp_path, resume=True).losses == whole.losses
    assert [r["step"] for r in read_log(tmp_path) if r["kind"] == "step"] == list(range(1, 25))


# One parent imports torch once and forks a child per attempt: what a child does is what `network.train` does.
KILL_AND_RESUME = """
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from network.config import FastSlowConfig
from network.corpus import open_corpus
from network.data import load_data
from network.training import train
from network.training_config import TrainConfig

corpus, cache, out, kills = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
data = load_data(open_corpus(corpus), cache=cache)
model = FastSlowConfig(block_size=32, n_layer=2, n_embd=16, n_head=2, period=4)
training = TrainConfig(tokens=128 * 80, evaluations=3, eval_tokens=512, checkpoint_every=4)
train(model, TrainConfig(tokens=128, evaluations=1, eval_tokens=32), data=data)  # what is imported late is so once

def child(run):
    pid = os.fork()
    if pid == 0:
        try:
            train(model, training, data=data, run=run, resume=(run / "config.json").exists())
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return pid

def lines(run):
    return (run / "log.jsonl").read_bytes().count(b"\\n") if (run / "log.jsonl").exists() else 0

assert os.waitpid(child(out / "whole"), 0)[1] == 0
rng = random.Random(0)
killed = 0
while killed < kills:
    pid = child(out / "killed")
    target = lines(out / "killed") + rng.randint(-4, 12)  # below the present: while it starts or reads its checkpoint
    while lines(out / "killed") < target and not os.waitpid(pid, os.WNOHANG)[0]:
        time.sleep(0.003)
    time.sleep(rng.uniform(0, 0.02))
    os.kill(pid, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    killed += 1
assert os.waitpid(child(out / "killed"), 0)[1] == 0
print(killed)
"""


@pytest.mark.thorough
def test_sigkill_at_random_moments_changes_no_loss(corpus_folder, tmp_path):
    arguments = [str(corpus_folder), str(tmp_path / "cache"), str(tmp_path), "6"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILL_AND_RESUME, *arguments], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 6
    assert read_log(tmp_path / "killed") == read_log(tmp_path / "whole")
    assert_same_state(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_command_killed_twenty_times_ends_with_the_same_losses(corpus_folder, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FASTSLOW_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "network.train", "--quiet"]
    start = ["--corpus", str(corpus_folder), "--tokens", "400000", "--block-size", "64", "--n-embd", "32"]
    start += ["--n-layer", "2", "--checkpoint-every", "15", "--eval-tokens", "2048"]
    subprocess.run([*command, *start, "--out", str(tmp_path / "whole")], env=environment, check=True)

    run, rng = tmp_path / "killed", random.Random(1)
    log = run / "log.jsonl"
    for kill in range(20):
        known = (run / "config.json").exists()
        options = ["--resume", str(run)] if known else [*start, "--out", str(run)]
        process = subprocess.Popen([*command, *options], env=environment)
        if kill % 4 == 0:  # at any moment of its start, which takes some three seconds on an idle machine
            time.sleep(rng.uniform(0.0, 3.5))
        else:  # at any moment of training, evaluating, saving
            target = (len(log.read_bytes().splitlines()) if log.exists() else 0) + rng.randint(1, 60)
            while process.poll() is None and (not log.exists() or len(log.read_bytes().splitlines()) < target):
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.1))
        assert process.poll() is None  # it has not come to its end
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (run / "checkpoints").is_dir() and any((run / "checkpoints").glob("[0-9]*")):
            load_checkpoint(run)
    subprocess.run([*command, "--resume", str(run)], env=environment, check=True)
    assert read_log(run) == read_log(tmp_path / "whole")
    assert_same_state(run, tmp_path / "whole")
