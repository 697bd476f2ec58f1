"""The words of the field that the report uses, for readers from elsewhere; docs/findings.md has the same table."""

from __future__ import annotations

GLOSSARY: tuple[tuple[str, str], ...] = (
    (
        "generator A",
        "a square matrix of rates: A_ij ≥ 0 the rate from state j to i, columns sum to 0. dp/dt = A p moves "
        "probabilities and conserves their sum",
    ),
    ("master equation", "dp/dt = A p itself"),
    (
        "stationary distribution p_st",
        "the probabilities that no longer change: A p = 0, sum 1. For a language model, the long-run "
        "frequencies of the states",
    ),
    (
        "slow manifold φ(y)",
        "where the fast state settles while the slow one, y, is held; for a generator φ(y) = p_st(y)",
    ),
    ("ε, P", "the ratio of the two clocks, and the tokens per slow update: ε = 1/P"),
    (
        "group inverse A^#",
        "the inverse of A on what is not stationary; it turns a small change of A into the change of p_st, "
        "and a residual into an error",
    ),
    ("certificate", "a bound on the distance of a guess to p_st that is computed without knowing p_st"),
    (
        "total variation (TV)",
        "half the sum of absolute differences of two distributions: the largest difference of any event's probability",
    ),
    (
        "metastable",
        "nearly split in two: the chain stays in one part for times far longer than a block, so no block mean"
        " has settled",
    ),
    (
        "token clock",
        "the discrete system that pooling runs: P fast steps at fixed y, then one slow step with their mean",
    ),
    (
        "channel axis, token axis",
        "two parts of the Jacobian of one update of a block: d × d, what a token's channels do to one another, averaged"
        " over tokens; T × T, what tokens do to one another, averaged over channels",
    ),
    (
        "shifted distance",
        "how far a matrix is from the nearest generator after the best multiple of the identity is taken off, relative "
        "to its own size without its mean diagonal: 0 for a generator",
    ),
    (
        "attention sink",
        "the first token drawing most of the attention: a weight on it far above that of uniform attention, few steps "
        "to it",
    ),
    ("floor", "the error that the same fit makes on exact data: what is not above it says nothing"),
    ("paired interval", "Student's 95 % interval of the mean difference over seeds"),
    (
        "TOST",
        "two one-sided tests at 5 %: a difference is equivalent to zero if its 90 % interval lies within ± margin",
    ),
    (
        "nats, bits per byte",
        "the mean −ln p of the next token; over ln 2 and the bytes of a token, bits per byte, which compare tokenizers",
    ),
)
