"""Tokens on disk and the batches drawn from them.

A corpus is tokenised once into two flat files, training and validation, that are memory-mapped from then on; each
document is followed by token 0. They lie in a cache folder whose name is a hash of everything they depend on (texts,
split, tokenizer), so a changed text makes a new entry and an entry is never edited. The cache is `$FASTSLOW_CACHE`,
else `$XDG_CACHE_HOME/fastslow`, else `~/.cache/fastslow`.

A batch is a pure function of (seed, step): window offsets come from the counter-based generator Philox (Salmon et al.,
SC 2011) with the seed as key and the step as counter. So the position in the data *is* the step; nothing else has to be
saved, a resumed run reads on exactly where it stopped, and any number of processes can each take its rows of the batch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from network.atomic import new_folder
from network.corpus import Corpus, CorpusError, Document
from network.corpus_summary import CorpusSummary, summarise
from network.tokenizer import (
    SEPARATOR,
    BPETokenizer,
    ByteTokenizer,
    LetterTokenizer,
    Tokenizer,
    tokenizer_from_json,
)

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class TokenData:
    """The two token streams of a corpus, memory-mapped, with their tokenizer; `sha256` identifies all of it.

    options: what beyond the paths decides which texts and tokens these are. summary: files and sizes of both splits.
    """

    training: np.ndarray
    validation: np.ndarray
    tokenizer: Tokenizer
    corpus: tuple[str, ...]
    sha256: str
    options: dict[str, Any] = field(default_factory=dict)
    summary: CorpusSummary | None = None

    @property
    def bpe_vocab(self) -> int | None:
        """The vocabulary of the BPE, None where tokens are bytes or letters."""
        return self.tokenizer.vocab_size if isinstance(self.tokenizer, BPETokenizer) else None

    @property
    def letters(self) -> bool:
        """Whether tokens are the 27 letters."""
        return isinstance(self.tokenizer, LetterTokenizer)

    @property
    def vocab_size(self) -> int:
        """How many values a token can take."""
        return self.tokenizer.vocab_size


def load_data(
    corpus: Corpus,
    *,
    bpe_vocab: int | None = None,
    letters: bool = False,
    tokenizer: Tokenizer | None = None,
    cache: str | Path | None = None,
) -> TokenData:
    """The tokens of `corpus`: bytes, with `letters` the 27 letters, with `bpe_vocab` a BPE of that vocabulary trained
    on its training split, or those of a `tokenizer` that there is already (`network.load_tokenizer`).

    Tokenises at the first call and maps the cached files afterwards; runs that do so at the same time do not disturb
    each other. Raises `CorpusError` where the corpus cannot be divided, the vocabulary cannot be filled, the cache
    cannot be written or an entry in it was damaged, and `ValueError` for two vocabularies at once.
    """
    letters = letters or isinstance(tokenizer, LetterTokenizer)
    if letters and bpe_vocab is not None:
        raise ValueError(f"letters and bpe_vocab = {bpe_vocab} are two vocabularies: ask for one of them")
    if tokenizer is not None and bpe_vocab is not None:
        raise ValueError(f"bpe_vocab = {bpe_vocab} asks for a new tokenizer beside the one given: pass one of the two")
    given = tokenizer if isinstance(tokenizer, BPETokenizer) else None
    training, validation = corpus.split()
    fingerprint = None if given is None else hashlib.sha256(given.to_json().encode()).hexdigest()
    key = _key(corpus, training, validation, ("letters" if letters else bpe_vocab) if given is None else fingerprint)
    folder = (Path(cache) if cache is not None else default_cache()) / key
    if not folder.is_dir():
        try:
            with new_folder(folder) as building:
                _build(building, training, validation, bpe_vocab, LetterTokenizer() if letters else given)
        except OSError as error:
            if not folder.is_dir():  # else another run has just published the same entry
                raise CorpusError(
                    f"the token cache {folder.parent} cannot be written ({error.strerror or error}); "
                    "set FASTSLOW_CACHE to a folder that can"
                ) from None
    found = _open(folder, corpus.paths, key)
    how = {"letters": True} if letters else {} if fingerprint is None else {"tokenizer": fingerprint}
    options = {**corpus.options, **how}
    summary = summarise(corpus, training, validation, found.training, found.validation, found.tokenizer)
    return replace(found, options=options, summary=summary)


def default_cache() -> Path:
    """The folder of tokenised corpora."""
    if "FASTSLOW_CACHE" in os.environ:
        return Path(os.environ["FASTSLOW_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastslow"


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches of `batch_size` windows of `block_size` tokens, drawn uniformly and independently at every step.

    Raises `CorpusError` where `tokens` is shorter than one window with its target, block_size + 1.
    """

    tokens: np.ndarray
    batch_size: int
    block_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {self.batch_size}")
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, got {self.seed}")
        check_length(self.tokens, self.block_size, "training")

    def offsets(self, step: int) -> np.ndarray:
        """Where the windows of batch `step` (0, 1, …) begin: [batch_size]."""
        rng = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, step]))
        return rng.integers(0, len(self.tokens) - self.block_size, size=self.batch_size)

    def batch(self, step: int, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Inputs and targets, int64 [rows, block_size] each, of batch `step`; targets lie one token later."""
        return windows(self.tokens, self.offsets(step)[rows], self.block_size)


def check_length(tokens: np.ndarray, block_size: int, split: str) -> None:
    """Raise `CorpusError` unless `tokens` holds a window of `block_size` tokens and its target."""
    if len(tokens) < block_size + 1:
        raise CorpusError(
            f"the {split} split holds {len(tokens)} tokens, less than one window of block_size + 1 = {block_size + 1}; "
            "add text or lower block_size"
        )


def validation_batches(
    tokens: np.ndarray, block_size: int, batch_size: int, limit: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Disjoint windows spread evenly over the validation split, at most about `limit` tokens, always the same ones."""
    check_length(tokens, block_size, "validation")
    fitting = (len(tokens) - 1) // block_size
    count = min(fitting, max(2, limit // block_size))
    starts = (np.arange(count) * fitting // count) * block_size
    for part in np.array_split(starts, -(-count // batch_size)):
        yield windows(tokens, part, block_size)


def windows(tokens: np.ndarray, starts: np.ndarray, block_size: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, int64 [len(starts), block_size] each, of the windows that begin at `starts`."""
    taken = tokens[starts[:, None] + np.arange(block_size + 1)].astype(np.int64)
    both = torch.from_numpy(taken)
    return both[:, :-1].contiguous(), both[:, 1:].contiguous()


def _key(
    corpus: Corpus, training: tuple[Document, ...], validation: tuple[Document, ...], bpe: int | str | None
) -> str:
    parts: list[object] = [_FORMAT, corpus.sha256, bpe]
    if bpe is not None and bpe != "letters":
        import tokenizers

        parts.append(tokenizers.__version__)
    parts += [[(d.sha256, d.start, d.stop) for d in split] for split in (training, validation)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _build(
    folder: Path,
    training: tuple[Document, ...],
    validation: tuple[Document, ...],
    bpe_vocab: int | None,
    given: BPETokenizer | LetterTokenizer | None,
) -> None:
    tokenizer: Tokenizer = given or ByteTokenizer()
    if bpe_vocab is not None:
        try:
            tokenizer = BPETokenizer.train((d.read().decode("utf-8") for d in training), bpe_vocab)
        except ValueError as error:
            raise CorpusError(str(error)) from None
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)
    lengths = {}
    for split, documents in (("training", training), ("validation", validation)):
        lengths[split] = 0
        with (folder / f"{split}.bin").open("wb") as file:
            for document in documents:
                for tokens in tokenizer.encode_in_pieces(document.read()):
                    file.write(tokens.astype(dtype).tobytes())
                    lengths[split] += len(tokens)
                file.write(np.array(SEPARATOR, dtype).tobytes())
                lengths[split] += 1
    (folder / "tokenizer.json").write_text(tokenizer.to_json())
    (folder / "tokens.json").write_text(json.dumps({"dtype": str(dtype), "lengths": lengths}))


def _open(folder: Path, corpus: tuple[str, ...], key: str) -> TokenData:
    try:
        header = json.loads((folder / "tokens.json").read_text())
        dtype, lengths = np.dtype(header["dtype"]), header["lengths"]
        tokenizer = tokenizer_from_json((folder / "tokenizer.json").read_text())
        splits = {split: np.memmap(folder / f"{split}.bin", dtype=dtype, mode="r") for split in lengths}
        for split, tokens in splits.items():
            if len(tokens) != lengths[split]:
                raise ValueError(f"{split}.bin holds {len(tokens)} tokens, not {lengths[split]}")
        return TokenData(splits["training"], splits["validation"], tokenizer, corpus, key)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"the cached tokens under {folder} are damaged ({error}); delete that folder") from None
