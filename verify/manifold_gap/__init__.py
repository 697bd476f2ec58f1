"""The headline: how far the learned φ_θ is from p_st as ε = 1/P shrinks. `python -m verify.manifold_gap`.

For each period P, trajectories of a fast-slow system give pairs (y, x̄); φ_θ is fitted to them; at fresh test points
the gap TV(φ_θ, p_st) is measured and held against the leading term that theory predicts, with nothing fitted. The gap
of the same fit trained on exact pairs (y, p_st(y)) is the floor under all of it. The claim is that the gap is
proportional to ε with the predicted constant: slope one, ratio one, each with its interval.

Each system is written under --out as it ends: Ctrl-C keeps those that are finished, and an error in one leaves the
others alone.

Exit codes: 0 the claim holds; 1 it is VIOLATED; 2 usage or input; 3 numerical failure, or INCONCLUSIVE; 130
interrupted. With --system all: 1 if it is violated on any system, else the largest of theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify import lazy_exports

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from verify.manifold_gap.measurement import ManifoldGap, measure

__all__ = ["ManifoldGap", "measure"]
__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ManifoldGap": "verify.manifold_gap.measurement",
        "measure": "verify.manifold_gap.measurement",
    },
)
