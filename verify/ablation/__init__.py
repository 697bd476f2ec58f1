"""What the coupling is worth: arms of the network over paired seeds and periods. `python -m verify.ablation`.

Every arm is trained once for each seed and each P; arms of a seed share their initial fast weights and the order of the
data, and paired differences of the validation loss are what is reported (`verify.ablation.result`). `frozen` computes
what `dense` computes: its differences are exactly 0, or something is wrong. `dense` has no P and is trained once a
seed. No verdict is given here.

Each model is a cell (`verify.trained.cell`), the same that the claims train: finished ones are kept under --cells
and not trained again, on the local cores or on a Dask cluster. The step times are measured in one process, the arms in
turn, after the training. Ctrl-C keeps the cells that are finished.

Exit codes: 0 every cell is trained; 2 usage or input; 3 a cell failed, or disk or memory did; 130 interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify import lazy_exports

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from verify.ablation.result import Ablation
    from verify.ablation.study import measure

__all__ = ["Ablation", "measure"]
__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Ablation": "verify.ablation.result",
        "measure": "verify.ablation.study",
    },
)
