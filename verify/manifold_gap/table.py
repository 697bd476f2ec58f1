"""Measurements as plain text, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from verify.manifold_gap.measurement import ManifoldGap


def gap_table(result: ManifoldGap) -> str:
    """The measurement as text: a row per period, then the slope, the constant, the floor and the verdict."""
    clock = "" if result.step is None else f", kernel {result.kernel}, step h = {result.step:g}"
    lines = [
        f"{result.system}: observe {result.observe}, fit {result.fit}{clock}",
        f"{'P':>7} {'ε':>9} {'gap TV':>10} {'predicted':>10} {'ratio':>8} {'pooling':>10} {'learning':>10} "
        f"{'certificate':>11} {'residual':>9}",
    ]
    for row in result.rows:
        ratio = f"{row.gap_tv / row.predicted_tv:8.5f}" if row.predicted_tv > 0 else f"{'-':>8}"
        residual = f"{'-':>9}" if row.residual is None else f"{row.residual:9.1e}"
        mark = "  pre-asymptotic" * row.pre_asymptotic + "  floor-limited" * row.floor_limited
        lines.append(
            f"{row.period:>7} {row.epsilon:9.2e} {row.gap_tv:10.3e} {row.predicted_tv:10.3e} {ratio} "
            f"{row.pooling_tv:10.3e} {row.learning_tv:10.3e} {row.certificate_tv:11.3e} {residual}{mark}"
        )
    if result.slope is not None and result.slope_interval is not None:
        low, high = result.slope_interval
        lines.append(f"slope of log gap over log ε   {result.slope:.5f}   interval [{low:.5f}, {high:.5f}]   claimed 1")
    if result.constant_ratio is not None and result.ratio_interval is not None:
        low, high = result.ratio_interval
        ratio = f"{result.constant_ratio:.5f}   range    [{low:.5f}, {high:.5f}]"
        lines.append(f"measured / predicted gap      {ratio}   claimed 1")
    floor = "floor (rounding alone)       " if result.fit == "given" else "floor (same fit, exact pairs)"
    lines.append(f"{floor} {result.floor_tv:.2e} TV")
    if result.rows and result.rows[-1].sampling_tv > 0:
        lines.append(f"sampling of one pair          {result.rows[-1].sampling_tv:.2e} TV expected")
    if result.step_limit:
        meets = ", ".join(f"{limit['ratio']:.4f} at h = {limit['step']:.3g}" for limit in result.step_limit)
        lines.append(f"predicted gap over ε φ₁       {meets}")
    if result.continuous_residual is not None:
        lines.append(f"its limit h → 0, off ε φ₁ by  {result.continuous_residual:.1e} of it, as a vector")
    if result.box_share is not None:
        lines.append(f"test points span              {result.box_share:.1%} of the box")
    lines.extend(f"note: {note}" for note in result.notes)
    lines.append(f"verdict: {result.verdict} ({result.reason})")
    return "\n".join(lines)
