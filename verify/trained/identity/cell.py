"""One trained generator network, measured, as a cell: what the committed results are made of.

The network itself is kept in the folder of the token cache: measuring it again trains nothing. The key is that of the
training, the rooms, and the version of their measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from network.corpus import open_corpus
from network.data import default_cache
from network.defaults import TRAINING_VERSION
from verify.cells import Cell
from verify.trained.cell import one_thread, public_version
from verify.trained.identity.run import TEXTS, default_name, open_run, train_default

NAME = "verify.trained.identity:measure_cell"
MEASUREMENT_VERSION = 1  # raised where a room measures otherwise than before


def identity_cell(
    *,
    seed: int,
    period: int = 4,
    n_slow: int = 2,
    bpe: int | None = None,
    rooms: Sequence[str],
    adamw: bool = False,
    resolve: bool = True,
    device: str = "cpu",
) -> Cell:
    """The cell that trains the default generator network with these changes and measures it in `rooms`.

    adamw, resolve: as `measure_network` takes them. Raises the errors of `open_corpus`.
    """
    configuration = {
        "seed": seed,
        "period": period,
        "n_slow": n_slow,
        "bpe": bpe,
        "rooms": list(rooms),
        "adamw": adamw,
        "resolve": resolve,
        "device": device,
        "sha256": open_corpus(TEXTS).sha256,
        "torch": public_version("torch"),
        "training_version": TRAINING_VERSION,
        "measurement_version": MEASUREMENT_VERSION,
    }
    stem = f"{TEXTS}-{default_name(seed=seed, period=period, n_slow=n_slow, bpe=bpe)}-{'+'.join(rooms)}"
    return Cell(measure_cell, configuration, stem, NAME, stem)


def measure_cell(configuration: dict[str, Any]) -> dict[str, Any]:
    """Train, unless it is there, and measure: the plain data of `NetworkIdentity`.

    Raises `ValueError` where the texts are not those of the key.
    """
    from verify.trained.identity.measurement import measure_network

    asked = dict(configuration)
    found = open_corpus(TEXTS).sha256
    if found != asked["sha256"]:
        raise ValueError(f"the corpus {TEXTS} holds other texts here: its sha256 is {found}")
    network = {name: asked[name] for name in ("seed", "period", "n_slow", "bpe", "device")}
    with one_thread():
        folder = trained_default(**network)
        run = replace(open_run(folder, asked["device"]), name=folder.name)
        how = {name: asked[name] for name in ("rooms", "adamw", "resolve")}
        return measure_network(run, **how).as_dict()


def trained_default(**network: Any) -> Path:
    """The folder of the default network with these changes, kept beside the token cache; trained unless it is there."""
    return train_default(default_cache() / "networks", **network)
