"""Behind a closed gate the coupled model is the dense one, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from verify.claim import Exact, ExactClaim, Mutant, Profile

if TYPE_CHECKING:
    from network import FastSlowLM

FEW = 8  # configurations of a mutant


def check(profile: Profile) -> Exact:
    """The largest difference between the logits of both at the start, float32 and float64: zero, not small."""
    return _difference(profile.seed)


def mutant(profile: Profile) -> Exact:
    """Gates start at 1e-3."""

    def ajar(model: FastSlowLM) -> None:
        for parameter in _gates(model):
            parameter.fill_(1e-3)

    return _difference(profile.seed, count=FEW, broken=ajar)


def _difference(
    seed: int, *, count: int = 100, broken: Callable[[FastSlowLM], None] = lambda model: None, arms: Any = None
) -> Exact:
    """broken: what a mutant does to the coupled model."""
    import torch

    from verify.claims._networks import model_of, random_configs

    largest, gates = 0.0, 0
    rng = torch.Generator().manual_seed(seed)
    arms = arms or ("coupled", "blind", "local", "frozen")
    for number, config in enumerate(random_configs(seed, arms=arms, count=count)):
        dense, coupled = model_of(config, seed + number, arm="dense"), model_of(config, seed + number)
        tokens = torch.randint(config.vocab_size, (2, config.block_size), generator=rng)
        for dtype in (torch.float32, torch.float64):
            one, other = dense.to(dtype), coupled.to(dtype)
            with torch.no_grad():
                gates += len(_gates(other))
                broken(other)
                moved = float((one(tokens) - other(tokens)).abs().max())
            largest = max(largest, moved) if moved == moved else float("inf")
    return Exact(
        quantity="largest difference of a logit between coupled and dense at the start",
        measured=largest,
        bound=0.0,
        reason=f"{count} random configurations of every arm, float32 and float64; {gates} gates",
        details={"configurations": count},
    )


def _gates(model: FastSlowLM) -> list[Any]:
    from network.gate import gate_parameters

    return list(gate_parameters(model).values())


def _with(broken: Callable[[FastSlowLM], None]) -> Callable[[Profile], Exact]:
    """The check on few models of the arms that compute their slow path, each broken so."""
    return lambda profile: _difference(profile.seed, count=FEW, broken=broken, arms=("coupled", "blind", "local"))


def _one_channel(model: FastSlowLM) -> None:
    """One entry of the gate alone is 1e-3."""
    for parameter in _gates(model):
        parameter.view(-1)[0] = 1e-3


def _not_finite(model: FastSlowLM) -> None:
    """φ_θ overflows: 0 · inf is no zero."""
    for parameter in _coupling(model).phi_theta.parameters():
        parameter.fill_(float("inf"))


def _replaces(model: FastSlowLM) -> None:
    """The signal is fed back in the place of one per cent of the stream."""
    coupling = _coupling(model)
    coupling.register_forward_hook(lambda _, inputs, fed_back: fed_back - 0.01 * inputs[0])


def _bias(model: FastSlowLM) -> None:
    """What is fed back has a bias of 1e-3 that no gate closes."""
    _coupling(model).register_forward_hook(lambda _, inputs, fed_back: fed_back + 1e-3)


def _normalised_again(model: FastSlowLM) -> None:
    """The stream is normalised once more where the coupling enters."""
    from network.norm import rms_norm

    _coupling(model).register_forward_hook(lambda _, inputs, fed_back: fed_back + rms_norm(inputs[0]) - inputs[0])


def _drawn_in_another_order(model: FastSlowLM) -> None:
    """One fast weight is another: as if the slow ones had been drawn first."""
    weight: Any = next(iter(model.fast.parameters()))
    weight.view(-1)[0] *= 1.01


def _coupling(model: FastSlowLM) -> Any:
    return model.coupling


CLAIM = ExactClaim(
    id="zero_gate_is_dense",
    statement="With its gate initialised at zero the coupled model equals the dense baseline at init, bit for bit.",
    source="the paper's zero-initialised additive gate",
    check=check,
    mutant=mutant,
    mutation="gates start at 1e-3",
    mutants=(
        Mutant("one_channel", "one entry of the gate is 1e-3", _with(_one_channel)),
        Mutant("not_finite", "φ_θ overflows behind the closed gate", _with(_not_finite)),
        Mutant("replaces", "what is fed back takes the place of 1 % of the stream", _with(_replaces)),
        Mutant("bias", "what is fed back has a bias of 1e-3 behind the gate", _with(_bias)),
        Mutant("normalised_again", "the stream is normalised where the coupling enters", _with(_normalised_again)),
        Mutant("another_draw", "one fast weight of the coupled model is 1 % off", _with(_drawn_in_another_order)),
    ),
)
