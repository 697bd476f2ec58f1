"""Trained fast blocks held against a generator, at the start and along training, for each period and over seeds.

    python benchmarks/generator_defect.py [--tokens 500000] [--width 64] [--layers 4] [--block-size 128]
        [--periods 2 4 8 16 32] [--seeds 0,1,2] [--corpus shakespeare] [--jobs N] [--device cpu] [--fresh]

Each cell trains one model (the project's own training loop, stopped and resumed at the fractions of its tokens below)
and measures every fast block there, and the chain of its attention (theory.attention_chain: is there a sink on token
0, and when does it form?); the true generator block stands beside it at the same period, and untrained models of the
same architecture with the nulls of their own matrices.
Cells are kept under out/generator_defect, so an interrupted study goes on, and a larger one adds to it; --fresh
computes them again. What is finished goes to benchmarks/results/generator_defect.json: figures of every block as mean
over seeds with Student's 95 % interval, nulls, references, each trained model layer by layer, and the setting. There is
no target: the sizes are the result.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from network.command_line import seed_numbers

if TYPE_CHECKING:
    from torch import Tensor

    from network import FastSlowLM

FRACTIONS = (0.0, 0.1, 0.3, 1.0)
RESULTS = Path(__file__).parent / "results" / "generator_defect.json"


def trained(configuration: dict[str, Any]) -> list[dict[str, Any]]:
    """One model, measured at each of the fractions of its training: a record each."""
    import torch

    from network.config import FastSlowConfig
    from network.corpus import open_corpus
    from network.data import load_data
    from network.model import FastSlowLM
    from network.training import train
    from network.training_config import TrainConfig
    from verify.generator_defect.command import validation_tokens
    from verify.generator_defect.measurement import measure_defect

    model = FastSlowConfig(**configuration["model"])
    training = TrainConfig(**configuration["training"])
    data = load_data(open_corpus(configuration["corpus"]))
    source = {"corpus": data.corpus, "bpe": None, "sha256": data.sha256}
    tokens = validation_tokens(source, configuration["sequences"], configuration["length"])
    steps = training.steps(model.block_size)
    device = configuration["device"]
    records = []

    def measure(network: FastSlowLM, step: int, loss: float | None) -> None:
        network = network.to(device)
        found = measure_defect(network, tokens.to(device), iterations=configuration["iterations"])
        gates = [float(p.detach().abs().mean()) for name, p in network.named_parameters() if "gate" in name]
        about = {"step": step, "training": training.to_dict(), "validation_loss": loss, "gate": gates}
        about["attention"] = attention_figures(network, tokens.to(device))
        records.append({**about, **asdict(found)})

    with tempfile.TemporaryDirectory() as run:
        for fraction in configuration["fractions"]:
            target = round(fraction * steps)
            if target == 0:
                measure(FastSlowLM(model, generator=torch.Generator().manual_seed(training.seed)), 0, None)
                continue
            left = target - max(record["step"] for record in records) if records else target
            countdown = iter(range(left - 1, -1, -1))
            result = train(
                model,
                training,
                data=data,
                run=run,
                resume=any(record["step"] for record in records),
                device=device,
                stop=lambda countdown=countdown: next(countdown, 0) == 0,
            )
            loss = result.validation_loss
            measure(result.model, target, loss if math.isfinite(loss) else None)
    return records


def attention_figures(network: FastSlowLM, tokens: Tensor) -> list[dict[str, float]]:
    """The chain of the attention of each fast block: means over sequences and heads, and the most of one head."""
    from theory import attention_chain
    from verify.generator_defect.attention import read_attention

    every = read_attention(lambda: network.eval()(tokens))
    found = []
    for weights in (W.double().cpu() for W in every if W.shape[-1] == tokens.shape[-1]):
        chain = attention_chain(weights)
        found.append(
            {
                "weight_on_first": float(chain.weight_on_first.mean()),
                "weight_on_first_largest": float(chain.weight_on_first.mean(0).max()),
                "steps_to_first": float(chain.steps_to_first.mean()),
                "gap": float(chain.gap.mean()),
            }
        )
    if len(found) != len(network.fast):
        raise RuntimeError(f"{len(found)} attention weights of {len(network.fast)} blocks were read")
    return found


def reference(configuration: dict[str, Any]) -> dict[str, Any]:
    """The true generator block at one period."""
    from verify.generator_defect.reference import measure_reference

    return asdict(measure_reference(**configuration))


def initial(configuration: dict[str, Any]) -> list[dict[str, Any]]:
    """The same architecture as drawn, untrained: a row for each block, axis and draw, with its own nulls."""
    import torch

    from network.config import FastSlowConfig
    from network.corpus import open_corpus
    from network.data import load_data
    from network.model import FastSlowLM
    from verify.generator_defect.command import validation_tokens
    from verify.generator_defect.measurement import initial_defects

    data = load_data(open_corpus(configuration["corpus"]))
    source = {"corpus": data.corpus, "bpe": None, "sha256": data.sha256}
    tokens = validation_tokens(source, configuration["sequences"], configuration["length"])
    seeds, model = range(configuration["draws"]), FastSlowConfig(**configuration["model"])
    drawn = initial_defects(model, tokens, seeds=seeds)
    networks = (FastSlowLM(model, generator=torch.Generator().manual_seed(seed)) for seed in seeds)
    attention = [attention_figures(network, tokens) for network in networks]
    return [
        {
            "seed": seed,
            "block": block.block,
            "axis": axis,
            "shifted_distance": getattr(block, axis).shifted_distance,
            "sign_flip": asdict(getattr(block, f"{axis}_nulls").sign_flip["shifted_distance"]),
            "negated": getattr(block, f"{axis}_nulls").negated.shifted_distance,
            "correlation_with_attention": block.correlation_with_attention,
            **chain,
        }
        for seed, one, chains in zip(seeds, drawn, attention, strict=True)
        for block, chain in zip(one.blocks, chains, strict=True)
        for axis in ("channel", "token")
    ]


def in_layers(record: dict[str, Any], drawn: list[dict[str, Any]]) -> dict[str, Any]:
    """One trained model, layer by layer, beside the initialisations: the shape of `verify.generator_defect.layers`."""
    from verify.generator_defect.layers import layer

    told = []
    for block in record["blocks"]:
        of_block = [row for row in drawn if row["block"] == block["block"]]
        seeds = sorted({row["seed"] for row in of_block})
        rows = {(row["seed"], row["axis"]): {"shifted_distance": row["shifted_distance"]} for row in of_block}
        told.append(layer(block, [{axis: rows[seed, axis] for axis in ("channel", "token")} for seed in seeds]))
    model = f"P = {record['settings']['model']['period']}, seed {record['training']['seed']}, step {record['step']}"
    return {"model": model, "length": record["settings"]["length"], "layers": told}


def rounded(value: Any) -> Any:
    """Numbers to five digits: the intervals are wider than that, and the file stays readable."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value


def main() -> int:
    """Run the missing cells, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--tokens", type=int, default=500_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--block-size", type=int, default=128)
    parser.add_argument("--periods", type=int, nargs="+", default=[2, 4, 8, 16, 32])
    parser.add_argument("--seeds", type=seed_numbers, default=(0, 1, 2), help="how many, or a list: 3 or 0,1,2")
    parser.add_argument("--corpus", default="shakespeare", help="bytes to train on (default shakespeare; source)")
    parser.add_argument("--fractions", type=float, nargs="+", default=list(FRACTIONS))
    parser.add_argument("--sequences", type=int, default=4, help="validation sequences to measure at (default 4)")
    parser.add_argument("--length", type=int, default=64, help="tokens of each (default 64)")
    parser.add_argument("--iterations", type=int, default=500, help="towards a fixed point (default 500)")
    parser.add_argument("--jobs", type=int, help="processes (default: one a core)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--fresh", action="store_true", help="compute finished cells again")
    parser.add_argument("--draws", type=int, default=20, help="untrained models beside the trained ones (default 20)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON that is written")
    options = parser.parse_args()

    from network.config import FastSlowConfig
    from network.training_config import TrainConfig
    from verify.cells import Cell, CellResult, run_cells
    from verify.command_line import check_device, strict_json, write_whole
    from verify.generator_defect.table import spread, spread_table
    from verify.statistics.provenance import provenance

    check_device(options.device)
    how = {name: getattr(options, name) for name in ("corpus", "sequences", "length", "iterations", "device")}
    how["fractions"] = sorted({*options.fractions, 1.0})
    sizes = {"n_embd": options.width, "n_layer": options.layers, "block_size": options.block_size}
    batch = max(1, 1024 // options.block_size)
    cells = []
    for seed in options.seeds:  # seeds outside: an early end leaves whole rows of periods
        for period in options.periods:
            model = FastSlowConfig(period=period, **sizes)
            training = TrainConfig(tokens=options.tokens, batch_size=batch, seed=seed, evaluations=1)
            configuration = {"model": model.to_dict(), "training": training.to_dict(), **how}
            cells.append(Cell(trained, configuration, f"P = {period}, seed {seed}"))
    cells += [Cell(reference, {"period": P, "n_states": options.width}, f"generator, P = {P}") for P in options.periods]
    untrained = {"model": FastSlowConfig(**sizes).to_dict(), "draws": options.draws, **how}
    cells.append(Cell(initial, untrained, f"{options.draws} untrained models"))
    done: dict[str, CellResult] = {}

    def write(result: CellResult | None = None) -> list[dict[str, Any]]:
        if result is not None:
            done[result.cell.key] = result
        whole = [done[cell.key] for cell in cells if cell.key in done and not done[cell.key].failed]
        records = [record for one in whole if one.cell.work is trained for record in one.result]
        references = [one.result for one in whole if one.cell.work is reference]
        null = records[0] if records else {}
        drawn = next((one.result for one in whole if one.cell.work is initial), [])
        content = {
            "setting": {"model": sizes, "tokens": options.tokens, "batch_size": batch, **how},
            "networks": spread(records),
            "validation_loss": [
                {
                    "period": r["settings"]["model"]["period"],
                    "seed": r["training"]["seed"],
                    "gate": r["gate"],
                    "loss": r["validation_loss"],
                }
                for r in records
                if r["validation_loss"] is not None
            ],
            "attention": [
                {
                    "period": r["settings"]["model"]["period"],
                    "seed": r["training"]["seed"],
                    "step": r["step"],
                    "tokens": r["step"] * batch * options.block_size,
                    "blocks": r["attention"],
                }
                for r in records
            ],
            "channel_null": null.get("channel_null"),
            "token_null": null.get("token_null"),
            "initial": drawn,
            "models": [in_layers(record, drawn) for record in records if record["validation_loss"] is not None],
            "references": references,
            "unfinished": [cell.label for cell in cells if cell.key not in done or done[cell.key].failed],
            "provenance": provenance(seed=options.seeds[0], device=options.device),
        }
        options.results.parent.mkdir(exist_ok=True)
        write_whole(options.results, strict_json(rounded(content)) + "\n")
        return records

    folder = Path("out/generator_defect")
    results = run_cells(cells, folder=folder, jobs=options.jobs, fresh=options.fresh, progress=True, finished=write)
    failed = [result for result in results if result.failed]
    for result in failed:
        print(f"{result.cell.label}: {result.error}", file=sys.stderr)
    print(spread_table(write()))
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
