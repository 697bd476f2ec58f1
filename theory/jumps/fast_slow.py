"""The fast-slow jump process: a fast state s that jumps with rates A(y)/ε while y moves by dy/dt = g.

Two processes share that description, and they have different slow manifolds:

- driven by the mean: dx/dt = A(y) x/ε, dy/dt = g(x, y) as in the ODE, and s jumps along this y. Given its start, y(t)
  is certain, the law of s(t) is x(t), and E[e_s | y] is the ODE's h_ε(y) = p_st + ε φ₁ + … once the layer has passed;
- driven by the state: dy/dt = g(e_s, y), a piecewise deterministic Markov process (Davis, *J. R. Stat. Soc. B* 46
  (1984) 353). Its y fluctuates and remembers s, so E[e_s | y] has another constant: `theory.manifold.self_driven`.

Between jumps y is integrated by Runge-Kutta steps whose estimated error stays below `atol` + `rtol`·|y|. The jumps are
drawn by thinning (`theory.jumps.thinning`), exact for that y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theory.arguments import check_broadcast, check_float64, check_integer, check_positive, check_vectors
from theory.errors import Status
from theory.fast_slow import FastSlowSystem
from theory.jumps.process import check_states
from theory.jumps.thinning import Start, Thinning
from theory.kinds import Dense, Indices, Integer, Number, Numbers
from theory.starts import check_eps, check_start, check_times

DRIVERS = ("mean", "state")


@dataclass(frozen=True, eq=False)
class FastSlowJumps:
    """Paths seen at the times t[k].

    states[..., k], y[..., k, m]: the fast state and the slow one. x[..., k, n]: the law that drives y, None if y is
    driven by the state itself. jumps[...]: how many jumps each path made. occupation[..., n]: fraction of time
    spent in each state. flow_error: the largest sum, over one path, of the estimated local errors of y (and x).
    status: SUCCESS, or LEFT_DOMAIN where some y left the system's box; `inside[..., k]` says which, when. Such a path
    ends there, at the time end[...] (t[-1] for the others): y and x are NaN from then on, states keeps the last one,
    and the occupation is that of the time until then.

    Examples:
        >>> import theory
        >>> system = theory.get_system("two_state")
        >>> y0 = system.uniform(1, seed=0)[0]
        >>> path = theory.sample_fast_slow_jumps(system, 0, y0, [0.5, 1.0], 0.1, seed=0, x0=[1.0, 0.0])
        >>> path.states.shape, path.y.shape, path.status is theory.Status.SUCCESS
        (torch.Size([2]), torch.Size([2, 1]), True)
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
    state0: Indices,
    y0: Dense,
    t: Dense,
    eps: Numbers,
    *,
    seed: Integer,
    driven_by: str = "mean",
    x0: Dense | None = None,
    rtol: Number = 1e-8,
    atol: Number = 1e-10,
    max_steps: Integer = 10_000_000,
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

    Examples:
        >>> import theory
        >>> system = theory.get_system("two_state")
        >>> y0 = system.uniform(4, seed=0)
        >>> paths = theory.sample_fast_slow_jumps(system, [0, 0, 1, 1], y0, [0.5, 1.0], 0.1, seed=0, driven_by="state")
        >>> paths.states.shape, paths.y.shape
        (torch.Size([4, 2]), torch.Size([4, 2, 1]))
    """
    if driven_by not in DRIVERS:
        raise ValueError(f"driven_by must be one of {', '.join(DRIVERS)}; got {driven_by!r}")
    if x0 is not None and driven_by == "state":
        raise ValueError("x0 has no meaning with driven_by='state': y follows the state itself; leave x0 out")
    rtol, atol = check_positive(rtol, "rtol"), check_positive(atol, "atol")
    seed, max_steps = check_integer(seed, "seed"), check_integer(max_steps, "max_steps", least=1)
    start = _check_batch(system, state0, x0, y0, t, eps)
    run = Thinning(system, start, driven_by == "mean", rtol, atol, seed)
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


def _check_batch(system: FastSlowSystem, state0: Any, x0: Any, y0: Any, t: Any, eps: Any) -> Start:
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
    return Start(
        state=state.expand(batch).reshape(-1),
        x=x.expand(*batch, -1).reshape(-1, system.n_states),
        y=y.expand(*batch, -1).reshape(-1, system.n_slow),
        eps=eps.expand(batch).reshape(-1),
        times=_check_times(t, y),
        batch=batch,
    )


def _check_times(t: Any, like: Tensor) -> Tensor:
    """The times t[k]; one positive number t stands for (0, t)."""
    times = check_float64("t", t)
    return check_times(torch.stack([torch.zeros_like(times), times]) if times.ndim == 0 else times).to(like.device)
