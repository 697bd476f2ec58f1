"""Radau IIA collocation: its nodes, the Newton iteration of a step, the factorisations, the step control."""
