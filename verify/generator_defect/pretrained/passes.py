"""Jacobians of a transformer block in d + H·c forward-mode passes over all tokens at once, instead of T·d.

With the output o of attention held, the block out(x, o) acts on its tokens one by one, so a pass that moves channel e
of every token gives column e of ∂(q, k, v, out)_t/∂x_t for all t. For F = block − x, with W the attention weights,
G_t = ∂out_t/∂o_t of one head, Q, K, V = ∂(q, k, v)/∂x including norm, bias and rotation, and q with its scale 1/√c:

    ∂F_t/∂x_s = Σ_h G_t W_ts [V_s + (v_s − o_t) ψ_ts q_tᵀK_s]                                              t ≠ s
    ∂F_t/∂x_t = ∂out_t/∂x_t − I + Σ_h G_t {W_tt [V_t + (v_t − o_t) ψ_tt q_tᵀK_t] + Σ_u W_tu ψ_tu (v_u − o_t) k_uᵀ Q_t}

ψ is the derivative of a cap on the scores, 1 without one. Query heads may share keys and values. The off-diagonal
d × d parts are never formed: of them C_ts = tr(∂F_t/∂x_s)/d is kept alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp, vmap

from verify.generator_defect.pretrained.probe import Probe

AT_ONCE = 2**22  # numbers of the stream moved at a time, times four in an MLP: a pass costs its products, not its calls


def attention_jacobians(
    run: Callable[[Tensor], Tensor], probe: Probe, x: Float[Tensor, "T d"]
) -> tuple[Float[Tensor, "T d d"], Float[Tensor, "T T"], Float[Tensor, "H T T"]]:
    """J_tt[T, d, d] and C[T, T] of F(x) = run(x) − x, and W[H, T, T]; run(x)[T, d] calls `probe` once, at x[T, d]."""
    length, width = x.shape
    probe.held = None
    run(x)
    q, k, v = (u[0] for u in probe.heads())
    weights, slopes = (None if u is None else u[0] for u in probe.weights())
    if weights is None:
        raise RuntimeError("attention without weights")
    pushed = weights if slopes is None else weights * slopes
    o = (weights @ v).transpose(0, 1).contiguous()  # [T, H, c]

    def parts(u: Tensor, answer: Tensor) -> tuple[Tensor, ...]:
        probe.held = answer[None]
        out = run(u)
        held: Any = (probe.q, probe.k, probe.v)
        return (out, *(each[0] for each in held))

    def along_x(e: Tensor) -> tuple[Tensor, ...]:
        return jvp(lambda u: parts(u, o), (x,), (e.expand(length, width).contiguous(),))[1]

    def along_o(e: Tensor) -> Tensor:
        return jvp(lambda answer: parts(x, answer)[0], (o,), (e.expand_as(o).contiguous(),))[1]

    chunk = max(1, AT_ONCE // (4 * x.numel()))
    try:
        eye = torch.eye(width, dtype=x.dtype, device=x.device)
        moved, Q, K, V = vmap(along_x, chunk_size=chunk)(eye)  # [e, T, a], [e, H, T, c], [e, H', T, c] twice
        unit = torch.eye(o[0].numel(), dtype=x.dtype, device=x.device).view(-1, *o.shape[1:])
        G = vmap(along_o, chunk_size=chunk)(unit).unflatten(0, o.shape[1:])  # [H, c, T, a]
    finally:
        probe.held = None
    channel = moved.permute(1, 2, 0) - eye
    token = x.new_zeros(length, length)
    shared = len(weights) // K.shape[1]
    for h in range(len(weights)):
        W, psi, g, vh, oh = weights[h], pushed[h], G[h], v[h], o[:, h]
        Kh, Vh = K[:, h // shared], V[:, h // shared]
        token += W * torch.einsum("cta,asc->ts", g, Vh)
        looked = torch.einsum("tc,asc->tsa", q[h], Kh)
        carried = torch.einsum("cta,sc->tsa", g, vh) - torch.einsum("cta,tc->ta", g, oh)[:, None]
        token += psi * torch.einsum("tsa,tsa->ts", looked, carried)
        at_own = torch.einsum("tc,etc->te", q[h], Kh) * psi.diagonal()[:, None]
        own = W.diagonal()[:, None, None] * Vh.permute(1, 2, 0) + (vh - oh)[:, :, None] * at_own[:, None, :]
        spread = torch.einsum("tu,uc,uf->tcf", psi, vh, k[h]) - oh[:, :, None] * (psi @ k[h])[:, None, :]
        own = own + spread @ Q[:, h].permute(1, 2, 0)
        channel.baddbmm_(g.permute(1, 2, 0), own)
    token /= width
    token.diagonal().copy_(channel.diagonal(dim1=-2, dim2=-1).mean(-1))
    return channel, token, weights
