"""The generator defect: Jacobians against two others, figures on matrices whose answer is known, the command."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import theory
from network import FastSlowConfig, FastSlowLM
from network.corpus import open_corpus
from network.data import load_data
from network.training import train
from network.training_config import TrainConfig
from verify.generator_defect.block import against, iterate, update_defect
from verify.generator_defect.command import main
from verify.generator_defect.distance import SCALE_FREE, figures, gaussian_null, mean_figures, rotated_null
from verify.generator_defect.jacobian import block_jacobians, jacobians
from verify.generator_defect.measurement import measure_defect
from verify.generator_defect.reference import measure_reference
from verify.generator_defect.table import spread

pytestmark = pytest.mark.numerical

SMALL = {"vocab_size": 17, "block_size": 12, "n_layer": 2, "n_embd": 8, "n_head": 2, "period": 4}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(seed=0, **changes):
    return FastSlowLM(FastSlowConfig(**{**SMALL, **changes}), generator=torch.Generator().manual_seed(seed))


def ids(batch=2, length=12):
    return torch.randint(SMALL["vocab_size"], (batch, length), generator=torch.Generator().manual_seed(5))


def a_block(causal=True):
    model = build().double().requires_grad_(False)
    block = model.fast[0]
    block.attention.causal = causal
    return block, model.rotary


@pytest.mark.parametrize("causal", [True, False])
def test_the_closed_form_of_a_block_is_its_jacobian(causal):
    block, rotary = a_block(causal)
    x = 2.0 * normal(12, 8)
    channel, token = block_jacobians(block, x, rotary)

    def update(u):
        return block(u[None], rotary)[0] - u

    by_func = jacobians(update, x)
    assert torch.allclose(channel, by_func[0], rtol=0, atol=1e-14)
    assert torch.allclose(token, by_func[1], rtol=0, atol=1e-14)
    full = torch.zeros(12, 8, 12, 8, dtype=torch.float64)
    h = 1e-5
    for s in range(12):
        for i in range(8):
            e = torch.zeros_like(x)
            e[s, i] = h
            full[:, :, s, i] = (update(x + e) - update(x - e)) / (2 * h)
    assert torch.allclose(token, torch.einsum("tisi->ts", full) / 8, rtol=0, atol=1e-8)
    assert torch.allclose(channel, torch.einsum("titj->tij", full), rtol=0, atol=1e-8)
    if causal:
        assert not token.triu(1).any()
        spectrum = torch.linalg.eigvals(full.reshape(96, 96)).real.max()
        assert float(torch.linalg.eigvals(channel).real.max()) == pytest.approx(float(spectrum), abs=1e-5)


def test_rms_norm_leaves_the_attention_half_without_a_derivative_along_the_state():
    """F depends on the direction of x alone, so J x = 0 by Euler's theorem: no fixed point can be isolated."""
    block, rotary = a_block()
    for parameter in block.mlp.parameters():
        parameter.zero_()
    x = normal(1, 8)
    channel, _ = block_jacobians(block, x, rotary[:1])
    assert float((channel[0] @ x[0]).norm()) < 1e-13 * float(channel.norm())


@given(n=st.integers(2, 10), seed=st.integers(0, 2**31), scale=st.floats(-6, 6))
@settings(max_examples=40)
def test_figures_of_a_generator_are_zero_and_those_of_any_matrix_are_free_of_scale(n, seed, scale):
    A = theory.from_rates(normal(n, n, seed=seed).exp())
    found = figures(A)
    for name in SCALE_FREE:
        assert float(found[name]) <= 1e-14 * n
    assert abs(float(found["abscissa"])) <= 1e-13 * float(A.abs().sum())
    M = normal(n, n, seed=seed)
    one, other = figures(M), figures(10.0**scale * M)
    for name in SCALE_FREE:
        assert 0.0 <= float(one[name]) <= 1.0 + 1e-12
        assert float(one[name]) == pytest.approx(float(other[name]), abs=1e-9)


def test_a_shift_changes_no_shifted_figure():
    M = normal(6, 6)
    moved = M + 30.0 * torch.eye(6, dtype=torch.float64)
    for name in ("shifted_distance", "shifted_sum_defect", "negative_mass"):
        assert float(figures(M)[name]) == pytest.approx(float(figures(moved)[name]), abs=1e-12)
    assert float(figures(moved)["shift"] - figures(M)["shift"]) == pytest.approx(30.0, abs=1e-12)


def test_bare_attention_weights_are_a_generator_after_the_shift_by_one():
    W = normal(9, 9).masked_fill(torch.ones(9, 9).triu(1).bool(), -math.inf).softmax(-1)
    found = mean_figures(W.T)
    assert found.shift == pytest.approx(1.0, abs=1e-14)
    assert found.shifted_distance < 1e-14
    assert found.negative_mass == 0.0
    assert found.distance > 0.3
    assert figures(torch.zeros(3, 3, dtype=torch.float64))["distance"] == 0.0


def test_the_gaussian_null():
    null = gaussian_null(64, samples=60, seed=0)
    assert null["negative_mass"].low < 0.5 < null["negative_mass"].high
    # E|N(0, n)| / (n E|N(0, 1)|) = 1/√n in the limit of many entries
    assert null["sum_defect"].mean == pytest.approx(1 / 8, rel=0.05)
    # With the diagonal free, only the negative half of the mass is lost.
    assert null["shifted_distance"].mean == pytest.approx(math.sqrt(0.5), abs=0.02)
    assert null["distance"].low < null["distance"].mean < null["distance"].high
    causal = gaussian_null(64, samples=20, seed=0, causal=True)
    assert causal["sum_defect"].mean > null["sum_defect"].mean
    assert gaussian_null(8, samples=20, seed=1) == gaussian_null(8, samples=20, seed=1)


def test_random_bases_show_that_a_generator_is_one_in_its_own_basis_only():
    A = theory.from_rates(normal(32, 32).exp())
    null = rotated_null(A, samples=20, seed=0)
    assert null["distance"].low > 0.1
    assert null["negative_mass"].low > 0.3
    unmoved = rotated_null(-torch.eye(5, dtype=torch.float64), samples=5, seed=0)
    assert unmoved["distance"].mean == pytest.approx(1 / math.sqrt(5), abs=1e-12)


def test_iteration_finds_the_fixed_point_and_says_where_there_is_none():
    target = normal(2, 3, 4)
    end, reached, found = iterate(lambda x: 0.5 * (target - x), torch.ones(2, 3, 4, dtype=torch.float64))
    assert bool(reached.all()) and found.reached == 1.0
    assert torch.allclose(end, target, atol=1e-7)
    drift = torch.tensor([0.0, 1.0, 0.0]).double()[None, :, None]
    end, reached, found = iterate(lambda x: drift.expand_as(x), torch.ones(1, 3, 4, dtype=torch.float64), 50)
    assert reached.tolist() == [[True, False, False]]  # the last token stands still, but reads one that does not
    assert found.reached == pytest.approx(1 / 3)
    assert found.iterations == 50
    assert float(end[0, 1, 0]) == 51.0


def test_phi_against_a_state_by_hand():
    phi = torch.tensor([[[3.0, 0.0], [0.0, 2.0], [9.0, 9.0]]]).double()
    x = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]]).double()
    where = torch.tensor([[True, True, False]])
    assert against(phi, x, torch.tensor([[True, False, False]])).sine == 0.0
    both = against(phi, x, where)
    assert both.tokens == 2
    assert both.distance == pytest.approx(2.0)  # the lower median of 2 and √5
    assert against(None, x, where) is None
    assert against(phi, x, where & False) is None


def test_attraction_allows_for_one_conserved_direction_and_for_no_more():
    """The Jacobian h A of a generator has the eigenvalue 0 once for each recurrent class; a hair above is repelling."""
    A = theory.from_rates(normal(4, 4).exp()) / 20
    two = torch.block_diag(A, A)
    pure = torch.zeros(1, 1, dtype=torch.float64)
    cases = [(A, 1, 1), (A.T, 1, 1), (two, 0, 0), (A + 1e-9, 0, 0), (A - 0.1, 1, 1), (60 * A, 1, 0), (pure, 1, 1)]
    for J, attracting, contracting in cases:
        x = torch.zeros(1, 2, len(J), dtype=torch.float64)
        found = update_defect(
            J.expand(1, 2, *J.shape),
            A[None],
            lambda u, J=J: u @ J.T,
            x,
            phi=None,
            hears=torch.zeros(1, 2, dtype=torch.bool),
            iterations=1,
            block=0,
            coupled=False,
        )
        assert (found.attracting, found.contracting) == (attracting, contracting), J


def silence(model):
    """Blocks that add nothing: every state is a fixed point."""
    with torch.no_grad():
        for block in model.fast:
            block.attention.out.weight.zero_()
            block.mlp.down.weight.zero_()
    return model


def test_blocks_that_add_nothing_have_no_defect_and_stand_still():
    found = measure_defect(silence(build()), ids(), null_samples=20)
    for block in found.blocks:
        assert block.channel.distance == block.token.distance == block.channel_each.sum_defect == 0.0
        assert block.fixed_point.reached == 1.0
        assert block.abscissa == 0.0 and block.attracting == 0.0
    assert found.blocks[1].coupled and not found.blocks[0].coupled
    assert found.blocks[1].phi_fixed_point == found.blocks[1].phi_state
    assert found.blocks[1].phi_state.tokens == 2 * (12 - 3)


def test_the_signal_is_held_and_enters_the_update_where_it_enters_the_model():
    model = silence(build())
    with torch.no_grad():
        model.coupling.gate.alpha.fill_(0.7)
    found = measure_defect(model, ids(), iterations=20, null_samples=20)
    # The update there is now the signal itself, which is 0 for the first P − 1 tokens and for no other.
    assert found.blocks[1].fixed_point.reached == pytest.approx(3 / 12)
    assert found.blocks[1].phi_fixed_point is None
    assert found.blocks[0].fixed_point.reached == 1.0


@pytest.mark.parametrize("changes", [{"arm": "dense"}, {"arm": "frozen"}, {"n_layer": 1}])
def test_without_a_signal_there_is_no_phi_to_compare(changes):
    found = measure_defect(build(**changes), ids(), iterations=3, null_samples=20)
    assert all(not block.coupled and block.phi_state is None for block in found.blocks)


@pytest.mark.parametrize("arm", ["coupled", "blind", "local"])
def test_the_model_is_left_alone_and_the_json_is_strict(arm):
    model = build(arm=arm)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = measure_defect(model, ids(), iterations=3, null_samples=20)
    assert found.to_json() == measure_defect(model, ids(), iterations=3, null_samples=20).to_json()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters()) and model.embedding.weight.dtype == torch.float32
    assert not model.fast[0]._forward_pre_hooks
    content = json.loads(found.to_json(), parse_constant=pytest.fail)
    assert len(content["blocks"]) == 2
    assert "no fixed point" in found.table() and "Gaussian, channel" in found.table()


def test_bad_input():
    with pytest.raises(ValueError, match="iterations"):
        measure_defect(build(), ids(), iterations=0)
    with pytest.raises(ValueError, match="null_samples"):
        measure_defect(build(), ids(), null_samples=True)
    with pytest.raises(ValueError, match="block_size"):
        measure_defect(build(), ids(length=13))
    broken = build()
    with torch.no_grad():
        broken.fast[0].mlp.down.weight.fill_(math.inf)
    with pytest.raises(RuntimeError, match="fast block 1 is not finite"):
        measure_defect(broken, ids())


def test_a_true_generator_block_has_no_defect_and_its_phi_is_first_order_away():
    near, far = measure_reference(16, n_states=6), measure_reference(8, n_states=6)
    for found in (near, far):
        for axis in (found.block.channel, found.block.channel_each, found.block.token):
            assert max(getattr(axis, name) for name in SCALE_FREE) < 1e-14
        assert abs(found.block.abscissa) < 1e-14 and found.gap > 0
        assert found.block.fixed_point.reached == found.block.attracting == found.block.contracting == 1.0
        assert found.endpoint_tv < 1e-6
    assert 1.5 < far.phi_tv / near.phi_tv < 4.0


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    text = folder / "text.txt"
    text.write_text("the quality of mercy is not strained\n" * 60)
    data = load_data(open_corpus([str(text)]), cache=folder / "cache")
    model = FastSlowConfig(**{**SMALL, "vocab_size": 256})
    for seed in (0, 1):
        training = TrainConfig(tokens=480, batch_size=2, seed=seed, evaluations=1, eval_tokens=48)
        train(model, training, data=data, run=folder / str(seed))
    return folder


def test_command(runs, capsys, monkeypatch):
    monkeypatch.setenv("FASTSLOW_CACHE", str(runs / "cache"))
    arguments = [str(runs / "0"), str(runs / "1"), "--iterations", "5", "--sequences", "2"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "mean over the seeds" in out and "true generator block" in out
    assert main([*arguments, "--json"]) == 0
    content = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert [record["step"] for record in content["runs"]] == [20, 20]
    texts = [record["data"] for record in content["runs"]]
    assert texts[0] == texts[1] and set(texts[0]) == {"sha256", "bpe"}
    groups = spread(content["runs"])
    assert len(groups) == 2 and groups[0]["seeds"] == [0, 1]
    mean, low, high = groups[1]["figures"]["channel.distance"]
    both = [record["blocks"][1]["channel"]["distance"] for record in content["runs"]]
    assert mean == pytest.approx(sum(both) / 2) and low < mean < high
    assert content["references"][0]["period"] == 4


def test_command_refuses_what_it_cannot_measure(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FASTSLOW_CACHE", str(runs / "cache"))
    other = tmp_path / "other.txt"
    other.write_text("another text altogether\n" * 60)
    for arguments, word in (
        ([str(tmp_path / "nowhere")], "holds no checkpoint"),
        ([str(runs / "0"), "--corpus", str(other)], "not those of the run"),
        ([str(runs / "0"), "--device", "nonsense"], "not a device"),
        ([str(runs / "0"), "--sequences", "100000"], "do not hold"),
    ):
        assert main(arguments) == 2
        assert word in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main([str(runs / "0"), "--length", "0"])
    assert stopped.value.code == 2
