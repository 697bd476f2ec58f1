"""What claims share: the verdict over systems, paired seeds, the Donsker–Varadhan rate, random generators."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from network.config import FastSlowConfig
from network.corpus import open_corpus
from network.training_config import TrainConfig
from theory import certificate, check_generator, get_system, recurrent_classes, stationary_distribution
from theory.clock.settled import settled_gap
from verify.claim import Profile
from verify.claims import (
    learned_manifold_approaches,
    neutral_at_500k,
    neutral_at_scale,
    slow_dynamics_beyond_pooling,
    wall_clock,
)
from verify.claims._donsker_varadhan import donsker_varadhan_at
from verify.claims._generators import COUNT, condition, random_generators
from verify.claims._networks import random_configs
from verify.claims._systems import OnSystem, over_systems
from verify.claims._training import judge_neutrality, paired, planted_cells
from verify.statistics.paired import MARGIN, paired_difference, power_of_equivalence, seeds_for_equivalence
from verify.statistics.verdict import Verdict
from verify.trained.cell import training_cell

pytestmark = pytest.mark.numerical


def on(system, interval, *, predicted=1.0, reason=""):
    middle = None if interval is None else sum(interval) / 2
    return OnSystem(system, predicted, middle, interval, reason, 0.01)


def test_the_verdict_over_systems():
    good, bad, open_one = on("a", (0.99, 1.02)), on("b", (0.8, 0.9)), on("c", None, reason="too few points")
    assert over_systems("slope", [good, open_one]).verdict is Verdict.HOLDS
    assert "INCONCLUSIVE on c: too few points" in over_systems("slope", [good, open_one]).reason
    found = over_systems("slope", [good, bad, open_one])
    assert found.verdict is Verdict.VIOLATED and found.interval == (0.8, 0.9)
    found = over_systems("slope", [open_one])
    assert found.verdict is Verdict.INCONCLUSIVE and found.measured is None and "c: too few points" in found.reason


def test_an_interval_too_wide_concludes_nothing():
    assert on("a", (0.8, 1.2)).verdict is Verdict.INCONCLUSIVE and "wider than" in on("a", (0.8, 1.2)).why
    assert on("a", (0.99, 1.0)).why == ""


def test_a_measurement_that_judges_itself_is_not_overruled_by_its_interval():
    broken = OnSystem("b", 1.0, None, None, "the gap exceeds its certificate", judged=Verdict.VIOLATED)
    found = over_systems("slope", [on("a", (0.99, 1.02)), broken])
    assert found.verdict is Verdict.VIOLATED and found.interval is None
    assert "violated on b: the gap exceeds its certificate" in found.reason


@pytest.mark.parametrize("periods", [(64, 256, 1024), (512, 1024)])  # two periods give no slope
def test_the_headline_claim_is_violated_where_the_gap_exceeds_its_certificate(monkeypatch, periods):
    monkeypatch.setattr("verify.manifold_gap.error_budget.certificate", lambda A, q: 0.5 * certificate(A, q))
    monkeypatch.setattr("verify.manifold_gap.measurement.TRAIN_PAIRS", 400)
    found = learned_manifold_approaches._slope("two_state", periods, Profile())
    assert found.verdict is Verdict.VIOLATED and "exceeds its certificate" in found.why


def test_the_headline_claim_is_violated_by_another_constant(monkeypatch):
    def off(*given, **options):
        honest = settled_gap(*given, **options)
        return dataclasses.replace(honest, leading=1.02 * honest.leading)

    monkeypatch.setattr("verify.observe.clock.settled_gap", off)
    monkeypatch.setattr("verify.manifold_gap.measurement.TRAIN_PAIRS", 400)
    found = learned_manifold_approaches._slope("two_state", (64, 256, 1024), Profile())
    assert found.verdict is Verdict.VIOLATED and "not with the predicted constant" in found.why


@pytest.mark.parametrize(
    "interval, verdict",
    [
        ((1.04, 1.06), "CONSISTENT"),
        ((1.08, 1.1), "INCONSISTENT"),
        ((0.85, 0.86), "INCONSISTENT"),
        ((1.06, 1.08), "INCONCLUSIVE"),
        ((0.3, 3.0), "INCONCLUSIVE"),  # noise shows nothing
    ],
)
def test_the_wall_clock_is_judged_once_by_where_its_interval_lies(interval, verdict):
    assert wall_clock.judge(interval) == verdict


@given(st.lists(st.tuples(st.floats(1, 3), st.floats(-0.05, 0.05)), min_size=3, max_size=8))
def test_paired_differences_are_scipys(pairs):
    dense = np.array([loss for loss, _ in pairs])
    coupled = dense + np.array([difference for _, difference in pairs])
    if np.std(coupled - dense) < 1e-6:
        return
    trained = [
        {"arm": arm, "seed": seed, "validation_loss": float(loss)}
        for arm, losses in (("dense", dense), ("coupled", coupled))
        for seed, loss in enumerate(losses)
    ]
    found = paired(trained, "coupled", "dense", level=0.9)
    expected = stats.ttest_rel(coupled, dense).confidence_interval(0.9)
    assert found.interval == pytest.approx((expected.low, expected.high), rel=1e-8, abs=1e-12)
    # Two one-sided tests at 5 % are the 90 % interval within the margin.
    assert found.equivalent == (expected.low > -MARGIN and expected.high < MARGIN)


@pytest.mark.parametrize(
    "difference, spread, verdict",
    [
        (0.0, 1.0, "CONSISTENT"),
        (-0.005, 1.0, "CONSISTENT"),  # its interval excludes zero: that is no reason against equivalence
        (-0.1, 1.0, "INCONSISTENT"),
        (-0.01, 2.5, "INCONSISTENT"),  # half a layer, at the noise of the study
        (-0.004, 2.5, "INCONCLUSIVE"),
    ],
)
def test_neutrality_is_judged_by_equivalence(difference, spread, verdict):
    found = judge_neutrality(planted_cells(dense=2.1, coupled=2.1 + difference, spread=spread))
    assert found.verdict == verdict, found.reason
    dense = [cell["validation_loss"] for cell in found.details["cells"] if cell["arm"] == "dense"]
    assert found.details["noise"] == pytest.approx(np.std(dense, ddof=1))
    assert f"{found.details['seeds_needed']} seeds with 0.9" in found.reason


def test_more_seeds_do_not_destroy_neutrality():
    """A planted gain of 0.005 in [−0.0084, −0.0016] is equivalent to zero within ± 0.01: issue 15."""
    found = judge_neutrality(planted_cells(dense=2.1, coupled=2.095))
    assert found.interval[1] < 0 and found.verdict == "CONSISTENT"


def test_coupled_equal_to_dense_bit_for_bit_is_neutral():
    cells = [dict(cell) for cell in planted_cells(dense=2.1, coupled=2.1)]
    dense = {cell["seed"]: cell["validation_loss"] for cell in cells if cell["arm"] == "dense"}
    for cell in cells:
        if cell["arm"] == "coupled":
            cell |= {"validation_loss": dense[cell["seed"]], "closed_gate_loss": dense[cell["seed"]]}
    found = judge_neutrality(cells)
    assert found.verdict == "CONSISTENT" and found.effect_size == 0.0 and found.details["seeds_needed"] == 2


@pytest.mark.parametrize("seeds, deviation", [(5, 0.007), (9, 0.007), (20, 0.02)])
def test_the_power_of_equivalence_is_that_of_simulated_pairs(seeds, deviation):
    rng = np.random.default_rng(seeds)
    shown = [paired_difference(rng.normal(0.0, deviation, seeds).tolist()).equivalent for _ in range(600)]
    expected = power_of_equivalence(seeds, deviation)
    assert abs(np.mean(shown) - expected) < 4 * np.sqrt(expected * (1 - expected) / 600) + 1e-3


def test_the_seeds_that_a_margin_needs_are_the_fewest_with_the_power():
    needed = seeds_for_equivalence(0.007)
    assert power_of_equivalence(needed, 0.007) >= 0.9 > power_of_equivalence(needed - 1, 0.007)
    assert seeds_for_equivalence(0.0) == 2 and seeds_for_equivalence(10.0) is None


def test_one_seed_judges_nothing():
    one = [cell for cell in planted_cells(dense=2.1, coupled=2.1) if cell["seed"] == 0]
    assert judge_neutrality(one).verdict == "INCONCLUSIVE"


def test_an_open_gate_is_not_neutral():
    cells = [dict(cell) for cell in planted_cells(dense=2.1, coupled=2.1)]
    for cell in cells:
        if cell["arm"] == "coupled":
            cell["closed_gate_loss"] = cell["validation_loss"] + 0.2
    assert judge_neutrality(cells).verdict == "INCONSISTENT"


@pytest.mark.parametrize(
    "local, blind, verdict",
    [
        (2.1, 2.2, "CONSISTENT"),  # below both controls
        (2.0, 2.2, "INCONSISTENT"),  # equivalent to one: pooling explains it
        (1.9, 2.2, "INCONSISTENT"),  # above one
        (2.009, 2.2, "INCONCLUSIVE"),  # below one, by no more than the margin, with noise on it
    ],
)
def test_beyond_pooling_is_judged_against_both_controls(local, blind, verdict):
    trained = planted_cells(coupled=2.0, local=local, blind=blind)
    if verdict == "INCONCLUSIVE":
        trained = tuple(
            cell | {"validation_loss": cell["validation_loss"] + 0.01 * (-1) ** cell["seed"]}
            if cell["arm"] == "local"
            else cell
            for cell in trained
        )
    found = slow_dynamics_beyond_pooling.CLAIM.check(Profile("paper", trained=trained + control()))
    assert found.verdict == verdict, found.reason
    assert found.measured == pytest.approx(paired(trained, "coupled", "local").mean)
    assert "coupled − blind" in found.reason and "97.5%" in found.reason
    unseen = slow_dynamics_beyond_pooling.CLAIM.check(Profile("paper", trained=trained + control(gain=0.0)))
    assert unseen.verdict == ("CONSISTENT" if verdict == "CONSISTENT" else "INCONCLUSIVE")
    alone = slow_dynamics_beyond_pooling.CLAIM.check(Profile("paper", trained=trained))
    assert alone.verdict == "INCONCLUSIVE" and "two paired seeds of the control" in alone.reason


def control(gain=0.02):
    """Cells of the positive control, told from those of the text by their tokens."""
    return tuple(cell | {"tokens": 1_001_472} for cell in planted_cells(coupled=2.3 - gain, local=2.3))


def test_beyond_pooling_needs_both_controls_and_two_seeds():
    for trained in (planted_cells(coupled=2.0, local=2.1), planted_cells(coupled=2.0, local=2.1, blind=2.1)[:5]):
        found = slow_dynamics_beyond_pooling.CLAIM.check(Profile("paper", trained=trained))
        assert found.verdict == "INCONCLUSIVE" and "at least two paired seeds" in found.reason


def test_the_training_claims_judge_what_was_trained():
    trained = planted_cells(dense=2.1, coupled=2.1)
    found = neutral_at_scale.CLAIM.check(Profile("scale", trained=trained))
    assert found.verdict == "CONSISTENT" and found.details["path"] == []


def test_neutrality_is_told_for_each_form_of_the_gate_beside_what_it_does_on_the_control():
    text = planted_cells(dense=2.1, frozen=2.1, coupled=2.1, blind=2.1, local=2.1)
    forms = [planted_cells(coupled=2.13), planted_cells(coupled=2.1)]
    shut = planted_cells(dense=2.3, coupled=2.3)[1::2]
    opened = planted_cells(dense=2.3, coupled=2.24, gate_cost=0.1)[1::2]
    known = [planted_cells(dense=2.3), shut, opened, opened]
    trained = [cell for part in (text, *forms, *known) for cell in part]
    found = neutral_at_500k.CLAIM.check(Profile("paper", (0, 1, 2, 3, 4), trained=tuple(trained)))
    assert found.verdict == "CONSISTENT" and len(found.details["cells"]) == 25  # by the paper's gate alone
    scalar, projection, own = found.details["forms"]
    assert (scalar["opened"], projection["opened"], own["opened"]) == (0, 5, 5)
    assert scalar["text"]["equivalent"] and own["text"]["equivalent"] and not projection["text"]["equivalent"]
    assert projection["text"]["mean"] == pytest.approx(0.03, abs=2e-3)
    assert own["control"]["interval"][1] < -0.05 < scalar["control"]["interval"][0]
    assert "open in 0 of 5" in found.reason and "own objective" in found.reason
    with pytest.raises(ValueError, match="5 groups of cells for 3 forms of the gate: 6 are needed"):
        neutral_at_500k.with_forms(found, text, [*forms, *known][:-1])


def test_training_cells_are_those_of_the_studies():
    every = neutral_at_500k.CLAIM.cells(Profile("paper", (0, 1)))
    paper, forms, control = every[:10], every[10:14], every[14:]
    told = [(c.configuration["model"].get("gate"), c.configuration["training"].get("coupling_loss")) for c in forms]
    assert told == [("projection", None)] * 2 + [(None, 0.3)] * 2
    assert [c.configuration["model"].get("arm", "coupled") for c in control] == ["dense"] * 2 + ["coupled"] * 6
    assert {c.configuration["training"].get("tokens", 500_000) for c in every} == {500_000}
    assert {c.configuration["corpus"][0] for c in control} == {"regimes:s=0.5,f=1/256"}
    named = [(c.configuration["model"], c.configuration["training"]) for c in paper]
    assert [(model.get("arm", "coupled"), training.get("seed", 0)) for model, training in named] == [
        (arm, seed) for seed in (0, 1) for arm in ("dense", "frozen", "coupled", "blind", "local")
    ]
    beyond = slow_dynamics_beyond_pooling.CLAIM.cells(Profile("paper", (0, 1)))
    assert [c.key for c in beyond[:-4]] == [c.key for c in paper]
    assert {c.configuration["corpus"][0] for c in beyond[-4:]} == {"regimes:s=0.5,f=1/256"}
    training = TrainConfig(seed=1, evaluations=5, eval_tokens=32_768)
    config = FastSlowConfig(arm="coupled")
    corpus = {"corpus": ["shakespeare"], "sha256": open_corpus("shakespeare").sha256}
    assert training_cell(config, training, **corpus).key == paper[7].key
    assert neutral_at_500k.CLAIM.cells(Profile()) == neutral_at_scale.CLAIM.cells(Profile("paper")) == []


def test_scale_trains_ten_million_tokens_of_another_corpus(monkeypatch):
    asked = []

    def small(spec):
        asked.append(list(spec))
        return open_corpus("shakespeare")

    monkeypatch.setattr("network.corpus.open_corpus", small)
    cells = neutral_at_scale.CLAIM.cells(Profile("scale", (0, 1)))
    assert asked == [["source"]] and len({cell.key for cell in cells}) == 8
    assert {cell.configuration["training"]["tokens"] for cell in cells} == {10_000_000}


def test_the_path_at_scale_is_paired_along_the_way():
    def cell(arm, seed, *losses):
        path = [
            {"tokens": 100 * (k + 1), "validation_loss": loss, "closed_gate_loss": loss + 0.25, "gate": 0.5 * seed}
            for k, loss in enumerate(losses)
        ]
        return {"arm": arm, "seed": seed, "path": path}

    one = [cell("dense", 0, 3.0, 2.0), cell("coupled", 0, 3.5, 1.75), cell("coupled", 1, 3.0, 1.5)]
    assert neutral_at_scale._path(one)[1] == {
        "tokens": 200, "coupled − dense": -0.25, "gate": 0.0, "cost of shutting the gate": 0.25, "seeds": 1,
    }  # fmt: skip
    rows = neutral_at_scale._path([*one, cell("dense", 1, 2.0, 2.0)])
    assert [row["coupled − dense"] for row in rows] == [0.75, -0.375] and rows[0]["gate"] == 0.25
    assert neutral_at_scale._path([]) == []


def detailed_balance_rate(A, q):
    """I(q) = Σ q_i|A_ii| − Σ_{i≠j} √(q_i q_j A_ij A_ji), exact under detailed balance alone."""
    off = A - np.diag(np.diag(A))
    return float(-q @ np.diag(A) - np.sqrt(np.outer(q, q) * off * off.T).sum())


@given(st.integers(0, 10**6))
def test_the_rate_is_the_closed_form_under_detailed_balance_and_zero_at_p(seed):
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(5)) + 0.01, rng.dirichlet(np.ones(5)) + 0.01
    p, q = p / p.sum(), q / q.sum()
    flow = rng.exponential(size=(5, 5))
    A = (flow + flow.T) / p[None, :]
    np.fill_diagonal(A, 0.0)
    A = (A - np.diag(A.sum(0))) / np.abs(A).max()
    assert donsker_varadhan_at(A, q)[0] == pytest.approx(detailed_balance_rate(A, q), rel=1e-9, abs=1e-13)
    assert abs(donsker_varadhan_at(A, p)[0]) < 1e-13


def test_the_gradient_of_the_rate_without_detailed_balance():
    A = get_system("driven_cycle").A(torch.zeros(2, dtype=torch.float64)).numpy()
    p = stationary_distribution(A)
    q = np.array([0.1, 0.3, 0.2, 0.15, 0.25])
    value, gradient = donsker_varadhan_at(A, q)
    assert value > 0 and abs(donsker_varadhan_at(A, p)[0]) < 1e-13
    direction, h = np.array([1.0, -2.0, 0.5, 0.0, 0.5]), 1e-6
    difference = donsker_varadhan_at(A, q + h * direction)[0] - donsker_varadhan_at(A, q - h * direction)[0]
    assert gradient @ direction == pytest.approx(difference / (2 * h), rel=1e-7)


def test_there_are_a_thousand_irreducible_generators():
    count = 0
    for A in random_generators(3):
        check_generator(A)
        assert all(len(recurrent_classes(a)) == 1 and len(recurrent_classes(a)[0]) == len(a) for a in A[:5])
        dense, sparse, metastable = A[::3], A[1::3], A[2::3]
        assert bool((condition(A) >= 1).all()) and not bool((dense == 0).any())
        assert bool((sparse == 0).any()) == (A.shape[-1] > 2)
        if A.shape[-1] > 2:  # two states have one time scale
            assert float(condition(metastable).median()) > 300 * float(condition(dense).median())
        count += len(A)
    assert count == COUNT == 1000


def test_random_configurations_are_valid_and_differ():
    found = list(random_configs(0, arms=("coupled", "local")))
    assert len(set(found)) == len(found) == 100 and {config.arm for config in found} == {"coupled", "local"}
    assert any(config.block_size % config.period for config in found)
