"""The figures that the notebooks show, one module for each of their subjects."""
