"""Generators, stationary distributions and slow manifolds of singularly perturbed fast-slow systems.

Column convention: A_ij is the rate j -> i, columns sum to zero, dp/dt = A p.
"""

from theory.errors import (
    FastSlowSystemError,
    GeneratorError,
    NotUniqueError,
    NumericalError,
    SimulationError,
    Status,
)
from theory.fast_slow import FastSlowSystem
from theory.generator import check_generator, from_rates, from_row_convention, recurrent_classes
from theory.stationary import stationary_distribution
from theory.systems import get_system, list_systems

__all__ = [
    "FastSlowSystem",
    "FastSlowSystemError",
    "GeneratorError",
    "NotUniqueError",
    "NumericalError",
    "SimulationError",
    "Status",
    "check_generator",
    "from_rates",
    "from_row_convention",
    "get_system",
    "list_systems",
    "recurrent_classes",
    "stationary_distribution",
]
