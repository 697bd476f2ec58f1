"""The rooms of a network as plain text, for the terminal."""

from __future__ import annotations

from verify.trained.identity.measurement import NetworkIdentity
from verify.trained.identity.rooms import Room

TITLES = {
    "exact": "exact: m⁺ − p_st = A^# K b / P on real text, labels held for P tokens",
    "own_world": "structural: φ_θ against p_st(A_θ(y)) in the network's own world",
    "text": "gap: φ_θ and A_θ on real text, y held for P tokens",
}
COLUMNS: dict[str, tuple[tuple[str, str], ...]] = {
    "exact": (("gap TV", "gap_tv"), ("boundary", "predicted_tv"), ("residual", "residual"))
    + (("b → −b", "swapped_residual"), ("other p_st", "other_gap_tv"), ("spread", "spread_tv")),
    "own_world": (("gap TV", "gap_tv"), ("predicted", "predicted_tv"), ("learning", "residual"))
    + (("certificate", "certificate_tv"), ("by AdamW", "adamw_gap_tv")),
    "text": (
        ("gap TV", "gap_tv"),
        ("boundary", "predicted_tv"),
        ("calibration", "calibration_tv"),
        ("rest", "residual"),
    )
    + (("other p_st", "other_gap_tv"), ("φ spread", "phi_spread_tv")),
}


def network_table(result: NetworkIdentity) -> str:
    """The network, then each room: its rows, its slope, its verdict."""
    net = result.network
    lines = [
        f"{net['run']}: generator network, P = {net['period']}, {net['n_states']} {net['vocabulary']}, "
        f"{net['n_slow']} slow variables, seed {net['seed']}, {net['training_tokens']:,} training tokens",
        f"held-out nats per token: next token {net['loss_next_token']:.4f} (y of another sequence "
        f"{net['loss_next_token_other_y']:.4f}, bigram table {net['loss_bigram']:.4f}), next block under φ_θ "
        f"{net['loss_next_block']:.4f} (another {net['loss_next_block_other_y']:.4f})",
    ]
    for room in result.rooms:
        lines += ["", *_room(room)]
    return "\n".join(lines)


def _room(room: Room) -> list[str]:
    columns = [(title, key) for title, key in COLUMNS[room.name] if room.rows and key in room.rows[0]]
    lines = [TITLES[room.name]]
    kind = None
    for row in room.rows:
        if row.get("labels") != kind or row is room.rows[0]:
            kind = row.get("labels")
            lines.append(
                f"{'P':>6} " + " ".join(f"{title:>11}" for title, _ in columns) + (f"   {kind}" if kind else "")
            )
        mark = f"  {row['set_aside']} labels set aside" if row.get("set_aside") else ""
        mark += "  floor-limited" if row.get("floor_limited") else ""
        mark += "  pre-asymptotic" if row.get("pre_asymptotic") else ""
        mark += "" if row.get("converged", True) else "  NOT SOLVED"
        lines.append(f"{row['period']:>6} " + " ".join(_number(row[key]) for _, key in columns) + mark)
    facts = room.facts
    if room.name == "own_world":
        lines.append(
            f"floor {facts['floor_tv']:.1e} TV ({facts['features']} features, {facts['pairs']} pairs)"
            + (f"; AdamW's {facts['adamw_floor_tv']:.1e}" if "adamw_floor_tv" in facts else "")
            + f"; φ_θ as trained on text {facts['as_trained_gap_tv']:.2e}, certificate "
            f"{facts['as_trained_certificate_tv']:.2e}; spread of p_st over y {facts['spread_tv']:.2e}"
        )
    if room.name == "text":
        own = facts["as_trained"]
        lines.append(
            f"the network as trained, P = {own['period']}: gap {own['gap_tv']:.2e}, boundary "
            f"{own['predicted_tv']:.2e}, calibration {own['calibration_tv']:.2e}, rest {own['residual']:.2e}"
        )
        if room.slope is not None:
            predicted, other = facts["predicted_slope"], facts["other_slope"]
            lines.append(f"slope predicted {predicted:.3f}, to another y's p_st {other:.3f}")
    lines.append(f"verdict: {room.verdict} ({room.reason})")
    return lines


def _number(value: float | None) -> str:
    return f"{'–':>11}" if value is None else f"{value:11.3e}"
