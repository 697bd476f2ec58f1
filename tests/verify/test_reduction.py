"""The reduction command: its JSON, its exit codes, and what it says of systems without an order."""

import dataclasses
import json

import pytest
import torch

import theory
from verify.reduction.command import main
from verify.reduction.judgement import judge
from verify.statistics.verdict import Verdict


@pytest.mark.numerical
def test_predicted_and_measured_agree(tmp_path, capsys):
    assert main(["--system", "two_state", "--tolerance", "0.002", "--out", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "reduction.json").read_text())
    assert printed["verdict"] == "HOLDS" and "order 0 is within 0.2 % for ε ≤" in printed["reason"]
    for one in printed["orders"]:
        for v in ("x", "y"):
            if not one["pre_asymptotic"][v]:
                assert abs(one["predicted_over_measured"][v] - 1) < 0.2
            low, high = one["eps_interval"][v]
            assert low <= one["eps"][v] <= high
    assert (tmp_path / "reduction.png").stat().st_size > 0 and (tmp_path / "reduction.svg").stat().st_size > 0


def test_a_manifold_that_does_not_move_has_no_first_order():
    base = theory.get_system("two_state")
    A = base.A(torch.tensor([0.5], dtype=torch.float64))
    still = dataclasses.replace(
        base, generator=lambda y: A.expand(*y.shape[:-1], 2, 2) + 0 * y[..., None], slow=lambda x, y: 0.3 - y
    )
    found = theory.trust(still, 0.01, starts=3)
    assert found.predicted == (None, None) and found.orders[0].reason["x"].endswith("(φ₁ = 0)")
    assert judge(found)[0] is Verdict.INCONCLUSIVE


def test_a_wrong_prediction_is_violated():
    found = theory.trust(theory.get_system("two_state"), 0.002, starts=4)
    one = found.orders[0]
    wrong = dataclasses.replace(one, ratio={v: 1.5 * (one.ratio[v] or 1.0) for v in ("x", "y")})
    assert judge(dataclasses.replace(found, orders=(wrong, found.orders[1])))[0] is Verdict.VIOLATED


@pytest.mark.parametrize("words", [["--system", "nobody"], ["--tolerance", "2"], ["--tolerance", "-1"], ["--eps", "x"]])
def test_usage(words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2


def test_bad_arguments_of_trust():
    system = theory.get_system("two_state")
    for keywords, name in (({"tolerance": 0.0}, "tolerance"), ({"starts": 1}, "starts"), ({"span": -1.0}, "span")):
        with pytest.raises(ValueError, match=name):
            theory.trust(system, **keywords)
