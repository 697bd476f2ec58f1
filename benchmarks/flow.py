"""Batches of stiff trajectories against CVODE, diffrax and LSODA, as ratios in one run.

    python benchmarks/flow.py [--rounds 5] [--batch 256] [--clock wall|cpu] [--out benchmarks/results/flow.json]

256 trajectories, P = 1/ε log-uniform from 16 to 65,536, t ∈ [0, 2], given at 21 times. Every round times each side
once; a ratio is the median over rounds of the ratio within a round. One thread. Errors are the largest over x, y and
times, on every eighth trajectory, against SciPy's Radau at 1e-12 with analytic Jacobian.

The peers get what makes them fast: CVODE (scikit-sundae) BDF with the analytic dense Jacobian and compiled right-hand
sides; diffrax's Kvaerno5 under vmap, jitted, compile time excluded, float64; LSODA through solve_ivp, once with the
torch functions of the system as a user would call it, once with compiled ones. CVODE is compared at equal rtol;
diffrax at equal error: our time is interpolated (log-log) at the error that it reached. `--clock cpu` counts
processor time, for a machine that is not idle.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from scipy.integrate import solve_ivp

import theory
from verify.provenance import provenance

TIMES = np.linspace(0.0, 2.0, 21)
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
TARGETS = {"cvode_3": 10.0, "cvode_16": 3.0, "diffrax_3": 5.0, "period": 1.5, "lsoda": 1.5}

_BASIS = np.zeros((6, 3, 3))
for _k in range(3):
    _next = (_k + 1) % 3
    _BASIS[_k, _next, _k], _BASIS[_k, _k, _k] = 1.0, -1.0
    _BASIS[3 + _k, _k, _next], _BASIS[3 + _k, _next, _next] = 1.0, -1.0
_ANGLE = 2.0 * np.pi / 3.0 * np.arange(3)


def ring() -> theory.FastSlowSystem:
    """A ring of three: rates 2 exp(cos(y + θ_k)/2) forward, exp(sin(y + 2θ_k)/2) back; dy/dt = x₀ − x₁/2 − y."""
    basis, angle = torch.from_numpy(_BASIS.reshape(6, 9)), torch.from_numpy(_ANGLE)

    def generator(y: torch.Tensor) -> torch.Tensor:
        phase = y + angle
        rates = torch.cat([2.0 * torch.exp(0.5 * phase.cos()), torch.exp(0.5 * (phase + angle).sin())], -1)
        return (rates @ basis).unflatten(-1, (3, 3))

    def slow(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x[..., 0:1] - 0.5 * x[..., 1:2] - y

    return theory.FastSlowSystem(
        generator=generator, slow=slow, n_states=3, n_slow=1, low=-2.0, high=2.0, name="ring of three"
    )


@njit
def ring_rhs(u, eps, du):
    """du/dt of the ring, u = (x, y)."""
    flow = np.empty(3)
    for k in range(3):
        phase = u[3] + 2.0 * math.pi / 3.0 * k
        forward = 2.0 * math.exp(0.5 * math.cos(phase))
        backward = math.exp(0.5 * math.sin(phase + 2.0 * math.pi / 3.0 * k))
        flow[k] = (forward * u[k] - backward * u[(k + 1) % 3]) / eps
    for k in range(3):
        du[k] = flow[(k + 2) % 3] - flow[k]
    du[3] = u[0] - 0.5 * u[1] - u[3]


@njit
def ring_jac(u, eps, J):
    """Its Jacobian."""
    J[:] = 0.0
    for k in range(3):
        after = (k + 1) % 3
        phase = u[3] + 2.0 * math.pi / 3.0 * k
        second = phase + 2.0 * math.pi / 3.0 * k
        forward = 2.0 * math.exp(0.5 * math.cos(phase)) / eps
        backward = math.exp(0.5 * math.sin(second)) / eps
        moved = -0.5 * math.sin(phase) * forward * u[k] - 0.5 * math.cos(second) * backward * u[after]
        J[k, k] -= forward
        J[after, k] += forward
        J[k, after] += backward
        J[after, after] -= backward
        J[k, 3] -= moved
        J[after, 3] += moved
    J[3, 0], J[3, 1], J[3, 3] = 1.0, -0.5, -1.0


@njit
def queue_rhs(u, eps, du):
    """du/dt of the built-in queue."""
    arrival, total = 12.0 * math.exp(-u[16]), 0.0
    du[:16] = 0.0
    for k in range(15):
        flow = (arrival * u[k] - 6.0 * u[k + 1]) / eps
        du[k] -= flow
        du[k + 1] += flow
        total += (k + 1) * u[k + 1]
    du[16] = 0.1 * total - u[16]


@njit
def queue_jac(u, eps, J):
    """Its Jacobian."""
    arrival = 12.0 * math.exp(-u[16]) / eps
    service = 6.0 / eps
    J[:] = 0.0
    for k in range(15):
        J[k, k] -= arrival
        J[k + 1, k] += arrival
        J[k, k + 1] += service
        J[k + 1, k + 1] -= service
        J[k, 16] += arrival * u[k]
        J[k + 1, 16] -= arrival * u[k]
        J[16, k + 1] = 0.1 * (k + 1)
    J[16, 16] = -1.0


class Case(NamedTuple):
    """One system with its compiled right-hand side and Jacobian, and the starts of the batch."""

    system: theory.FastSlowSystem
    rhs: Any
    jac: Any
    x0: np.ndarray
    y0: np.ndarray
    eps: np.ndarray


def build(n: int, batch: int) -> Case:
    """The case with n = 3 or 16 states."""
    system, rhs, jac = (
        (ring(), ring_rhs, ring_jac) if n == 3 else (theory.get_system("birth_death"), queue_rhs, queue_jac)
    )
    rng = np.random.default_rng(0)
    y0 = system.uniform(batch, seed=1).numpy()
    eps = 2.0 ** -rng.uniform(4.0, 16.0, batch)
    eps[0], eps[-1] = 2.0**-4, 2.0**-16
    return Case(system, rhs, jac, rng.dirichlet(np.ones(n), batch), y0, eps)


def ours(case: Case, rtol: float, **changes: Any) -> np.ndarray:
    """theory.simulate on the batch: [B, k, N]."""
    case = case._replace(**changes)
    path = theory.simulate(case.system, case.x0, case.y0, TIMES, case.eps, rtol=rtol, atol=rtol * 1e-2)
    return np.concatenate([path.x.numpy(), path.y.numpy()], -1)


def cvode(case: Case, rtol: float) -> np.ndarray:
    """A loop over CVODE."""
    from sksundae.cvode import CVODE

    def one(x0: np.ndarray, y0: np.ndarray, eps: float) -> np.ndarray:
        solver = CVODE(
            lambda t, u, du: case.rhs(u, eps, du),
            jacfn=lambda t, u, du, J: case.jac(u, eps, J),
            rtol=rtol,
            atol=rtol * 1e-2,
            method="BDF",
            linsolver="dense",
            max_num_steps=100_000,
        )
        return solver.solve(TIMES, np.concatenate([x0, y0])).y

    return np.stack([one(*start) for start in zip(case.x0, case.y0, case.eps, strict=True)])


def kvaerno5(case: Case) -> Callable[[float], np.ndarray]:
    """diffrax's Kvaerno5 under vmap and jit on the ring of three; the tolerance is an argument of the compiled call."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    basis, angle = jnp.asarray(_BASIS), jnp.asarray(_ANGLE)

    def field(t: Any, u: Any, eps: Any) -> Any:
        phase = u[3] + angle
        rates = jnp.concatenate([2.0 * jnp.exp(0.5 * jnp.cos(phase)), jnp.exp(0.5 * jnp.sin(phase + angle))])
        fast = jnp.einsum("r,rij,j->i", rates, basis, u[:3]) / eps
        return jnp.append(fast, u[0] - 0.5 * u[1] - u[3])

    @jax.jit
    @lambda one: jax.vmap(one, in_axes=(0, 0, None))
    def solve(u: Any, eps: Any, rtol: Any) -> Any:
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Kvaerno5(),
            0.0,
            2.0,
            0.01 * eps,
            u,
            args=eps,
            saveat=diffrax.SaveAt(ts=jnp.asarray(TIMES)),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=1e-2 * rtol),
            max_steps=100_000,
        ).ys

    start, eps = jnp.asarray(np.concatenate([case.x0, case.y0], -1)), jnp.asarray(case.eps)
    return lambda rtol: np.asarray(solve(start, eps, rtol))


def reference(case: Case, rows: np.ndarray) -> np.ndarray:
    """SciPy's Radau at 1e-12."""
    out = []
    for i in rows:
        eps, N = case.eps[i], case.x0.shape[1] + 1

        def rhs(t: float, u: np.ndarray, eps: float = eps, N: int = N) -> np.ndarray:
            du = np.empty(N)
            case.rhs(u, eps, du)
            return du

        def jac(t: float, u: np.ndarray, eps: float = eps, N: int = N) -> np.ndarray:
            J = np.empty((N, N))
            case.jac(u, eps, J)
            return J

        start = np.concatenate([case.x0[i], case.y0[i]])
        out.append(solve_ivp(rhs, (0.0, 2.0), start, "Radau", t_eval=TIMES, rtol=1e-12, atol=1e-14, jac=jac).y.T)
    return np.stack(out)


def lsoda(case: Case, rtol: float, compiled: bool) -> np.ndarray:
    """solve_ivp with LSODA on the first trajectory, as a user writes it."""
    eps, n = float(case.eps[0]), case.x0.shape[1]

    def by_torch(t: float, u: np.ndarray) -> np.ndarray:
        x, y = torch.from_numpy(u[:n]), torch.from_numpy(u[n:])
        fast = case.system.generator(y) @ x / eps
        return torch.cat([fast, case.system.slow(x, y)]).numpy()

    def by_numba(t: float, u: np.ndarray) -> np.ndarray:
        du = np.empty(n + 1)
        case.rhs(u, eps, du)
        return du

    start = np.concatenate([case.x0[0], case.y0[0]])
    return solve_ivp(
        by_numba if compiled else by_torch, (0.0, 2.0), start, "LSODA", t_eval=TIMES, rtol=rtol, atol=rtol * 1e-2
    ).y.T


def compare(sides: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of every side in every round; one call of each before the first round."""
    for side in sides.values():
        side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        names = list(sides)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = clock()
            sides[name]()
            seconds[name].append(clock() - start)
    return seconds


def ratio(slower: list[float], faster: list[float]) -> float:
    """The median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))


def main() -> int:
    """Run every comparison, print it, write the JSON; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/flow.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    clock = CLOCKS[args.clock]
    result: dict[str, Any] = {"against_cvode": [], "against_diffrax": []}
    every = np.arange(0, args.batch, 8)
    met = {}
    for n in (3, 16):
        case = build(n, args.batch)
        truth = reference(case, every)
        for rtol in (1e-6, 1e-9):
            seconds = compare(
                {"ours": lambda c=case, r=rtol: ours(c, r), "cvode": lambda c=case, r=rtol: cvode(c, r)},
                args.rounds,
                clock,
            )
            row = {
                "states": n,
                "rtol": rtol,
                "ratio": ratio(seconds["cvode"], seconds["ours"]),
                "seconds": {name: statistics.median(values) for name, values in seconds.items()},
                "error_over_rtol": {
                    "ours": float(np.abs(ours(case, rtol)[every] - truth).max() / rtol),
                    "cvode": float(np.abs(cvode(case, rtol)[every] - truth).max() / rtol),
                },
            }
            print(json.dumps(row), flush=True)
            result["against_cvode"].append(row)
        met[f"cvode_{n}"] = result["against_cvode"][-2]["ratio"] >= TARGETS[f"cvode_{n}"]
        by_period = {
            f"P = {p}": (lambda c=case, p=p: ours(c, 1e-6, eps=np.full(args.batch, 1.0 / p))) for p in (16, 65536)
        }
        seconds = compare(by_period, args.rounds, clock)
        result[f"cost_65536_over_16_n{n}"] = ratio(seconds["P = 65536"], seconds["P = 16"])
        met[f"period_{n}"] = result[f"cost_65536_over_16_n{n}"] <= TARGETS["period"]
        single = case._replace(x0=case.x0[:1], y0=case.y0[:1], eps=case.eps[:1])
        seconds = compare(
            {
                "ours": lambda c=single: ours(c, 1e-6),
                "torch": lambda c=single: lsoda(c, 1e-6, False),
                "compiled": lambda c=single: lsoda(c, 1e-6, True),
            },
            4 * args.rounds,
            clock,
        )
        result[f"single_over_lsoda_n{n}"] = {
            "torch functions": ratio(seconds["ours"], seconds["torch"]),
            "compiled functions": ratio(seconds["ours"], seconds["compiled"]),
        }
        met[f"lsoda_{n}"] = result[f"single_over_lsoda_n{n}"]["torch functions"] <= TARGETS["lsoda"]
        print(json.dumps({k: v for k, v in result.items() if k.endswith(f"n{n}")}), flush=True)
    case = build(3, args.batch)
    truth = reference(case, every)
    solve = kvaerno5(case)
    grid = 10.0 ** -np.arange(4.0, 10.0)
    ladder = [float(np.abs(ours(case, r)[every] - truth).max()) for r in grid]
    sides: dict[str, Callable[[], Any]] = {f"ours {r:g}": (lambda r=r: ours(case, r)) for r in grid}
    tolerances = (1e-5, 1e-6, 1e-7)
    sides |= {f"diffrax {r:g}": (lambda r=r: solve(r)) for r in tolerances}
    seconds = compare(sides, args.rounds, clock)
    for r in tolerances:
        error = float(np.abs(solve(r)[every] - truth).max())
        per_round = []
        for turn in range(args.rounds):
            own = [math.log(seconds[f"ours {g:g}"][turn]) for g in grid]
            at_equal_error = math.exp(np.interp(-math.log(error), -np.log(ladder), own))
            per_round.append(seconds[f"diffrax {r:g}"][turn] / at_equal_error)
        row = {"rtol": r, "error": error, "ratio_at_equal_error": statistics.median(per_round)}
        print(json.dumps(row), flush=True)
        result["against_diffrax"].append(row)
    met["diffrax_3"] = min(row["ratio_at_equal_error"] for row in result["against_diffrax"]) >= TARGETS["diffrax_3"]
    result |= {
        "targets_met": met,
        "provenance": provenance(
            seed=0, device="cpu", rounds=args.rounds, batch=args.batch, clock=args.clock, load=os.getloadavg()[0]
        ),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(met))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
