"""How far the fast blocks of a trained network are from a generator. `python -m verify.generator_defect RUN…`

The identity φ(y) = p_st(y) needs f(x, y) = A(y)x with A(y) a generator. A trained block is a general map; this
measures, for each fast block and at the states that real text drives it through, by how much it is not one. What is
measured of an update is in block.py, the figures and their nulls in distance.py.

The update of a fast block is F(x; y) = block(x) − x; where the coupling enters, block(x + u(y)) − x with the slow
signal u held. RMSNorm makes the attention half of F depend on the direction of x alone, so nothing in the architecture
bounds the stream, and a fixed point is not to be expected before it is seen.

With several runs that differ in their seed alone, the mean over them stands with Student's 95 % interval. Beside the
network stands a true generator block under the same measurement, at the periods of the runs (reference.py).

With --model the blocks of a pretrained transformer of Hugging Face are measured, decoder or encoder (pretrained/): each
layer beside random initialisations of its own configuration. Give it a folder, or the name of an installed package or
of a cached model; weights in safetensors or, with --gguf, in GGUF. Nothing is downloaded.

Exit codes: 0 measured; 2 usage or input; 3 a stream that is not finite, or another numerical failure; 130 interrupted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify import lazy_exports

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from verify.generator_defect.block import update_defect
    from verify.generator_defect.foreign import block_defect
    from verify.generator_defect.jacobian import jacobians
    from verify.generator_defect.measurement import GeneratorDefect, measure_defect
    from verify.generator_defect.pretrained.measurement import PretrainedDefect, measure_pretrained

__all__ = [
    "GeneratorDefect",
    "PretrainedDefect",
    "block_defect",
    "jacobians",
    "measure_defect",
    "measure_pretrained",
    "update_defect",
]
__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "GeneratorDefect": "verify.generator_defect.measurement",
        "PretrainedDefect": "verify.generator_defect.pretrained.measurement",
        "block_defect": "verify.generator_defect.foreign",
        "jacobians": "verify.generator_defect.jacobian",
        "measure_defect": "verify.generator_defect.measurement",
        "measure_pretrained": "verify.generator_defect.pretrained.measurement",
        "update_defect": "verify.generator_defect.block",
    },
)
