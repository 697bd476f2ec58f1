"""Trajectories of the full stiff system, batched, and of the reduced one on its slow manifold."""

from theory.flow.reduced import ReducedTrajectory, reduced_flow
from theory.flow.reduction import Trust, trust
from theory.flow.solve import list_methods, simulate
from theory.flow.trajectory import Stats, Trajectory

__all__ = ["ReducedTrajectory", "Stats", "Trajectory", "Trust", "list_methods", "reduced_flow", "simulate", "trust"]
