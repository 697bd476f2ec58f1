"""The identity in a trained network: its own φ_θ held against its own p_st, in three rooms.

    exact       on real text, for labels from the trained slow state: m⁺ − p_st = A^# K b / P to rounding
    own_world   the network's own chain, started as text starts it: φ_θ approaches p_st(A_θ(y)) with slope one
    text        φ_θ and A_θ on real text: a gap, its boundary part (∝ 1/P), its calibration part, the rest

`python -m verify.manifold_gap --network RUN`; from Python `measure_network(open_run(RUN))`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify import lazy_exports

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from verify.trained.identity.measurement import NetworkIdentity, measure_network
    from verify.trained.identity.run import open_run, train_default

__all__ = ["NetworkIdentity", "measure_network", "open_run", "train_default"]
__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "NetworkIdentity": "verify.trained.identity.measurement",
        "measure_network": "verify.trained.identity.measurement",
        "open_run": "verify.trained.identity.run",
        "train_default": "verify.trained.identity.run",
    },
)
