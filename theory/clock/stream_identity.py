"""The identity p_st = block mean − boundary, exact on any stream of tokens, with no Markov assumption.

Blocks of P tokens x_1 … x_P, each with the token x_0 before it and a label. Within one label let

    K[i, j] = share of the transitions out of j, over all its blocks, that go to i
    m⁻, m⁺  = mean of e_{x_t} over t = 0 … P − 1 and over t = 1 … P
    b       = mean of e_{x_P} − e_{x_0}

Counting gives K m⁻ = m⁺, and m⁺ − m⁻ = b/P telescopes. So A m⁺ = K m⁺ − m⁺ = K (m⁺ − m⁻) = K b/P for the generator
A = K − I; and since z = A^# A z + p_st for every z of sum one,

    m⁺ − p_st(A) = (1/P) A^# K b.

The conditional bigram of *any* text has a stationary distribution that differs from the text's own token frequencies
by a boundary term of order 1/P, known in full. For a Markov chain started at s it is the closed form of the token clock
(`theory.token_clock`), with b = (K^P − I)(s − p_st).

What a symbol lacks decides whether K is there: one seen only as the last token of blocks has no column, and the label
is set aside; one seen only as the first token is transient, and harmless; several closed classes have no unique p_st,
and the label is set aside as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from theory.arguments import check_integer
from theory.chain.inverse import solve_sum_zero
from theory.chain.twofold import matvec, quotient, two_product, two_sum
from theory.generators.checks import recurrent_classes
from theory.generators.doors import from_rates
from theory.kinds import Indices, Integer
from theory.stationary.distribution import stationary_distribution

REFINEMENTS = 2  # each divides the error by 1/(κ η), till rounding of the solution is left


@dataclass(frozen=True, eq=False)
class StreamIdentity:
    """The identity label by label, L labels kept, in ascending order; all float64 but `labels` and `blocks`.

    labels[L], blocks[L]: which, and how many blocks each has. K[L, n, n]; A[L, n, n] = K − I; before[L, n] = m⁻;
    after[L, n] = m⁺; ends[L, n] = b; stationary[L, n] = p_st(A); boundary[L, n] = A^# K b / P. A symbol that a label
    never shows has probability 0 in all of them (its column of K is m⁺). without_column, several_classes: the labels
    set aside, since a symbol ends blocks and never goes on, or since there are several closed classes.

    Examples:
        >>> import theory, torch
        >>> found = theory.stream_identity(torch.tensor([[0, 1, 0, 1, 0]]), torch.tensor([0]), n_states=2)
        >>> found.stationary.tolist(), found.labels.tolist()
        ([[0.5, 0.5]], [0])
    """

    period: int
    labels: Tensor
    blocks: Tensor
    K: Tensor
    A: Tensor
    before: Tensor
    after: Tensor
    ends: Tensor
    stationary: Tensor
    boundary: Tensor
    without_column: tuple[int, ...]
    several_classes: tuple[int, ...]

    @property
    def gap(self) -> Tensor:
        """TV(m⁺, p_st) [L]."""
        return 0.5 * (self.after - self.stationary).abs().sum(-1)

    @property
    def residual(self) -> Tensor:
        """½‖m⁺ − p_st − boundary‖₁ [L]: rounding, whatever the stream."""
        return 0.5 * (self.after - self.stationary - self.boundary).abs().sum(-1)

    @property
    def weights(self) -> Tensor:
        """Each label's share of the blocks kept, [L]."""
        return self.blocks / self.blocks.sum()


@dataclass(frozen=True, eq=False)
class BlockCounts:
    """What the identity needs of blocks, additive over them (a bootstrap weights such counts); float64.

    transitions[L, i, j]: how often j → i; first, last[L, n]: how often each symbol is x_0, x_P; blocks[L]: how many.

    Examples:
        >>> import theory, torch
        >>> counts = theory.count_blocks(torch.tensor([[0, 1, 0, 1, 0]]), torch.tensor([0]), n_states=2)
        >>> counts.transitions.tolist(), counts.blocks.tolist()
        ([[[0.0, 2.0], [2.0, 0.0]]], [1.0])
    """

    period: int
    transitions: Tensor
    first: Tensor
    last: Tensor
    blocks: Tensor


def stream_identity(
    tokens: Indices, labels: Indices, *, n_states: Integer, starts: Indices | None = None, period: Integer | None = None
) -> StreamIdentity:
    """The identity on blocks of tokens with labels, on the device of the tokens.

    tokens[N, P + 1]: the blocks, x_0 first; or a stream tokens[T] with starts[N], the places of the x_0 of blocks of
    `period` tokens, which may overlap. labels[N]: integers >= 0, few. All ids lie in 0 … n_states − 1.

    Counting takes L · T operations, whatever P. Raises `ValueError` for ids, starts or labels out of range, shapes that
    do not belong together, and where no label is left.

    Examples:
        >>> import torch
        >>> stream = torch.tensor([0, 1, 2, 0, 1, 1, 2, 0, 2, 0, 1, 0, 2, 0, 1, 2, 2, 0])
        >>> labels = torch.zeros(4, dtype=torch.int64)
        >>> found = stream_identity(stream, labels, n_states=3, starts=[0, 3, 6, 11], period=5)
        >>> float(found.residual.max()) < 1e-13 < float(found.gap.max())
        True
    """
    return identity_of_counts(count_blocks(tokens, labels, n_states=n_states, starts=starts, period=period))


def count_blocks(
    tokens: Indices,
    labels: Indices,
    *,
    n_states: Integer,
    starts: Indices | None = None,
    period: Integer | None = None,
    n_labels: Integer | None = None,
) -> BlockCounts:
    """The counts of blocks, for labels 0 … n_labels − 1 (None: as many as occur); arguments of `stream_identity`.

    Examples:
        >>> import theory, torch
        >>> counts = theory.count_blocks(torch.tensor([[0, 1, 1], [1, 0, 0]]), torch.tensor([0, 1]), n_states=2)
        >>> counts.first.tolist(), counts.last.tolist()
        ([[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]])
    """
    n = check_integer(n_states, "n_states", least=1)
    stream, starts, period = _stream(tokens, starts, period)
    labels = _integers(labels, "labels").to(stream.device)
    if labels.shape != starts.shape:
        raise ValueError(f"labels must hold one label a block, {list(starts.shape)}; got {list(labels.shape)}")
    many = int(labels.max()) + 1 if n_labels is None else check_integer(n_labels, "n_labels", least=1)
    _in_range("tokens", stream, n)
    _in_range("starts", starts, len(stream) - period)
    _in_range("labels", labels, many)
    pairs = stream[1:] * n + stream[:-1]
    transitions = torch.stack([_transitions(pairs, starts[labels == k], period, n) for k in range(many)])
    first, last = (
        torch.bincount(labels * n + stream[at], minlength=many * n).view(many, n).double()
        for at in (starts, starts + period)
    )
    return BlockCounts(period, transitions, first, last, torch.bincount(labels, minlength=many).double())


def identity_of_counts(counts: BlockCounts) -> StreamIdentity:
    """The identity of counted blocks; labels without a block are left out. Errors as `stream_identity`.

    Examples:
        >>> import theory, torch
        >>> counts = theory.count_blocks(torch.tensor([[0, 1, 0, 1, 0]]), torch.tensor([0]), n_states=2)
        >>> bool(theory.identity_of_counts(counts).residual.max() < 1e-15)
        True
    """
    present = counts.blocks > 0
    J, blocks = counts.transitions[present], counts.blocks[present]
    which, total = present.nonzero()[:, 0], (blocks * counts.period)[:, None]
    into, out_of = J.sum(-1), J.sum(-2)
    no_column = ((out_of == 0) & (into > 0)).any(-1)
    mean = into / total
    K = torch.where(
        (out_of == 0)[:, None, :], mean[:, :, None], J / out_of.clamp_min(torch.finfo(J.dtype).tiny)[:, None]
    )
    several = torch.zeros_like(no_column)
    for k in (~no_column).nonzero()[:, 0].tolist():
        several[k] = len(recurrent_classes(from_rates(K[k]))) > 1
    keep = ~(no_column | several)
    if not bool(keep.any()):
        raise ValueError(
            f"no label is left of {len(which)}: {int(no_column.sum())} have a symbol that only ends blocks, "
            f"{int(several.sum())} several closed classes; take more or longer blocks, or fewer labels"
        )
    K, A = K[keep], from_rates(K[keep])
    p = stationary_distribution(A)
    ends = (counts.last - counts.first)[present][keep]
    b = ends / blocks[keep, None]
    boundary = _boundary(J[keep], out_of[keep], into[keep], ends, blocks[keep] * counts.period, A, p)
    return StreamIdentity(
        period=counts.period,
        labels=which[keep],
        blocks=blocks[keep],
        K=K,
        A=A,
        before=(out_of / total)[keep],
        after=mean[keep],
        ends=b,
        stationary=p,
        boundary=boundary,
        without_column=tuple(which[no_column].tolist()),
        several_classes=tuple(which[several].tolist()),
    )


def _boundary(
    J: Tensor, out_of: Tensor, into: Tensor, ends: Tensor, total: Tensor, A: Tensor, p: Tensor
) -> Float[Tensor, "labels n"]:
    """A^# K b / P from the counts, to rounding however slow the slowest rate of A is.

    With K = J D^-1, D[L, n] the counts out of each symbol, and z = D u the boundary solves (J − D) u = J c for
    c = D^-1 b/P. J[L, n, n] and D are whole numbers, below 2⁵³, as is D times the tokens of a label; residuals in twice
    the precision lose nothing of them, where the rounding of K and of K b would be magnified by ‖A^#‖: 10⁶ and more
    where a label hardly leaves a set of symbols.
    """
    idle = out_of == 0  # its column of K is m⁺ = into/total
    D = torch.where(idle, total[:, None], out_of)
    J = torch.where(idle[:, None, :], into[:, :, None], J)
    c = quotient(ends, D * total[:, None])
    u = torch.zeros_like(p)
    for _ in range(1 + REFINEMENTS):
        d_high, d_low = two_sum(c[0], -u)
        high, low = matvec(J, (d_high, d_low + c[1]))
        own_high, own_low = two_product(D, u)
        r_high, r_low = two_sum(high, own_high)
        r = r_high + (r_low + (low + own_low))
        # Of sum zero but for rounding, which must not reach A^#.
        u = u + solve_sum_zero(A, r - p * r.sum(-1, keepdim=True), p) / D
    return D * u


def _transitions(pairs: Tensor, starts: Tensor, period: int, n: int) -> Float[Tensor, "n n"]:
    """How often j → i occurs in the blocks from `starts`: [i, j], exact. pairs[t] = x_{t+1} n + x_t.

    Transition t lies in as many blocks as have begun by t and not ended: a running sum, whatever the period.
    """
    size = len(pairs) + 1
    change = torch.bincount(starts, minlength=size) - torch.bincount(starts + period, minlength=size)
    covered = change.cumsum(0)[:-1]
    return torch.bincount(pairs, weights=covered.double(), minlength=n * n).view(n, n)


def _stream(tokens: Any, starts: Any, period: Any) -> tuple[Tensor, Tensor, int]:
    tokens = _integers(tokens, "tokens")
    if tokens.ndim == 2 and starts is None and period is None:
        count, length = tokens.shape
        if length < 2 or count < 1:
            raise ValueError(f"tokens must be blocks [N, P + 1] with N, P >= 1, got {list(tokens.shape)}")
        return tokens.flatten(), torch.arange(count, device=tokens.device) * length, length - 1
    if tokens.ndim != 1 or starts is None or period is None:
        raise ValueError(
            f"pass blocks tokens[N, P + 1] alone, or a stream tokens[T] with starts and period; got tokens "
            f"{list(tokens.shape)}, starts {'missing' if starts is None else 'given'}, period {period}"
        )
    starts = _integers(starts, "starts").to(tokens.device)
    if starts.ndim != 1 or len(starts) == 0:
        raise ValueError(f"starts must be [N] with N >= 1, got {list(starts.shape)}")
    return tokens, starts, check_integer(period, "period", least=1)


def _integers(values: Any, name: str) -> Tensor:
    values = torch.as_tensor(values)
    if values.dtype.is_floating_point or values.dtype.is_complex or values.dtype == torch.bool:
        raise ValueError(f"{name} must hold integers, got {values.dtype}")
    return values.long()


def _in_range(name: str, values: Tensor, limit: int) -> None:
    bad = (values < 0) | (values >= limit)
    if bool(bad.any()):
        at = int(bad.nonzero()[0])
        allowed = f"0 … {limit - 1}"
        why = ": a block of `period` tokens must end within the stream" if name == "starts" else ""
        raise ValueError(f"{name}[{at}] = {int(values[at])} is outside {allowed}{why}")
