"""Generators, stationary distributions and slow manifolds of singularly perturbed fast-slow systems.

Column convention: A_ij is the rate j -> i, columns sum to zero, dp/dt = A p.
"""

import importlib
from types import ModuleType

from theory.chain.absorption import hitting_probabilities
from theory.chain.attention import AttentionChain, attention_chain
from theory.chain.classes import StationaryDistributions, stationary_distributions
from theory.chain.distance import total_variation
from theory.chain.first_passage import kemeny_constant, mean_first_passage_times
from theory.chain.inverse import certificate, group_inverse, sensitivity, solve_sum_zero
from theory.chain.lumping import is_lumpable, lump
from theory.chain.master_equation import (
    entropy_production,
    has_detailed_balance,
    propagate,
    relative_entropy,
    relaxation_radius,
)
from theory.chain.occupation import (
    expected_occupation_tv,
    occupation_chi2,
    occupation_covariance,
    occupation_interval,
    occupation_mean,
    occupation_variance,
)
from theory.chain.relaxation import relaxation_times, spectral_gap
from theory.chain.sparse_response import rate_gradient
from theory.clock.blocks import TokenBlocks, token_clock
from theory.clock.settled import predicted_gap
from theory.clock.stream_identity import (
    BlockCounts,
    StreamIdentity,
    count_blocks,
    identity_of_counts,
    stream_identity,
)
from theory.errors import (
    FastSlowSystemError,
    GeneratorError,
    NotUniqueError,
    NumericalError,
    SimulationError,
    Status,
)
from theory.fast_slow import FastSlowSystem
from theory.flow import ReducedTrajectory, Trajectory, Trust, list_methods, reduced_flow, simulate, trust
from theory.generators.checks import check_generator, recurrent_classes
from theory.generators.doors import from_counts, from_rates, from_row_convention, from_transition_matrix
from theory.generators.nearest import nearest_generator, nearest_generator_shift
from theory.jumps.fast_slow import FastSlowJumps, sample_fast_slow_jumps
from theory.jumps.process import JumpPath, sample_jumps
from theory.jumps.tokens import sample_tokens, token_frequency_covariance
from theory.manifold.orders import first_order, invariance_residual, slow_manifold
from theory.manifold.self_driven import self_driven_first_order
from theory.stationary.distribution import stationary_distribution
from theory.stationary.enclosure import enclosure
from theory.systems import get_system, list_systems

__all__ = [
    "AttentionChain",
    "BlockCounts",
    "FastSlowJumps",
    "FastSlowSystem",
    "FastSlowSystemError",
    "GeneratorError",
    "JumpPath",
    "NotUniqueError",
    "NumericalError",
    "ReducedTrajectory",
    "SimulationError",
    "StationaryDistributions",
    "Status",
    "StreamIdentity",
    "TokenBlocks",
    "Trajectory",
    "Trust",
    "attention_chain",
    "certificate",
    "check_generator",
    "count_blocks",
    "enclosure",
    "entropy_production",
    "expected_occupation_tv",
    "first_order",
    "from_counts",
    "from_rates",
    "from_row_convention",
    "from_transition_matrix",
    "get_system",
    "group_inverse",
    "has_detailed_balance",
    "hitting_probabilities",
    "identity_of_counts",
    "invariance_residual",
    "is_lumpable",
    "kemeny_constant",
    "list_methods",
    "list_systems",
    "lump",
    "mean_first_passage_times",
    "nearest_generator",
    "nearest_generator_shift",
    "occupation_chi2",
    "occupation_covariance",
    "occupation_interval",
    "occupation_mean",
    "occupation_variance",
    "predicted_gap",
    "propagate",
    "rate_gradient",
    "recurrent_classes",
    "reduced_flow",
    "relative_entropy",
    "relaxation_radius",
    "relaxation_times",
    "sample_fast_slow_jumps",
    "sample_jumps",
    "sample_tokens",
    "self_driven_first_order",
    "sensitivity",
    "simulate",
    "slow_manifold",
    "solve_sum_zero",
    "spectral_gap",
    "stationary_distribution",
    "stationary_distributions",
    "stream_identity",
    "token_clock",
    "token_frequency_covariance",
    "total_variation",
    "trust",
]


def __getattr__(name: str) -> ModuleType:
    # SymPy takes a second to import: `theory.symbolic` is there when it is asked for.
    if name == "symbolic":
        return importlib.import_module("theory.symbolic")
    raise AttributeError(f"module 'theory' has no attribute {name!r}; `dir(theory)` lists its names")


def __dir__() -> list[str]:
    return sorted(__all__)
