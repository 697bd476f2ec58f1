"""python benchmarks/coupling.py STUDY: can the gate open, and where does it pay? Cells, resumable, one JSON per study.

    control        five seeds on the regime source (verify.trained.control), s = 0.7, 0.5 and 0
    opening        ten seeds at s = 0.5: the scalar gate with and without the coupling's own objective, and a projection
    windows        dense on Shakespeare by the window of fast attention, 500k tokens, T = 256, two seeds
    windows-1024   the same at 2M tokens, T = 1024
    forms          Shakespeare, 500k tokens, P = 8: gate forms and objective, on the best window, on 16, and unwindowed
    control-500k   the control at 500k tokens, beside `forms`
    phase          share of the gap closed over f and P, at s = 0.5 and 0.7, three arms, three seeds
    phase-window   the same over f and w, at P = 8 and s = 0.5
    long           Shakespeare and the control at --block-size (2048 or 4096): windows, slow paths, dense full attention

Cells are kept under --cells and trained once; Ctrl-C keeps what is finished; `--scheduler` runs on a Dask cluster. Only
with `--only-finished` nothing is trained and the JSON is made of what there is. Exit codes as in verify.command_line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from network.command_line import seed_numbers
from network.config import FastSlowConfig
from network.training_config import TrainConfig
from verify.command_line import (
    NUMERICAL,
    Parser,
    UsageError,
    check_device,
    positive_integer,
    run,
    strict_json,
    write_whole,
)
from verify.corpus import Regimes
from verify.corpus.answer import block_losses, exact_losses
from verify.trained import control
from verify.trained.variants import Variant, run_study, table

RESULTS = Path(__file__).parent / "results"
BEST_WINDOW = 4  # of the sweep `windows`, T = 256: 1.842 nats, 1.857 at 16, which the first study of the gate took
WINDOWS = (4, 8, 16, 32, 64, None)
RATES = tuple(Fraction(1, 2**k) for k in (8, 6, 4, 2, 1, 0))
PERIODS = (2, 4, 8, 16, 32, 64)


def on_control(name: str, arm: str, s: float, **how: Any) -> Variant:
    """An arm of the control; `how` as `control.control_models` takes it."""
    f = how.pop("f", control.RARE)
    model, training = control.control_models(arm, **how)
    against = () if arm == "dense" else ("dense",)
    return Variant(f"s = {s:g}, f = {f}", name, model, training, Regimes(s=s, f=f).name, against)


def control_study() -> list[Variant]:
    """The arms that decide something where y is worth much, worth something, and worth nothing."""
    found = []
    for s, arms in (
        (control.STRONG, ("dense", "coupled", "blind")),
        (control.WEAK, ("dense", "coupled", "local")),
        (control.NULL, ("dense", "coupled")),
    ):
        for arm in arms:
            one = on_control(arm, arm, s)
            found.append(replace(one, against=("dense", "local")) if arm == "coupled" and "local" in arms else one)
    return found


def opening(tokens: int = control.TOKENS) -> list[Variant]:
    """Every form of the gate at s = 0.5."""
    made = [on_control("dense", "dense", control.WEAK, tokens=tokens)]
    for name, (gate, objective) in control.FORMS.items():
        one = on_control(name, "coupled", control.WEAK, gate=gate, objective=objective, tokens=tokens)
        made.append(replace(one, against=("dense", "scalar")) if objective else one)
    return made


def text(arm: str, window: int | None, *, block_size: int = 256, tokens: int = 500_000, **how: Any) -> Any:
    """Model and training of an arm on Shakespeare; `how` goes to the model, but for `objective`."""
    objective = how.pop("objective", 0.0)
    model = FastSlowConfig(arm=arm, attention_window=window, block_size=block_size, **how)
    batch = max(1, 1024 // block_size)
    training = TrainConfig(tokens=tokens, batch_size=batch, evaluations=5, eval_tokens=32_768, coupling_loss=objective)
    return model, training


def windows(block_size: int = 256, tokens: int = 500_000) -> list[Variant]:
    """The dense model by its window."""
    return [
        Variant("text", "full" if w is None else f"w = {w}", *text("dense", w, block_size=block_size, tokens=tokens))
        for w in WINDOWS
    ]


def forms() -> list[Variant]:
    """Every form of the gate on Shakespeare, on the best window, on a wider one, and unwindowed."""
    found = []
    for w in (BEST_WINDOW, 16, None):
        group = "unwindowed" if w is None else f"w = {w}"
        found.append(Variant(group, "dense", *text("dense", w)))
        for name, (gate, objective) in control.FORMS.items():
            found.append(Variant(group, name, *text("coupled", w, gate=gate, objective=objective), against=("dense",)))
    return found


def phase() -> list[Variant]:
    """f × P at two strengths: dense once a source, coupled and local for each P."""
    found = []
    for s in (control.WEAK, control.STRONG):
        for f in RATES:
            found.append(on_control("dense", "dense", s, f=f))
            for period in PERIODS:
                local = on_control(f"local, P = {period}", "local", s, f=f, period=period)
                coupled = on_control(f"coupled, P = {period}", "coupled", s, f=f, period=period)
                found += [local, replace(coupled, against=("dense", local.name))]
    return found


def predicted() -> list[dict[str, Any]]:
    """For each source and P of `phase` the best losses there are: of the window alone, with a slow path, of the filter.

    What training must reach, whatever it does (`verify.corpus.behind_blocks`): worth = window − behind is what a slow
    path of period P can add to fast attention that sees `reach` tokens.
    """
    reach = 2 * (control.WINDOW - 1) + 1
    found = []
    for s in (control.WEAK, control.STRONG):
        for f in RATES:
            source = Regimes(s=s, f=f)
            exact = exact_losses(source, block_size=FastSlowConfig.block_size, reach=(reach,))
            for period in PERIODS:
                behind = block_losses(source, block_size=FastSlowConfig.block_size, period=period, reach=reach)
                worth = exact[f"window_{reach}"] - behind["filter"]
                row = {"s": s, "f": float(f), "period": period, "reach": reach, "window": exact[f"window_{reach}"]}
                found.append(row | {"behind": behind["filter"], "filter": exact["filter"], "worth": worth})
    return found


def phase_window() -> list[Variant]:
    """f × w at P = 8."""
    found = []
    for f in RATES:
        for w in (2, 4, 8, 16, 32):
            for arm in ("dense", "coupled", "local"):
                one = on_control(arm, arm, control.WEAK, f=f, window=w)
                against = ("dense", "local") if arm == "coupled" else one.against
                found.append(replace(one, group=f"{one.group}, w = {w}", against=against))
    return found


def long(block_size: int) -> list[Variant]:
    """Loss at equal tokens, 1,000 steps and 2M tokens at least; the step times are those of benchmarks/training.py."""
    tokens = max(2_000_000, 1000 * block_size)
    size = {"block_size": block_size, "tokens": tokens}
    rates = (4e-3, 6e-3, 9e-3)
    found = []
    for rate in rates:
        model, training = text("dense", None, **size)
        found.append(Variant("text", f"dense, full, rate {rate:g}", model, replace(training, learning_rate=rate)))
    base = "w = 32"
    found.append(Variant("text", base, *text("dense", 32, **size), against=("dense, full, rate 0.006",)))
    for period in (8, 32):
        for arm in ("coupled", "local"):
            made = text(arm, 32, period=period, objective=control.OBJECTIVE, **size)
            found.append(Variant("text", f"{arm}, P = {period}", *made, against=(base, "dense, full, rate 0.006")))
    return found


STUDIES: dict[str, tuple[Any, int]] = {
    "control": (control_study, 5),
    "opening": (opening, 10),
    "control-500k": (partial(opening, 500_000), 5),
    "windows": (windows, 2),
    "windows-1024": (partial(windows, 1024, 2_000_000), 2),
    "forms": (forms, 5),
    "phase": (phase, 3),
    "phase-window": (phase_window, 3),
    "long": (long, 3),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the missing cells of a study, print its table, write its JSON."""
    p = Parser(prog="python benchmarks/coupling.py", description=__doc__)
    p.add_argument("study", choices=list(STUDIES), metavar="STUDY", help=", ".join(STUDIES))
    p.add_argument("--seeds", type=seed_numbers, help="how many, or a list: 3 or 0,1,2; default the study's own")
    p.add_argument("--block-size", type=positive_integer, default=2048, metavar="T", help="of the study long")
    p.add_argument("--only", metavar="NAME;…", help="train these variants alone; the JSON holds what else is finished")
    p.add_argument("--device", default="cpu")
    p.add_argument("--jobs", type=positive_integer, help="processes; default one a core")
    p.add_argument("--scheduler", metavar="ADDRESS", help="train on the Dask cluster of this scheduler")
    p.add_argument("--only-finished", action="store_true", help="train nothing: the JSON of the cells there are")
    p.add_argument("--cells", type=Path, default=RESULTS / "cells", metavar="DIR")
    p.add_argument("--out", type=Path, metavar="FILE", help="default benchmarks/results/coupling_STUDY.json")
    return run(partial(_study, p.parse_args(argv)), p.prog)


def _study(options: Any) -> int:
    from verify.statistics.provenance import provenance

    made, seeds = STUDIES[options.study]
    variants = made(options.block_size) if options.study == "long" else made()
    seeds = options.seeds or tuple(range(seeds))
    device = check_device(options.device)
    out = options.out or RESULTS / f"coupling_{options.study.replace('-', '_')}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    made_with = provenance(seed=0, device=device)

    exact = {"predicted": predicted()} if options.study == "phase" else {}

    def write(rows: list[dict[str, Any]]) -> None:
        settings = {"study": options.study, "seeds": list(seeds), "variants": len(variants)}
        write_whole(out, strict_json({"rows": rows, **exact, "settings": settings, "provenance": made_with}) + "\n")

    how: dict[str, Any] = {"folder": options.cells, "device": device}
    if not options.only_finished:
        asked = _named(variants, options.only)
        train = {"jobs": options.jobs, "scheduler": options.scheduler, "progress": True}
        rows = run_study(asked, seeds, finished=None if options.only else write, **how, **train)
    if options.only_finished or options.only:
        rows = run_study(variants, seeds, train=False, **how)
    write(rows)
    print(table(rows))
    return NUMERICAL if any(row["failed"] for row in rows) else 0


def _named(variants: list[Variant], names: str | None) -> list[Variant]:
    """The variants of these names, without comparisons; all of them for None. `UsageError` for a name of none."""
    if names is None:
        return variants
    asked = [name.strip() for name in names.split(";")]
    known = {one.name for one in variants}
    for name in asked:
        if name not in known:
            raise UsageError(f"--only: no variant is called {name!r}; the study has {'; '.join(sorted(known))}")
    return [replace(one, against=()) for one in variants if one.name in asked]


if __name__ == "__main__":
    sys.exit(main())
