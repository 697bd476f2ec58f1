"""The positive control as a claim: what it calls seen, unseen and undecided, and which cells it asks for."""

from fractions import Fraction

import pytest

from verify.claim import Profile
from verify.claims import coupling_is_seen_where_it_exists as seen
from verify.corpus import Regimes
from verify.trained import control
from verify.trained.cell import canonical_training, training_cell

SEEDS = (0, 1, 2, 3, 4)
OWN = (0.0002, -0.0003, 0.0001, -0.0002, 0.0002)  # what an arm's seeds do beside what they share


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path_factory.getbasetemp() / "regimes"))


def rows(**losses):
    return [
        {
            "arm": arm,
            "seed": seed,
            "validation_loss": loss + 0.004 * seed + OWN[(seed + n) % 5],
            "closed_gate_loss": 2.3,
        }
        for seed in SEEDS
        for n, (arm, loss) in enumerate(losses.items())
    ]


@pytest.mark.parametrize(
    "strong, null, verdict",
    [
        ({"coupled": 2.18, "blind": 2.24}, 2.37, "CONSISTENT"),
        ({"coupled": 2.24, "blind": 2.24}, 2.37, "INCONSISTENT"),  # it stays shut
        ({"coupled": 2.225, "blind": 2.24}, 2.37, "INCONSISTENT"),  # it pays a fifth of the gap
        ({"coupled": 2.18, "blind": 2.235}, 2.37, "INCONSISTENT"),  # capacity pays too
        ({"coupled": 2.18, "blind": 2.24}, 2.36, "INCONSISTENT"),  # it pays where nothing is
        ({"coupled": 2.18, "blind": 2.2382}, 2.37, "INCONCLUSIVE"),  # neither zero nor more
    ],
)
def test_it_is_judged_by_gain_share_and_both_controls(strong, null, verdict):
    found = seen.judge(rows(dense=2.24, **strong), rows(dense=2.37, coupled=null), 2.165)
    assert found.verdict == verdict, found.reason
    assert found.measured == pytest.approx(strong["coupled"] - 2.24, abs=1e-3) and len(found.details["shares"]) == 5


def test_the_share_is_of_what_the_dense_model_of_the_same_seed_left():
    found = seen.judge(rows(dense=2.24, coupled=2.20, blind=2.24), rows(dense=2.37, coupled=2.37), 2.16)
    for seed, share in enumerate(found.details["shares"]):
        dense, coupled = 2.24 + 0.004 * seed + OWN[seed % 5], 2.20 + 0.004 * seed + OWN[(seed + 1) % 5]
        assert share == pytest.approx((dense - coupled) / (dense - 2.16))


def test_one_seed_says_nothing():
    assert seen.judge(rows(dense=2.24, coupled=2.18, blind=2.24)[:3], [], 2.165).verdict == "INCONCLUSIVE"


def test_its_cells_are_five_a_seed_and_the_check_divides_them(monkeypatch):
    profile = Profile("paper", (0, 1))
    cells = seen.CLAIM.cells(profile)
    told = [(c.configuration["model"].get("arm", "coupled"), c.configuration["training"].get("seed", 0)) for c in cells]
    assert told == [(a, s) for s in (0, 1) for a in seen.ARMS] + [(a, s) for s in (0, 1) for a in seen.ARMS[:2]]
    assert [c.configuration["corpus"] for c in cells] == [["regimes:s=0.7,f=1/256"]] * 6 + [["regimes:s=0,f=1/256"]] * 4
    trained = tuple(rows(dense=2.24, coupled=2.18, blind=2.24) + rows(dense=2.37, coupled=2.37))
    monkeypatch.setattr(control, "best_loss", lambda s: 2.165)
    assert seen.CLAIM.check(Profile("paper", SEEDS, trained=trained)).verdict == "CONSISTENT"


def test_a_control_cell_is_read_by_a_person_and_knows_what_its_arm_does_not_use():
    cell = control.control_cell("coupled", 3, f=Fraction(1, 64))
    assert cell.file.startswith("regimes-s-0.7-f-1-64-coupled-2+1-P8-w4-own0.3-T256-1M-seed3-")
    dense = control.control_cell("dense", 3)
    assert "coupling_loss" not in dense.configuration["training"]
    assert dense.key == control.control_cell("dense", 3, objective=0.0, period=32, gate="projection").key
    assert control.control_cell("local", 0, objective=0.0).key != control.control_cell("local", 0).key
    training = control.TrainConfig(coupling_loss=0.5, gate_rate=2.0)
    assert canonical_training(training, "blind") == training != canonical_training(training, "frozen")


def test_a_small_control_trains_and_reports_its_shares(tmp_path, monkeypatch):
    from network.config import FastSlowConfig
    from network.training_config import TrainConfig
    from verify.ablation import Ablation, measure

    source = Regimes(length=20_010, n=6, f=Fraction(1, 8))
    model = FastSlowConfig(block_size=64, n_layer=1, n_embd=16, n_head=2, attention_window=2)
    training = TrainConfig(tokens=4096, evaluations=1, eval_tokens=512, coupling_loss=0.2)
    found = measure(
        model, training, corpus=[source.name], folder=tmp_path, arms=("dense", "coupled"), seeds=(0,), rounds=0, jobs=1
    )
    assert not found.failed and set(found.answer) == {"known", "filter", "phase_known", "order_1", "window_2"}
    dense, coupled = found.shares
    assert dense["closed"] is None
    losses = {cell.arm: cell.validation_loss for cell in found.cells}
    assert coupled["closed"] == pytest.approx(
        (losses["dense"] - losses["coupled"]) / (losses["dense"] - found.answer["filter"])
    )
    assert "exact losses: known" in found.table() and "of dense − filter" in found.table()
    assert Ablation.from_json(found.to_json()) == found
    assert training_cell(model, training, corpus=[source.name], sha256=found.settings["sha256"]).configuration[
        "corpus"
    ] == [source.name]
