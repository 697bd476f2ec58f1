"""Fifty plausible mistakes on the command lines of network and verify: one line, exit code 2, the remedy in it."""

import importlib

import pytest

from network.config import FastSlowConfig
from network.corpus import open_corpus
from network.data import load_data
from network.training import train
from network.training_config import TrainConfig

TRAIN, GENERATE, LEAK, EXPORT = "network.train", "network.generate_command", "network.leak_check", "network.export"
ABLATION, COMPARE, GAP = "verify.ablation.command", "verify.compare.command", "verify.manifold_gap.command"
DEFECT, CLAIMS = "verify.generator_defect.command", "verify.__main__"

# command, words (RUN is a trained run, TEXTS a folder of texts, FILE a file), and the remedy that the line must hold
MISTAKES = [
    (TRAIN, "--token 5", "did you mean --tokens?"),
    (TRAIN, "--toekns 5", "did you mean --tokens?"),
    (TRAIN, "--lr 1e-3", "(see --help)"),
    (TRAIN, "--learning_rate 1e-3", "did you mean --learning-rate?"),
    (TRAIN, "-tokens 5", "did you mean --tokens?"),
    (TRAIN, "--batchsize 4", "did you mean --batch-size?"),
    (TRAIN, "runs/a", "options begin with --"),
    (TRAIN, "--tokens 1.5", "such as 500000, 500k, 10M or 1e5"),
    (TRAIN, "--tokens 5kk", "such as 500000, 500k, 10M or 1e5"),
    (TRAIN, "--tokens ten", "such as 500000, 500k, 10M or 1e5"),
    (TRAIN, "--tokens 0", "tokens must be an integer >= 1"),
    (TRAIN, "--arm couple", "did you mean coupled?"),
    (TRAIN, "--gate scaler", "did you mean scalar?"),
    (TRAIN, "--dtype fp16", "choose from"),
    (TRAIN, "--dtype bf16", "choose from"),
    (TRAIN, "--preset large", "choose from"),
    (TRAIN, "--slow-attention full", "choose from 'block_causal', 'full_leaking'"),
    (TRAIN, "--period 300", "take period <= block_size"),
    (TRAIN, "--n-embd 65", "even multiple of n_head"),
    (TRAIN, "--learning-rate -1", "learning_rate must be a number in"),
    (TRAIN, "--seed -1", "an integer from 0 to 2^63"),
    (TRAIN, "--device cuda", "--device cpu"),
    (TRAIN, "--device gpu", "--device cpu"),
    (TRAIN, "--corpus nowhere", "pass shakespeare, source, or text files and folders"),
    (TRAIN, "--corpus TEXTS", "--exclude '*.png'"),
    (TRAIN, "--corpus TEXTS --exclude *", "take fewer patterns"),
    (TRAIN, "--corpus shakespeare --exclude *.py", "for text files and folders of your own"),
    (TRAIN, "--corpus TEXTS/one.txt --bpe 100", "at least 257"),
    (TRAIN, "--corpus TEXTS/one.txt --bpe 60k", "ask for that or add text"),
    (TRAIN, "--corpus TEXTS/short.txt", "add text or lower block_size"),
    (TRAIN, "--corpus TEXTS/one.txt --out FILE", "name a folder that does not exist yet"),
    (TRAIN, "--corpus TEXTS/one.txt --out /proc/foo", "name a folder that does not exist yet"),
    (TRAIN, "--corpus TEXTS/one.txt --out RUN", "go on with it by --resume"),
    (TRAIN, "--resume nope", "pass the folder of a run"),
    (TRAIN, "--resume RUN --out other", "leave --out away"),
    (TRAIN, "--resume RUN --preset tiny", "leave --preset away"),
    (TRAIN, "--resume RUN --learning-rate 1", "With --init-from RUN in place of --resume"),
    (TRAIN, "--resume RUN --tokens 1", "name more"),
    (TRAIN, "--init-from nope", "pass the folder of a run"),
    (TRAIN, "--init-from RUN --corpus TEXTS/one.txt --n-embd 16", "take --n-embd 8"),
    (TRAIN, "--init-from RUN --bpe 300", "leave --bpe and --letters away"),
    (GENERATE, "", "required: RUN"),
    (GENERATE, "nope", "pass the folder of a run"),
    (GENERATE, "RUN --top-p 2", "1 leaves every token in"),
    (GENERATE, "RUN --temperature hot", "0 takes the most likely token"),
    (GENERATE, "RUN --promt x", "did you mean --prompt?"),
    (GENERATE, "RUN To be", "a text with spaces stands in quotes"),
    (LEAK, "RUN --length 2", "period + 1"),
    (EXPORT, "RUN RUN", "name a new one"),
    (ABLATION, "--seeds 0", "such as 3 for 0, 1, 2"),
    (ABLATION, "--seeds 1,1", "must list different seeds"),
    (ABLATION, "--arms dense,couple", "different arms of dense"),
    (ABLATION, "--corpus TEXTS/one.txt --out FILE", "name a folder that can be written"),
    (COMPARE, "RUN RUN", "each named once"),
    (COMPARE, "RUN", "two runs or more"),
    (GAP, "--periods 0", "integers >= 1"),
    (GAP, "--sytem two_state", "did you mean --system?"),
    (DEFECT, "nope", "pass the folder of a run"),
    (CLAIMS, "--claims no_future_leak", "did you mean --claim?"),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    texts = folder / "texts"
    texts.mkdir()
    (texts / "one.txt").write_text("the slow variable drives the fast one\n" * 200)
    (texts / "short.txt").write_text("too short to\nbe cut\n")
    (texts / "picture.png").write_bytes(b"\x89PNG\xff")
    (folder / "file").write_text("a file")
    data = load_data(open_corpus(texts / "one.txt"), cache=folder / "cache")
    model = FastSlowConfig(block_size=16, n_layer=1, n_embd=8, n_head=2, period=4)
    train(model, TrainConfig(tokens=128, evaluations=1, eval_tokens=64), data=data, run=folder / "run")
    return {"RUN": str(folder / "run"), "TEXTS": str(texts), "FILE": str(folder / "file")}, folder


def test_there_are_fifty_and_each_is_another():
    assert len({(command, words) for command, words, _ in MISTAKES}) == len(MISTAKES) >= 50


@pytest.mark.parametrize("command, words, remedy", MISTAKES, ids=[f"{c.split('.')[1]} {w}" for c, w, _ in MISTAKES])
def test_a_mistake_is_answered_with_its_remedy(command, words, remedy, places, tmp_path, monkeypatch, capsys):
    names, folder = places
    monkeypatch.setenv("FASTSLOW_CACHE", str(folder / "cache"))
    monkeypatch.chdir(tmp_path)
    for name, path in names.items():
        words = words.replace(name, path)
    try:
        code = importlib.import_module(command).main(words.split())
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and err.count("\n") == 1, err
    assert err.startswith("python -m ") and remedy in err
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"out"}, "a refused run leaves no folder"
