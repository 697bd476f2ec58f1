import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from network.atomic import new_folder, remove_folder, sweep, write_atomic
from network.checkpoint import CheckpointError, NotSaved, load_checkpoint, save_checkpoint
from network.model import FastSlowLM

CONFIG = {"model": {"arm": "coupled", "period": 4}, "training": {"seed": 0}}


class Tied(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.embedding = nn.Embedding(5, width)
        self.head = nn.Linear(width, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("count", torch.tensor([7]))


def save(run, model, step=10, **changes):
    arguments = {
        "config": CONFIG,
        "counters": {"tokens": 1280, "seconds": 1.5},
        "training_state": {"data": {"step": step}},
    }
    return save_checkpoint(run, model, step=step, **{**arguments, **changes})


def reseal(checkpoint):
    """Make the recorded digests those of the files as they are: what an attacker would do."""
    import hashlib

    header = json.loads((checkpoint / "checkpoint.json").read_text())
    header["sha256"] = {name: hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() for name in header["sha256"]}
    (checkpoint / "checkpoint.json").write_text(json.dumps(header))


def test_weights_and_state_come_back_bit_for_bit(tmp_path, small_model):
    model = FastSlowLM(small_model, generator=torch.Generator().manual_seed(1))
    state = {"optimizer": {"exp_avg": torch.randn(3)}, "random": {"cpu": torch.get_rng_state()}, "data": {"step": 10}}
    path = save(tmp_path, model, training_state=state)
    other = FastSlowLM(small_model, generator=torch.Generator().manual_seed(2))
    checkpoint = load_checkpoint(tmp_path)
    checkpoint.load_weights(other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    loaded = checkpoint.training_state()
    assert torch.equal(loaded["optimizer"]["exp_avg"], state["optimizer"]["exp_avg"])
    assert torch.equal(loaded["random"]["cpu"], state["random"]["cpu"])
    assert (checkpoint.path, checkpoint.step, checkpoint.config) == (path, 10, CONFIG)
    assert checkpoint.counters == {"tokens": 1280, "seconds": 1.5}
    assert load_checkpoint(path).step == 10


def test_a_tied_weight_is_saved_once_and_stays_tied(tmp_path):
    from safetensors import safe_open

    model = Tied()
    path = save(tmp_path, model)
    with safe_open(path / "model.safetensors", "pt") as file:
        assert sorted(file.keys()) == ["count", "embedding.weight"]
    other = Tied()
    load_checkpoint(path).load_weights(other)
    assert other.head.weight is other.embedding.weight and torch.equal(other.head.weight, model.head.weight)


def test_dtypes_other_than_float32_survive(tmp_path):
    model = Tied().double()
    path = save(tmp_path, model)
    other = Tied().double()
    load_checkpoint(path).load_weights(other)
    assert torch.equal(other.head.weight, model.head.weight)
    with pytest.raises(
        CheckpointError, match=r"embedding.weight has dtype torch.float64 where the model has torch.float32"
    ):
        load_checkpoint(path).load_weights(Tied())


def test_the_newest_two_are_kept(tmp_path):
    for step in (5, 10, 100, 1000):
        save(tmp_path, Tied(), step)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["00000100", "00001000"]
    assert load_checkpoint(tmp_path).step == 1000


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt", "checkpoint.json"])
@pytest.mark.parametrize("damage", ["truncated", "emptied", "missing", "foreign"])
def test_a_damaged_file_is_refused_with_its_path(tmp_path, name, damage):
    path = save(tmp_path, Tied()) / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"truncated": content[:-3], "emptied": b"", "foreign": b"\x80\x04K\x01."}[damage])
    given = path.parent if name != "checkpoint.json" else tmp_path
    with pytest.raises(CheckpointError, match=str(path)):
        load_checkpoint(given)


def test_the_damaged_one_is_not_passed_over_in_silence(tmp_path):
    save(tmp_path, Tied(), 10)
    newest = save(tmp_path, Tied(), 20)
    (newest / "training.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"remove {newest} to go back to the checkpoint before it"):
        load_checkpoint(tmp_path)
    remove_folder(newest)
    assert load_checkpoint(tmp_path).step == 10


class Payload:
    def __reduce__(self):
        return (os.mkdir, (Payload.target,))


@pytest.mark.parametrize("name", ["training.pt", "model.safetensors"])
@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_a_pickle_payload_is_refused_and_never_run(tmp_path, name, protocol):
    Payload.target = str(tmp_path / "executed")
    checkpoint = save(tmp_path, Tied())
    if protocol == "torch":
        torch.save({"optimizer": Payload()}, checkpoint / name)
    else:
        (checkpoint / name).write_bytes(pickle.dumps(Payload()))
    reseal(checkpoint)
    loaded = load_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match=str(checkpoint / name)):
        loaded.training_state() if name == "training.pt" else loaded.load_weights(Tied())
    assert not (tmp_path / "executed").exists()


def test_missing_extra_and_misshapen_weights_are_listed(tmp_path):
    path = save(tmp_path, Tied())
    other = Tied(width=4)
    del other.count
    other.register_buffer("total", torch.tensor([1]))
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path).load_weights(other)
    for part in ("extra count", "missing total", "embedding.weight has shape [5, 3] where the model has [5, 4]"):
        assert part in str(error.value)


def test_another_configuration_is_refused_with_the_difference(tmp_path):
    checkpoint = load_checkpoint(save(tmp_path, Tied()))
    checkpoint.require(CONFIG)
    wanted = {"model": {"arm": "dense", "period": 4, "gate": "scalar"}, "training": {"seed": 0}}
    with pytest.raises(CheckpointError) as error:
        checkpoint.require(wanted)
    assert "model.arm: 'coupled' in the checkpoint, 'dense' asked for" in str(error.value)
    assert "model.gate: None in the checkpoint, 'scalar' asked for" in str(error.value)
    assert "period" not in str(error.value)
    checkpoint.require(wanted, ignoring=("model.arm", "model.gate"))


def test_no_checkpoint_at_all(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match=f"{path} holds no checkpoint; pass the folder of a run"):
            load_checkpoint(path)


def test_a_cuda_checkpoint_loads_on_a_machine_without_one(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    path = save(tmp_path, Tied(), training_state={"exp_avg": torch.arange(3.0)})
    monkeypatch.undo()
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(path / "training.pt", weights_only=True)
    state = load_checkpoint(path).training_state()
    assert state["exp_avg"].device.type == "cpu" and state["exp_avg"].tolist() == [0, 1, 2]


# Kill the process at every single file operation of a save: os.fork needs a process without threads of its own.
KILL_EVERYWHERE = """
import os, signal, sys
from pathlib import Path
import torch
from torch import nn
torch.set_num_threads(1)
from network.checkpoint import load_checkpoint, save_checkpoint
import network.atomic, network.checkpoint
import safetensors.torch

run = Path(sys.argv[1])

def save(step):
    model = nn.Linear(4, 4)
    nn.init.constant_(model.weight, float(step))
    save_checkpoint(run, model, step=step, config={}, counters={}, training_state={"data": {"step": step}})

def check(steps):
    checkpoint = load_checkpoint(run)
    model = nn.Linear(4, 4)
    checkpoint.load_weights(model)
    assert checkpoint.step in steps, (checkpoint.step, steps)
    assert model.weight.unique().item() == checkpoint.step == checkpoint.training_state()["data"]["step"]

save(1)
save(2)
operations = 0
step = 3
while True:
    child = os.fork()
    if child == 0:
        count = 0
        def deadly(function):
            def wrapped(*args, **kwargs):
                global count
                if count == operations:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
                return function(*args, **kwargs)
            return wrapped
        system = ("open", "rename", "replace", "fsync", "close", "chmod", "unlink", "rmdir", "mkdir")
        for module, names in ((os, system), (torch, ("save",)), (safetensors.torch, ("save_file",))):
            for name in names:
                setattr(module, name, deadly(getattr(module, name)))
        save(step)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    check(range(step - operations - 2, step + 1))
    newest = load_checkpoint(run).step
    assert newest in (step, last if operations else 2), (newest, step)
    last = newest
    step += 1
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
    operations += 1
save(step)
check({step})
assert sorted(p.name for p in (run / "checkpoints").iterdir()) == [f"{s:08d}" for s in (last, step)]
print(operations)
"""


def test_a_kill_at_any_file_operation_leaves_a_whole_checkpoint(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILL_EVERYWHERE, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 15


def test_atomic_files_replace_and_clean_up(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two" and path.stat().st_mode & 0o777 == 0o644

    def fail(folder):
        (folder / "half").write_text("written")
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"), new_folder(tmp_path / "folder") as folder:
        fail(folder)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    with new_folder(tmp_path / "folder") as folder:
        (folder / "whole").write_text("written")
    with pytest.raises(FileExistsError), new_folder(tmp_path / "folder"):
        pass
    (tmp_path / ".tmp-left").mkdir()
    (tmp_path / ".tmp-file").write_text("")
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_save_failing_midway_keeps_what_was_there(tmp_path, monkeypatch):
    save(tmp_path, Tied(), 10)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(NotSaved, match="No space left"):
        save(tmp_path, Tied(), 20)
    assert [p.name for p in Path(tmp_path, "checkpoints").iterdir()] == ["00000010"]
    assert load_checkpoint(tmp_path).step == 10
