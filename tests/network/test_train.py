"""The training loop against one written out here, its evaluation, what must stop it, and the folder of a run."""

import json
import math
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

import network.training as training_module
from network.checkpoint import load_checkpoint
from network.config import ARMS
from network.corpus import CorpusError, open_corpus
from network.data import Batches, load_data, validation_batches
from network.distributed import Processes, checked_device
from network.evaluate import evaluate
from network.model import FastSlowLM
from network.optimizer import gate_parameters, make_optimizer
from network.run_log import read_log
from network.training import TrainingDiverged, train
from network.training_config import TrainConfig

pytestmark = pytest.mark.numerical

CPU = Processes(0, 1, torch.device("cpu"))


# the loop, against one written out here


def test_the_loop_is_adamw_with_warm_up_cosine_and_clipping(small_model, small_training, small_data):
    config = replace(small_model, arm="dense")
    training = replace(small_training, dtype="float64", clip=0.5)
    result = train(config, training, data=small_data)

    model = FastSlowLM(config, generator=torch.Generator().manual_seed(0)).double()
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    first, second = ({p: torch.zeros_like(p) for p in model.parameters()} for _ in range(2))
    batches = Batches(small_data.training, 4, 32, seed=0)
    losses = []
    for step in range(24):
        inputs, targets = batches.batch(step)
        loss = F.cross_entropy(model(inputs).reshape(-1, 256), targets.reshape(-1))
        losses.append(loss.item())
        gradients = dict(zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True))
        norm = sum((g**2).sum().item() for g in gradients.values()) ** 0.5
        scale = min(1.0, 0.5 / (norm + 1e-6))
        warm = training.warmup * 24
        if step + 1 < warm:
            rate = training.learning_rate * (step + 1) / warm
        else:
            cosine = 0.5 * (1 + math.cos(math.pi * (step + 1 - warm) / (24 - warm)))
            rate = training.learning_rate * (training.final + (1 - training.final) * cosine)
        with torch.no_grad():
            for p, gradient in gradients.items():
                g = gradient * scale
                first[p] = training.beta1 * first[p] + (1 - training.beta1) * g
                second[p] = training.beta2 * second[p] + (1 - training.beta2) * g**2
                if any(p is w for w in weights):
                    p -= rate * training.weight_decay * p
                m = first[p] / (1 - training.beta1 ** (step + 1))
                v = second[p] / (1 - training.beta2 ** (step + 1))
                p -= rate * m / (v.sqrt() + 1e-8)
    assert len(weights) + len(others) == len(list(model.parameters()))
    torch.testing.assert_close(torch.tensor(result.losses), torch.tensor(losses), rtol=1e-10, atol=0)


@pytest.mark.parametrize("arm", ["coupled", "local", "blind"])
def test_micro_batches_add_up_to_the_batch(small_model, small_training, small_data, arm):
    config = replace(small_model, arm=arm)
    training = replace(small_training, dtype="float64", batch_size=6)
    whole = train(config, training, data=small_data)
    parts = train(config, replace(training, micro_batch=4), data=small_data)  # 4 and 2
    torch.testing.assert_close(torch.tensor(parts.losses), torch.tensor(whole.losses), rtol=1e-9, atol=0)


def test_it_learns_and_says_what_it_did(small_model, small_training, small_data):
    result = train(small_model, replace(small_training, tokens=12_800, learning_rate=1e-2), data=small_data)
    assert result.losses[0] == pytest.approx(
        math.log(256) + 0.5, abs=0.3
    )  # logits of unit variance: E ln Σ eᶻ = ln V + ½
    assert result.validation_loss == result.evaluations[-1].validation_loss < 3
    assert len(result.losses) == 100 and result.tokens == 12_800
    assert [e.step for e in result.evaluations] == [50, 100]
    assert result.seconds > 0 and not result.stopped and result.run is None


def test_arms_share_weights_data_and_the_first_loss(small_model, small_training, small_data):
    training = replace(small_training, tokens=3 * 128)
    losses = {arm: train(replace(small_model, arm=arm), training, data=small_data).losses for arm in ARMS}
    assert len({loss[0] for loss in losses.values()}) == 1
    assert losses["frozen"] == losses["dense"]
    assert losses["coupled"] != losses["dense"]


def test_the_callers_state_is_left_alone(small_model, small_training, small_data):
    before = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    handler = signal.getsignal(signal.SIGINT)
    train(small_model, replace(small_training, tokens=256), data=small_data)
    after = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
    assert signal.getsignal(signal.SIGINT) is handler


def test_bfloat16_computes_under_autocast_with_float32_weights(small_model, small_training, small_data):
    result = train(small_model, replace(small_training, dtype="bfloat16"), data=small_data)
    reference = train(small_model, small_training, data=small_data)
    assert {p.dtype for p in result.model.parameters()} == {torch.float32}
    assert result.losses != reference.losses
    assert result.losses == pytest.approx(reference.losses, rel=0.02)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(" " in sys.prefix, reason="torch.compile does not quote the path of its libraries for the linker")
def test_compiled_training_agrees(corpus_folder, tmp_path):
    """As a command: TorchDynamo cannot trace the shape checks that the tests put around every function."""
    losses = {}
    for how in ("eager", "compiled"):
        words = ["--block-size", "32", "--n-layer", "2", "--n-embd", "16", "--n-head", "2", "--period", "4"]
        words += ["--tokens", "3072", "--batch-size", "4", "--eval-tokens", "512", "--corpus", str(corpus_folder)]
        words += ["--quiet", "--out", str(tmp_path / how), *["--compile"] * (how == "compiled")]
        done = subprocess.run([sys.executable, "-m", "network.train", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        lines = map(json.loads, (tmp_path / how / "log.jsonl").read_text().splitlines())
        losses[how] = [line["loss"] for line in lines if line["kind"] == "step"]
    assert len(losses["eager"]) == 24
    assert losses["compiled"] == pytest.approx(losses["eager"], rel=1e-4)


# optimizer and schedule


@pytest.mark.parametrize("gate", ["scalar", "channel", "projection"])
def test_no_decay_on_gates_and_vectors(small_model, gate):
    model = FastSlowLM(replace(small_model, gate=gate))
    decayed, spared = make_optimizer(model, TrainConfig(weight_decay=0.3)).param_groups
    assert decayed["weight_decay"] == 0.3 and spared["weight_decay"] == 0.0
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in spared["params"]} >= set(gate_parameters(model)) != set()
    assert all(p.ndim >= 2 and "gate" not in names[id(p)] for p in decayed["params"])
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


@given(
    steps=st.integers(1, 500),
    warmup=st.floats(0, 1),
    final=st.floats(0, 1),
    evaluations=st.integers(1, 9),
)
def test_schedule(steps, warmup, final, evaluations):
    training = TrainConfig(warmup=warmup, final=final, learning_rate=2.0, evaluations=evaluations)
    rates = [training.rate(step, steps) for step in range(steps)]
    assert all(0 <= rate <= 2.0 * (1 + 1e-12) for rate in rates)
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak]) and rates[peak:] == sorted(rates[peak:], reverse=True)
    if warmup * steps <= steps - 1:
        assert rates[-1] == pytest.approx(2.0 * final, abs=1e-9)
    assert max(training.evaluation_steps(steps)) == steps and min(training.evaluation_steps(steps)) >= 1


def test_steps_cover_the_tokens():
    assert TrainConfig(tokens=500_000, batch_size=4).steps(256) == 489
    assert TrainConfig(tokens=1024, batch_size=4).steps(256) == 1
    assert TrainConfig(tokens=1025, batch_size=4).steps(256) == 2


@pytest.mark.parametrize(
    "field, value",
    [("tokens", 0), ("tokens", 1e6), ("batch_size", 0), ("micro_batch", 0), ("seed", -1), ("learning_rate", 0.0)]
    + [("learning_rate", math.nan), ("warmup", 1.5), ("final", -0.1), ("beta2", 1.0), ("clip", math.inf), ("clip", 0)]
    + [("evaluations", 0), ("eval_tokens", True), ("dtype", "float16"), ("compile", 1), ("weight_decay", "0.1")],
)
def test_bad_training_options_name_the_field_and_value(field, value):
    with pytest.raises(ValueError, match=field):
        TrainConfig(**{field: value})


def test_configurations_survive_json(small_training):
    assert TrainConfig.from_dict(json.loads(json.dumps(small_training.to_dict()))) == small_training
    with pytest.raises(ValueError, match="not a training configuration"):
        TrainConfig.from_dict({"tokens": 3})


# evaluation


@pytest.mark.parametrize("gate", ["scalar", "channel"])
def test_evaluation_against_its_definition(small_model, small_data, gate):
    model = FastSlowLM(replace(small_model, gate=gate), generator=torch.Generator().manual_seed(0)).double()
    (alpha,) = gate_parameters(model).values()
    with torch.no_grad():
        alpha.fill_(-0.3)
    found = evaluate(model, small_data.validation, step=3, limit=1024, processes=CPU, dtype="float64")

    inputs, targets = (torch.cat(p) for p in zip(*validation_batches(small_data.validation, 32, 5, 1024), strict=True))

    def loss():
        return float(F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()))

    streams = []
    after = model.fast[model.config.coupling_layer]
    after.register_forward_pre_hook(lambda module, arguments: streams.append(arguments[0]))
    with torch.no_grad():
        model(inputs)
        model(inputs, closed=True)
        ratio = float((streams[0] - streams[1]).norm() / streams[1].norm())
        assert found.validation_loss == pytest.approx(loss(), rel=1e-12)
        alpha.zero_()
        assert found.closed_gate_loss == pytest.approx(loss(), rel=1e-12)
    assert found.feedback_ratio == pytest.approx(ratio, rel=1e-6) and ratio > 1e-3
    assert list(found.gates.values()) == [pytest.approx(0.3)]
    assert found.step == 3 and model.training


@pytest.mark.parametrize("arm", ["dense", "frozen"])
def test_arms_without_feedback_report_none(small_model, small_data, arm):
    model = FastSlowLM(replace(small_model, arm=arm))
    found = evaluate(model, small_data.validation, step=1, limit=64, processes=CPU)
    assert found.closed_gate_loss is None and found.feedback_ratio is None
    assert set(found.gates.values()) <= {0.0}


# what must stop it


def test_a_nan_loss_stops_with_step_and_batch_and_the_last_good_checkpoint(
    small_model, small_training, small_data, tmp_path, nan_at, monkeypatch
):
    nan_at(17)
    with pytest.raises(TrainingDiverged) as stopped:
        train(small_model, small_training, data=small_data, run=tmp_path)
    error = stopped.value
    assert error.step == 17
    assert error.offsets == Batches(small_data.training, 4, 32, seed=0).offsets(16).tolist()
    assert "the loss is nan at step 17" in str(error) and str(error.offsets) in str(error)
    assert f"the last good checkpoint is {error.checkpoint}; lower learning_rate" in str(error)
    kept = load_checkpoint(tmp_path)
    assert kept.step == 14 and kept.path == error.checkpoint
    model = FastSlowLM(small_model)
    kept.load_weights(model)
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    assert read_log(tmp_path)[-1] == {"kind": "diverged", "step": 17, "reason": "the loss is nan"}

    monkeypatch.undo()
    resumed = train(small_model, small_training, data=small_data, run=tmp_path, resume=True)
    assert resumed.losses == train(small_model, small_training, data=small_data).losses


def test_a_gradient_that_overflows_under_a_finite_loss_is_seen(small_model, small_training, small_data, monkeypatch):
    class Overflows(torch.autograd.Function):
        @staticmethod
        def forward(context, loss):
            return loss.clone()

        @staticmethod
        def backward(context, gradient):
            return gradient * math.inf

    true = training_module.cross_entropy
    monkeypatch.setattr(training_module, "cross_entropy", lambda *a: Overflows.apply(true(*a)))
    with pytest.raises(
        TrainingDiverged, match=r"the gradient norm is (nan|inf) at step 1, .* no checkpoint was written"
    ):
        train(small_model, small_training, data=small_data)


def test_what_cannot_be_trained_is_refused_before_training(small_model, small_training, small_data, tmp_path):
    with pytest.raises(ValueError, match="vocab_size = 100 where the tokens of the data have 256"):
        train(replace(small_model, vocab_size=100), small_training, data=small_data)
    with pytest.raises(CorpusError, match="validation split holds"):
        train(replace(small_model, block_size=5000), small_training, data=small_data)
    with pytest.raises(ValueError, match="resume=True needs run"):
        train(small_model, small_training, data=small_data, resume=True)
    for sizes in ({"batch_size": 1}, {"batch_size": 5, "micro_batch": 2}, {"batch_size": 6, "micro_batch": 3}):
        with pytest.raises(ValueError, match=r"blind.* needs at least 2 sequences .* and an even number"):
            train(replace(small_model, arm="blind"), replace(small_training, **sizes), data=small_data)
    two = Processes(0, 2, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"blind.* batch_size = 6 over 2 processes .* an even number of rows for each"):
        training_module._Loop(
            replace(small_model, arm="blind"), replace(small_training, batch_size=6), small_data, two, None
        )
    short = tmp_path / "short.txt"
    short.write_text("too short a text")
    with pytest.raises(CorpusError, match="training split holds 15 tokens, less than one window"):
        train(small_model, small_training, data=load_data(open_corpus(short), cache=tmp_path / "cache"))


def test_an_unknown_device_is_refused():
    absent = "cuda:99"
    with pytest.raises(ValueError, match=f"device '{absent}' is not available here"):
        checked_device(absent)
    with pytest.raises(ValueError, match="device 'abacus' is not available here"):
        checked_device("abacus")


# the run folder


def test_a_run_is_described_logged_and_not_overwritten(small_model, small_training, small_data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train(small_model, small_training, data=small_data, run=tmp_path)
    steps = [r for r in read_log(tmp_path) if r["kind"] == "step"]
    assert [r["loss"] for r in steps] == result.losses and [r["step"] for r in steps] == list(range(1, 25))
    assert all(r["gradient_norm"] > 0 for r in steps)
    assert [r["rate"] for r in steps] == [small_training.rate(step, 24) for step in range(24)]
    evaluation = [r for r in read_log(tmp_path) if r["kind"] == "evaluation"][-1]
    assert evaluation["validation_loss"] == result.validation_loss and evaluation["gate/coupling.gate.alpha"] > 0

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.value for e in events.Scalars("step/loss")] == pytest.approx(result.losses, rel=1e-6)

    with pytest.raises(ValueError, match=r"already holds a run: go on with it by --resume .*, or name another folder"):
        train(small_model, small_training, data=small_data, run=tmp_path)
    with pytest.raises(ValueError, match=r"training.seed: 0 in the checkpoint, 1 asked for"):
        train(small_model, replace(small_training, seed=1), data=small_data, run=tmp_path, resume=True)
    again = train(small_model, small_training, data=small_data, run=tmp_path, resume=True)  # nothing left to do
    assert again.losses == result.losses and again.evaluations == result.evaluations


def test_two_writers_cannot_share_a_run(small_model, small_training, small_data, tmp_path):
    from network.run_folder import claimed

    with claimed(tmp_path, resume=False), pytest.raises(ValueError, match="another process is writing to the run"):
        train(small_model, small_training, data=small_data, run=tmp_path)
