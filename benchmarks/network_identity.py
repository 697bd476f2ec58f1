"""python benchmarks/network_identity.py: the identity in trained networks, over seeds, over P and for byte pairs.

Generator networks on Shakespeare, 12.3M tokens each: 27 letters at P = 4 in three seeds, all rooms; one network for
each further P, as it was trained; with --slow 16, some with 16 slow variables; with --bpe 512, one on byte pairs. And
the claim `identity_on_text` for letters and bytes at every P. Each network is a cell (`verify.trained.identity.cell`),
kept under --cells; a network that is trained already is not trained again.

Writes benchmarks/results/network_identity.json and the figure beside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
ROOMS = ("exact", "own_world", "text")
DENSE_TOKENS = 2_000_000  # a sixth of what the generator networks saw


def main() -> int:
    """Run the missing cells; write the JSON and the figure; 1 if a room that decides does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 … N − 1")
    parser.add_argument(
        "--periods", type=int, nargs="*", default=[2, 8, 16, 32, 64], help="of the networks beside P = 4"
    )
    parser.add_argument(
        "--slow", type=int, nargs="*", default=[], help="further numbers of slow variables, P = 2, 4, 8"
    )
    parser.add_argument("--bpe", type=int, nargs="*", default=[], help="vocabularies of byte pairs")
    parser.add_argument("--dense", type=int, default=2, help="seeds of a dense model on the same letters")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cells", type=Path, default=RESULTS / "cells")
    parser.add_argument("--out", type=Path, default=RESULTS / "network_identity.json", help="the figure lies beside it")
    options = parser.parse_args()

    from network import FastSlowConfig
    from network.atomic import write_atomic
    from network.corpus import open_corpus
    from network.training_config import TrainConfig
    from verify.cells import run_cells
    from verify.claim import Profile
    from verify.claims.identity_on_text import CLAIM
    from verify.command_line import check_device, strict_json
    from verify.plotting import save_figure
    from verify.statistics.provenance import provenance
    from verify.trained.cell import training_cell
    from verify.trained.identity.cell import identity_cell
    from verify.trained.identity.figure import network_figure
    from verify.trained.identity.run import TEXTS
    from verify.trained.identity.study import as_trained, ratios, slopes

    device = check_device(options.device)
    cells = {
        "seeds": [
            identity_cell(seed=seed, rooms=ROOMS, adamw=seed == 0, device=device) for seed in range(options.seeds)
        ],
        "periods": [
            identity_cell(seed=0, period=period, rooms=("text",), resolve=False, device=device)
            for period in options.periods
        ],
        "slow": [
            identity_cell(seed=0, period=period, n_slow=slow, rooms=("text",), resolve=False, device=device)
            for slow in options.slow
            for period in (2, 4, 8)
        ],
        "bpe": [identity_cell(seed=0, bpe=bpe, rooms=ROOMS, resolve=False, device=device) for bpe in options.bpe],
        "dense": [
            training_cell(
                FastSlowConfig(arm="dense", n_layer=2, n_slow_layer=0, n_embd=64, block_size=256),
                TrainConfig(tokens=DENSE_TOKENS, learning_rate=6e-3, seed=seed),
                corpus=(TEXTS,),
                sha256=open_corpus(TEXTS).sha256,
                device=device,
                reading={"letters": True},
            )
            for seed in range(options.dense)
        ],
    }
    ended = run_cells([cell for some in cells.values() for cell in some], folder=options.cells, jobs=1)
    failed = [one for one in ended if one.failed]
    for one in failed:
        print(f"{one.cell.label}: {one.error}", file=sys.stderr)
    results = {one.cell.key: one.result for one in ended if not one.failed}
    found: dict[str, list[dict[str, Any]]] = {
        kind: [results[cell.key] for cell in some if cell.key in results] for kind, some in cells.items()
    }
    identity = dataclasses.asdict(CLAIM.run("check", Profile("paper", device=device)))
    whole = {
        "slopes": slopes(found["seeds"]),
        "ratios": ratios(found["seeds"]),
        "as_trained": as_trained(found["seeds"] + found["periods"] + found["slow"]),
        "identity_on_text": {key: identity[key] for key in ("measured", "bound", "details", "reason")},
        "networks": found["seeds"] + found["periods"] + found["slow"],
        "bpe": found["bpe"],
        "bpe_ratios": ratios(found["bpe"]),
        "dense": [{key: one[key] for key in ("seed", "tokens", "validation_loss")} for one in found["dense"]],
        "provenance": provenance(seed=0, device=device),
    }
    write_atomic(options.out, (strict_json(whole) + "\n").encode())
    if found["seeds"]:
        own = [row for row in whole["as_trained"] if row["seed"] == 0 and row["n_slow"] == 2]
        save_figure(network_figure(found["seeds"][0], own), options.out.with_suffix(""))
    print(json.dumps(whole["slopes"], indent=1))
    verdicts = [room["verdict"] for one in found["seeds"] + found["bpe"] for room in one["rooms"]]
    return 0 if not failed and not {"VIOLATED", "INCONCLUSIVE"} & set(verdicts) else 1


if __name__ == "__main__":
    raise SystemExit(main())
