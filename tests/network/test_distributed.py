import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from network.checkpoint import load_checkpoint
from network.config import ALL_ARMS
from network.distributed import Processes
from network.run_log import read_log

# Threads of the process group that are left behind abort their rank now and then, after its work was done.
LEFT_IN_ORDER = """
import pathlib
left = [file.read_text().strip() for file in pathlib.Path("/proc/self/task").glob("*/comm")]
assert not [name for name in left if "gloo" in name], left
"""

# Every arm in one launch: the same global batch as one process, in float64, over the first 20 steps.
AGREEMENT = (
    """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import torch.distributed as dist
from network.config import ALL_ARMS, FastSlowConfig
from network.corpus import open_corpus
from network.data import load_data
from network.distributed import processes
from network.training import train
from network.training_config import TrainConfig

data = load_data(open_corpus(sys.argv[1]), cache=sys.argv[2])
training = TrainConfig(tokens=20 * 8 * 16, batch_size=8, evaluations=2, eval_tokens=256, dtype="float64")
found = {}
with processes("cpu") as group:
    assert group.world == int(sys.argv[4])
    for arm in ALL_ARMS:
        for compute in ((False, True) if arm == "frozen" else (False,)):
            sizes = {"block_size": 16, "n_layer": 1, "n_embd": 16, "n_head": 2, "period": 4}
            model = FastSlowConfig(**sizes, arm=arm, compute_frozen=compute)
            result = train(model, training, data=data)
            last = result.evaluations[-1]
            evaluation = {name: value for name, value in last.to_dict().items() if value is not None}
            found[f"{arm}{compute}"] = {"losses": result.losses, "evaluation": evaluation}
    if group.first:
        Path(sys.argv[3]).write_text(json.dumps(found))
"""
    + LEFT_IN_ORDER
)

# The shortest run that wraps a model: what a rank does is over within a second, so most of it is coming and going.
COMING_AND_GOING = (
    """
import torch
torch.set_num_threads(1)
from network.distributed import processes

def work(group):
    model = group.parallel(torch.nn.Linear(8, 8))
    for step in range(20):
        model(torch.ones(4, 8)).sum().backward()
        assert group.sum(torch.ones(1)).item() == group.world

with processes("cpu") as group:
    work(group)
"""
    + LEFT_IN_ORDER
)


def torchrun(count, *arguments):
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), *arguments]


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, "OMP_NUM_THREADS": "1", "FASTSLOW_CACHE": str(tmp_path / "cache")}


@pytest.mark.thorough
@pytest.mark.numerical
def test_two_processes_agree_with_one_in_every_arm(corpus_folder, tmp_path, environment):
    script = tmp_path / "agreement.py"
    script.write_text(AGREEMENT)
    found = {}
    for count in (1, 2):
        arguments = [
            str(script),
            str(corpus_folder),
            str(tmp_path / "tokens"),
            str(tmp_path / f"{count}.json"),
            str(count),
        ]
        command = torchrun(2, *arguments) if count == 2 else [sys.executable, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        found[count] = json.loads((tmp_path / f"{count}.json").read_text())
    assert set(found[1]) == {f"{arm}False" for arm in ALL_ARMS} | {"frozenTrue"}
    for arm, one in found[1].items():
        two = found[2][arm]
        assert len(two["losses"]) == 20
        difference = max(abs(a - b) for a, b in zip(one["losses"], two["losses"], strict=True))
        assert difference < 1e-8, (arm, difference)
        assert two["evaluation"] == pytest.approx(one["evaluation"], rel=1e-7), arm


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_rank_leaves_in_order_many_times_over(tmp_path, environment):
    """Beside two busy processes: a thread that is left behind aborts its rank now and then, and more under load."""
    script = tmp_path / "coming_and_going.py"
    script.write_text(COMING_AND_GOING)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        for _ in range(30):
            done = subprocess.run(
                torchrun(2, str(script)), env=environment, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, done.stderr
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.thorough
def test_a_killed_worker_ends_the_run_with_an_error_and_a_whole_checkpoint(corpus_folder, tmp_path, environment):
    run = tmp_path / "run"
    options = ["--corpus", str(corpus_folder), "--tokens", "50000000", "--block-size", "32", "--n-embd", "16"]
    options += ["--n-layer", "2", "--n-head", "2", "--checkpoint-every", "10", "--evaluations", "1", "--quiet"]
    launcher = subprocess.Popen(
        torchrun(2, "-m", "network.train", *options, "--out", str(run)),
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 200
        while not sorted((run / "checkpoints").glob("[0-9]*")):
            assert launcher.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        workers = [pid for pid in children(launcher.pid) if environment_of(pid).get("LOCAL_RANK") == "1"]
        assert len(workers) == 1
        os.kill(workers[0], signal.SIGKILL)
        begin = time.monotonic()
        _, errors = launcher.communicate(timeout=60)
        assert launcher.returncode != 0 and time.monotonic() - begin < 60
        assert "SIGKILL" in errors or "exitcode" in errors
    finally:
        launcher.kill()
    checkpoint = load_checkpoint(run)
    assert checkpoint.step % 10 == 0 and checkpoint.step >= 10
    assert [r["step"] for r in read_log(run, until=checkpoint.step)] == list(range(1, checkpoint.step + 1))


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def environment_of(pid):
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("arm", ALL_ARMS)
def test_torchrun_trains_and_resumes_every_arm(arm, corpus_folder, tmp_path, environment):
    run = tmp_path / "run"
    options = [
        "--corpus",
        str(corpus_folder),
        "--tokens",
        "16384",
        "--arm",
        arm,
        "--block-size",
        "64",
        "--n-embd",
        "16",
    ]
    options += ["--dtype", "float64", "--eval-tokens", "512", "--quiet"]
    subprocess.run(torchrun(2, "-m", "network.train", *options, "--out", str(run)), env=environment, check=True)
    subprocess.run(torchrun(2, "-m", "network.train", "--resume", str(run), "--quiet"), env=environment, check=True)
    alone = tmp_path / "alone"
    subprocess.run([sys.executable, "-m", "network.train", *options, "--out", str(alone)], env=environment, check=True)
    two, one = ([r["loss"] for r in read_log(folder) if r["kind"] == "step"] for folder in (run, alone))
    assert len(two) == 64 and max(abs(a - b) for a, b in zip(one, two, strict=True)) < 1e-8


def test_shares_of_a_batch():
    group = Processes(1, 2, torch.device("cpu"))
    assert group.rows(8) == slice(4, 8) and not group.first
    with pytest.raises(ValueError, match="batch_size = 7 must be a multiple of the 2 processes"):
        group.rows(7)
