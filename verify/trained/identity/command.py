"""`python -m verify.manifold_gap --network RUN|train`: what it trains, prints and writes."""

from __future__ import annotations

import sys
from pathlib import Path

from verify.command_line import write_whole


def network_command(network: str, *, out: Path, device: str, seed: int, as_json: bool) -> int:
    """Measure the run in folder `network`, or the default one trained under `out` for 'train'; the exit code.

    Raises `ValueError` for a run of another arm, or without a checkpoint.
    """
    from verify.plotting import save_figure
    from verify.trained.identity.figure import network_figure
    from verify.trained.identity.measurement import measure_network
    from verify.trained.identity.run import open_run, train_default
    from verify.trained.identity.table import network_table

    folder = Path(network)
    if network == "train":
        print("training the default generator network; about two minutes", file=sys.stderr)  # noqa: T201
        folder = train_default(out, seed=seed, device=device, progress=True)
    result = measure_network(open_run(folder, device), progress=True)
    for room in result.rooms:
        if any(not row.get("converged", True) for row in room.rows):
            print(f"warning: room {room.name}: {room.reason}", file=sys.stderr)  # noqa: T201
    write_whole(out / "network_identity.json", result.to_json() + "\n")
    written = save_figure(network_figure(result.as_dict()), out / "network_identity")
    if as_json:
        print(result.to_json())  # noqa: T201
    else:
        print(f"{network_table(result)}\nfigure: {written}")  # noqa: T201
    return result.exit_code
