"""The table of a reduction, for the terminal."""

from __future__ import annotations

from verify.reduction.judgement import Reduction


def reduction_table(result: Reduction) -> str:
    """One line an order and variable: predicted and measured ε*, its range over starts, slope, next order, cost."""
    found = result.trust
    lines = [
        f"{found.system}: tolerance {found.tolerance:g}, {found.starts} starts, time span {found.span:.4g}",
        f"{'order':>5}  {'in':<2}  {'predicted ε*':>12}  {'measured ε*':>12}  {'over starts':>22}  {'slope':>6}  "
        f"{'next/leading':>12}  {'predicted/measured':>18}  {'cost':>5}",
    ]
    for one in found.orders:
        for v in ("x", "y"):
            interval = one.interval[v]
            between = "-" if interval is None else f"{interval[0]:.4g} … {interval[1]:.4g}"
            lines.append(
                f"{one.order:>5}  {v:<2}  {_number(one.predicted[v]):>12}  {_number(one.eps[v]):>12}  {between:>22}  "
                f"{_number(one.slope[v]):>6}  {_number(one.next_over_leading[v]):>12}  "
                f"{_number(one.ratio[v]):>18}  {one.cost:5.2f}" + ("  pre-asymptotic" if one.pre_asymptotic[v] else "")
            )
    return "\n".join([*lines, f"{result.verdict}: {result.reason}"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
