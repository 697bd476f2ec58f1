"""At which ε may the reduced model be trusted? `python -m verify.reduction`.

For starts spread over the box of a fast-slow system, the reduced flows of order 0 and 1 are held against the full model
over a range of ε. The largest ε at which they stay within the tolerance, in x (total variation after the layer) and in
y (part of the box), stands beside the ε* that theory predicts; also the slopes in ε, 1 and 2, and what the reduced flow
costs in parts of the full model.

The claim is that the predicted ε* is the measured one within 20 % wherever the leading term decides, that is where the
next order over the leading one at ε* is below 0.2, start by start; where that is so for less than half of the starts an
order is marked pre-asymptotic.

Exit codes: 0 the claim holds; 1 it is VIOLATED; 2 usage or input; 3 numerical failure, or INCONCLUSIVE: no order has a
leading term that decides; 130 interrupted. With --system all: 1 if it is violated on any system, else the largest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify import lazy_exports

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from verify.reduction.judgement import Reduction, measure

__all__ = ["Reduction", "measure"]
__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy_exports(
    __name__, {"Reduction": "verify.reduction.judgement", "measure": "verify.reduction.judgement"}
)
