"""What a matrix that is no generator looks like, and the call that makes the right generator of it.

People bring transition matrices (rows or columns that sum to one), counts of transitions, positive graph Laplacians and
rate matrices by rows. Each has a door of its own (`theory.generators.doors`); an advice that names the wrong one leads
to a wrong p_st without a word. A matrix is judged by its signs and sums alone, so that dense, sparse and symbolic
matrices are told the same.
"""

from __future__ import annotations

from typing import NamedTuple

ROUNDED = 1e-3  # how far a printed or single-precision probability may leave a sum of one and still be recognised


NOT_BELOW = "it must be finite and >= 0: where rounding left it below, set it to 0 and the line's sum to one again"


class Look(NamedTuple):
    """Signs and sums of one square matrix M: what is >= 0 or <= 0 off the diagonal, and what lines sum to."""

    positive: bool  # M_ij >= 0 for i != j
    negative: bool  # M_ij <= 0 for i != j
    diagonal_positive: bool  # M_jj >= 0
    rows_zero: bool
    columns_zero: bool
    rows_one: bool  # within ROUNDED
    columns_one: bool
    whole: bool  # whole numbers throughout


def advice(look: Look, name: str, *, batched: bool = False) -> str:
    """What to call instead, as a clause that ends an error message; each call in it is right for what it names."""
    transposed = f"{name}.mT" if batched else f"{name}.T"
    if look.positive and look.diagonal_positive and (look.rows_one or look.columns_one):
        return _of_probabilities(look, name)
    if look.negative and look.diagonal_positive and look.columns_zero:
        return f"it is minus a generator, a positive Laplacian: the generator is -{name}"
    if look.negative and look.diagonal_positive and look.rows_zero:
        return f"it is minus a rate matrix by rows, a positive Laplacian: pass theory.from_row_convention(-{name})"
    if look.positive and look.rows_zero:
        return f"its rows do sum to zero, so it looks transposed: pass theory.from_row_convention({name})"
    if look.positive and look.columns_zero:
        return f"the columns of {name} sum to zero: it is in the column convention already: use it as A"
    rates = (
        f"if {name}[i, j] is the rate j -> i, build it with theory.from_rates({name}), which sets the diagonal; if it "
        f"is the rate i -> j, with theory.from_rates({transposed})"
    )
    if look.positive and look.diagonal_positive and look.whole:
        return (
            "whole numbers look like counts of transitions: pass "
            f'theory.from_counts({name}, convention="row") where {name}[i, j] counts i -> j, '
            f'theory.from_counts({name}, convention="column") where it counts j -> i; {rates}'
        )
    if look.positive:
        return rates
    return "rates i != j must be >= 0: correct the entry, or leave that jump out with a rate of 0"


def _of_probabilities(look: Look, name: str) -> str:
    if look.rows_one and look.columns_one:
        return (
            "its rows and its columns sum to one, so it is a doubly stochastic transition matrix: pass "
            f'theory.from_transition_matrix({name}, convention="row") where {name}[i, j] is the probability of i -> j, '
            f'theory.from_transition_matrix({name}, convention="column") where it is that of j -> i'
        )
    which = "row" if look.rows_one else "column"
    return (
        f"its {which}s sum to one, so it is a transition matrix: pass "
        f'theory.from_transition_matrix({name}, convention="{which}")'
    )


def missed_sum(line: str, k: int, where: str, total: float) -> str:
    """Says that a line of P misses one, and what makes it right."""
    axis = 1 if line == "row" else 0
    return (
        f"{line} {k} of P{where} sums to {total:.9g}, not to one: where it was rounded, divide by the sums, "
        f"P / P.sum({'axis=' if not where else ''}{axis if not where else axis - 2}, keepdims=True)"
    )


def other_convention(fits: bool, by_row: bool) -> str:
    """What else it may be, if its other lines sum to one."""
    other = "column" if by_row else "row"
    return f'; its {other}s do sum to one, so pass convention="{other}" if that is meant' if fits else ""
