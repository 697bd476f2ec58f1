"""The step control of the collocation method, compiled: each running trajectory keeps its own time, step and iteration.

One call takes A and g at the current nodes of every running trajectory and moves each of them on by one Newton step;
where that converges the step is judged, accepted or repeated, and the nodes of the next one are predicted. So every
evaluation of A and g serves the whole batch, whatever phase each trajectory is in. A captured system is evaluated here
instead, without leaving machine code: one trajectory after the other, each to its end.

What it keeps is declared in `state`; `step`, `error` and `iteration` are its parts.
"""

from __future__ import annotations

import numpy as np

from theory.captured.call import call
from theory.compiled import kernel
from theory.flow.collocation.error import between, judge, set_scale
from theory.flow.collocation.iteration import contraction, correct, coupling
from theory.flow.collocation.newton import factor, residual
from theory.flow.collocation.state import (
    ACCEPTED,
    CODE,
    EPS,
    EVALUATED,
    INSIDE,
    LEFT_DOMAIN,
    NEWTON,
    NO_GENERATOR,
    NO_LIMIT,
    RUNNING,
    STALE,
    STEP,
    TIME,
    UNDEFINED,
    WRITTEN,
)
from theory.flow.collocation.step import arrive, ending, keep_polynomial, longer, predict, retry, sound, write_output
from theory.flow.faces import LONGEST, departure, doubtful, hold, left_after_all, withdraw


@kernel
def advance(rows, A, g, state, tableau, control, room, addresses, where, box, every, budget):
    """One Newton step for each trajectory in rows[R], with A[R, s, n, n] and g[R, s, m] at its nodes.

    With the addresses of a captured system's A, g, dA, dg (else zeros) each trajectory goes on to its end instead,
    A[1, …] and g[1, …] being room, and its derivatives are taken anew after `every` Newton steps. At most `budget`
    Newton steps in all. where: the addresses of room.U, A, g, state.dA, state.dg; box: low, high, base, period.
    """
    s, n, m = A.shape[1], A.shape[2], g.shape[2]
    N = n + m
    rtol, atol, low, high = control.rtol, control.atol, control.low, control.high
    ends, barycentric = tableau.ends, tableau.barycentric
    scale, w = room.scale, room.w
    alone = addresses[0] != 0
    for q in range(rows.shape[0]):
        r = rows[q]
        real, whole, u, slope = state.real[r], state.whole[r], state.u[r], state.slope[r]
        nodes, points, dA, dg, LU, LZ = (
            state.nodes[r],
            state.points[r],
            state.dA[r],
            state.dg[r],
            state.LU[r],
            state.LZ[r],
        )
        row = 0 if alone else q
        rates, drift = A[row], g[row]
        calls = 0
        accepted = whole[ACCEPTED]
        while whole[CODE] == RUNNING and budget > 0:
            budget -= 1
            if alone:
                for j in range(s):
                    for c in range(N):
                        room.U[j, c] = nodes[j, c]
                    hold(room.U[j, n:], box.low, box.high, box.base, box.period)
                call(addresses[0], where[0], where[1], s)
                call(addresses[1], where[0], where[2], s)
            whole[EVALUATED] += s
            inv_eps, inv_h = 1.0 / real[EPS], 1.0 / real[STEP]
            set_scale(u, n, rtol, atol, scale)
            shrink, keep, most = 0.0, False, NO_LIMIT
            if not residual(rates, drift, nodes, u, inv_eps, inv_h, tableau.a_inverse, room.R0):
                whole[UNDEFINED] = 1
                shrink, most = 0.1, 12
            else:
                coupling(dA, nodes, inv_eps, room.Bx)
                if whole[NEWTON] == 0:
                    mu, pairs = tableau.real_eigenvalue, tableau.eigenvalues
                    factor(rates[s // 2], room.Bx[s // 2], dg, inv_eps, inv_h, mu, pairs, LU, LZ)
                tol = control.newton_tol
                size = correct(u, nodes, rates, dg, LU, LZ, inv_eps, inv_h, tableau, tol, control.inner, room)
                rate = contraction(real, whole, n, size, room.D, scale)
                newton = whole[NEWTON]
                if size <= tol or (rate < 1.0 and size * rate <= tol * (1.0 - rate)):
                    error = judge(u, slope, nodes, LU, tableau.error_weights, inv_h, scale, w[0]) * control.error_factor
                    if error <= 1.0:  # not where it is NaN, which a compiled max drops
                        error = max(error, between(u, nodes, tableau.last, scale))
                    if not error <= 1.0:
                        shrink, keep = max(0.1, 0.9 * error ** (-1.0 / (s + 1))), True
                    elif not sound(u, nodes, rates, low, high, rtol, atol, w):
                        whole[CODE] = NO_GENERATOR
                    else:
                        keep_polynomial(u, nodes, points)
                        part, seen = departure(points, n, ends, barycentric, low, high, rtol, atol, room.faces)
                        if doubtful(state.doubt[r], part, real[TIME], real[STEP]):
                            shrink, keep = 0.5, False  # not from a polynomial that swings
                        else:
                            output = state.output[r]
                            write_output(real, whole, points, output, control.t, ends, barycentric, part, seen)
                            mass, lowest = arrive(u, slope, nodes, tableau.a_inverse, real[STEP], n)
                            drifted = abs(mass - 1.0) > 1e-9 or lowest < -10.0 / scale[0]
                            real[TIME] += real[STEP]
                            whole[ACCEPTED] += 1
                            whole[UNDEFINED] = 0
                            whole[CODE] = ending(real, whole, part, drifted, control)
                            if whole[CODE] == RUNNING:
                                ratio = longer(real, whole, s, error, control, state.doubt[r, LONGEST])
                                predict(whole, nodes, points, ends, barycentric, 1.0, ratio)
                elif not np.isfinite(size) or newton >= 8 or (newton > 2 and rate > 0.8) or (newton > 1 and rate > 3.0):
                    shrink = 0.3
            if shrink > 0.0:
                retry(real, whole, u, nodes, points, ends, barycentric, shrink, keep, most)
                if whole[CODE] != RUNNING and left_after_all(state.doubt[r], real[INSIDE], real[TIME]):
                    whole[CODE] = LEFT_DOMAIN
                    real[TIME] = real[INSIDE]
                    whole[WRITTEN] = withdraw(state.output[r], control.t, whole[WRITTEN], real[INSIDE])
            if not alone or (control.pause and whole[ACCEPTED] > accepted):
                break
            calls += 1
            if calls >= every and whole[STALE]:
                calls = 0
                for c in range(N):
                    room.U[0, c] = u[c]
                hold(room.U[0, n:], box.low, box.high, box.base, box.period)
                call(addresses[2], where[0], where[3] + 8 * r * m * n * n, 1)
                call(addresses[3], where[0], where[4] + 8 * r * m * N, 1)
