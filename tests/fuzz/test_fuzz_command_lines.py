"""Fuzz: what the six commands do with any words behind them.

Each runs in this process with its work replaced: an accepted line returns 0, --help prints and exits 0, everything else
exits 2 with one line on stderr that begins with the command's name. Abbreviated options are refused.
"""

import contextlib
import importlib
import io

import pytest
from fuzz_inputs import TALLY, fuzzed
from hypothesis import given
from hypothesis import strategies as st

# module, and where the function is that does the work behind its parsed options
COMMANDS = {
    "verify.manifold_gap.command": "verify.manifold_gap.command._command",
    "verify.__main__": "verify.__main__._command",
    "verify.ablation.command": "verify.ablation.command._command",
    "network.train": None,
    "network.generate_command": "network.generate_command._generate",
    "network.leak_check": "network.leak_check._check",
}
OPTIONS = {
    "verify.manifold_gap.command": "--system --network --periods --step --kernel --observe --fit --samples --phi-theta "
    "--device --seed --out --json",
    "verify.__main__": "--list --tag --claim --profile --seeds --mutants --folder --device --scheduler --jobs --fresh "
    "--out --json",
    "verify.ablation.command": "--arms --seeds --tokens --out --json --device --period",
    "network.train": "--corpus --bpe --out --resume --device --quiet --json --arm --tokens --period --n-layer --n-embd "
    "--learning-rate --batch-size --seed --dtype --warmup --gate --slow-attention --compute-frozen",
    "network.generate_command": "--prompt --tokens --samples --temperature --top-k --top-p --seed --json --device",
    "network.leak_check": "--length --seed --json --device",
}
WORDS = [
    "0",
    "-1",
    "1",
    "4",
    "2,4,8",
    "4,2,2",
    "nan",
    "inf",
    "1e400",
    "1e-3",
    "x",
    "",
    " ",
    "é",
    "--",
    "-",
    "two_state",
]
WORDS += [
    "all",
    "cpu",
    "cuda:9",
    "dense",
    "coupled",
    "dense,coupled",
    "quick",
    "exact",
    "clock",
    "ode",
    "varpro",
    "exp",
]
WORDS += ["/nonexistent", "no.py:f", "9" * 400, "float64", "scalar", "1_0", "0x10", "٣", "\udc80", "a\nb", "-0", "+5"]


@pytest.fixture
def idle(monkeypatch):
    """The commands with their work taken out."""
    for work in filter(None, COMMANDS.values()):
        monkeypatch.setattr(work, lambda *arguments: 0)
    monkeypatch.setattr("verify.trained.identity.command.network_command", lambda run, **options: 0)
    train = importlib.import_module("network.train")

    def checked(options):
        model = train.given_fields(vars(options), train.FastSlowConfig)
        train.FastSlowConfig(**model)
        train.TrainConfig(**train.given_fields(vars(options), train.TrainConfig))
        return 0

    monkeypatch.setattr(train, "_train", checked)


def outcome(name, words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = importlib.import_module(name).main(words)
        except SystemExit as stop:
            code = stop.code
    return code, out.getvalue(), err.getvalue()


@fuzzed
@given(st.data())
@pytest.mark.parametrize("name", COMMANDS)
def test_words(idle, name, data):
    options = OPTIONS[name].split()
    word = st.sampled_from(options) | st.sampled_from(WORDS) | st.text(max_size=6)
    words = data.draw(st.lists(word, max_size=5))
    code, out, err = outcome(name, words)
    TALLY[f"command line {name}"]["answered" if code == 0 else "refused"] += 1
    if "-h" in words or "--help" in words:
        return
    assert code in (0, 2), err
    if code == 2:
        assert len(err.rstrip("\n").split("\n")) == 1 or any("\n" in w or "\r" in w for w in words), err
        assert err.startswith("python -m ") and not out
    else:
        assert not err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_abbreviations(idle, name):
    code, out, err = outcome(name, ["--help"])
    assert code == 0 and not err and out.startswith("usage: python -m")
    for option in OPTIONS[name].split():
        if option[:-1] not in OPTIONS[name].split() and len(option) > 4:
            code, _, err = outcome(name, ["run", option[:-1], "4"] if "network.g" in name else [option[:-1], "4"])
            assert code == 2 and err.count("\n") == 1, (option, err)
