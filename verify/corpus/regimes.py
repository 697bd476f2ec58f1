"""A source whose slow variable is known: a regime y = ±1 that decides which kernel the next token is drawn from.

Tokens are states 0 … n − 1 of a Markov chain x → K_y x (column convention, K[i, j] = P(next = i | now = j)),

    K_± = softmax_i(B ± s D),    B, D normal and drawn once from the seed,

and y flips with probability f at the border of each block of `block` tokens: a regime lasts block/f tokens on average.
At s = 0 both kernels are one and there is nothing to know: the null. What a model can gain by knowing y is computed
exactly in `verify.corpus.bayes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from network.arguments import Integer, Number, Probability

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

LENGTH = 1_399_990  # tokens of the text: nine tenths to train on, a tenth to measure on
LARGEST = 94  # printable ASCII characters that can stand for a token


@dataclass(frozen=True)
class Regimes:
    """The source: s the distance of the kernels, f the flip probability a block, n tokens, `block` tokens a block.

    seed: of the kernels and of the text. length: tokens of the text.

    Raises `ValueError` naming the field, its value and the remedy.

    Examples:
        >>> from verify.corpus import Regimes
        >>> Regimes(s=0.5).n
        16
    """

    s: Number = 0.7
    f: Probability = Fraction(1, 256)
    n: Integer = 16
    block: Integer = 8
    seed: Integer = 0
    length: Integer = LENGTH

    def __post_init__(self) -> None:
        if isinstance(self.s, bool) or not isinstance(self.s, int | float) or not 0 <= self.s < float("inf"):
            raise ValueError(f"s must be a finite number >= 0, got {self.s!r}")
        if isinstance(self.f, bool) or not isinstance(self.f, int | float | Fraction) or not 0 < self.f <= 1:
            raise ValueError(f"f must be a probability in (0, 1], a number or a fraction such as 1/256; got {self.f!r}")
        for name, least, most in (
            ("n", 2, LARGEST),
            ("block", 1, None),
            ("seed", 0, None),
            ("length", 1, None),
        ):
            value = getattr(self, name)
            high = most is not None and isinstance(value, int) and value > most
            if isinstance(value, bool) or not isinstance(value, int) or value < least or high:
                within = f"an integer in {least} … {most}" if most else f"an integer >= {least}"
                raise ValueError(f"{name} must be {within}, got {value!r}")

    @property
    def name(self) -> str:
        """What `open_corpus` takes: `regimes:s=0.7,f=1/256`, with what differs from the defaults behind."""
        usual = Regimes()
        f = Fraction(self.f).limit_denominator(2**20)
        shown = f if float(f) == float(self.f) else self.f
        others = ("n", "block", "seed", "length")
        rest = [f"{name}={getattr(self, name)}" for name in others if getattr(self, name) != getattr(usual, name)]
        return ",".join([f"regimes:s={float(self.s):g}", f"f={shown}", *rest])

    @cached_property
    def kernels(self) -> Tensor:
        """K[2, n, n], column-stochastic; float64."""
        import torch

        rng = torch.Generator().manual_seed(self.seed)
        B, D = (torch.randn(self.n, self.n, generator=rng).double() for _ in range(2))
        return torch.stack([(B + self.s * D).softmax(0), (B - self.s * D).softmax(0)])

    @cached_property
    def chain(self) -> Tensor:
        """The kernel of (regime, phase of the block, token) at once, column-stochastic [2·block·n]²; float64.

        State (r, φ, i): token i is the φ-th of its block, drawn in regime r; the regime may flip as a block ends.
        """
        import torch

        K, block = self.kernels, self.block
        C = torch.zeros(2, block, self.n, 2, block, self.n, dtype=K.dtype)
        f = float(self.f)
        for r in range(2):
            for phase in range(block):
                following = (phase + 1) % block
                for q in range(2):
                    weight = (1.0 if q == r else 0.0) if following else (1.0 - f if q == r else f)
                    C[q, following, :, r, phase, :] = weight * K[q]
        return C.reshape(2 * block * self.n, -1)

    @cached_property
    def stationary(self) -> Tensor:
        """The law of (regime, phase, token) in the long run, [2, block, n]: p_st of `chain`."""
        import torch

        from theory import stationary_distribution

        A = self.chain - torch.eye(len(self.chain), dtype=torch.float64)
        A = A - torch.diag(A.sum(0))  # columns sum to zero to the last bit
        return stationary_distribution(A).reshape(2, self.block, self.n)

    def sample(self) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and regimes [length], from the seed alone; the first block begins with the first token."""
        import numpy as np

        from verify.corpus.walk import walk

        rng = np.random.default_rng([self.seed, 1])
        blocks = -(-self.length // self.block)
        first = rng.integers(2)
        flips = rng.random(blocks) < float(self.f)
        regime = np.repeat((first + np.cumsum(flips)) % 2, self.block)[: self.length]
        # The columns' cumulative sums, the last one 1 whatever rounding says: no draw falls beyond it.
        cumulative = self.kernels.cumsum(1).mT.contiguous().numpy()
        cumulative[..., -1] = 1.0
        start = int(np.searchsorted(np.cumsum(np.full(self.n, 1 / self.n)), rng.random()))
        tokens = np.empty(self.length, dtype=np.int64)
        walk(cumulative, regime, rng.random(self.length), min(start, self.n - 1), tokens)
        return tokens, regime
