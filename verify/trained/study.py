"""A study: models × seeds as training cells, run once, and their losses by seed. Every study and claim is one.

Seeds are outermost, so that an early end leaves whole pairs: models of one seed share their initial fast weights and
the order of the data, and differences are taken within a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from verify.cells import Cell, CellResult, run_cells
from verify.trained.cell import training_cell

if TYPE_CHECKING:
    from network.config import FastSlowConfig
    from network.corpus import Corpus
    from network.training_config import TrainConfig

Name = TypeVar("Name", bound=Hashable)


class Study(Generic[Name]):
    """The cells of `models`, each trained as `training` says for each of `seeds` on `texts`.

    models: a name of the caller's choice -> the model; two that train alike share their cells. trainings: the training
    of single names, where it differs. bpe: the vocabulary of byte pairs, None for bytes. Raises `ValueError` for seeds
    that are repeated or none.
    """

    def __init__(
        self,
        models: Mapping[Name, FastSlowConfig],
        training: TrainConfig,
        seeds: Sequence[int],
        *,
        texts: Corpus,
        bpe: int | None = None,
        device: str = "cpu",
        trainings: Mapping[Name, TrainConfig] | None = None,
    ) -> None:
        if not seeds or len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds must be different and at least one, got {list(seeds)}")
        self.models: dict[Name, FastSlowConfig] = dict(models)
        self.seeds: tuple[int, ...] = tuple(seeds)
        self.ended: dict[str, CellResult] = {}
        self.cells: dict[tuple[Name, int], Cell] = {
            (name, seed): training_cell(
                model,
                replace((trainings or {}).get(name, training), seed=seed),
                corpus=texts.paths,
                sha256=texts.sha256,
                device=device,
                reading={**texts.options, **({} if bpe is None else {"bpe": bpe})},
            )
            for seed in seeds
            for name, model in models.items()
        }

    def run(self, *, finished: Callable[[], None] | None = None, **how: Any) -> None:
        """Train what is missing. how: as `verify.cells.run_cells` takes it. finished: called after each cell."""

        def keep(result: CellResult) -> None:
            self.ended[result.cell.key] = result
            if finished is not None:
                finished()

        run_cells(list(self.cells.values()), finished=keep, **how)

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
