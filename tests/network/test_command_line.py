"""How an error ends a command: its exit code is never that of a violated claim, and the reason is one line."""

import sys
from argparse import ArgumentTypeError

import numpy as np
import pytest
import torch

from network.command_line import LARGEST_SEED, exit_code, failure, seed_number
from verify.command_line import run, sample_size
from verify.generator_defect import command as generator_defect


@pytest.mark.parametrize("ends", [exit_code, run])
@pytest.mark.parametrize(
    "error, code, line",
    [
        (ValueError("P must be >= 1"), 2, "P must be >= 1"),
        (RuntimeError("the loss is nan"), 3, "the loss is nan"),
        (OSError(28, "No space left on device", "run/log"), 3, "No space left on device: run/log"),
        (OSError(5, "Input/output error"), 3, "Input/output error"),
        (OSError("no network"), 3, "no network"),
        (FileNotFoundError(2, "No such file or directory", "a"), 2, "No such file or directory: a"),
        (PermissionError(13, "Permission denied", "a"), 2, "Permission denied: a"),
        (MemoryError(), 3, "out of memory"),
        (MemoryError("Unable to allocate 7 EiB"), 3, "out of memory: Unable to allocate 7 EiB"),
        (OverflowError("int too large to convert"), 3, "OverflowError: int too large to convert"),
        (ZeroDivisionError("division by zero"), 3, "ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_an_error_is_a_code_and_one_line(ends, error, code, line, capsys):
    def command():
        raise error

    assert ends(command, "prog") == code
    assert capsys.readouterr().err == f"prog: {line}\n"


def test_a_mistake_in_the_program_shows_where_it_is_and_is_no_violated_claim(capsys):
    assert exit_code(lambda: {}["missing"], "prog") == 3
    err = capsys.readouterr().err
    assert "Traceback" in err and err.endswith("prog: KeyError: 'missing'\n")


def test_what_a_command_returns_is_its_exit_code():
    assert [exit_code(lambda code=code: code, "prog") for code in (0, 1, 3)] == [0, 1, 3]


def test_memory_that_torch_and_numpy_do_not_get_is_code_3():
    for ask in (lambda: np.empty(2**50), lambda: torch.empty(2**50)):
        with pytest.raises((MemoryError, RuntimeError)) as raised:
            ask()
        assert failure(raised.value)[0] == 3


def test_every_seed_that_is_taken_and_what_is_derived_from_it_is_one_for_torch():
    assert seed_number("0") == 0 and seed_number(str(LARGEST_SEED)) == LARGEST_SEED
    torch.Generator().manual_seed(2 * LARGEST_SEED + 1)
    for text in ("-1", str(LARGEST_SEED + 1), "1e3", "", "x", "9" * 5000):
        with pytest.raises(ArgumentTypeError, match="is not an integer from 0 to 2\\^63 − 1"):
            seed_number(text)


def test_generator_defect_bounds_its_seed_and_states_its_exit_codes(capsys):
    for seed in ("-1", str(LARGEST_SEED + 1)):
        with pytest.raises(SystemExit) as stop:
            generator_defect.main(["run", "--seed", seed])
        assert stop.value.code == 2 and f"argument --seed: '{seed}' is not an integer" in capsys.readouterr().err
    assert "Exit codes: 0 measured; 2 usage or input; 3 a stream" in generator_defect.parser().format_help()


def test_as_many_samples_as_are_taken_can_be_drawn():
    most = sample_size(str(2**63 - 1))
    assert np.random.default_rng(0).multinomial(most, [0.25, 0.75]).sum() == most == sys.maxsize
    with pytest.raises(ArgumentTypeError, match="must be at most 2\\^63 − 1"):
        sample_size(str(2**63))
