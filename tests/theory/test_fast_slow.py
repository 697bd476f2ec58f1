"""FastSlowSystem: what it refuses, and that every refusal names A or g and the y."""

import dataclasses

import pytest
import torch

import theory

GOOD = theory.get_system("two_state")


def changed(**fields):
    return dataclasses.replace(GOOD, **fields)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"n_states": 0}, "n_states must be an integer >= 1"),
        ({"n_slow": 1.0}, "n_slow must be an integer >= 1"),
        ({"low": [0.0, 1.0]}, "low must hold n_slow = 1"),
        ({"high": float("inf")}, "high must hold"),
        ({"low": 1.0, "high": 1.0}, "low must lie below high"),
        ({"generator": None}, "generator must be a function"),
        ({"low": "a"}, "low must hold numbers, got 'a'"),
        ({"high": None}, "high must hold numbers, got None"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(theory.FastSlowSystemError, match=message):
        changed(**fields)


def test_all_fields_are_kept():
    import numpy as np

    assert changed(n_states=np.int64(2)).n_states == 2
    assert GOOD.n_states == 2 and GOOD.n_slow == 1 and GOOD.name == "two_state"
    assert torch.equal(GOOD.low, torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize(
    "generator, message",
    [
        (lambda y: torch.zeros(*y.shape[:-1], 3, 3, dtype=y.dtype), r"generator\(y\).*shape"),
        (lambda y: GOOD.generator(y).float(), r"generator\(y\).*dtype"),
        (lambda y: GOOD.generator(y).to("meta"), r"generator\(y\).*device"),
        (lambda y: 1.0, r"generator\(y\).*float"),
    ],
)
def test_a_generator_that_changes_its_kind_is_named_with_y(generator, message):
    with pytest.raises(theory.FastSlowSystemError, match=message):
        changed(generator=generator).A(GOOD.uniform(3, seed=0))


def test_a_slow_map_of_the_wrong_shape_is_named():
    system = changed(slow=lambda x, y: x)
    y = GOOD.uniform(3, seed=0)
    with pytest.raises(theory.FastSlowSystemError, match=r"the map g.*shape \[3, 2\] where \[3, 1\]"):
        system.g(GOOD.stationary(y), y)


def test_a_bad_generator_is_named_with_its_y():
    system = changed(generator=lambda y: GOOD.generator(y) * torch.where(y[..., None] > 0.5, -1.0, 1.0))
    with pytest.raises(theory.GeneratorError, match=r"at y = \[0\.7.*negative rate"):
        system.check_at(torch.tensor([[0.2], [0.7]], dtype=torch.float64))


def test_nan_in_a_of_y_is_named_with_its_y():
    system = changed(generator=lambda y: GOOD.generator(y) + torch.where(y[..., None] > 0.5, torch.nan, 0.0))
    with pytest.raises(theory.GeneratorError, match=r"at y = \[0\.7.*non-finite"):
        system.check_at(torch.tensor([[0.2], [0.7]], dtype=torch.float64))


def test_uniform_is_reproducible_inside_the_box_and_leaves_the_global_seed_alone():
    before = torch.get_rng_state()
    y = GOOD.uniform(100, seed=3)
    assert torch.equal(y, GOOD.uniform(100, seed=3)) and not torch.equal(y, GOOD.uniform(100, seed=4))
    assert bool(GOOD.inside(y).all()) and not bool(GOOD.inside(y + 2.0).any())
    assert torch.equal(before, torch.get_rng_state())


def test_systems_are_found_by_file_name():
    names = theory.list_systems()
    assert {"two_state", "driven_cycle", "birth_death", "double_well", "sodium_channel"} <= set(names)
    with pytest.raises(ValueError, match=r"unknown system 'nowhere'.*driven_cycle"):
        theory.get_system("nowhere")
