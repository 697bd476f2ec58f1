"""The headline at an eighth of its pairs and cells in the process of the test, for what does not depend on either."""

import inline_cells
import pytest


@pytest.fixture(autouse=True)
def few_pairs(request, monkeypatch):
    """400 training pairs and 50 test points by default; a test marked `all_pairs` has them all."""
    if request.node.get_closest_marker("all_pairs") is None:
        monkeypatch.setattr("verify.manifold_gap.measurement.TRAIN_PAIRS", 400)
        monkeypatch.setattr("verify.manifold_gap.measurement.TEST_POINTS", 50)


@pytest.fixture(autouse=True)
def cells_here(request, monkeypatch):
    """No worker is started; a test marked `workers` has them."""
    if request.node.get_closest_marker("workers") is None:
        monkeypatch.setattr(inline_cells.PLACE, inline_cells.in_this_process)
