"""The coupling's own objective: c predicts the next block, whatever the gate does.

In the theory φ_θ is a variational approximation: the minimiser of a loss of its own on the fast states given y. Behind
a gate near zero it is trained by no such thing: its gradient carries the gate as a factor. Here c_k is read as logits
E · norm(c_k), E the tied embedding, of every token of the block that follows block k, those that will receive c_k:

    loss = − mean over t >= P − 1 of log softmax(E · norm(c_k))[x_{t+1}],      k = (t + 1)//P − 1 .

The model (`FastSlowLM.forward` with targets) passes its gradient on to the slow path and φ_θ and to nothing else: the
fast path and E hear of it through the gate only, and behind a shut gate train as they would without a coupling.

Under softmax(E · norm(c_k)) alone, the cross-entropy's minimiser is the distribution of a token of the next block given
y_k: a mean over the block, p_ε(y) of the token clock.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from network.norm import rms_norm


def next_block_loss(c: Tensor, embedding: Tensor, targets: Tensor, period: int) -> Tensor:
    """Mean cross-entropy, nats per token, of targets[B, T] from P − 1 on, given the c[B, N, d] that each receives.

    embedding[V, d]: E. targets[:, t] is the token after position t, N = ⌊T/P⌋.
    """
    logits = F.linear(rms_norm(c), embedding)
    log_p = logits.float().log_softmax(-1) if logits.element_size() < 4 else logits.log_softmax(-1)
    following = targets[:, period - 1 :]
    count = following.shape[1]
    # The last block may be followed by fewer than P tokens: what is missing repeats token 0 and is cut off again.
    blocks = F.pad(following, (0, c.shape[1] * period - count)).unflatten(1, (c.shape[1], period))
    return -log_p.gather(-1, blocks).flatten(1)[:, :count].mean()
