"""Several trained networks beside one another: the slopes over seeds, and the gap of networks trained at each P."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from verify.statistics.paired import t_interval

ROOM_NAMES = ("exact", "own_world", "text")


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """mean, and its 95 % interval by Student's t over seeds; `ValueError` below two of them.

    >>> over_seeds([1.0, 1.02])["mean"]
    1.01
    """
    interval = t_interval(values)
    if interval is None:
        raise ValueError(f"an interval over seeds needs at least two, got {len(values)}")
    return {"mean": statistics.fmean(values), "interval": list(interval), "values": list(values)}


def slopes(networks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By room, the slopes of networks (plain data of `NetworkIdentity`) that differ in their seed."""
    found = {}
    for name in ROOM_NAMES:
        rooms = [one for network in networks for one in network["rooms"] if one["name"] == name]
        if len(rooms) > 1:
            found[name] = over_seeds([room["slope"] for room in rooms])
    return found


def ratios(networks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over all seeds: the range of measured over predicted in the finer half of the own world and on text, and the
    largest and smallest share of the gap on text that boundary and calibration leave."""
    found: dict[str, Any] = {}
    for name in ("own_world", "text"):
        rooms = [one["rows"] for network in networks for one in network["rooms"] if one["name"] == name]
        rows = [row for own in rooms for row in (own[len(own) // 2 :] if name == "own_world" else own)]
        if rows:
            shares = [row["gap_tv"] / row["predicted_tv"] for row in rows]
            found[name] = {"measured_over_predicted": [min(shares), max(shares)]}
            if name == "text":
                rest = [row["residual"] / row["gap_tv"] for row in rows]
                found[name]["left"] = [max(rest), min(rest)]
    return found


def as_trained(networks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each network as it was trained, at its own P: gap, parts and losses."""
    rows = []
    for network in networks:
        own = next(room["facts"]["as_trained"] for room in network["rooms"] if room["name"] == "text")
        losses = {key: value for key, value in network["network"].items() if key.startswith("loss_")}
        head = {key: network["network"][key] for key in ("seed", "n_slow", "n_states")}
        rows.append({**head, **own, **losses})
    return sorted(rows, key=lambda row: (row["n_slow"], row["period"], row["seed"]))
