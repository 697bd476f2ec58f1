"""Fuzz: configurations, pooling, φ_θ, the model's forward pass and damaged checkpoints."""

import json
import math
import random

import numpy as np
import pytest
import torch
from fuzz_inputs import F64, attempt, fuzzed
from hypothesis import given
from hypothesis import strategies as st

from network import FastSlowConfig, FastSlowLM, PhiTheta
from network.checkpoint import load_checkpoint, save_checkpoint
from network.config import ARMS, GATES, SLOW_ATTENTION
from network.pooling import block_mean, unpool
from network.training_config import DTYPES, TrainConfig

JUNK = st.sampled_from([None, "x", 1j, [], math.nan, math.inf, -1, 0, True, 1.5, 2**70, object(), np.int64(4), np.nan])
SIZES = st.integers(1, 9)
MODEL = {
    "vocab_size": SIZES,
    "block_size": st.integers(8, 20),
    "n_layer": st.integers(1, 2),
    "n_slow_layer": st.integers(1, 2),
    "n_embd": st.sampled_from([4, 8, 12]),
    "n_head": st.sampled_from([1, 2]),
    "period": SIZES,
    "arm": st.sampled_from(ARMS),
    "gate": st.sampled_from(GATES),
    "slow_attention": st.sampled_from(SLOW_ATTENTION),
}
TRAINING = {
    "tokens": st.integers(1, 10**9),
    "batch_size": st.integers(1, 64),
    "learning_rate": st.floats(1e-6, 1.0),
    "warmup": st.floats(0.0, 1.0),
    "final": st.floats(0.0, 1.0),
    "beta1": st.floats(0.0, 0.999),
    "clip": st.floats(1e-3, 10.0),
    "evaluations": st.integers(1, 9),
    "dtype": st.sampled_from(DTYPES),
}


@st.composite
def records(draw, fields):
    """Keyword arguments, in half of the cases with one of them replaced by junk, and whether none is."""
    values = {name: draw(strategy) for name, strategy in fields.items()}
    spoiled = draw(st.sampled_from([None] * len(fields) + list(fields)))
    if spoiled:
        values[spoiled] = draw(JUNK)
    return values, spoiled is None


@fuzzed
@given(records(MODEL))
def test_config(record):
    values, _ = record
    config = attempt("network.FastSlowConfig", lambda: FastSlowConfig(**values), *MODEL)
    if config is not None:
        assert FastSlowConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
        assert 1 <= config.coupling_layer <= config.n_layer and config.epsilon == 1 / config.period


@fuzzed
@given(records(TRAINING), st.integers(1, 512))
def test_train_config(record, block_size):
    values, fine = record
    config = attempt("network.training_config.TrainConfig", lambda: TrainConfig(**values), *TRAINING)
    if config is None:
        assert not fine
        return
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    steps = config.steps(block_size)
    assert (steps - 1) * config.batch_size * block_size < config.tokens <= steps * config.batch_size * block_size
    rates = [config.rate(step, min(steps, 200)) for step in range(min(steps, 200))]
    assert all(0 <= rate <= config.learning_rate * (1 + 1e-12) for rate in rates)


@fuzzed
@given(st.sampled_from([FastSlowConfig, TrainConfig]), st.data())
def test_from_dict(kind, data):
    good = kind().to_dict()
    values = data.draw(
        st.sampled_from([good, {}, [], None, "x", 3, {**good, "more": 1}])
        | st.dictionaries(st.sampled_from(sorted(good)), JUNK)
        | st.dictionaries(st.text(max_size=3), JUNK)
        | st.tuples(st.sampled_from(sorted(good)), JUNK).map(lambda pair: {**good, pair[0]: pair[1]})
    )
    config = attempt(f"network.{kind.__name__}.from_dict", lambda: kind.from_dict(values), *good, "configuration")
    if config is not None:
        assert config.to_dict() == values


@st.composite
def tensors(draw, shape):
    kind = draw(st.sampled_from(["float64"] * 5 + ["float32", "int64", "nan", "flat", "strided"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = torch.from_numpy(rng.standard_normal(shape))
    x = {"nan": lambda: x * math.nan, "flat": lambda: x.reshape(-1), "strided": lambda: x.mT.contiguous().mT}.get(
        kind, lambda: x
    )()
    x = {"float32": x.float, "int64": x.nan_to_num().long}.get(kind, lambda: x)()
    return x, kind in ("float64", "strided")


@fuzzed
@given(st.integers(0, 3), st.integers(0, 20), st.integers(0, 4), SIZES | JUNK, st.data())
def test_pooling(batch, length, width, period, data):
    x, fine = data.draw(tensors((batch, length, width)))
    y = attempt("network.pooling.block_mean", lambda: block_mean(x, period), "x", "period")
    if y is None:
        whole = isinstance(period, int) and not isinstance(period, bool)
        assert not (fine and whole and 1 <= period <= length)
        return
    blocks = length // period
    assert y.shape == (batch, blocks, width)
    expected = x[:, : blocks * period].double().reshape(batch, blocks, period, width).mean(2)
    assert torch.allclose(y.double(), expected, rtol=1e-6, atol=1e-6, equal_nan=True)
    u = attempt("network.pooling.unpool", lambda: unpool(y, period, length), "c", "period", "length")
    assert u is not None and u.shape == (batch, length, width) and (u[:, : period - 1] == 0).all()
    assert torch.equal(u[:, period - 1 :: period][:, :blocks].nan_to_num(), y.nan_to_num())
    wrong = data.draw(st.sampled_from([-1, 0, length + period, 2**70]))
    attempt("network.pooling.unpool", lambda: unpool(y, period, wrong), "c", "period", "length")


@fuzzed
@given(
    st.fixed_dictionaries(
        {
            "n_slow": st.integers(1, 3) | JUNK,
            "n_states": st.integers(1, 4),
            "width": st.integers(1, 8) | JUNK.filter(lambda v: not isinstance(v, int) or v < 2**20),
            "depth": st.integers(1, 3),
            "head": st.sampled_from(["simplex", "simplex", "linear", "softmax", None]),
            "activation": st.sampled_from(["tanh", "gelu", "relu"]),
        }
    ),
    st.data(),
)
def test_phi_theta(arguments, data):
    if arguments["n_slow"] == 2**70:
        arguments["n_slow"] = 2
    own = torch.Generator().manual_seed(0)
    phi = attempt("network.PhiTheta", lambda: PhiTheta(**arguments, generator=own, dtype=F64), *arguments)
    if phi is None:
        return
    y, fine = data.draw(tensors((data.draw(st.integers(0, 3)), arguments["n_slow"])))
    x = attempt("network.PhiTheta.forward", lambda: phi(y), "y")
    if x is None:
        assert not fine
        return
    assert x.shape == (*y.shape[:-1], arguments["n_states"])
    if arguments["head"] == "simplex" and fine:
        assert ((x.sum(-1) - 1).abs() < 1e-13).all() and (x >= 0).all()
        assert torch.allclose(phi.log_prob(y).exp(), x, rtol=1e-13, atol=0)
    numbers = st.sampled_from([1.0, 0.0, -1, math.nan, math.inf, [1.0], [1.0, 2.0], [[1.0]], True])
    center, scale = data.draw(numbers), data.draw(numbers)
    attempt("network.PhiTheta.standardise", lambda: phi.standardise(center, scale) or "done", "center", "scale")


@fuzzed
@given(records(MODEL), st.integers(0, 3), st.integers(0, 21), st.data())
def test_forward(record, batch, length, data):
    values, fine = record
    if not fine:
        return
    try:
        config = FastSlowConfig(**values)
    except ValueError:
        return
    model = FastSlowLM(config, generator=torch.Generator().manual_seed(0)).eval()
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    kind = data.draw(
        st.sampled_from(["int64"] * 5 + ["int32", "float32", "range", "negative", "list", "flat", "numpy"])
    )
    tokens = torch.from_numpy(rng.integers(0, config.vocab_size, (batch, length)))
    value = {
        "int32": tokens.int,
        "float32": tokens.float,
        "range": lambda: tokens + config.vocab_size,
        "negative": lambda: tokens - config.vocab_size - 1,
        "list": tokens.tolist,
        "flat": lambda: tokens.reshape(-1),
        "numpy": tokens.numpy,
    }.get(kind, lambda: tokens)()
    with torch.no_grad():
        logits = attempt("network.FastSlowLM.forward", lambda: model(value), "tokens", "T", "blind", "batch")
    if logits is None:
        usual = batch >= 1 and 1 <= length <= config.block_size and not (config.arm == "blind" and batch == 1)
        assert not (usual and kind in ("int64", "int32"))
        return
    assert logits.shape == (batch, length, config.vocab_size) and torch.isfinite(logits).all()
    if length > 1 and config.slow_attention == "block_causal":
        cut = data.draw(st.integers(1, length - 1))
        with torch.no_grad():
            assert torch.allclose(model(value[:, :cut]), logits[:, :cut], rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run with one checkpoint, and the bytes of its three files."""
    run = tmp_path_factory.mktemp("fuzz")
    model = FastSlowLM(FastSlowConfig(vocab_size=4, block_size=8, n_embd=4, n_head=1, n_layer=1, period=2))
    config = {"model": model.config.to_dict(), "training": TrainConfig().to_dict()}
    folder = save_checkpoint(run, model, step=3, config=config, counters={"tokens": 1}, training_state={"a": 1})
    return run, folder, model, {path.name: path.read_bytes() for path in folder.iterdir()}


@fuzzed
@given(st.data())
def test_damaged_checkpoint(run_folder, data):
    """Cut, altered, emptied or foreign bytes in one of the files: refused with the path, or loaded as they were."""
    run, folder, model, whole = run_folder
    name = data.draw(st.sampled_from(sorted(whole)))
    content, rng = whole[name], random.Random(data.draw(st.integers(0, 2**32 - 1)))
    how = data.draw(st.sampled_from(["none", "cut", "flip", "empty", "noise", "doubled", "json", "digit"]))
    place = rng.randrange(len(content))
    damaged = {
        "none": lambda: content,
        "cut": lambda: content[:place],
        "flip": lambda: content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :],
        "empty": lambda: b"",
        "noise": lambda: rng.randbytes(len(content)),
        "doubled": lambda: content * 2,
        "json": lambda: rng.choice([b"null", b"[]", b"{}", b'{"format": "fastslow checkpoint 1"}', b"\xff", b"1e999"]),
        "digit": lambda: content.replace(b"3", rng.choice([b"9" * 5000, b"-1", b"null", b"true", b"[3]"]), 1),
    }[how]()
    (folder / name).write_bytes(damaged)
    try:

        def load():
            checkpoint = load_checkpoint(run)
            checkpoint.load_weights(model)
            return checkpoint, checkpoint.training_state()

        loaded = attempt("network.checkpoint.load_checkpoint", load, str(folder), name)
        assert loaded is not None or how != "none"
        if loaded is not None and name != "checkpoint.json":
            assert damaged == content  # the header's sha256 has seen everything else
    finally:
        (folder / name).write_bytes(content)
