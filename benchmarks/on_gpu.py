"""All that needs a device, in one command under seven minutes: agreement, training, p_st, flow, blocks, pretrained.

    python benchmarks/on_gpu.py [--device cuda] [--out benchmarks/results/on_gpu.json]

Seven parts, each with its own figures in the JSON beside the device's name; a part that fails is named with its error
and the others go on. `--small` is a rehearsal at sizes for a CPU, and its figures say nothing.

* arms: logits and gradients of every arm on the device against float64 on the CPU, in float32 and bfloat16;
* training: tokens a second, utilisation of the data sheet's peak and peak memory of the dense and the coupled arm,
  compiled or not, in bfloat16 (preset `124M`);
* stationary: seconds of batched p_st on the device and on the CPU, and the largest relative difference of an entry;
* flow: seconds of 256 stiff trajectories on both, and the largest difference;
* blocks: Jacobians of a network's fast blocks against the nearest generator, on both, and the largest difference;
* pretrained: one layer of a GPT-2 and of a Llama of transformers as drawn (extra `pretrained`; no weights are needed),
  on both, in float64 and float32, and the largest difference of a distance;
* tests: those of tests/test_devices.py that take a device, as far as the time allows.

Exit codes: 0 every part ended; 2 no such device; 3 a part failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = 400.0  # seconds for everything, the tests last


def options() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a rehearsal at sizes for a CPU, without the tests")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/on_gpu.json"))
    return parser


def arms(device: Any, small: bool) -> list[dict[str, Any]]:
    """Every arm on the device against the CPU in float64: the largest relative difference of logits and gradients."""
    import torch

    from network.config import ARMS, FastSlowConfig
    from network.model import FastSlowLM
    from network.optimizer import autocast

    sizes = (
        {"block_size": 64, "n_layer": 2, "n_embd": 32} if small else {"block_size": 512, "n_layer": 4, "n_embd": 256}
    )
    tokens = torch.randint(256, (4, sizes["block_size"]), generator=torch.Generator().manual_seed(0))
    found = []
    for arm in ARMS:
        for dtype in ("float32", "bfloat16"):
            outputs = []
            for place, kind in ((torch.device("cpu"), "float64"), (device, dtype)):
                model = FastSlowLM(FastSlowConfig(arm=arm, **sizes), generator=torch.Generator().manual_seed(1))
                model.to(place, torch.float64 if kind == "float64" else torch.float32)
                with autocast(kind, place):
                    logits = model(tokens.to(place))
                logits.double().square().mean().backward()
                gradient = model.embedding.weight.grad
                outputs.append((logits.detach().double().cpu(), gradient.detach().double().cpu()))
            apart = [float((b - a).norm() / a.norm()) for a, b in zip(*outputs, strict=True)]
            found.append({"arm": arm, "dtype": dtype, "logits": apart[0], "gradient": apart[1]})
    return found


def training(device: Any, small: bool) -> list[dict[str, Any]]:
    """Steps of the preset on random tokens: tokens a second, utilisation and memory."""
    import torch

    from network.config import FastSlowConfig
    from network.evaluate import cross_entropy
    from network.model import FastSlowLM
    from network.model_flops import peak_flops, training_flops
    from network.optimizer import autocast, make_optimizer
    from network.presets import PRESETS
    from network.training_config import TrainConfig

    preset = PRESETS["tiny" if small else "124M"]
    sizes = {name: preset[name] for name in ("n_layer", "n_embd", "n_head", "block_size")}
    rows, steps = (2, 3) if small else (preset["micro_batch"], 20)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    peak, found = peak_flops(name), []
    for arm in ("dense", "coupled"):
        for compiled in (False,) if small else (False, True):
            config = FastSlowConfig(vocab_size=preset.get("bpe", 256), arm=arm, **sizes)
            model = FastSlowLM(config).to(device)
            network: Any = torch.compile(model) if compiled else model
            optimizer = make_optimizer(model, TrainConfig())
            tokens = torch.randint(config.vocab_size, (rows, config.block_size + 1), device=device)

            def step(network: Any = network, optimizer: Any = optimizer, tokens: Any = tokens) -> None:
                with autocast("bfloat16", device):
                    logits = network(tokens[:, :-1])
                cross_entropy(logits, tokens[:, 1:]).backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

            for _ in range(3):
                step()
            wait(device)
            start = time.perf_counter()
            for _ in range(steps):
                step()
            wait(device)
            speed = steps * rows * config.block_size / (time.perf_counter() - start)
            used = None if peak is None else speed * training_flops(config) / config.block_size / peak
            memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
            found.append(
                {
                    "arm": arm,
                    "compiled": compiled,
                    "tokens_per_second": speed,
                    "utilisation": used,
                    "peak_bytes": memory,
                }
            )
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
    return found


def stationary(device: Any, small: bool) -> list[dict[str, Any]]:
    """Batched p_st on the device and on the CPU."""
    import torch

    import theory

    found = []
    for batch, n in ((64, 4), (16, 16)) if small else ((65_536, 4), (4_096, 16), (1_024, 64)):
        rates = torch.rand(batch, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
        A = theory.from_rates(rates)
        there, own = seconds(lambda A=A: theory.stationary_distribution(A.to(device)), device)
        here, reference = seconds(lambda A=A: theory.stationary_distribution(A), torch.device("cpu"))
        apart = float(((own.cpu() - reference) / reference).abs().max())
        found.append(
            {"batch": batch, "n": n, "device_seconds": there, "cpu_seconds": here, "relative_difference": apart}
        )
    return found


def flow(device: Any, small: bool) -> list[dict[str, Any]]:
    """Stiff trajectories, side by side on the device and on the CPU."""
    import torch

    import theory

    system, count = theory.get_system("driven_cycle"), 8 if small else 256
    y0 = system.uniform(count, seed=0)
    x0 = torch.full((count, system.n_states), 1 / system.n_states, dtype=torch.float64)
    t = torch.linspace(0.0, 0.5, 3, dtype=torch.float64)

    def solve(place: Any) -> Any:
        return theory.simulate(system, x0.to(place), y0.to(place), t.to(place), 1e-4, rtol=1e-6, atol=1e-9).y

    there, own = seconds(lambda: solve(device), device)
    here, reference = seconds(lambda: solve(torch.device("cpu")), torch.device("cpu"))
    apart = float((own.cpu() - reference).abs().max())
    return [{"trajectories": count, "device_seconds": there, "cpu_seconds": here, "difference": apart}]


def blocks(device: Any, small: bool) -> list[dict[str, Any]]:
    """The generator defect of one network, on the device and on the CPU: what a pretrained one would cost."""
    import torch

    from network import FastSlowConfig, FastSlowLM
    from verify.generator_defect import measure_defect

    sizes = {"n_layer": 1, "n_embd": 16, "n_head": 2, "block_size": 16} if small else {"n_layer": 2, "n_embd": 128}
    config = FastSlowConfig(vocab_size=256, **sizes)
    length = 8 if small else 48
    tokens = torch.randint(256, (1, length), generator=torch.Generator().manual_seed(0))
    model = FastSlowLM(config, generator=torch.Generator().manual_seed(0))

    def measured(place: Any) -> Any:
        return measure_defect(model.to(place), tokens.to(place), iterations=5, null_samples=5).blocks

    there, own = seconds(lambda: measured(device), device)
    here, reference = seconds(lambda: measured(torch.device("cpu")), torch.device("cpu"))
    apart = max(abs(a.channel.distance - b.channel.distance) for a, b in zip(own, reference, strict=True))
    return [{"d": config.n_embd, "T": length, "device_seconds": there, "cpu_seconds": here, "difference": apart}]


def pretrained(device: Any, small: bool) -> list[dict[str, Any]]:
    """A layer of transformers of the shape that people use, on the device and on the CPU."""
    import copy

    import torch
    from transformers import GPT2Config, GPT2Model, LlamaConfig, LlamaModel

    from verify.generator_defect import measure_pretrained

    width, length = (16, 8) if small else (512, 96)
    ends = {"bos_token_id": 0, "eos_token_id": 0, "vocab_size": 256}
    llama = LlamaConfig(
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=1,
        num_attention_heads=8,
        num_key_value_heads=4,
        **ends,
    )
    configurations = [(GPT2Model, GPT2Config(n_embd=width, n_layer=1, n_head=8, **ends)), (LlamaModel, llama)]
    tokens = torch.randint(256, (length,), generator=torch.Generator().manual_seed(0))
    found = []
    for family, configuration in configurations:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = family(configuration)

        def layer(place: Any, dtype: Any, model: Any = model) -> Any:
            there = copy.deepcopy(model).to(place)
            return measure_pretrained(there, tokens, init_seeds=0, dtype=dtype, spectrum=4).layers[0]

        reference, cpu_seconds = once(lambda layer=layer: layer(torch.device("cpu"), torch.float64))
        for dtype in (torch.float64, torch.float32):
            own, first = once(lambda layer=layer, dtype=dtype: layer(device, dtype))  # kernels load in the first call
            own, again = once(lambda layer=layer, dtype=dtype: layer(device, dtype))
            axes = ("channel", "token")
            apart = max(abs(own[axis]["shifted_distance"] - reference[axis]["shifted_distance"]) for axis in axes)
            about = {"family": family.__name__, "d": width, "T": length, "dtype": str(dtype).removeprefix("torch.")}
            times = {"first_seconds": first, "device_seconds": again, "cpu_seconds": cpu_seconds}
            found.append({**about, **times, "difference": apart})
    return found


def once(work: Callable[[], Any]) -> tuple[Any, float]:
    """What came out (read back already), and its seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def tests(allowed: float) -> list[dict[str, Any]]:
    """The tests of the commands on CUDA, ended when the time is over."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-k", "cuda", "tests/test_devices.py"]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=max(allowed, 1.0))
    except subprocess.TimeoutExpired:
        return [{"outcome": "not finished in the time that was left", "seconds": allowed}]
    return [{"outcome": done.stdout.strip().splitlines()[-1], "code": done.returncode}]


def seconds(work: Callable[[], Any], device: Any) -> tuple[float, Any]:
    """The best of three, after one that is not counted; and what came out."""
    taken, result = [], work()
    for _ in range(3):
        wait(device)
        start = time.perf_counter()
        result = work()
        wait(device)
        taken.append(time.perf_counter() - start)
    return min(taken), result


def wait(device: Any) -> None:
    """Until the device has done what it was given."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> int:
    """Every part in turn; the JSON is written after each."""
    chosen = options().parse_args()
    import torch

    from network.atomic import write_atomic
    from network.distributed import checked_device
    from verify.command_line import strict_json
    from verify.statistics.provenance import provenance

    try:
        device = checked_device(chosen.device)
    except ValueError as error:
        print(f"on_gpu.py: {error}", file=sys.stderr)
        return 2
    begin = time.perf_counter()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    result: dict[str, Any] = {"device": name, "small": chosen.small, "parts": {}, "failed": {}}
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        part.__name__: (lambda part=part: part(device, chosen.small))
        for part in (arms, training, stationary, flow, blocks, pretrained)
    }
    if not chosen.small:
        parts["tests"] = lambda: tests(ALLOWED - (time.perf_counter() - begin))
    for part, work in parts.items():
        start = time.perf_counter()
        try:
            rows = work()
        except Exception as error:  # one part that fails must not lose the others
            result["failed"][part] = f"{type(error).__name__}: {error}"
            print(f"{part}: {result['failed'][part]}", file=sys.stderr)
        else:
            result["parts"][part] = {"rows": rows, "seconds": time.perf_counter() - start}
            for row in rows:
                print(part, row)
        result["provenance"] = provenance(seed=0, device=str(device))
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(chosen.out, (strict_json(result) + "\n").encode())
    return 3 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
