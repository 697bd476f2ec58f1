"""Newton's method for a cross-entropy whose logits are linear in the unknowns, hence convex.

With a line search; its steps by conjugate gradients (Nocedal & Wright, *Numerical Optimization*, 2006, §7.1), which
the Hessian of an earlier step preconditions, formed anew where they need many.

A fit needs text enough: where a symbol is so rare that the features separate it from the rest, the optimum lies at
infinity (Albert & Anderson, Biometrika 71, 1984), and no method reaches it. `Solved.converged` says whether a fit ended
at its optimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

RIDGE = 1e-13  # of the mean loss: keeps the optimum finite where a symbol is never seen

Inverse = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Solved:
    """The unknowns, the 2-norm of the gradient (of the mean loss) there, whether it is within the tolerance, the Newton
    steps taken, and about the inverse of the Hessian, for a fit nearby."""

    unknowns: Tensor
    gradient: float
    converged: bool
    steps: int
    precondition: Inverse | None


@runtime_checkable
class Linear(Protocol):
    """Logits linear in the unknowns θ[rows, V]; q is their softmax, mass the same times the weights.

    patience: steps of conjugate gradients in one Newton step after which the Hessian is formed anew.
    """

    patience: int

    def logits(self, theta: Tensor) -> Tensor:
        """The map."""
        ...

    def adjoint(self, r: Tensor) -> Tensor:
        """Its adjoint."""
        ...

    def inverse(self, mass: Tensor, q: Tensor, ridge: Tensor) -> Inverse:
        """About the inverse of the Hessian with ridge[V] on its diagonal."""
        ...


def newton(
    model: Linear,
    target: Tensor,
    start: Tensor,
    tolerance: float,
    precondition: Inverse | None = None,
    most: int = 40,
    inner: int = 60,
    ridge: float = RIDGE,
) -> Solved:
    """Minimise −Σ target log softmax(model.logits(θ))."""
    weight = target.sum(-1, keepdim=True)
    frequency = target.flatten(0, -2).sum(0).clamp_min(1e-12)

    def loss(theta: Tensor) -> Tensor:
        return -(target * model.logits(theta).log_softmax(-1)).sum() + 0.5 * ridge * (theta.square() * frequency).sum()

    def centred(theta: Tensor) -> Tensor:
        # A shift of all logits changes no softmax: the one with the smallest ridge.
        return theta - ((theta @ frequency) / frequency.sum())[:, None]

    theta, size, step, taken = centred(start), torch.inf, 0, 0
    value = loss(theta)
    for step in range(most + 1):
        q = model.logits(theta).softmax(-1)
        mass = weight * q
        gradient = model.adjoint(mass - target) + ridge * frequency * theta
        size = float(gradient.norm())
        if size <= tolerance or step == most:
            break
        if precondition is None or taken > model.patience:
            precondition = model.inverse(mass, q, ridge * frequency)

        def curvature(D: Tensor, q: Tensor = q, mass: Tensor = mass) -> Tensor:
            z = model.logits(D)
            return model.adjoint(mass * (z - (q * z).sum(-1, keepdim=True))) + ridge * frequency * D

        direction, taken = conjugate_gradients(curvature, -gradient, precondition, min(0.1, size), inner)
        slope, length = float((gradient * direction).sum()), 1.0
        trial, after = theta, value
        while length > 1e-6:
            trial = centred(theta + length * direction)
            after = loss(trial)
            # Near the optimum the decrease drowns in the rounding of the loss; the full step is right there.
            if -slope < 1e-13 or float(after) <= float(value) + 1e-4 * length * slope:
                break
            length *= 0.5
        else:
            break
        theta, value = trial, after
    return Solved(theta, size, size <= tolerance, step, precondition)


def conjugate_gradients(
    curvature: Callable[[Tensor], Tensor],
    right: Tensor,
    precondition: Inverse,
    relative: float,
    most: int,
) -> tuple[Tensor, int]:
    """(solution, steps) of curvature(solution) = right, to `relative` in the norm of the preconditioner."""
    solution, residual = torch.zeros_like(right), right
    z = precondition(residual)
    direction, product = z, float((residual * z).sum())
    stop = relative**2 * product
    taken = 0
    for taken in range(1, most + 1):  # noqa: B007
        image = curvature(direction)
        along = float((direction * image).sum())
        if along <= 0:  # rounding, in a direction that the loss does not see
            break
        step = product / along
        solution, residual = solution + step * direction, residual - step * image
        z = precondition(residual)
        product, before = float((residual * z).sum()), product
        if product <= stop:
            break
        direction = z + product / before * direction
    return solution, taken
