"""Behind a closed gate the coupled model is the dense one, bit for bit."""

from __future__ import annotations

from verify.claim import Exact, ExactClaim, Profile


def check(profile: Profile) -> Exact:
    """The largest difference between the logits of both at the start, float32 and float64: zero, not small."""
    return _difference(profile.seed, gate=0.0)


def mutant(profile: Profile) -> Exact:
    """Gates start at 1e-3."""
    return _difference(profile.seed, gate=1e-3, count=20)


def _difference(seed: int, *, gate: float, count: int = 100) -> Exact:
    import torch

    from network.gate import gate_parameters
    from verify.claims._networks import model_of, random_configs

    largest, gates = 0.0, 0
    rng = torch.Generator().manual_seed(seed)
    arms = ("coupled", "blind", "local", "frozen")
    for number, config in enumerate(random_configs(seed, arms=arms, count=count)):
        dense, coupled = model_of(config, seed + number, arm="dense"), model_of(config, seed + number)
        tokens = torch.randint(config.vocab_size, (2, config.block_size), generator=rng)
        for dtype in (torch.float32, torch.float64):
            one, other = dense.to(dtype), coupled.to(dtype)
            with torch.no_grad():
                for parameter in gate_parameters(other).values():
                    gates += 1
                    if gate:
                        parameter.fill_(gate)
                moved = float((one(tokens) - other(tokens)).abs().max())
            largest = max(largest, moved) if moved == moved else float("inf")
    return Exact(
        quantity="largest difference of a logit between coupled and dense at the start",
        measured=largest,
        bound=0.0,
        reason=f"{count} random configurations of every arm, float32 and float64; {gates} gates",
        details={"configurations": count},
    )


CLAIM = ExactClaim(
    id="zero_gate_is_dense",
    statement="With its gate initialised at zero the coupled model equals the dense baseline at init, bit for bit.",
    source="the paper's zero-initialised additive gate",
    check=check,
    mutant=mutant,
    mutation="gates start at 1e-3",
)
