"""What a training step costs against the dense baseline, at equal fast depth and with one layer made slow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from verify.claim import Empirical, EmpiricalClaim, Profile
from verify.verdict import EmpiricalVerdict

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

PAPER_RATIO, TOLERANCE = 0.97, 0.10
LEVEL = 1.0 - 0.05 / 2  # Bonferroni, for two ratios
ROUNDS = {"quick": 30, "paper": 200, "scale": 200}
BATCH = 4
WARM_UP = 3

# name: (fast layers, slow layers)
SIZES = {"equal fast depth": (4, 1), "one layer made slow": (3, 1)}


def check(profile: Profile) -> Empirical:
    """Median ratio of step times, arms interleaved round by round; CONSISTENT if one interval meets 0.97 ± 0.10."""
    return _ratios(profile, SIZES, rounds=ROUNDS[profile.name])


def mutant(profile: Profile) -> Empirical:
    """Models of twice the depth pass for the coupled ones."""
    return _ratios(profile, {name: (2 * fast, 2 * slow) for name, (fast, slow) in SIZES.items()}, rounds=12)


def _ratios(profile: Profile, sizes: dict[str, tuple[int, int]], *, rounds: int) -> Empirical:
    import numpy as np
    from scipy import stats

    from network import FastSlowConfig

    steps = {"dense": _training_step(FastSlowConfig(arm="dense"), profile)}
    for name, (fast, slow) in sizes.items():
        steps[name] = _training_step(FastSlowConfig(arm="coupled", n_layer=fast, n_slow_layer=slow), profile)
    names = list(steps)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(WARM_UP + rounds):
        # A first place in the round is not the same as a last one: the order turns.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            took = steps[name]()
            if turn >= WARM_UP:
                seconds[name].append(took)
    rows = []
    for name in sizes:
        ratios = np.array(seconds[name]) / np.array(seconds["dense"])
        # The order-statistic interval of the median: no assumption on what a busy machine does to the times.
        median = stats.quantile_test(ratios, q=1, p=0.5).confidence_interval(LEVEL)
        rows.append(
            {"name": name, "ratio": float(np.median(ratios)), "low": float(median.low), "high": float(median.high)}
        )
    meets = [r for r in rows if r["low"] <= PAPER_RATIO + TOLERANCE and r["high"] >= PAPER_RATIO - TOLERANCE]
    nearest = min(meets or rows, key=lambda row: abs(math.log(row["ratio"] / PAPER_RATIO)))
    said = "; ".join(f"{r['name']}: {r['ratio']:.3f} in [{r['low']:.3f}, {r['high']:.3f}]" for r in rows)
    return Empirical(
        quantity=f"step time over dense ({nearest['name']})",
        measured=nearest["ratio"],
        bound=PAPER_RATIO,
        interval=(nearest["low"], nearest["high"]),
        verdict=EmpiricalVerdict.CONSISTENT if meets else EmpiricalVerdict.INCONSISTENT,
        effect_size=math.log(nearest["ratio"] / PAPER_RATIO),
        reason=f"{said}; {PAPER_RATIO} ± {TOLERANCE} is met by {meets[0]['name'] if meets else 'neither'} "
        f"({rounds} rounds on {profile.device}, intervals at {LEVEL:.1%} for two ratios)",
        details={"rows": rows, "seconds": seconds},
    )


def _training_step(config: Any, profile: Profile) -> Callable[[], float]:
    """A function that makes one AdamW step on random tokens and returns its seconds."""
    import time

    import torch

    from network import FastSlowLM

    device = torch.device(profile.device)
    rng = torch.Generator().manual_seed(profile.seed)
    model = FastSlowLM(config, generator=rng).to(device)
    tokens = torch.randint(config.vocab_size, (BATCH, config.block_size + 1), generator=rng).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step() -> float:
        _wait(device)
        start = time.perf_counter()
        logits = model(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        _wait(device)
        return time.perf_counter() - start

    return step


def _wait(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


CLAIM = EmpiricalClaim(
    id="wall_clock",
    statement="Training the coupled model takes about 0.97 of the dense baseline's wall clock.",
    source="the paper's wall-clock comparison",
    check=check,
    mutant=mutant,
    mutation="models of twice the depth pass for the coupled ones",
)
