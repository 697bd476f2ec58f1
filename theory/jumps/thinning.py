"""Thinning: jump paths whose rates move with y, drawn exactly (Lewis & Shedler, *Nav. Res. Logist. Q.* 26 (1979) 403).

A step of y and a bound on the exit rate within it are fixed before anything random is drawn in it; a candidate at time
τ is taken with probability (exit rate at τ)/bound, and a rate found above its bound ends the run with an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from theory.errors import NumericalError
from theory.fast_slow import FastSlowSystem
from theory.jumps.dormand_prince import Step, dormand_prince_step

_MARGIN = 1.2  # of the bound over the largest exit rate at start, middle and end of a step
_STRAIGHT = 0.1  # the exit rate may bend by this part of itself within a step: the margin is then on the safe side


@dataclass(frozen=True, eq=False)
class Start:
    """Checked input with the batch flattened: state[B], x[B, n], y[B, m], eps[B], times[k]."""

    state: Tensor
    x: Tensor
    y: Tensor
    eps: Tensor
    times: Tensor
    batch: torch.Size


class Thinning:
    """All paths at once: every round gives each unfinished path one flow step, and at most one candidate jump in it."""

    system: FastSlowSystem
    mean: bool
    rtol: float
    atol: float
    n: int
    eps: Tensor
    rng: torch.Generator
    state: Tensor
    z: Tensor
    unit: Tensor
    now: Tensor
    step: Tensor
    jumps: Tensor
    spent: Tensor
    flow_error: Tensor
    left: Tensor
    rounds: int

    def __init__(self, system: FastSlowSystem, start: Start, mean: bool, rtol: float, atol: float, seed: int) -> None:
        self.system, self.mean, self.rtol, self.atol = system, mean, rtol, atol
        self.n, self.eps = system.n_states, start.eps
        self.rng = torch.Generator("cpu").manual_seed(seed)
        self.state = start.state.clone()
        self.z = torch.cat([start.x, start.y], -1) if mean else start.y.clone()
        self.unit = torch.eye(self.n, dtype=start.y.dtype, device=start.y.device)
        count = len(self.state)
        self.now = torch.full_like(start.eps, float(start.times[0]))
        self.step = torch.full_like(start.eps, torch.inf)
        self.jumps = torch.zeros_like(self.state)
        self.spent = torch.zeros(count, self.n, dtype=start.y.dtype, device=start.y.device)
        self.flow_error = torch.zeros_like(start.eps)
        self.left = torch.zeros_like(self.state, dtype=torch.bool)
        self.rounds = 0

    def slow(self, z: Tensor) -> Tensor:
        """The slow state y[B, m] in z = y, or z = (x, y)."""
        return z[:, -self.system.n_slow :]

    def exit_rate(self, z: Tensor, state: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """The rate at which each path leaves its state, and the largest rate of A(y)."""
        A = self.system.A(self.slow(z))
        # 0 − A_ii: the rate of a state that is never left is then +0, and the step that it allows is not −inf
        return (0.0 - A.diagonal(dim1=-2, dim2=-1).gather(-1, state[:, None])[:, 0]) / eps, A.abs().amax((-2, -1)) / eps

    def occupation(self) -> Tensor:
        """Fraction of its time that each path spent in each state [B, n]; of a path that never moved, its start."""
        lasted = self.spent.sum(-1, keepdim=True)
        return torch.where(lasted > 0, self.spent / lasted, self.unit[self.state])

    def flow(self, state: Tensor, eps: Tensor) -> Callable[[Tensor], Tensor]:
        """dz/dt: of y alone for the given states, or of (x, y)."""
        if not self.mean:
            fast = self.unit[state]
            return lambda z: self.system.g(fast, z)

        def both(z: Tensor) -> Tensor:
            x, y = z[:, : self.n], z[:, self.n :]
            return torch.cat([(self.system.A(y) @ x[..., None])[..., 0] / eps[:, None], self.system.g(x, y)], -1)

        return both

    def advance_to(self, target: float, max_steps: int) -> None:
        """Bring every path that stays in the box to the time `target`."""
        while True:
            active = ((self.now < target) & ~self.left).nonzero()[:, 0]
            if not len(active):
                return
            self.rounds += 1
            if self.rounds > max_steps:
                raise NumericalError(
                    f"max_steps = {max_steps} steps reached t = {float(self.now.min()):.6g} of {target:.6g}: raise "
                    "max_steps, shorten t, or take a larger eps"
                )
            draws = torch.rand(len(self.state), 3, generator=self.rng, dtype=torch.float64, device="cpu")
            draws = draws.to(self.z.device)
            self._round(active, target, draws[active])

    def _round(self, active: Tensor, target: float, draws: Tensor) -> None:
        z, state, eps, now = self.z[active], self.state[active], self.eps[active], self.now[active]
        flow = self.flow(state, eps)
        rate, largest = self.exit_rate(z, state, eps)
        left = target - now
        # Two waiting times: longer steps would mostly be cut short by a candidate.
        h = torch.minimum(torch.minimum(self.step[active], left), 2.0 / rate)
        step = dormand_prince_step(flow, z, h)
        end, error = step.end, step.error
        measure = error / (self.atol + self.rtol * torch.maximum(z.abs().amax(-1), end.abs().amax(-1)))
        middle = step.at(torch.full_like(h, 0.5))
        rates = torch.stack([rate, self.exit_rate(middle, state, eps)[0], self.exit_rate(end, state, eps)[0]])
        # A trial step may overshoot to where g or A makes no sense: that is a step too long, as long as it can shrink.
        sound = torch.isfinite(end).all(-1) & torch.isfinite(rates).all(0) & (rates >= 0).all(0)
        measure = torch.where(sound, measure, torch.inf)
        top = rates.amax(0)
        bend = (rates[1] - 0.5 * (rates[0] + rates[2])).abs()
        # a rate that vanishes is one of rounding in the others, which bends as it likes
        good = (measure <= 1.0) & (bend <= _STRAIGHT * top + 8.0 * torch.finfo(h.dtype).eps * largest)
        factor = (0.9 * measure.clamp(min=1e-10) ** -0.2).clamp(0.2, 5.0)
        self.step[active] = h * torch.where(good, factor, factor.clamp(max=0.5))
        scale = now.abs().clamp(min=abs(target))
        # Beyond the box A and g need not make sense: a path whose steps fail, however short, as it gets there has left.
        failing = ~sound & (rate >= 0)
        if bool(failing.any()):
            eps_machine, y = torch.finfo(h.dtype).eps, self.slow(z)
            move = h[:, None] * self.slow(flow(z))
            tiny = (h <= 1e-12 * scale) | (move.abs().amax(-1) <= 4.0 * eps_machine * y.abs().amax(-1))
            failing &= tiny & self.system.leaves(y, 16.0 * move)
            self.left[active[failing]] = True
        stuck = ~good & ~failing & (h <= 4.0 * torch.finfo(h.dtype).eps * scale)
        if bool(stuck.any()):
            where = self.slow(z[stuck])[:1]
            self.system.check_at(where)
            raise NumericalError(
                f"the step of y fell below rounding at t = {float(now[stuck][0]):.6g}, y = {where[0].tolist()}: just "
                "beyond it A(y) or g(x, y) is discontinuous or not finite, or A(y) has negative rates"
            )
        bound = _MARGIN * top
        waiting = -torch.log1p(-draws[:, 0]) / bound  # inf where the state cannot be left
        candidate = good & (waiting < h)
        last = torch.where(candidate, waiting / h, 1.0)
        reached = torch.where(candidate[:, None], step.at(last), end)
        out = good & ~self.system.inside(self.slow(reached))
        if bool(out.any()):
            theta = self._exit(step, out.nonzero()[:, 0], last[out])
            lasted = theta * h[out]
            self._settle(active[out], state[out], step.at(theta, out), lasted, error[out])
            self.now[active[out]] = now[out] + lasted
            self.left[active[out]] = True
            candidate &= ~out
        to_end = good & ~candidate & ~out
        new_now, new_z = torch.where(h == left, target, now + h), end
        self._settle(active[to_end], state[to_end], new_z[to_end], h[to_end], error[to_end])
        self.now[active[to_end]] = new_now[to_end]
        if bool(candidate.any()):
            chosen, waiting = active[candidate], waiting[candidate]
            self._candidate(chosen, reached[candidate], waiting, bound[candidate], draws[candidate], error[candidate])
            self.now[chosen] = now[candidate] + waiting

    def _exit(self, step: Step, rows: Tensor, last: Tensor) -> Tensor:
        """The part of the step, below last[R], at which y of the chosen rows[R] was still inside, by bisection."""
        low, high = torch.zeros_like(last), last
        for _ in range(60):
            middle = 0.5 * (low + high)
            inside = self.system.inside(self.slow(step.at(middle, rows)))
            low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
        return low

    def _candidate(
        self, paths: Tensor, z: Tensor, waiting: Tensor, bound: Tensor, draws: Tensor, error: Tensor
    ) -> None:
        """Move `paths` on to z, by the time `waiting`, and let those jump whose candidate is taken."""
        state, eps = self.state[paths], self.eps[paths]
        A = self.system.A(self.slow(z))
        column = A.gather(-1, state[:, None, None].expand(-1, self.n, 1))[..., 0]
        weights = column.scatter(-1, state[:, None], 0.0)
        if bool((weights < 0).any()):
            self.system.check_at(self.slow(z))
        rate = -column.gather(-1, state[:, None])[:, 0] / eps
        above = rate > bound
        if bool(above.any()):
            raise NumericalError(
                f"the exit rate of state {int(state[above][0])} rose to {float(rate[above][0] / bound[above][0]):.3g} "
                f"times its bound within one step, at y = {self.slow(z[above])[0].tolist()}: A(y) varies too abruptly "
                "there for the tolerances given; lower rtol and atol"
            )
        self._settle(paths, state, z, waiting, error)
        taken = draws[:, 1] * bound < rate
        cumulative = weights.cumsum(-1)
        total = cumulative[:, -1:]
        # Kept below the total, so that rounding cannot reach a state beyond the last one with a weight.
        level = torch.minimum(draws[:, 2:] * total, torch.nextafter(total, torch.zeros_like(total)))
        there = (cumulative <= level).sum(-1)
        self.state[paths] = torch.where(taken, there.clamp(max=self.n - 1), state)  # all weights 0: never taken
        self.jumps[paths] += taken

    def _settle(self, paths: Tensor, state: Tensor, z: Tensor, lasted: Tensor, error: Tensor) -> None:
        self.z[paths] = z
        self.spent[paths, state] += lasted
        self.flow_error[paths] += error
