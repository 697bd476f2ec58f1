"""Compilation where nothing can be cached, and the Runge-Kutta pair of the fast-slow jumps against SciPy's."""

import numpy as np
import pytest
import torch
from scipy.integrate import RK45

from theory import compiled
from theory.jumps import dormand_prince
from theory.jumps.dormand_prince import dormand_prince_step

pytestmark = pytest.mark.numerical


def test_kernels_compile_where_no_cache_location_is_writable(monkeypatch):
    real, asked = compiled.njit, []

    def read_only(**options):
        asked.append(options.get("cache", False))
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
        return real(**options)

    monkeypatch.setattr(compiled, "njit", read_only)
    assert compiled.compiled(_one_over.__wrapped__)(0.0) == np.inf
    assert asked == [True, False]

    def broken(**options):
        raise RuntimeError("something else")

    monkeypatch.setattr(compiled, "njit", broken)
    with pytest.raises(RuntimeError, match="something else"):
        compiled.compiled(_one_over.__wrapped__)


def _plain(x):
    return 1.0 / x


def _one_over(x):
    return _plain(x)


_one_over.__wrapped__ = _plain


def test_the_tables_are_those_of_scipy():
    for ours, theirs in zip(dormand_prince._STAGES[1:6], RK45.A[1:], strict=True):
        np.testing.assert_allclose(ours, theirs[: len(ours)], rtol=1e-15)
    np.testing.assert_allclose(dormand_prince._STAGES[6], RK45.B, rtol=1e-15)
    np.testing.assert_allclose(dormand_prince._ERROR, RK45.E, rtol=1e-12)
    np.testing.assert_allclose(dormand_prince._BETWEEN, RK45.P, rtol=1e-12)


def test_local_errors_of_order_six_at_the_end_and_five_between():
    def f(z):
        return torch.stack([z[:, 1], -z[:, 0] * (1 + 0.3 * z[:, 0] ** 2)], -1)

    def reached(z, duration, steps):
        for _ in range(steps):
            z = dormand_prince_step(f, z, torch.full((2,), duration / steps, dtype=torch.float64)).end
        return z

    start = torch.tensor([[1.0, 0.2], [0.3, -1.0]], dtype=torch.float64)
    half = torch.full((2,), 0.5, dtype=torch.float64)
    sizes, at_end, between, stated = np.array([0.4, 0.2, 0.1]), [], [], []
    for h in sizes:
        step = dormand_prince_step(f, start, torch.full((2,), h, dtype=torch.float64))
        at_end.append(float((step.end - reached(start, h, 64)).abs().max()))
        between.append(float((step.at(half) - reached(start, h / 2, 64)).abs().max()))
        stated.append(float(step.error.max()))
    for errors, order in ((at_end, 6), (between, 5)):
        slopes = np.diff(np.log(errors)) / np.diff(np.log(sizes))
        assert (np.abs(slopes - order) < 0.7).all()
    assert (np.array(stated) > at_end).all(), "the estimate belongs to the lower order, so it is the larger one"
    one_row = step.at(half[:1], torch.tensor([False, True]))
    torch.testing.assert_close(one_row, step.at(half)[1:])
