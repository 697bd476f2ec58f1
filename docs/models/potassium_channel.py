"""The potassium channel of Hodgkin and Huxley (1952): four gates, five states, y the voltage of a large, slow cell.

In physical units: with V in mV each gate opens at α = 0.01 (V + 55)/(1 − e^{−(V + 55)/10}) and closes at
β = 0.125 e^{−(V + 65)/80} per ms, and the channel conducts with all four open. The membrane has C = 60 µF/cm²,
g_L = 0.3, g_K = 3.6 mS/cm², E_L = −54.4, E_K = −77 mV, and a current of 3 µA/cm². Fast unit 1 ms, slow unit
C/g_L = 200 ms: ε = 1/200 = 0.005.
"""

import torch

import theory

LEAK, POTASSIUM = 1.0, 12.0  # g_L and g_K per g_L
E_LEAK, E_POTASSIUM, CURRENT = -54.4, -77.0, 10.0  # mV; the current over g_L, in mV


def gate(V: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(α, β) per ms at V in mV; α by its series near V = −55, where its quotient is 0/0."""
    u = (V + 55.0) / 10.0
    near = u.abs() < 0.05
    safe = torch.where(near, torch.ones_like(u), u)
    quotient = torch.where(near, 1.0 + u / 2.0 + u.square() / 12.0 - u.pow(4) / 720.0, safe / (1.0 - torch.exp(-safe)))
    return 0.1 * quotient, 0.125 * torch.exp(-(V + 65.0) / 80.0)


def generator(y: torch.Tensor) -> torch.Tensor:
    """A(y)[..., 5, 5] per ms: state k has k gates open."""
    alpha, beta = gate(y)
    closed = torch.arange(4.0, 0.0, -1.0, dtype=y.dtype)
    return theory.from_rates(
        torch.diag_embed(alpha * closed, offset=-1) + torch.diag_embed(beta * closed.flip(0), offset=1)
    )


def slow(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """dV/dt in mV per 200 ms."""
    return CURRENT - LEAK * (y - E_LEAK) - POTASSIUM * x[..., 4:] * (y - E_POTASSIUM)


def system() -> theory.FastSlowSystem:
    """On V in [−80, −40] mV, which it cannot leave."""
    return theory.FastSlowSystem(
        generator=generator, slow=slow, n_states=5, n_slow=1, low=-80.0, high=-40.0, name="potassium channel"
    )
