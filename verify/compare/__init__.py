"""Runs that are trained already, held against each other: `python -m verify.compare RUN RUN …`.

    python -m verify.compare runs/dense runs/coupled
    python -m verify.compare runs/dense-0 runs/dense-1 runs/coupled-0 runs/coupled-1 --json

Every model reads the same held-out text; losses are in nats per token and in bits per byte, which compare runs on bytes
and on byte pairs. Runs that differ in nothing but the seed are one row. The first run's row is the baseline. Two rows
are held against each other by *pairs* where runs of a seed share weights to begin with and the order of the data: then
the interval is that of the mean difference over the seeds (Student). Where they are no pairs it is Welch's for two
means. One run a row gives a difference and no interval: how far apart two seeds of one row lie is not known then.

Exit codes: 0 compared; 2 usage or input, as runs of different texts; 3 losses that are not finite; 130 interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify import lazy_exports

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from verify.compare.comparison import Row, compare

__all__ = ["Row", "compare"]
__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy_exports(__name__, dict.fromkeys(__all__, "verify.compare.comparison"))
