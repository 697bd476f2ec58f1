"""φ_θ from sampled states: the multinomial cross-entropy, convex in the last layer, minimised by Newton's method.

Sampled frequencies must not go through logarithms: E log differs from log E, and a state that was not seen has none.
The cross-entropy −Σ f log φ_θ is the language-model loss; its minimiser is E[f | y], whatever the noise (McCullagh &
Nelder, *Generalized Linear Models*, 1989, ch. 5, for the likelihood).

The hidden layer is drawn (`verify.fits.features`). Its tanh units are nearly dependent, and with noisy data every
direction kept costs variance: so the last layer works in their leading principal directions; how many of them, and the
spread of the units, are decided on held-out pairs. What noise remains in φ_θ is known: the sandwich estimate H⁻¹ J H⁻¹
of the covariance (White, *Econometrica* 50 (1982) 1) uses the scatter actually seen, so it needs neither the number of
samples nor their independence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from network import PhiTheta
from verify.fits import Fit
from verify.fits.features import design_matrix, draw_features, set_last_layer

WIDTH = 256
SPREADS = (0.25, 0.5, 1.0, 2.0)
LADDER = (3, 6, 10, 15, 21, 28, 36, 45, 55, 66, 78, 91, 105, 130, 160, 200, 257)
PATIENCE = 2  # rungs without a better held-out loss before the climb ends
MOST_UNKNOWNS = 2000
CUTOFF = 1e-10  # singular values below this, relative to the largest, would carry rounding into φ_θ
RIDGE = 1e-12  # of the mean loss: keeps the optimum finite where a state was never seen
NEWTON_STEPS = 60


@dataclass(frozen=True)
class SampledFit(Fit):
    """A φ_θ learned from samples, with the covariance of its last layer.

    directions[width + 1, r]: from features to the directions used. basis[n, n − 1]: from unknowns to logits.
    covariance[r (n − 1), r (n − 1)] of the unknowns.
    """

    directions: Tensor
    basis: Tensor
    covariance: Tensor

    def sampling_tv(self, y: Tensor) -> Tensor:
        """The expected TV [k] between φ_θ(y[k, m]) and what it would be without sampling noise: ½ Σ_i √(2 σ_i²/π)."""
        root = _factor(self.covariance)
        spread = (self._slopes(y) @ root).square().sum(-1).sqrt()
        return 0.5 * math.sqrt(2.0 / math.pi) * spread.sum(-1)

    def gap_error(self, y: Tensor, p: Tensor) -> float:
        """The standard error, from sampling, of the mean over y[k, m] of TV(φ_θ(y), p[k, n]), to first order."""
        with torch.no_grad():
            side = torch.sign(self.phi_theta(y) - p)
        slope = 0.5 * (side[..., None] * self._slopes(y)).sum(-2).mean(0)
        return float((slope @ self.covariance @ slope).clamp_min(0.0).sqrt())

    def _slopes(self, y: Tensor) -> Tensor:
        """∂φ_θ,i / ∂(unknowns) [k, n, r (n − 1)]."""
        with torch.no_grad():
            q = self.phi_theta(y)
            used = design_matrix(self.phi_theta, y) @ self.directions  # pyright: ignore[reportArgumentType]
        by_logit = torch.diag_embed(q) - q[:, :, None] * q[:, None, :]
        return torch.einsum("kij,ja,kr->kira", by_logit, self.basis, used).flatten(-2)


def fit(y: Float[Tensor, "k m"], x: Float[Tensor, "k n"], *, seed: int, device: str = "cpu") -> SampledFit:
    """Fit φ_θ to state frequencies x[k, n] seen at y[k, m], float64; every pair weighs the same.

    The solve runs on the CPU; φ_θ is returned on `device`. `converged` is whether Newton's decrement fell to rounding.
    Raises `ValueError` where the frequencies are negative or do not sum to one, and for another dtype than float64.
    """
    y, x = y.cpu(), x.cpu()
    if x.dtype != torch.float64 or y.dtype != torch.float64:
        raise ValueError(f"y and x must be float64, got {y.dtype} and {x.dtype}: cast counts before dividing them")
    if bool((x < 0).any()) or bool(((x.sum(-1) - 1).abs() > 1e-9).any()):
        raise ValueError(
            "x must hold frequencies, non-negative and of sum 1 for every pair: divide counts by their sum"
        )
    n = x.shape[-1]
    basis = _contrasts(n, y)
    draws = [_draw(y, n, spread, seed) for spread in SPREADS]
    losses_and_ranks = [_choose_rank(used, x, basis) for _, _, used in draws]
    best = min(range(len(draws)), key=lambda k: losses_and_ranks[k][0])
    (phi, directions, used), r = draws[best], losses_and_ranks[best][1]
    unknowns, converged, taken = _newton(used[:, :r], x, basis, torch.zeros(r, n - 1, dtype=y.dtype))
    set_last_layer(phi, directions[:, :r] @ unknowns @ basis.T)
    covariance = _sandwich(used[:, :r], x, basis, unknowns)
    note = (
        f"multinomial cross-entropy by Newton ({taken} steps{'' if converged else ', NOT converged'}) in {r} of "
        f"{used.shape[-1]} principal directions of {WIDTH} tanh units of spread {SPREADS[best]:g}, by held-out loss"
    )
    here = torch.device(device)
    return SampledFit(phi.to(here), converged, note, directions[:, :r].to(here), basis.to(here), covariance.to(here))


def _draw(y: Float[Tensor, "k m"], n: int, spread: float, seed: int) -> tuple[PhiTheta, Tensor, Tensor]:
    """A hidden layer of that spread, its leading directions [width + 1, w], and the data in them [k, w]."""
    phi = draw_features(y, n, width=WIDTH, spread=spread, seed=seed)
    design = design_matrix(phi, y)
    _, sizes, V = torch.linalg.svd(design, full_matrices=False)
    rank = int((sizes > CUTOFF * sizes[0]).sum())
    most = min(rank, MOST_UNKNOWNS // max(n - 1, 1), len(y) // 4)
    directions = V[:most].T * (math.sqrt(len(y)) / sizes[:most])
    return phi, directions, design @ directions


def _choose_rank(used: Float[Tensor, "k w"], x: Float[Tensor, "k n"], basis: Tensor) -> tuple[float, int]:
    """(least held-out loss, number of directions it takes); the climb ends after `PATIENCE` rungs without a better."""
    held_out = torch.arange(len(x)) % 5 == 4
    unknowns = torch.zeros(0, basis.shape[-1], dtype=x.dtype)
    rungs = sorted({min(r, used.shape[-1]) for r in LADDER})
    losses: list[float] = []
    for r in rungs:
        unknowns = torch.cat([unknowns, torch.zeros(r - len(unknowns), basis.shape[-1], dtype=x.dtype)])
        unknowns, _, _ = _newton(used[~held_out, :r], x[~held_out], basis, unknowns)
        losses.append(float(_loss(used[held_out, :r], x[held_out], basis, unknowns)))
        if len(losses) - 1 - losses.index(min(losses)) >= PATIENCE:
            break
    return min(losses), rungs[losses.index(min(losses))]


def _newton(
    used: Float[Tensor, "k r"], x: Float[Tensor, "k n"], basis: Float[Tensor, "n f"], start: Float[Tensor, "r f"]
) -> tuple[Float[Tensor, "r f"], bool, int]:
    """Minimise the loss from `start` by damped Newton steps: (unknowns, whether it converged, steps taken)."""
    unknowns, loss = start, _loss(used, x, basis, start)
    if not start.numel():
        return start, True, 0
    for step in range(NEWTON_STEPS):
        q = (used @ unknowns @ basis.T).softmax(-1)
        gradient = used.T @ ((q - x) @ basis) / len(x) + RIDGE * unknowns
        direction = -torch.cholesky_solve(gradient.reshape(-1, 1), _factor(_hessian(used, q, basis))).reshape_as(
            gradient
        )
        decrement = -float((gradient * direction).sum())
        if decrement <= 1e-20:
            return unknowns + direction, True, step
        size = 1.0
        while size > 1e-6:
            trial = unknowns + size * direction
            trial_loss = _loss(used, x, basis, trial)
            # Near the optimum the decrease drowns in the rounding of the loss; the full step is right there.
            if decrement < 1e-13 or float(trial_loss) <= float(loss) - 0.1 * size * decrement:
                break
            size *= 0.5
        else:
            return unknowns, False, step
        unknowns, loss = trial, trial_loss
    return unknowns, False, NEWTON_STEPS


def _loss(used: Tensor, x: Tensor, basis: Tensor, unknowns: Tensor) -> Tensor:
    log_q = (used @ unknowns @ basis.T).log_softmax(-1)
    return -(x * log_q).sum(-1).mean() + 0.5 * RIDGE * unknowns.square().sum()


def _hessian(used: Float[Tensor, "k r"], q: Float[Tensor, "k n"], basis: Float[Tensor, "n f"]) -> Float[Tensor, "u u"]:
    """The second derivative of the mean loss, ridge included, in the unknowns [r, f] flattened: u = r f."""
    free, r = basis.shape[-1], used.shape[-1]
    mean = q @ basis
    blocks = used.new_zeros(r, free, r, free)
    for a in range(free):
        for b in range(a, free):
            weight = (q @ (basis[:, a] * basis[:, b]) - mean[:, a] * mean[:, b]) / len(q)
            blocks[:, a, :, b] = used.T @ (weight[:, None] * used)
            blocks[:, b, :, a] = blocks[:, a, :, b]
    whole = blocks.reshape(r * free, r * free)
    whole.diagonal().add_(RIDGE)
    return whole


def _sandwich(used: Tensor, x: Tensor, basis: Tensor, unknowns: Tensor) -> Float[Tensor, "u u"]:
    """H⁻¹ J H⁻¹ with the scores seen, scaled for the directions that were fitted to the same pairs."""
    pairs, r = used.shape
    q = (used @ unknowns @ basis.T).softmax(-1)
    scores = (used[:, :, None] * ((x - q) @ basis)[:, None, :]).flatten(1) / pairs
    if not scores.numel():
        return scores.new_zeros(0, 0)
    root = torch.cholesky_solve(scores.T.contiguous(), _factor(_hessian(used, q, basis)))
    return root @ root.T * (pairs / (pairs - r))


def _factor(H: Tensor) -> Tensor:
    """A Cholesky factor of H, with the least multiple of its own scale added that makes it positive definite."""
    if not H.numel():
        return H
    scale = H.diagonal().max().clamp_min(torch.finfo(H.dtype).tiny)
    for shift in (0.0, 1e-16, 1e-15, 1e-14, 1e-13, 1e-12):
        factor, info = torch.linalg.cholesky_ex(H + shift * scale * torch.eye(len(H), dtype=H.dtype, device=H.device))
        if int(info) == 0:
            return factor
    raise RuntimeError("the Hessian of the cross-entropy is not positive semidefinite: x or y holds extreme values")


def _contrasts(n: int, like: Tensor) -> Float[Tensor, "n f"]:
    """An orthonormal basis [n, n − 1] of the logits of sum zero: the softmax does not see their common part."""
    ones = torch.cat([torch.ones(n, 1, dtype=like.dtype), torch.eye(n, dtype=like.dtype)[:, : n - 1]], -1)
    return torch.linalg.qr(ones).Q[:, 1:]
