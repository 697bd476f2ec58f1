"""Full-batch L-BFGS on the cross-entropy: what a careful user of a stock optimiser gets, and the floor that it
leaves."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from network import PhiTheta
from verify.fits import Fit
from verify.fits.features import draw_features

WIDTH = 64
ITERATIONS = 500
GRADIENT_TOLERANCE = 1e-9


def fit(y: Float[Tensor, "k m"], x: Float[Tensor, "k n"], *, seed: int, device: str = "cpu") -> Fit:
    """Fit every weight of φ_θ to pairs y[k, m], x[k, n] by minimising −Σ x log φ_θ, whose minimiser is E[x | y].

    `converged` is whether the largest gradient entry fell below `GRADIENT_TOLERANCE` within `ITERATIONS`.
    """
    y, x = y.to(device), x.to(device)
    phi: PhiTheta = draw_features(y, x.shape[-1], width=WIDTH, spread=1.0, seed=seed)
    optimiser = torch.optim.LBFGS(
        phi.parameters(),
        max_iter=ITERATIONS,
        history_size=50,
        tolerance_grad=GRADIENT_TOLERANCE,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
    with torch.no_grad():
        entropy = torch.special.entr(x).sum(-1).mean()  # taken off, so that small losses keep their digits

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = -(x * phi.log_prob(y)).sum(-1).mean() - entropy
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    gradient = max(float(parameter.grad.abs().max()) for parameter in phi.parameters() if parameter.grad is not None)
    converged = gradient <= GRADIENT_TOLERANCE
    state = "converged" if converged else f"stopped after {ITERATIONS} iterations with gradient {gradient:.1e}"
    return Fit(phi, converged, f"L-BFGS on all weights of a width-{WIDTH} φ_θ, {state}")
