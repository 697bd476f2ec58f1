"""A study: models × seeds as training cells, run once, and their losses by seed. Every study and claim is one.

Seeds are outermost, so that an early end leaves whole pairs: models of one seed share their initial fast weights and
the order of the data, and differences are taken within a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from verify.cells import Cell, CellResult, read_cell, run_cells
from verify.trained.cell import training_cell

if TYPE_CHECKING:
    from network.config import FastSlowConfig
    from network.corpus import Corpus
    from network.training_config import TrainConfig

Name = TypeVar("Name", bound=Hashable)


class Study(Generic[Name]):
    """The cells of `models`, each trained as `training` says for each of `seeds` on `texts`.

    models: a name of the caller's choice -> the model; two that train alike share their cells. training, texts: those
    of all, or of each name. bpe: the vocabulary of byte pairs, None for bytes. Raises `ValueError` for seeds that are
    repeated or none.
    """

    def __init__(
        self,
        models: Mapping[Name, FastSlowConfig],
        training: TrainConfig | Mapping[Name, TrainConfig],
        seeds: Sequence[int],
        *,
        texts: Corpus | Mapping[Name, Corpus],
        bpe: int | None = None,
        device: str = "cpu",
    ) -> None:
        if not seeds or len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds must be different and at least one, got {list(seeds)}")
        self.models: dict[Name, FastSlowConfig] = dict(models)
        self.seeds: tuple[int, ...] = tuple(seeds)
        self.ended: dict[str, CellResult] = {}
        trainings = training if isinstance(training, Mapping) else dict.fromkeys(models, training)
        corpora = texts if isinstance(texts, Mapping) else dict.fromkeys(models, texts)
        self.cells: dict[tuple[Name, int], Cell] = {
            (name, seed): training_cell(
                model,
                replace(trainings[name], seed=seed),
                corpus=corpora[name].paths,
                sha256=corpora[name].sha256,
                device=device,
                reading={**corpora[name].options, **({} if bpe is None else {"bpe": bpe})},
            )
            for seed in seeds
            for name, model in models.items()
        }

    def run(self, *, folder: Path, train: bool = True, finished: Callable[[], None] | None = None, **how: Any) -> None:
        """Train what is missing in `folder`, or with train=False take what is there. finished: called after each cell.

        how: as `verify.cells.run_cells` takes it.
        """

        def keep(result: CellResult) -> None:
            self.ended[result.cell.key] = result
            if finished is not None:
                finished()

        todo = [cell for cell in self.cells.values() if train or read_cell(cell, folder) is not None]
        run_cells(todo, folder=folder, finished=keep, **how)

    def result(self, name: Name, seed: int) -> dict[str, Any] | None:
        """What the model of that name and seed left behind; None while it has not ended, or where it failed."""
        ended = self.ended.get(self.cells[name, seed].key)
        return None if ended is None or ended.failed else ended.result

    def losses(self, name: Name) -> dict[int, float]:
        """The validation losses of a model, by seed, as far as they are there."""
        found = {seed: self.result(name, seed) for seed in self.seeds}
        return {seed: result["validation_loss"] for seed, result in found.items() if result is not None}

    @property
    def failed(self) -> tuple[CellResult, ...]:
        """The cells that ended with an error."""
        return tuple(one for one in self.ended.values() if one.failed)

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The labels of the cells that have not ended, each once."""
        return tuple(dict.fromkeys(cell.label for cell in self.cells.values() if cell.key not in self.ended))
