"""The study: every arm, seed and period as a cell, and the step times of the arms, gathered as one `Ablation`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from network.config import FastSlowConfig
from network.training_config import TrainConfig

if TYPE_CHECKING:
    from verify.ablation.result import Ablation
    from verify.cells import CellResult

DEFAULT_ARMS = ("dense", "frozen", "coupled")
ROUNDS = 30
MARGIN = 0.01


def measure(
    model: FastSlowConfig,
    training: TrainConfig,
    *,
    corpus: Sequence[str],
    folder: Path,
    reading: Mapping[str, Any] | None = None,
    arms: Sequence[str] = DEFAULT_ARMS,
    seeds: Sequence[int] = (0, 1, 2),
    periods: Sequence[int] = (8,),
    margin: float = MARGIN,
    rounds: int = ROUNDS,
    device: str = "cpu",
    scheduler: str | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    progress: bool = False,
    finished: Callable[[Ablation], None] | None = None,
) -> Ablation:
    """Train `model` and `training` for each of `arms`, `seeds` and `periods`, whatever these name themselves.

    The first arm is the baseline. corpus: as `verify.corpus.open_corpus` takes it; of `regimes` the exact losses are
    given too. folder: where finished cells are kept. reading: `exclude` and `skip_undecodable` of the corpus, `bpe` of
    the tokens, where they are not the usual ones. rounds: of the step times (0: none). scheduler, jobs, fresh: as
    `verify.cells.run_cells` takes them. finished:
    called after each cell with what there is so far.

    Raises `ValueError` for no or repeated arms, seeds or periods, a period that the model cannot have and a corpus that
    cannot be read. A cell that fails is named in `Ablation.failed`.

    Examples:
        >>> from pathlib import Path
        >>> from network.config import FastSlowConfig
        >>> from network.training_config import TrainConfig
        >>> from verify.ablation import measure
        >>> two = ("dense", "dense")
        >>> measure(FastSlowConfig(), TrainConfig(), corpus=["shakespeare"], folder=Path("cells"), arms=two)
        Traceback (most recent call last):
        ...
        ValueError: arms must be different and at least one, got ['dense', 'dense']
    """
    from verify.ablation.result import Ablation
    from verify.cells import run_cells
    from verify.corpus import Regimes, open_corpus, parse
    from verify.corpus.answer import exact_losses
    from verify.statistics.paired import paired_difference
    from verify.statistics.provenance import provenance
    from verify.trained.result import TrainedCell
    from verify.trained.step_time import seconds_of, step_time_cell
    from verify.trained.study import Study

    for name, values in (("arms", arms), ("seeds", seeds), ("periods", periods)):
        if not values or len(set(values)) != len(values):
            raise ValueError(f"{name} must be different and at least one, got {list(values)}")
    paired_difference((), margin=margin)
    reading = dict(reading or {})
    bpe = reading.pop("bpe", None)
    texts = open_corpus(corpus, **reading)
    source = parse(texts.paths[0]) if len(texts.paths) == 1 else None
    answer = None
    if isinstance(source, Regimes):
        reach = () if model.attention_window is None else (model.n_layer * (model.attention_window - 1) + 1,)
        answer = exact_losses(source, block_size=model.block_size, reach=reach)
    models = {(period, arm): replace(model, arm=arm, period=period) for period in periods for arm in arms}
    study = Study(models, training, seeds, texts=texts, bpe=bpe, device=device)
    made_with = provenance(seed=seeds[0], device=device)
    timing = step_time_cell(
        list(models.values()),
        batch=training.batch_size,
        device=device,
        rounds=rounds,
        processor=made_with["processor"],
        dtype=training.dtype,
        compile=training.compile,
    )
    settings = {
        "model": {k: v for k, v in model.to_dict().items() if k not in ("arm", "period", "vocab_size")},
        "training": {k: v for k, v in training.to_dict().items() if k != "seed"},
        "corpus": list(texts.paths),
        "sha256": texts.sha256,
        **texts.options,
        **({"bpe": bpe} if bpe is not None else {}),
        "arms": list(arms),
        "seeds": list(seeds),
        "periods": list(periods),
        "rounds": rounds,
    }
    timed: list[CellResult] = []

    def gathered() -> Ablation:
        seconds = timed[0].result if timed else None
        times = {key: seconds_of(seconds, m) for key, m in models.items()} if seconds else {}
        trained = [
            TrainedCell.of(result, period)
            for period, arm in models
            for seed in seeds
            if (result := study.result((period, arm), seed)) is not None
        ]
        return Ablation(
            baseline=arms[0],
            cells=tuple(trained),
            margin=margin,
            settings=settings,
            provenance=made_with,
            times={key: seconds for key, seconds in times.items() if seconds},
            unfinished=study.unfinished,
            answer=answer,
            failed=tuple(f"{one.cell.label}: {one.error}" for one in (*study.failed, *(t for t in timed if t.failed))),
        )

    def tell() -> None:
        if finished is not None:
            finished(gathered())

    how: dict[str, Any] = {"folder": folder, "scheduler": scheduler, "fresh": fresh}
    study.run(jobs=jobs, progress=progress, finished=tell, **how)
    if rounds:
        timed += run_cells([timing], jobs=1, **how)
        tell()
    return gathered()
