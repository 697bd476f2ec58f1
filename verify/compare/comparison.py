"""What trained runs lose on one held-out text, row by row, and how the rows differ."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from network.data import load_data
from network.distributed import Processes, checked_device
from network.evaluate import evaluate
from network.run_folder import folder_of, load_run, read_run
from network.tokenizer import load_tokenizer
from verify.corpus import open_corpus
from verify.statistics.paired import LEVEL, t_interval

LIMIT = 262_144  # validation tokens read of each model
_SEED = "training.seed"


@dataclass(frozen=True)
class Trained:
    """One run on the held-out text. settings: all that it was trained with, as flat names; text: sha256 of its data."""

    run: str
    settings: dict[str, Any]
    text: str
    seed: int
    loss: float
    bits_per_byte: float

    @property
    def design(self) -> tuple[tuple[str, str], ...]:
        """The settings without the seed: what makes runs one row."""
        return tuple(sorted((name, repr(value)) for name, value in self.settings.items() if name != _SEED))


@dataclass(frozen=True)
class Row:
    """Runs that differ in the seed alone. name: the settings in which the rows differ. loss, bits_per_byte: means.

    difference, interval: of bits per byte to the first row, and `how`: `paired` over `pairs` seeds, `unpaired` (Welch),
    or `single` where there are too few runs for an interval; None in the first row.

    Examples:
        >>> from verify.compare import Row
        >>> Row.__dataclass_fields__["loss"].type
        'float'
    """

    name: str
    runs: tuple[str, ...]
    loss: float
    bits_per_byte: float
    difference: float | None
    interval: tuple[float, float] | None
    how: str | None
    pairs: int

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def compare(runs: Sequence[str | Path], *, device: str = "cpu", limit: int = LIMIT) -> list[Row]:
    """Evaluate the newest checkpoint of every run on at most about `limit` held-out tokens, and compare.

    Raises `ValueError` for fewer than two runs, a run named twice, texts that are not at hand any more and runs whose
    held-out texts are not the same; `RuntimeError` for a loss that is not finite.

    Examples:
        >>> from verify.compare import compare
        >>> compare([])  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        ...
        ValueError: no runs
    """
    if len(runs) < 2 or len({Path(run).resolve() for run in runs}) != len(runs):
        raise ValueError(f"compare takes two runs or more, each named once; got {', '.join(map(str, runs)) or 'none'}")
    found: list[Trained] = []
    texts: dict[str, str] = {}
    for run in runs:
        trained, held_out = _trained(run, device, limit)
        first = next(iter(texts.values()), held_out)
        if held_out != first:
            raise ValueError(
                f"{run} was held out another text than {runs[0]}: their losses do not compare; train both with the "
                "same --corpus"
            )
        texts[str(run)] = held_out
        found.append(trained)
    return rows(found)


def rows(found: Sequence[Trained]) -> list[Row]:
    """The rows of trained runs, in the order in which they are named."""
    designs = list(dict.fromkeys(one.design for one in found))
    names = _names([dict(design) for design in designs])
    groups = [[one for one in found if one.design == design] for design in designs]
    return [_row(name, group, groups[0]) for name, group in zip(names, groups, strict=True)]


def _row(name: str, group: list[Trained], base: list[Trained]) -> Row:
    own, its = ([one.bits_per_byte for one in part] for part in (group, base))
    difference = interval = how = None
    pairs: list[float] = []
    if group is not base:
        difference, how = statistics.fmean(own) - statistics.fmean(its), "single"
        if _are_pairs(group[0], base[0]):
            by_seed = {one.seed: one.bits_per_byte for one in base}
            pairs = [one.bits_per_byte - by_seed[one.seed] for one in group if one.seed in by_seed]
        if len(pairs) > 1:
            difference, interval, how = statistics.fmean(pairs), t_interval(pairs), "paired"
        elif len(own) > 1 and len(its) > 1:
            interval, how = _welch(own, its), "unpaired"
    loss = statistics.fmean(one.loss for one in group)
    runs = tuple(one.run for one in group)
    return Row(name, runs, loss, statistics.fmean(own), difference, interval, how, len(pairs))


def _are_pairs(one: Trained, other: Trained) -> bool:
    """Whether runs of one seed have their first fast weights and the order of the data in common."""
    shared = ("model.n_embd", "model.n_layer", "model.n_head", "model.block_size", "training.batch_size")
    same = all(one.settings.get(name) == other.settings.get(name) for name in shared) and one.text == other.text
    return same and "init_from.run" not in one.settings and "init_from.run" not in other.settings


def _welch(own: list[float], its: list[float]) -> tuple[float, float]:
    from scipy import stats

    test: Any = stats.ttest_ind(own, its, equal_var=False)
    low, high = test.confidence_interval(LEVEL)
    return float(low), float(high)


def _names(designs: list[dict[str, str]]) -> list[str]:
    """The settings in which the rows differ, without the names of their groups."""
    every = dict.fromkeys(name for design in designs for name in design)
    differing = [name for name in every if len({design.get(name) for design in designs}) > 1]
    kept = [name for name in differing if not name.startswith("data.sha256")]
    return [
        ", ".join(f"{name.split('.')[-1]} {d[name].strip(chr(39))}" for name in kept if name in d) or "all alike"
        for d in designs
    ]


def _trained(run: str | Path, device: str, limit: int) -> tuple[Trained, str]:
    """The run on its held-out text, and the sha256 of the texts held out."""
    folder = folder_of(run)
    stored = read_run(folder)
    said = stored["data"]
    how = {name: said[name] for name in ("exclude", "skip_undecodable") if name in said}
    corpus = open_corpus(said["corpus"], **how)
    pairs: dict[str, Any] = {"tokenizer": load_tokenizer(folder)} if "tokenizer" in said else {"bpe_vocab": said["bpe"]}
    data = load_data(corpus, **pairs)
    if data.sha256 != said["sha256"] or data.summary is None:
        raise ValueError(
            f"the texts of {run} have changed since it was trained: {corpus.name}; put them back to compare"
        )
    model = load_run(run, device)
    group = Processes(0, 1, checked_device(device))
    loss = evaluate(model, data.validation, step=0, limit=limit, processes=group).validation_loss
    if not math.isfinite(loss):
        raise RuntimeError(f"the loss of {run} is {loss}: its weights have diverged; leave it out")
    settings = {f"{part}.{name}": value for part in ("model", "training") for name, value in stored[part].items()}
    settings |= {f"data.{name}": value for name, value in said.items() if name != "corpus"}
    settings |= {f"init_from.{name}": value for name, value in stored.get("init_from", {}).items()}
    bits = loss / math.log(2) / data.summary.bytes_per_token
    seed = stored["training"]["seed"]
    held_out = " ".join(sorted(document.sha256 for document in corpus.split()[1]))
    return Trained(str(run), settings, said["sha256"], seed, loss, bits), held_out
