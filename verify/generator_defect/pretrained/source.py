"""Models and texts from the disk: opened offline, or refused in one line before anything is computed.

A model is a folder as `save_pretrained` writes it, an installed Python package that carries weights, or a name that is
in the cache of Hugging Face. Weights come from safetensors or GGUF (dequantised); a pickle is read if it is asked for.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verify.command_line import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NEEDED = {"transformers": "", "gguf": "to read GGUF", "accelerate": "by transformers to read GGUF"}
LEFT_OUT = ("pooler",)  # heads on top of the last block: a checkpoint without them is whole


@dataclass(frozen=True)
class Source:
    """A model that is open. name: as asked for. weights: in which form they were. model: in float32, without a head."""

    name: str
    weights: str
    model: torch.nn.Module


def check_extra(*, gguf: bool) -> None:
    """`UsageError` where a package that reading needs is not installed."""
    missing = [package for package in list(NEEDED)[: 3 if gguf else 1] if find_spec(package) is None]
    if missing:
        why = ", ".join(f"{package} {NEEDED[package]}".strip() for package in missing)
        raise UsageError(f"--model needs {why}: pip install 'fastslow[pretrained]'")


def open_model(name: str, *, gguf: str | None = None, pickle: bool = False) -> Source:
    """The model of that name, in float32 and without a head on its last block. pickle: whether weights may come from
    one. Raises `UsageError` with the remedy where it cannot be read, or its blocks not be differentiated."""
    check_extra(gguf=gguf is not None)
    where = folder_of(name)
    if isinstance(where, Path):
        _check_folder(where, gguf, pickle)
    import torch
    from transformers import AutoConfig, AutoModel

    how: dict[str, Any] = {"gguf_file": gguf, "local_files_only": True}
    try:
        config = AutoConfig.from_pretrained(where, **how)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(_not_read(name, where, error)) from None
    if getattr(config, "is_encoder_decoder", False):
        raise UsageError(f"{name} has an encoder and a decoder: save one of them alone and measure that")
    if getattr(config, "num_hidden_layers", None) is None:
        raise UsageError(f"{name} ({config.model_type}) has no list of blocks: name a transformer of text alone")
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None and gguf is None:
        raise UsageError(
            f"the weights of {name} are quantised, and quantised blocks cannot be differentiated: take its weights in "
            "full precision, or a GGUF file (--gguf), which is dequantised"
        )
    safe = None if pickle or gguf else True
    how["ignore_mismatched_sizes"] = True  # they are refused below, by name
    try:
        model, info = AutoModel.from_pretrained(
            where, config=config, dtype=torch.float32, use_safetensors=safe, output_loading_info=True, **how
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise UsageError(_not_read(name, where, error)) from None
    lost = sorted(key for key in info["missing_keys"] if not key.startswith(LEFT_OUT))
    if lost or info["mismatched_keys"]:
        what = lost[0] if lost else next(iter(info["mismatched_keys"]))[0]
        raise UsageError(
            f"the weights of {name} are not those of its configuration ({len(lost)} missing, "
            f"{len(info['mismatched_keys'])} of another shape, as {what}): take the config.json that came with them"
        )
    return Source(name, _form(gguf), model.eval())


def folder_of(name: str) -> Path | str:
    """The folder of that path, or of the installed package of that name; else the name, for the cache."""
    if Path(name).is_dir():
        return Path(name)
    if Path(name).exists():
        raise UsageError(f"--model {name} is a file: name its folder, and the file by --gguf if it is one of GGUF")
    if name.isidentifier() and (spec := find_spec(name)) is not None and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0])
    return name


def _check_folder(folder: Path, gguf: str | None, pickle: bool) -> None:
    files = sorted(path.name for path in folder.iterdir())
    of_gguf = [name for name in files if name.endswith(".gguf")]
    if gguf is not None:
        if not (folder / gguf).is_file():
            raise UsageError(f"--gguf {gguf}: not in {folder}, which has {', '.join(of_gguf) or 'no GGUF file'}")
        return
    if "config.json" not in files:
        if of_gguf:
            raise UsageError(f"{folder} has no config.json but GGUF: add --gguf {of_gguf[0]}")
        if "adapter_config.json" in files:
            raise UsageError(f"{folder} is an adapter: merge it into its model (merge_and_unload) and save that")
        raise UsageError(f"{folder} has no config.json: name the folder of a model as save_pretrained writes it")
    try:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(
            f"{folder / 'config.json'} is no JSON ({error}): take the one that came with the weights"
        ) from None
    if not isinstance(said, dict) or "model_type" not in said:
        raise UsageError(f'{folder / "config.json"} names no model_type: add the family, such as "model_type": "bert"')
    pickles = [name for name in files if name.endswith((".bin", ".pt", ".pth")) and "model" in name]
    if not any(name.endswith(".safetensors") for name in files):
        if not pickles:
            raise UsageError(f"{folder} has no weights: put model.safetensors there, or GGUF named by --gguf")
        if not pickle:
            raise UsageError(
                f"the weights in {folder} are a pickle ({pickles[0]}), which may run code as it is read: save them as "
                "safetensors, or add --allow-pickle, which reads tensors alone"
            )


def _not_read(name: str, where: Path | str, error: Exception) -> str:
    said = re.sub(r"\s+", " ", str(error)).split(". ")[0][:200]
    if isinstance(where, Path):
        return f"{name} cannot be read: {said}"
    return (
        f"{name} is no folder, no installed package and not in the cache of this machine; nothing is downloaded: run "
        f"hf download {name} --local-dir DIR (a gated model asks you to accept its licence first) and give --model DIR"
    )


def _form(gguf: str | None) -> str:
    if gguf is None:
        return "as saved, in float32"
    kind = re.search(r"(?<![A-Za-z])(?:I?Q(\d)\w*|BF16|F16|F32)", gguf)
    bits = f"{kind[1]}-bit weights ({kind[0]}), " if kind and kind[1] else f"{kind[0]}, " if kind else ""
    return f"{bits}dequantised from GGUF"


def read_tokens(name: str, text: Path, length: int, *, gguf: str | None = None) -> Tensor:
    """The first `length` tokens[T] of a text file, by the tokenizer of the model or folder of that name, with the
    special tokens that it puts in front. Raises `UsageError` where there is no tokenizer, or too little text."""
    import torch
    from transformers import AutoTokenizer

    try:
        content = text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--text {text}: cannot be read ({error}); name a file of UTF-8 text") from None
    where = folder_of(name)
    if gguf is None and isinstance(where, Path) and not any(_TOKENIZER.search(path.name) for path in where.iterdir()):
        raise UsageError(f"{name} has no tokenizer: {_OTHER_TOKENIZER}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=gguf, local_files_only=True)
        found = tokenizer(content[: 200 * length]).input_ids
    except Exception as error:  # tokenizers fail in as many ways as there are
        said = re.sub(r"\s+", " ", str(error)).split(". ")[0][:160]
        raise UsageError(f"the tokenizer of {name} cannot be read ({said}): {_OTHER_TOKENIZER}") from None
    if len(found) < length:
        raise UsageError(f"--text {text} has {len(found)} tokens, fewer than --length {length}: take a longer text")
    return torch.tensor(found[:length], dtype=torch.int64)


_TOKENIZER = re.compile(r"^tokenizer\.|^vocab\.|^merges\.|\.model$|^tekken\.json$")
_OTHER_TOKENIZER = "name the folder of the one it was trained with by --tokenizer DIR"


def check_tokens(model: torch.nn.Module, tokens: Any) -> None:
    """`ValueError` unless tokens[T] are at least two that the model knows, and no more than it has positions for."""
    import torch

    if not isinstance(tokens, torch.Tensor) or tokens.dim() != 1 or tokens.is_floating_point():
        shape = list(tokens.shape) if isinstance(tokens, torch.Tensor) else type(tokens).__name__
        raise ValueError(f"tokens must be integers [T], got {shape}: of a batch, take one sequence at a time")
    config: Any = model.config
    if len(tokens) < 2:
        raise ValueError(f"tokens must be at least 2, got {len(tokens)}")
    most = getattr(config, "max_position_embeddings", None) or len(tokens)
    if len(tokens) > most:
        raise ValueError(f"{len(tokens)} tokens are too many: the model has {most} positions; take --length {most}")
    size = getattr(config, "vocab_size", None)
    if size is not None and not bool(((tokens >= 0) & (tokens < size)).all()):
        wrong = int(tokens[(tokens < 0) | (tokens >= size)][0])
        raise ValueError(f"token {wrong} is none of the model's {size}: the tokenizer is another model's")


def check_precision(model: torch.nn.Module, dtype: Any = None) -> None:
    """`ValueError` unless every weight of `model` is in float32 or float64, and so is `dtype`."""
    import torch

    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():
            raise ValueError(
                f"{name} is {_short(parameter.dtype)}: quantised blocks cannot be differentiated; load the model "
                "dequantised"
            )
        if parameter.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name} is {_short(parameter.dtype)}, {_TOO_COARSE}: call model.float(), which is exact")
    if dtype not in (None, torch.float32, torch.float64):
        raise ValueError(f"dtype {_short(dtype)} is {_TOO_COARSE}: take float64, or float32")


_TOO_COARSE = "too coarse for Jacobians (a number of 8 or 11 bits leaves their small entries nothing but rounding)"


def _short(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")
