"""A trained generator network as a fast-slow system, so that every tool of theory applies to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from network.arguments import Probe

if TYPE_CHECKING:
    from theory import FastSlowSystem


def as_system(model: Probe) -> FastSlowSystem:
    """`model`, a `network.GeneratorLM`, as the `FastSlowSystem` of A_θ and g_θ on the box of the y that it visited.

    Its token clock is that of the network with kernel 'euler' and step 1. The weights are copied: training on does not
    change a system at hand. Raises `ValueError` for a model of another arm.

    Examples:
        >>> from network import FastSlowConfig, GeneratorLM
        >>> as_system(GeneratorLM(FastSlowConfig(arm="generator", vocab_size=5))).n_states
        5
    """
    from network import GeneratorLM
    from theory import FastSlowSystem

    if not isinstance(model, GeneratorLM):
        arm = getattr(getattr(model, "config", None), "arm", None)
        what = f"a network of arm {arm!r}" if arm else type(model).__name__
        raise ValueError(f"model must be a GeneratorLM, got {what}: train one with --arm generator")
    return FastSlowSystem(
        **model.system_arguments(), remarks="a trained network; its own clock is kernel euler with step 1"
    )
