"""The fast-slow jump process: a fast state s that jumps with rates A(y)/ε while y moves by dy/dt = g.

Two processes share that description, and they have different slow manifolds:

- driven by the mean: dx/dt = A(y) x/ε, dy/dt = g(x, y) as in the ODE, and s jumps along this y. Given its start, y(t)
  is certain, the law of s(t) is x(t), and E[e_s | y] is the ODE's h_ε(y) = p_st + ε φ₁ + … once the layer has passed;
- driven by the state: dy/dt = g(e_s, y), a piecewise deterministic Markov process (Davis, *J. R. Stat. Soc. B* 46
  (1984) 353). Its y fluctuates and remembers s, so E[e_s | y] has another constant: `theory.self_driven`.

Between jumps y is integrated by Runge-Kutta steps whose estimated error stays below `atol` + `rtol`·|y|. The jumps are
drawn by thinning (Lewis & Shedler, *Nav. Res. Logist. Q.* 26 (1979) 403), exact for that y: a step and a bound on its
exit rate are fixed before anything random is drawn in it, a candidate at time τ is taken with probability (exit rate at
τ)/bound, and a rate found above its bound ends the run with an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theory.arguments import check_broadcast, check_float64, check_integer, check_positive, check_vectors
from theory.dormand_prince import Step, dormand_prince_step
from theory.errors import NumericalError, Status
from theory.fast_slow import FastSlowSystem
from theory.jump_process import check_states
from theory.slow_manifold import check_eps
from theory.token_clock import check_start

DRIVERS = ("mean", "state")
_MARGIN = 1.2  # of the bound over the largest exit rate at start, middle and end of a step
_STRAIGHT = 0.1  # the exit rate may bend by this part of itself within a step: the margin is then on the safe side


@dataclass(frozen=True, eq=False)
class FastSlowJumps:
    """Paths seen at the times t[k].

    states[..., k], y[..., k, m]: the fast state and the slow one. x[..., k, n]: the law that drives y, None if y is
    driven by the state itself. jumps[...]: how many jumps each path made. occupation[..., n]: fraction of time
    spent in each state. flow_error: the largest sum, over one path, of the estimated local errors of y (and x).
    status: SUCCESS, or LEFT_DOMAIN where some y left the system's box; `inside[..., k]` says which, when. Such a path
    ends there, at the time end[...] (t[-1] for the others): y and x are NaN from then on, states keeps the last one,
    and the occupation is that of the time until then.
    """

    t: Tensor
    states: Tensor
    y: Tensor
    x: Tensor | None
    jumps: Tensor
    occupation: Tensor
    flow_error: float
    inside: Tensor
    status: Status
    end: Tensor


def sample_fast_slow_jumps(
    system: FastSlowSystem,
    state0: Any,
    y0: Any,
    t: Any,
    eps: Any,
    *,
    seed: Any,
    driven_by: str = "mean",
    x0: Any = None,
    rtol: Any = 1e-8,
    atol: Any = 1e-10,
    max_steps: Any = 10_000_000,
) -> FastSlowJumps:
    """Simulate paths from state0[...] (integers) and y0[..., m], observed at the increasing times t[k].

    t[0] is the start; one number t stands for (0, t). eps[...] > 0. The batch shapes broadcast; float64, on the device
    of y0.

    driven_by: "mean" or "state", as above. x0[..., n]: for "mean", the law at the start, e_state0 unless given; only a
    state0 drawn from x0 makes x(t) the law of the state. One seed, one result: random numbers are drawn on the host for
    the whole batch at once, so a path depends on the size of its batch. Cost: about two steps a jump.

    Raises `ValueError` for bad input, naming it; `GeneratorError` where A(y) is none at a start or at a candidate jump
    in the box; `NumericalError` where y cannot be carried on within the box, a rate passes its bound, or the batch
    needs more than `max_steps`.
    """
    if driven_by not in DRIVERS:
        raise ValueError(f"driven_by must be one of {', '.join(DRIVERS)}; got {driven_by!r}")
    if x0 is not None and driven_by == "state":
        raise ValueError("x0 has no meaning with driven_by='state': y follows the state itself; leave x0 out")
    rtol, atol = check_positive(rtol, "rtol"), check_positive(atol, "atol")
    seed, max_steps = check_integer(seed, "seed"), check_integer(max_steps, "max_steps", least=1)
    start = _check_batch(system, state0, x0, y0, t, eps)
    run = _Run(system, start, driven_by == "mean", rtol, atol, seed)
    run.left = ~system.inside(run.slow(run.z))
    seen_states, seen_z = [run.state.clone()], [run.z.clone()]
    for target in start.times[1:].tolist():
        run.advance_to(target, max_steps)
        seen_states.append(run.state.clone())
        seen_z.append(torch.where(run.left[:, None], torch.nan, run.z))
    n = system.n_states
    batch, k = start.batch, len(seen_z)
    z = torch.stack(seen_z, -2).reshape((*batch, k, -1))
    y = z[..., -system.n_slow :]
    inside = system.inside(y)
    return FastSlowJumps(
        t=start.times,
        states=torch.stack(seen_states, -1).reshape((*batch, k)),
        y=y,
        x=z[..., :n] if driven_by == "mean" else None,
        jumps=run.jumps.reshape(batch),
        occupation=run.occupation().reshape((*batch, n)),
        flow_error=float(run.flow_error.max()) if run.flow_error.numel() else 0.0,
        inside=inside,
        status=Status.SUCCESS if bool(inside.all()) else Status.LEFT_DOMAIN,
        end=run.now.reshape(batch),
    )


@dataclass(frozen=True, eq=False)
class _Start:
    """Checked input with the batch flattened: state[B], x[B, n], y[B, m], eps[B], times[k]."""

    state: Tensor
    x: Tensor
    y: Tensor
    eps: Tensor
    times: Tensor
    batch: torch.Size


class _Run:
    """All paths at once: every round gives each unfinished path one flow step, and at most one candidate jump in it."""

    def __init__(self, system: FastSlowSystem, start: _Start, mean: bool, rtol: float, atol: float, seed: int) -> None:
        self.system, self.mean, self.rtol, self.atol = system, mean, rtol, atol
        self.n, self.eps = system.n_states, start.eps
        self.rng = torch.Generator().manual_seed(seed)
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
            draws = torch.rand(len(self.state), 3, generator=self.rng, dtype=torch.float64).to(self.z.device)
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


def _check_batch(system: FastSlowSystem, state0: Any, x0: Any, y0: Any, t: Any, eps: Any) -> _Start:
    """The start as one flat batch, or a `ValueError` that names what is wrong."""
    state = check_states(state0, system.n_states)
    y = check_vectors("y0", y0, system.n_slow, f"slow variables of system {system.name!r}")
    state = state.to(y.device)
    unit = torch.eye(system.n_states, dtype=torch.float64, device=y.device)
    eps = check_eps(eps, unit)
    x = unit[state] if x0 is None else check_vectors("x0", x0, system.n_states, f"states of system {system.name!r}")
    batch = check_broadcast(state0=state.shape, x0=x.shape[:-1], y0=y.shape[:-1], eps=eps.shape)
    x, y = check_start(system, x, y)
    system.check_at(y)
    return _Start(
        state=state.expand(batch).reshape(-1),
        x=x.expand(*batch, -1).reshape(-1, system.n_states),
        y=y.expand(*batch, -1).reshape(-1, system.n_slow),
        eps=eps.expand(batch).reshape(-1),
        times=_check_times(t, y),
        batch=batch,
    )


def _check_times(t: Any, like: Tensor) -> Tensor:
    times = check_float64("t", t).detach().to(like.device)
    if times.ndim == 0:
        times = torch.stack([torch.zeros_like(times), times])
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"t must be one number or at least two times t[k], got shape {list(times.shape)}")
    if not bool(torch.isfinite(times).all()) or not bool((times.diff() > 0).all()):
        raise ValueError(f"t must be finite and increasing (one number: positive), got {times.tolist()[:6]}")
    return times
