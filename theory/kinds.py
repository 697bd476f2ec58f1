"""The types of public arguments, for editors and type checkers.

At run time each name is `Any`: a wrong argument meets our own message, which says what to pass, and no shape check
before it. `Dense` is what NumPy takes as numbers, `Matrix` also what SciPy and SymPy hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    import numpy as np
    import scipy.sparse
    import sympy
    from torch import Tensor

    from theory.fast_slow import FastSlowSystem

    class Array(Protocol):
        """An array of another library, as NumPy reads it."""

        @property
        def dtype(self) -> Any:
            """Of its entries."""

        def __array__(self) -> np.ndarray: ...

    class DataFrame(Protocol):
        """A table with names for its columns, as NumPy reads it."""

        @property
        def columns(self) -> Any:
            """Their names."""

        def __array__(self) -> np.ndarray: ...

    Integer = int | np.integer
    Number = float | np.floating | np.integer
    Scalar = Number | Tensor | np.ndarray
    Table = Array | DataFrame
    Listed = Sequence[float] | Sequence[Sequence[float]] | Sequence[Sequence[Sequence[float]]]
    Dense = Tensor | np.ndarray | Table | Listed
    Numbers = Number | Dense
    Sparse = scipy.sparse.sparray | scipy.sparse.spmatrix
    Columns = scipy.sparse.csc_array
    Symbolic = sympy.MatrixBase
    Expression = sympy.Expr | float
    Expressions = Sequence[sympy.Expr]
    Chain = Dense | Sparse
    Matrix = Chain | Symbolic
    Series = Sequence[float] | np.ndarray | Tensor
    Indices = int | Sequence[int] | Sequence[Sequence[int]] | Tensor | np.ndarray
    States = int | Sequence[int]
    Targets = States | Sequence[Sequence[int]]
    Partition = Sequence[Sequence[int]] | Sequence[int] | np.ndarray
    Field = Callable[[Tensor], Tensor]
    Velocity = Event = Callable[[Tensor, Tensor], Tensor]
    System = FastSlowSystem

    class Size:
        """An integer, kept as int."""

        def __get__(self, instance: object, owner: type) -> int: ...
        def __set__(self, instance: object, value: Integer) -> None: ...

    class Corner:
        """Numbers, kept as a tensor [m]."""

        def __get__(self, instance: object, owner: type) -> Tensor: ...
        def __set__(self, instance: object, value: Numbers) -> None: ...

    class Phases:
        """Indices or one bool each, kept as a tensor of bools."""

        def __get__(self, instance: object, owner: type) -> Tensor: ...
        def __set__(self, instance: object, value: Indices) -> None: ...
else:
    Integer = Number = Scalar = Array = DataFrame = Table = Listed = Dense = Numbers = Series = Any
    Sparse = Columns = Symbolic = Expression = Expressions = Chain = Matrix = Any
    Indices = States = Targets = Partition = Field = Velocity = Event = System = Size = Corner = Phases = Any
