"""A block from anywhere: any module or function that takes a stream [B, T, d] and gives it back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from network.arguments import Integer
from verify.generator_defect.block import ITERATIONS, BlockDefect, update_defect
from verify.generator_defect.jacobian import jacobians
from verify.generator_defect.pretrained.replay import Recorded, check, measured_jacobians, precisely, promoted
from verify.generator_defect.pretrained.source import check_precision


def block_defect(
    block: Callable[..., Any],
    x: Tensor,
    *,
    given: Mapping[str, Any] | None = None,
    iterations: Integer = ITERATIONS,
    seed: int = 0,
) -> BlockDefect:
    """The figures of the update F(x) = block(x) − x at the states x[B, T, d], in float64.

    block: gives back [B, T, d], alone or first in a tuple, and reads one sequence [1, T, d] at a time here. A module is
    measured in a copy, promoted to float64 and in evaluation mode. given: keyword arguments of every call, for one
    sequence: masks, positions. x in float32 is promoted. Blocks of transformers take d + H·c forward-mode passes, all
    others T·d. seed: of the nulls. `found.table()` prints the result.

    Raises `ValueError` before anything expensive: for x or weights in half precision or quantised, for another shape
    than [B, T, d], and for a block whose attention calls itself causal and which hears later tokens for want of a mask.

    Examples:
        >>> import torch
        >>> from verify.generator_defect import block_defect
        >>> W = torch.tensor([[1.0, 0.0], [0.25, 0.75]], dtype=torch.float64)
        >>> found = block_defect(lambda x: (W @ x, None), torch.rand(1, 2, 3, dtype=torch.float64))
        >>> round(found.token.shifted_distance, 12)  # attention weights are a generator after a shift by 1
        0.0
    """
    if not isinstance(x, Tensor) or x.dim() != 3 or not x.numel():
        shape = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be [B, T, d], got {shape}: of a single sequence [T, d] pass x[None]")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x is {x.dtype}, too coarse for Jacobians: pass x.float(), which is exact")
    arguments = dict(given or {})
    if isinstance(block, torch.nn.Module):
        check_precision(block)
        module: torch.nn.Module = copy.deepcopy(block)
    else:
        module = _Called(block)
    rows = [promoted(Recorded(0, module, u, (u[None],), arguments), torch.float64) for u in x.detach()]
    with precisely(torch.float64):
        _check(rows[0])
        fast = type(module).__module__.startswith("transformers.") and all(_is_fast(row) for row in rows)
        found = [measured_jacobians(row)[:3] if fast else (*jacobians(row.update, row.x), None) for row in rows]
        channel, token, weights = zip(*found, strict=True)

        def update(u: Tensor) -> Tensor:
            with precisely(torch.float64):
                return torch.stack([row.update(one) for row, one in zip(rows, u, strict=True)])

        return update_defect(
            torch.stack(channel),
            torch.stack(token),
            update,
            torch.stack([row.x for row in rows]),
            phi=None,
            hears=torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device),
            attention=torch.stack([W.mean(0) for W in weights]) if fast else None,
            block=0,
            coupled=False,
            iterations=iterations,
            seed=seed,
        )


class _Called(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The function itself."""
        return self.function(*args, **kwargs)


def _check(row: Recorded) -> None:
    """One call of the block, and one with another last token."""
    x = row.x
    try:
        out = row.run(x)
    except RuntimeError as error:
        raise ValueError(
            f"the block fails on [1, T, d] in float64 ({str(error).splitlines()[0][:120]}): a function must compute in "
            "float64 itself, a module is promoted; what else it needs, such as masks and positions, goes into given"
        ) from None
    if out.shape != x.shape:
        raise ValueError(f"the block gives {list(out[None].shape)} for [1, {len(x)}, {x.shape[1]}]: it is no update")
    if out.dtype != x.dtype:
        raise ValueError(f"the block gives {out.dtype} for float64: let it compute in the precision it is given")
    causal = any(getattr(part, "is_causal", False) is True for part in row.block.modules())
    if causal and len(x) > 1:
        moved = x.clone()
        moved[-1] += 1.0
        heard = float((row.run(moved)[:-1] - out[:-1]).norm())
        if heard > 1e-9 * float((out - x).norm()):  # far above rounding; what bidirectional attention hears is about 1
            raise ValueError(
                "the block's attention is causal by name and hears later tokens: without its mask an eager block is "
                'bidirectional; pass the mask, as given={"attention_mask": mask}'
            )


def _is_fast(row: Recorded) -> bool:
    """Whether the passes over all tokens at once are about this block."""
    try:
        check(row)
    except ValueError:
        return False
    return True
