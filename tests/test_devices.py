"""Every command that computes on a device, run unchanged on `cuda` where there is one; on `cpu` behind slow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
MODEL = "--tokens 2048 --block-size 32 --n-layer 2 --n-embd 16 --n-head 2"
DEVICES = [pytest.param("cpu", marks=pytest.mark.slow), "cuda"]


@pytest.fixture(scope="module", params=DEVICES)
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return request.param


@pytest.fixture(scope="module")
def command(device, tmp_path_factory):
    """Run a command line of the repository on the device, in a folder of its own; its standard output."""
    folder = tmp_path_factory.mktemp(device)
    (folder / "texts").mkdir()
    for number in range(4):
        (folder / "texts" / f"{number}.txt").write_text("what the slow one holds the fast one follows " * (40 + number))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FASTSLOW_CACHE": str(folder / "cache")}

    def run(line):
        words = [sys.executable, *line.replace("BENCHMARKS", str(ROOT / "benchmarks")).split(), "--device", device]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.mark.parametrize("kernel", ["exp", "euler"])
def test_the_headline(command, kernel):
    out = command(
        f"-m verify.manifold_gap --system two_state --periods 64,128,256,512,1024 --kernel {kernel} --out gap"
    )
    assert "HOLDS" in out


def test_another_fit(command):
    assert '"rows"' in command(
        "-m verify.manifold_gap --system two_state --periods 8,16 --fit lbfgs --json --out lbfgs"
    )


@pytest.mark.parametrize("arm", ["dense", "frozen", "coupled", "blind", "local", "generator"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_training_generation_and_both_checks(command, arm, dtype):
    run = f"run-{arm}-{dtype}"
    command(f"-m network.train --corpus texts {MODEL} --arm {arm} --dtype {dtype} --quiet --out {run}")
    assert len(command(f"-m network.generate {run} --tokens 8 --prompt slow").encode()) >= 8
    command(f"-m network.leak_check {run}")
    if arm != "generator":  # which has no blocks; its own rooms are those of --network
        assert "distance" in command(f"-m verify.generator_defect {run} --corpus texts --iterations 5 --length 16")


def test_a_compiled_model(command):
    command(f"-m network.train --corpus texts {MODEL} --compile --quiet --out compiled")


def test_the_ablation(command):
    out = command(
        f"-m verify.ablation --corpus texts {MODEL} --seeds 2 --periods 4,8 --rounds 6 --eval-tokens 64 --out a"
    )
    assert "frozen" in out and "+0.00000" in out


def test_the_claims_that_take_a_device(command):
    out = command("-m verify --claim zero_gate_is_dense no_future_leak full_attention_leaks --mutants --out claims")
    assert out.count("refuted") == 3


def test_the_benchmarks(command):
    sizes = "--n-embd 16 --n-head 2 --n-layer 2"
    out = command(f"BENCHMARKS/training.py --seconds 100 --lengths 256 {sizes} --tokens-per-step 512 --out t.json")
    assert "coupled, L-1 fast + 1 slow" in out
    small = "--tokens 1024 --block-size 32 --n-embd 8 --learning-rate 0.01 --seeds 2 --rounds 6 --periods 4 --jobs 1"
    assert "local 2, P = 4" in command(f"BENCHMARKS/pareto.py {small} --cells cells --out pareto.json")
