"""Variable projection: hidden layer drawn at the data's scale, last layer solved exactly on log-probabilities.

φ_θ(y) = softmax(C ϕ(y)): the last layer C is linear in log φ_θ up to the softmax gauge, so it is a least-squares
problem for log x with its mean over states taken off. The minimum over C is exact (truncated SVD); what is left to
choose is the hidden layer (Golub & Pereyra, *SIAM J. Numer. Anal.* 10 (1973) 413). Its spread is chosen on held-out
pairs, and where the best draw stays above `GOOD_ENOUGH` in TV there, its weights are optimised on the projected
objective by L-BFGS (with C held at its optimum the gradient is exact, by the envelope theorem), kept only if the
held-out error falls. `note` says which of the two was kept.

The pairs must be noise-free: logarithms of sampled frequencies have another mean.
"""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor

from network import PhiTheta
from theory import total_variation
from verify.fits import Fit
from verify.fits.features import design_matrix, draw_features, set_last_layer

NOISE_FREE_ONLY = True
WIDTH = 256  # for one or two slow variables; three and more get WIDE, as far as the pairs allow
WIDE = 768
SPREADS = (0.5, 1.0, 2.0, 4.0)
GOOD_ENOUGH = 1e-9
ITERATIONS, OPTIMISED_PAIRS = 10, 1000
CUTOFF = 1e-15  # singular values below this, relative to the largest, are rounding


def fit(y: Float[Tensor, "k m"], x: Float[Tensor, "k n"], *, seed: int, device: str = "cpu") -> Fit:
    """Fit φ_θ to noise-free pairs: slow states y[k, m], probability vectors x[k, n], float64.

    The solve runs on the CPU, where LAPACK has the truncated SVD; φ_θ is returned on `device`. Entries of x below the
    smallest normal number count as that number. Raises `ValueError` for fewer pairs than features.
    """
    y, x = y.cpu(), x.cpu()
    width = WIDTH if y.shape[-1] <= 2 else max(WIDTH, min(WIDE, len(y) // 4))
    if len(y) <= width + 1:
        raise ValueError(f"variable projection needs more pairs than its {width + 1} features, got {len(y)}")
    target = x.clamp_min(torch.finfo(x.dtype).tiny).log()
    target = target - target.mean(-1, keepdim=True)
    held_out = torch.arange(len(y)) % 5 == 4

    def error_of(phi: PhiTheta) -> float:
        _solve(phi, y[~held_out], target[~held_out])
        return float(total_variation(phi(y[held_out]).detach(), x[held_out]).mean())

    draws = [draw_features(y, x.shape[-1], width=width, spread=spread, seed=seed) for spread in SPREADS]
    errors = [error_of(phi) for phi in draws]
    best = min(range(len(draws)), key=errors.__getitem__)
    phi, note = draws[best], f"hidden layer drawn at spread {SPREADS[best]:g}, last layer solved exactly"
    if errors[best] > GOOD_ENOUGH:
        optimised = _optimise_hidden_layer(phi, y[~held_out], target[~held_out])
        if error_of(optimised) < errors[best]:
            phi, note = optimised, "hidden layer optimised on the projected objective, last layer solved exactly"
    _solve(phi, y, target)
    return Fit(phi.to(device), True, note)


def _solve(phi: PhiTheta, y: Float[Tensor, "k m"], target: Float[Tensor, "k n"]) -> None:
    solution = torch.linalg.lstsq(design_matrix(phi, y), target, rcond=CUTOFF, driver="gelsd").solution
    set_last_layer(phi, solution)


def _optimise_hidden_layer(start: PhiTheta, y: Float[Tensor, "k m"], target: Float[Tensor, "k n"]) -> PhiTheta:
    """A copy of `start` whose hidden layer minimises the least-squares residual with the last layer projected out.

    On `OPTIMISED_PAIRS` of the pairs, for `ITERATIONS` of L-BFGS: each costs a solve.
    """
    y, target = y[:OPTIMISED_PAIRS], target[:OPTIMISED_PAIRS]
    phi = copy.deepcopy(start)
    optimiser = torch.optim.LBFGS(phi.hidden.parameters(), max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        _solve(phi, y, target)
        residual = phi.out(phi.features(y)) - target
        loss = residual.square().mean()
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    return phi
