"""The Jacobian of one update x ↦ x + F(x) of the fast state, along its two axes.

x[T, d] are the T tokens of one sequence, J_ts = ∂F_t/∂x_s (d × d). Two slices of it can be held against a generator:

    channel axis   J_tt[T, d, d]                what a token's channels do to one another
    token axis     C_ts = tr J_ts / d  [T, T]   what tokens do to one another; for F = (W − I)x it is W − I

For causal F the whole Td × Td Jacobian is block lower triangular, so its spectrum is that of the J_tt together.

`jacobians` differentiates any F with torch.func, Td forward-mode passes over the sequence. `block_jacobians` knows that
a fast block is x + a(norm x) followed by z + m(norm z): it takes the maps that act on one token by torch.func, the
softmax in closed form,

    ∂o_t/∂n_s = W_ts [V + (v_s − o_t)(q_tᵀK_s)/√c] + δ_ts Σ_u W_tu (v_u − o_t)(k_uᵀQ_t)/√c

(one head of c channels, n the normed stream, K_s = ∂k_s/∂n_s with its rotation), and never forms J: some 50 times
faster at T = d = 64. A test holds the two against each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jacfwd, jvp, vmap

if TYPE_CHECKING:
    from network.fast_path import Block


def jacobians(update: Callable[[Tensor], Tensor], x: Float[Tensor, "T d"]) -> tuple[Tensor, Tensor]:
    """J_tt[T, d, d] and C[T, T] of any update F(x)[T, d] at x[T, d].

    Examples:
        >>> import torch
        >>> from verify.generator_defect import jacobians
        >>> W = torch.tensor([[1.0, 0.0], [0.25, 0.75]], dtype=torch.float64)
        >>> channel, token = jacobians(lambda x: W @ x - x, torch.ones(2, 3, dtype=torch.float64))
        >>> token  # W - I
        tensor([[ 0.0000,  0.0000],
                [ 0.2500, -0.2500]], dtype=torch.float64)
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    length, width = x.shape
    unit = torch.eye(width, dtype=x.dtype, device=x.device)
    channel = x.new_empty(length, width, width)
    token = x.new_empty(length, length)

    def along(s: int, direction: Tensor) -> Tensor:
        tangent = torch.cat([x.new_zeros(s, width), direction[None], x.new_zeros(length - s - 1, width)])
        return jvp(update, (x,), (tangent,))[1]

    # The fused kernels of attention have no forward-mode derivative.
    with sdpa_kernel(SDPBackend.MATH):
        for s in range(length):
            moved = vmap(lambda direction, s=s: along(s, direction))(unit)  # [i, T, d], moved by channel i of token s
            channel[s] = moved[:, s].T
            token[:, s] = torch.einsum("iti->t", moved) / width
    return channel, token


def block_jacobians(block: Block, x: Float[Tensor, "T d"], rotary: Tensor) -> tuple[Tensor, Tensor]:
    """`jacobians` of F(x) = block(x) − x for a fast block; rotary[T, d, 2] for the positions of x."""
    from network.norm import rms_norm
    from network.rotary import queries_keys_values

    length, width = x.shape
    heads = block.attention.heads
    each = width // heads
    unit = torch.eye(width, dtype=x.dtype, device=x.device)
    weight, out = block.attention.qkv.weight.detach(), block.attention.out.weight.detach()

    def by_head(u: Tensor) -> Tensor:
        return u.unflatten(-1, (heads, each))

    q, k, v = (by_head(u[0]) for u in queries_keys_values(rms_norm(x)[None], weight, rotary))  # [T, h, c]
    basis = unit[:, None].expand(width, length, width)
    # The maps to q, k and v are linear: their Jacobians are their values on the unit vectors. [T, h, c, d]
    Q, K, V = (by_head(u).permute(1, 2, 3, 0) for u in queries_keys_values(basis, weight, rotary))
    q, Q = q / math.sqrt(each), Q / math.sqrt(each)
    scores = torch.einsum("thc,shc->hts", q, k)
    if block.attention.causal:
        later = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    W = scores.softmax(-1)
    o = torch.einsum("hts,shc->thc", W, v)
    z = x + torch.nn.functional.linear(o.flatten(1), out)

    norm = vmap(jacfwd(rms_norm))(x)
    mlp = vmap(jacfwd(lambda u: block.mlp(rms_norm(u))))(z)
    after = unit + mlp  # how the second half of the block hands on what the first did
    L = by_head(after @ out)  # [T, d, h, c]
    KN, VN = (torch.einsum("shcd,sde->shce", u, norm) for u in (K, V))

    token = torch.einsum("hts,tahc,shca->ts", W, L, VN)
    looked = torch.einsum("the,shea->tsha", q, KN)
    carried = torch.einsum("tahc,shc->tsha", L, v) - torch.einsum("tahc,thc->tha", L, o)[:, None]
    token = (token + torch.einsum("hts,tsha,tsha->ts", W, looked, carried)) / width

    own = W.diagonal(dim1=-2, dim2=-1).T[..., None, None]  # [T, h, 1, 1]
    B = own * (V + torch.einsum("thc,the,thed->thcd", v - o, q, K))
    spread = torch.einsum("htu,uhc,uhe->thce", W, v, k) - torch.einsum("thc,htu,uhe->thce", o, W, k)
    B = B + torch.einsum("thce,thed->thcd", spread, Q)
    attention = torch.einsum("ac,tcd,tde->tae", out, B.flatten(1, 2), norm)
    channel = after @ (unit + attention) - unit
    token = token - torch.diag(token.diagonal()) + torch.diag(channel.diagonal(dim1=-2, dim2=-1).mean(-1))
    return channel, token
