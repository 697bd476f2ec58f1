"""The slow path: block-causal by default, full only where it is asked for, and readable piece by piece."""

import pytest
import torch

from network.fast_path import KeyValueCache
from network.rotary import rotary_table
from network.slow_path import SlowPath

pytestmark = pytest.mark.numerical

F64 = torch.float64


def build(depth=2, full=False):
    return SlowPath(8, 2, depth, torch.Generator().manual_seed(0), full=full).double()


def reads(path, blocks=5):
    """reads[k, j]: whether the output at pooled token k depends on pooled token j."""
    y = torch.randn(1, blocks, 8, dtype=F64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    out = path(y, rotary_table(blocks, 8, 2).double())
    rows = [torch.autograd.grad(out[0, k].sum(), y, retain_graph=True)[0][0].abs().amax(-1) for k in range(blocks)]
    return torch.stack(rows) != 0


def test_pooled_tokens_read_the_blocks_up_to_their_own():
    assert torch.equal(reads(build()), torch.ones(5, 5, dtype=torch.bool).tril())


def test_full_attention_reads_every_block():
    assert bool(reads(build(full=True)).all())


@pytest.mark.parametrize("pieces", [(5,), (1, 1, 1, 1, 1), (2, 3)])
def test_piece_by_piece(pieces):
    path, table = build(), rotary_table(5, 8, 2).double()
    y = torch.randn(2, 5, 8, dtype=F64)
    caches, start, out = [KeyValueCache(5) for _ in range(2)], 0, []
    for piece in pieces:
        out.append(path(y[:, start : start + piece], table[start : start + piece], caches))
        start += piece
    torch.testing.assert_close(torch.cat(out, 1), path(y, table), rtol=1e-12, atol=1e-13)
