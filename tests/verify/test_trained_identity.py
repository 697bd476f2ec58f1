"""The rooms of a tiny generator network: what they find, and what they refuse."""

import json
from dataclasses import replace

import pytest
import torch

import verify
from network import FastSlowConfig, FastSlowLM, GeneratorLM
from network.corpus import open_corpus
from network.data import load_data
from network.run_folder import describe_run
from network.training import train
from theory import certificate, reduced_flow, simulate, slow_manifold, solve_sum_zero, stationary_distribution
from verify.manifold_gap import measure
from verify.statistics.verdict import Verdict
from verify.trained.identity.adamw import by_adamw
from verify.trained.identity.room_exact import exact_room, token_classes
from verify.trained.identity.room_own_world import asymptotic, judge, own_world_room
from verify.trained.identity.rooms import slope_of
from verify.trained.identity.run import DEFAULT_MODEL, DEFAULT_TRAINING, trained_run
from verify.trained.identity.text_states import resampled, stretches, text_states


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    rng = torch.Generator().manual_seed(0)
    words = ["the", "slow", "variable", "drives", "fast", "states", "and", "what", "holds", "follows", "a", "generator"]
    for number in range(6):
        drawn = torch.multinomial(torch.rand(len(words), generator=rng), 3000, replacement=True, generator=rng)
        (folder / f"{number}.txt").write_text(" ".join(words[k] for k in drawn.tolist()))
    corpus = open_corpus(folder)
    data = load_data(corpus, letters=True, cache=tmp_path_factory.mktemp("cache"))
    model = replace(DEFAULT_MODEL, block_size=64, n_embd=16)
    training = replace(DEFAULT_TRAINING, tokens=40 * 4 * 64, batch_size=4, eval_tokens=512)
    found = train(model, training, data=data).model
    return trained_run("tiny", found, corpus, data, describe_run(model, training, data))


@pytest.fixture(scope="module")
def states(run):
    training = text_states(run.model, run.training, run.training_ends, most=60_000)
    return training, text_states(run.model, run.validation, run.validation_ends, most=20_000).sample(60, seed=0)


@pytest.fixture(scope="module")
def exact(run, states):
    with pytest.MonkeyPatch.context() as small:
        small.setattr("verify.trained.identity.room_exact.REPLICATES", 3)
        small.setattr("verify.trained.identity.room_exact.STRETCHES", 4)
        return exact_room(run.training, states[0], run.data.tokenizer, 27)


@pytest.mark.numerical
def test_the_exact_room_holds_and_its_mutants_do_not(run, exact):
    room = exact
    assert str(room.verdict) == "HOLDS" and room.constant_ratio == 1.0
    assert max(row["residual"] for row in room.rows) <= 1e-13
    assert min(row["swapped_residual"] for row in room.rows) > 1e-8
    assert {row["period"] for row in room.rows} == {4, 8, 16, 32, 64, 128, 256, 512}
    classes = token_classes(run.data.tokenizer, 27)
    assert classes[0] != classes[1] and classes[1] == classes[5] and classes[2] == classes[26]


@pytest.mark.numerical
def test_the_own_world_obeys_theory_and_a_wrong_theory_is_violated(run, states):
    training, held_out = states
    held_out = held_out.sample(30, seed=0)
    small = {"adamw": False, "sizes": (300, 2000), "periods": (2, 16, 256)}
    room = own_world_room(run.model, run.training, training, held_out, **small)
    assert room.facts["certified"] and max(row["pooling_residual"] for row in room.rows) < 1e-6
    assert str(room.verdict) in ("HOLDS", "INCONCLUSIVE")  # a tiny φ_θ need not reach the floor that HOLDS asks for
    other = held_out.take((torch.arange(len(held_out)) + 1) % len(held_out))
    wrong = own_world_room(run.model, run.training, training, held_out, **small, theory_at=other)
    assert wrong.verdict is Verdict.VIOLATED and "block means miss" in wrong.reason


def test_the_judgement():
    rows = [{"period": 2**k, "gap_tv": 0.1 / 2**k, "predicted_tv": 0.1 / 2**k, "residual": 0.0} for k in range(1, 11)]
    holds = judge(rows, 1.0, (0.999, 1.001), 1e-6, True, 1e-12)
    assert holds[0] is Verdict.HOLDS and holds[2] == 1.0
    assert judge(rows, 1.0, (0.999, 1.001), 1e-6, False, 1e-12)[0] is Verdict.VIOLATED
    assert judge(rows, 1.0, (0.999, 1.001), 1e-4, True, 1e-12)[0] is Verdict.INCONCLUSIVE
    assert judge(rows[:5], 1.0, (0.999, 1.001), 1e-6, True, 1e-12)[0] is Verdict.INCONCLUSIVE
    assert judge(rows, 1.03, (1.02, 1.04), 1e-6, True, 1e-12)[0] is Verdict.VIOLATED
    unlearned = [row | {"residual": 0.5 * row["gap_tv"], "gap_tv": 1.2 * row["gap_tv"]} for row in rows]
    assert judge(unlearned, 1.0, (0.999, 1.001), 1e-6, True, 1e-12)[0] is Verdict.INCONCLUSIVE
    assert judge(rows, 1.0, (1.0, 1.0), 1e-6, True, 1e-3)[0] is Verdict.VIOLATED
    assert judge([], None, None, 1e-6, True, 1e-3)[0] is Verdict.VIOLATED
    unsolved = judge(rows, 1.0, (0.999, 1.001), 1e-6, True, 1e-12, ["P = 2 (gradient 4e-05)"])
    assert unsolved[0] is Verdict.INCONCLUSIVE and "NOT SOLVED at P = 2" in unsolved[1]


def test_coarse_blocks_that_theory_gives_another_slope_stay_out_of_the_judgement():
    """A chain that remembers three tokens: P × predicted grows until then, and a fit that follows is not to blame."""
    periods = [2**k for k in range(1, 12)]
    gaps = [(1 - 0.7**P) / P for P in periods]
    rows = [
        {"period": P, "gap_tv": gap, "predicted_tv": gap, "residual": 0.0} for P, gap in zip(periods, gaps, strict=True)
    ]
    settled = asymptotic(rows)
    assert 2 < settled[0]["period"] <= 16 and settled[-1] is rows[-1]
    slope = slope_of(settled)
    assert judge(settled, slope, (slope, slope), 1e-6, True, 1e-12)[0] is Verdict.HOLDS
    assert judge(rows, slope_of(rows), (0.9, 0.91), 1e-6, True, 1e-12)[0] is Verdict.VIOLATED  # what it was called
    assert asymptotic(settled) == settled and asymptotic([]) == []
    short = asymptotic(rows[:6])  # nowhere slope one: too few rows are left to judge
    assert judge(short, None, None, 1e-6, True, 1e-12)[0] is Verdict.INCONCLUSIVE


def test_a_room_with_one_label_left_has_no_other_label(run, states):
    """Another label's chain is then the label itself, whose residual is rounding: no mutant, and no VIOLATED."""
    with pytest.MonkeyPatch.context() as small:
        small.setattr("verify.trained.identity.room_exact.LABELS", 1)
        small.setattr("verify.trained.identity.room_exact.PERIODS", (16,))
        small.setattr("verify.trained.identity.room_exact.REPLICATES", 2)
        small.setattr("verify.trained.identity.room_exact.token_classes", lambda *_: torch.zeros(27).long())
        room = exact_room(run.training, states[0], run.data.tokenizer, 27)
    assert {row["other_residual"] for row in room.rows} == {None} and str(room.verdict) == "HOLDS"


@pytest.fixture(scope="module")
def text(run, states):
    """Room 3 at a size that a test can wait for."""
    from verify.trained.identity import room_text

    training, held_out = states
    with pytest.MonkeyPatch.context() as small:
        small.setattr(room_text, "PERIODS", (4, 16, 64))
        small.setattr(room_text, "CELLS", 60)
        small.setattr(room_text, "FEATURES", 3)
        return room_text.text_room(run.model, run.training, training, held_out)


@pytest.mark.numerical
def test_a_fit_that_is_not_solved_is_said_aloud(run, states, monkeypatch):
    from verify.trained.identity import room_text

    monkeypatch.setattr(room_text, "PERIODS", (4,))
    monkeypatch.setattr(room_text, "CELLS", 20)
    monkeypatch.setattr(room_text, "FEATURES", 1)
    honest = room_text.fit_kernel
    monkeypatch.setattr(room_text, "fit_kernel", lambda *a, **k: replace(honest(*a, **k), converged=False))
    room = room_text.text_room(run.model, run.training, states[0].sample(400, seed=0), states[1])
    assert "NOT SOLVED at P = 4" in room.reason and not room.facts["converged"] and not room.rows[0]["converged"]


@pytest.mark.thorough
@pytest.mark.numerical
def test_the_text_room_ends_and_accounts_for_its_gap(text):
    assert str(text.verdict) == "MEASURED" and [row["period"] for row in text.rows] == [4, 16, 64]
    for row in text.rows:
        assert row["converged"] and max(row["kernel_gradient"], row["newton_gradient"]) <= 1e-9
        assert row["calibration_moment"] < 1e-8  # the kernel is solved: the mean of ψ ⊗ δ is zero
        # φ − p_st is boundary + calibration + rest at every point, so their sizes bound one another.
        parts = row["predicted_tv"] + row["calibration_tv"] + row["residual"]
        assert row["gap_tv"] <= parts * (1 + 1e-12)
        assert row["residual"] < row["gap_tv"] < row["other_gap_tv"]
    # Words drawn at random: letters forget within a word, so that the boundary ∝ 1/P is most of the gap.
    assert text.slope == pytest.approx(1, abs=0.25)
    assert text.slope_interval[0] < text.slope < text.slope_interval[1]


@pytest.mark.numerical
def test_the_parts_of_the_text_gap_are_exact_block_by_block(run, states):
    """m⁺ − p = A^# K b / P − A^# δ for every single block, whatever the kernel."""
    some, P = states[0].sample(40, seed=1), 8
    some = some.take(some.start + P < len(run.training))
    A = run.model.generator(some.y)
    p, eye = stationary_distribution(A), torch.eye(27, dtype=torch.float64)
    blocks = eye[run.training[some.start[:, None] + torch.arange(P + 1)]]
    after, before, ends = blocks[:, 1:].mean(1), blocks[:, :-1].mean(1), blocks[:, -1] - blocks[:, 0]
    K = A + eye
    v = (K @ ends[..., None])[..., 0] / P - (after - (K @ before[..., None])[..., 0])
    torch.testing.assert_close(after - p, solve_sum_zero(A, v - p * v.sum(-1, keepdim=True), p), rtol=0, atol=1e-11)


def test_the_certificate_bounds_the_networks_own_phi_at_every_point(run, states):
    system, y = verify.as_system(run.model), states[1].y
    phi, A = run.model.phi_theta(y), system.A(y)
    gap = 0.5 * (phi - stationary_distribution(A)).abs().sum(-1)
    assert bool((gap <= certificate(A, phi)).all()) and float(gap.max()) > 1e-3
    with pytest.raises(ValueError, match="got a network of arm 'dense': train one with --arm generator"):
        verify.as_system(FastSlowLM(FastSlowConfig(arm="dense")))


def test_every_tool_of_theory_takes_a_network():
    """Three tokens: what is compiled for a system grows with its entries."""
    config = FastSlowConfig(arm="generator", vocab_size=3, n_embd=8, n_head=2, n_slow=1, period=4)
    model = GeneratorLM(config, generator=torch.Generator().manual_seed(0))
    system = verify.as_system(model)
    y = torch.tensor([[-0.4], [0.3]], dtype=torch.float64)
    t, eps = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64), 0.01
    p = stationary_distribution(system.A(y))
    flow = simulate(system, p, y, t, eps)
    slow = reduced_flow(system, y, t)
    assert float((flow.y - slow.y).abs().max()) < 5 * eps  # Tikhonov: O(ε) on a bounded time
    assert float((flow.x[:, -1] - stationary_distribution(system.A(flow.y[:, -1]))).abs().max()) < 5 * eps
    h = slow_manifold(system, 1)(y, eps)
    torch.testing.assert_close(h.sum(-1), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-12)
    assert 0 < float((h - p).abs().max()) < 5 * eps
    observed = measure(system, (256, 1024, 4096), observe="ode", train_pairs=300, test_points=8)
    assert observed.verdict is Verdict.HOLDS, observed.reason


def test_stretches_stay_within_documents():
    places = torch.tensor([0, 4095, 4096, 9999, 10_000, 10_010, 30_000])
    assert stretches([10_000, 10_020, 31_000], places).tolist() == [0, 0, 0, 1, 2, 2, 7]
    weights = resampled(torch.tensor([0, 0, 1, 2]), 50, seed=0)
    assert weights.shape == (50, 4) and bool((weights[:, 0] == weights[:, 1]).all())
    assert bool((weights[:, 1:].sum(-1) == 3).all())


def test_the_command_refuses_what_it_cannot_measure(tmp_path, capsys, monkeypatch):
    from network import train as train_command
    from verify.manifold_gap.command import main

    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "cache"))
    (tmp_path / "texts").mkdir()
    for number in range(3):
        (tmp_path / "texts" / f"{number}.txt").write_text("what the slow one holds " * (60 + number))
    options = ["--tokens", "64", "--block-size", "16", "--n-layer", "1", "--n-embd", "8", "--n-head", "2", "--quiet"]
    dense = ["--corpus", str(tmp_path / "texts"), "--arm", "dense", "--out", str(tmp_path / "dense")]
    assert train_command.main([*dense, *options]) == 0
    assert main(["--network", str(tmp_path / "dense"), "--out", str(tmp_path)]) == 2
    assert "--arm generator" in capsys.readouterr().err
    assert main(["--network", str(tmp_path / "nothing"), "--out", str(tmp_path)]) == 2
    with pytest.raises(SystemExit, match="2"):
        main(["--network", "train", "--periods", "4,8"])
    assert "takes no --periods" in capsys.readouterr().err


def test_plain_data_is_strict_json(run, exact, text):
    from verify.trained.identity.figure import network_figure
    from verify.trained.identity.measurement import NetworkIdentity, losses
    from verify.trained.identity.table import network_table

    head = {"run": "tiny", "period": 4, "n_states": 27, "n_slow": 2, "seed": 0, "vocabulary": "letters"}
    found = NetworkIdentity(head | {"training_tokens": 1} | losses(run), [exact, text], {})
    assert found.exit_code == 0 and "verdict: HOLDS" in network_table(found)
    assert "verdict: MEASURED" in network_table(found) and "the network as trained, P = 4" in network_table(found)
    data = json.loads(found.to_json())
    assert data["rooms"][0]["name"] == "exact" and data["rooms"][0]["rows"][0].keys() >= {
        "period",
        "gap_tv",
        "residual",
    }
    assert len(network_figure(data).axes) == 2
    alone = replace(exact, rows=[row | {"other_residual": None, "other_gap_tv": None} for row in exact.rows])
    found = replace(found, rooms=[alone])
    assert "–" in network_table(found) and len(network_figure(json.loads(found.to_json())).axes) == 1


@pytest.mark.numerical
def test_copies_trained_side_by_side_are_those_trained_alone(run, monkeypatch):
    """AdamW goes entry by entry: thirty steps with another target beside it change nothing but the order of sums."""
    monkeypatch.setattr("verify.trained.identity.adamw.STEPS", 30)
    rng = torch.Generator().manual_seed(0)
    y = run.model.low + (run.model.high - run.model.low) * torch.rand(40, 2, generator=rng, dtype=torch.float64)
    targets = torch.rand(2, 40, 27, generator=rng, dtype=torch.float64)
    targets = targets / targets.sum(-1, keepdim=True)
    together = by_adamw(run.model.phi_theta, y, targets, y[:5])
    alone = torch.cat([by_adamw(run.model.phi_theta, y, one[None], y[:5]) for one in targets])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)  # float32, and AdamW divides by small moments
    assert (together[0] - together[1]).abs().max() > 1e-2
