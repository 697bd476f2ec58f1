"""Generators, stationary distributions and slow manifolds of singularly perturbed fast-slow systems.

Column convention: A_ij is the rate j -> i, columns sum to zero, dp/dt = A p.
"""

from theory.distance import total_variation
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
from theory.group_inverse import certificate, group_inverse, sensitivity, solve_sum_zero, spectral_gap
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
    "certificate",
    "check_generator",
    "from_rates",
    "from_row_convention",
    "get_system",
    "group_inverse",
    "list_systems",
    "recurrent_classes",
    "sensitivity",
    "solve_sum_zero",
    "spectral_gap",
    "stationary_distribution",
    "total_variation",
]
