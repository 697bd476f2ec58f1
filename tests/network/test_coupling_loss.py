"""The coupling's own objective, and a gate with a start, a rate and a warm-up of its own."""

from dataclasses import replace

import pytest
import torch

from network import FastSlowConfig, FastSlowLM
from network.coupling_loss import next_block_loss
from network.evaluate import cross_entropy
from network.gate import build_gate, gate_parameters
from network.optimizer import make_optimizer
from network.training import train
from network.training_config import TrainConfig

pytestmark = pytest.mark.numerical

F64 = torch.float64
GATES = ("scalar", "channel", "projection")


def model_of(seed=0, **changes):
    sizes = {"vocab_size": 7, "block_size": 30, "n_layer": 2, "n_embd": 8, "n_head": 2, "period": 4}
    return FastSlowLM(FastSlowConfig(**{**sizes, **changes}), generator=torch.Generator().manual_seed(seed)).double()


def tokens_of(batch, length, seed=0, vocabulary=7):
    return torch.randint(vocabulary, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [4, 5, 7, 8, 22, 23])
def test_the_loss_is_its_formula_token_by_token(length):
    period, width, vocabulary = 4, 6, 7
    generator = torch.Generator().manual_seed(length)
    c = torch.randn(2, length // period, width, dtype=F64, generator=generator)
    E = torch.randn(vocabulary, width, dtype=F64, generator=generator)
    targets = tokens_of(2, length, seed=length)
    terms = []
    for row in range(2):
        for t in range(period - 1, length):
            received = c[row, (t + 1) // period - 1]
            z = E @ (received / (received.square().mean() + torch.finfo(F64).eps).sqrt())
            terms.append(float(torch.logsumexp(z, 0) - z[targets[row, t]]))
    assert float(next_block_loss(c, E, targets, period)) == pytest.approx(sum(terms) / len(terms), rel=1e-13)


def test_the_model_returns_its_logits_unchanged_beside_the_loss_of_c():
    model, tokens = model_of(gate_start=0.3), tokens_of(2, 30)
    logits, loss = model(tokens[:, :-1], targets=tokens[:, 1:])
    assert torch.equal(logits, model(tokens[:, :-1]))
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.coupling.phi_theta.parameters())
    assert all(p.grad is None for p in gate_parameters(model).values())


@pytest.mark.parametrize("arm", ["coupled", "blind", "local"])
def test_the_own_objective_trains_the_slow_path_and_phi_alone(arm):
    tokens = tokens_of(2, 30)
    model = model_of(arm=arm, gate_start=0.3)
    model(tokens[:, :-1], targets=tokens[:, 1:])[1].backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert {"coupling.phi_theta.out.weight"} <= trained
    assert all(name.startswith(("coupling.phi_theta.", "coupling.slow.")) for name in trained)
    assert (arm == "local") != any(name.startswith("coupling.slow.") for name in trained)


def test_behind_a_shut_gate_the_fast_path_has_the_gradient_of_the_dense_model():
    tokens, found = tokens_of(2, 30), {}
    for arm in ("dense", "coupled"):
        model = model_of(arm=arm)
        logits, own = (model(tokens[:, :-1]), 0.0) if arm == "dense" else model(tokens[:, :-1], targets=tokens[:, 1:])
        (cross_entropy(logits, tokens[:, 1:]) + 0.3 * own).backward()
        found[arm] = {name: p.grad for name, p in model.named_parameters() if not name.startswith("coupling.")}
    assert found["dense"].keys() == found["coupled"].keys()
    assert all(torch.equal(found["dense"][name], found["coupled"][name]) for name in found["dense"])


def test_behind_a_closed_gate_only_the_own_objective_trains_phi():
    tokens = tokens_of(2, 30)
    model = model_of()
    model(tokens[:, :-1]).square().sum().backward()
    assert not bool(model.coupling.phi_theta.out.weight.grad.any())
    model(tokens[:, :-1], targets=tokens[:, 1:])[1].backward()
    assert bool(model.coupling.phi_theta.out.weight.grad.any())


@pytest.mark.parametrize("changes, length", [({"arm": "dense"}, 29), ({"arm": "frozen"}, 29), ({"period": 20}, 19)])
def test_where_no_c_is_trained_targets_are_refused(changes, length):
    tokens = tokens_of(2, length + 1)
    with pytest.raises(ValueError, match="leave targets away"):
        model_of(**changes)(tokens[:, :-1], targets=tokens[:, 1:])


def test_closed_and_misshapen_targets_are_refused():
    tokens = tokens_of(2, 30)
    with pytest.raises(ValueError, match="closed=False"):
        model_of()(tokens[:, :-1], targets=tokens[:, 1:], closed=True)
    with pytest.raises(ValueError, match=r"targets must have the shape of tokens, \[2, 29\], got \[2, 30\]"):
        model_of()(tokens[:, :-1], targets=tokens)


@pytest.mark.parametrize("kind", GATES)
def test_a_gate_starts_at_the_same_multiple_of_the_identity(kind):
    c = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(build_gate(kind, 4, 0.05)(c), 0.05 * c)


def test_a_frozen_gate_stays_at_zero_whatever_the_start():
    tokens = tokens_of(2, 30)
    frozen = model_of(arm="frozen", compute_frozen=True, gate_start=0.3)
    assert torch.equal(frozen(tokens), model_of(arm="dense")(tokens))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("window", [None, 5])
def test_a_gate_at_zero_is_the_dense_model_bit_for_bit(gate, window):
    for dtype in (torch.float32, F64):
        dense, coupled = (
            model_of(arm=arm, gate=gate, attention_window=window).to(dtype) for arm in ("dense", "coupled")
        )
        assert torch.equal(dense(tokens_of(2, 30)), coupled(tokens_of(2, 30)))


def test_gates_have_a_group_of_their_own_only_where_they_have_a_rate_of_their_own():
    model = model_of(gate="projection")
    assert len(make_optimizer(model, TrainConfig()).param_groups) == 2
    gates = {id(p) for p in gate_parameters(model).values()}
    for training in (TrainConfig(gate_rate=3.0), TrainConfig(gate_warmup=4)):
        *others, own = make_optimizer(model, training).param_groups
        assert {id(p) for p in own["params"]} == gates and own["weight_decay"] == 0.0
        assert all(id(p) not in gates for group in others for p in group["params"])


def test_the_rate_of_the_gate():
    training = TrainConfig(gate_rate=2.0, gate_warmup=3)
    assert [training.gate_factor(step) for step in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert TrainConfig().gate_factor(0) == 1.0
    for field, bad in (("gate_rate", -1.0), ("gate_rate", float("inf")), ("gate_warmup", 0.5), ("coupling_loss", -0.1)):
        with pytest.raises(ValueError, match=field):
            TrainConfig(**{field: bad})


def test_a_record_from_before_these_fields_means_the_papers_training():
    values = TrainConfig(tokens=77).to_dict()
    for name in ("gate_rate", "gate_warmup", "coupling_loss"):
        del values[name]
    assert TrainConfig.from_dict(values) == TrainConfig(tokens=77)


@pytest.mark.parametrize("arm", ["dense", "frozen"])
def test_arms_without_a_trained_coupling_train_as_without_the_objective(arm, small_model, small_training, small_data):
    model = replace(small_model, arm=arm)
    plain = train(model, small_training, data=small_data).losses
    assert train(model, replace(small_training, coupling_loss=0.5, gate_rate=2.0), data=small_data).losses == plain


def test_a_group_of_its_own_at_the_rate_of_the_rest_trains_as_before(small_model, small_training, small_data):
    plain = train(small_model, small_training, data=small_data).losses
    # a warm-up of no length, but a third group: the arithmetic of AdamW does not depend on the grouping
    same = train(small_model, replace(small_training, gate_rate=1.0 + 1e-15), data=small_data).losses
    assert max(abs(a - b) for a, b in zip(same, plain, strict=True)) <= 1e-6


@pytest.mark.thorough
@pytest.mark.parametrize("gate", GATES)
def test_stopped_and_resumed_equals_uninterrupted_with_every_option(
    gate, small_model, small_training, small_data, tmp_path
):
    model = replace(small_model, gate=gate, attention_window=5, gate_start=0.01)
    training = replace(small_training, gate_rate=2.0, gate_warmup=6, coupling_loss=0.3, micro_batch=2)
    whole = train(model, training, data=small_data)
    left = iter(range(10))
    how = {"data": small_data, "run": tmp_path / "run"}
    parts = train(model, training, stop=lambda: next(left, None) is None, **how)
    assert parts.stopped
    parts = train(model, training, resume=True, **how)
    assert parts.losses == whole.losses and parts.evaluations == whole.evaluations
    one, other = (dict(found.model.named_parameters()) for found in (parts, whole))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_micro_batches_give_the_gradient_of_the_whole(small_model, small_training, small_data):
    training = replace(small_training, coupling_loss=0.5, dtype="float64", tokens=4 * 32 * 4)
    whole = train(small_model, training, data=small_data).losses
    parts = train(small_model, replace(training, micro_batch=1), data=small_data).losses
    assert whole == pytest.approx(parts, rel=1e-11)
