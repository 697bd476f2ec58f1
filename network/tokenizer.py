"""Text to tokens and back: bytes by default, byte-pair encoding on request. Token 0 ends a document in both.

Bytes: the 256 values of a byte; text holds no NUL, so token 0 is free. BPE (Sennrich et al., ACL 2016, over bytes as in
GPT-2): merges trained here, on the training split alone, so no text is unknown and nothing has to be downloaded.
A tokenizer is saved as JSON beside the weights that were trained with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SEPARATOR = 0


class ByteTokenizer:
    """A token is a byte: vocabulary 256."""

    name = "bytes"
    vocab_size = 256

    def encode(self, text: bytes | str) -> np.ndarray:
        """Tokens[length] of `text`, uint8."""
        return np.frombuffer(text.encode() if isinstance(text, str) else text, dtype=np.uint8)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`; bytes that are no UTF-8 show as U+FFFD, as sampled ones can be."""
        return bytes(int(token) for token in tokens).decode("utf-8", errors="replace")

    def to_json(self) -> str:
        """The JSON that `tokenizer_from_json` reads."""
        return json.dumps({"kind": "bytes"})


class BPETokenizer:
    """Byte-level BPE around a `tokenizers.Tokenizer`; token 0 is the separator."""

    name = "bpe"

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.vocab_size = int(inner.get_vocab_size())

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> BPETokenizer:
        """Merges learned from `texts` until the vocabulary holds `vocab_size` tokens: the separator, 256 bytes, merges.

        Raises `ValueError` for a vocabulary below 257, or texts too small to fill it.
        """
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        if vocab_size < 257:
            raise ValueError(f"vocab_size of a BPE must be at least 257 (separator and bytes), got {vocab_size}")
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=["\0"],  # no text holds it, so no text can forge a document end
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        inner.train_from_iterator(texts, trainer)
        if inner.get_vocab_size() != vocab_size:
            raise ValueError(
                f"the training split yields a BPE vocabulary of {inner.get_vocab_size()}, not {vocab_size}: "
                "ask for that or add text"
            )
        return cls(inner)

    def encode(self, text: bytes | str) -> np.ndarray:
        """Tokens[length] of `text`, the narrowest unsigned dtype that holds the vocabulary."""
        ids = self._inner.encode(text if isinstance(text, str) else text.decode("utf-8"), add_special_tokens=False).ids
        return np.asarray(ids, dtype=np.min_scalar_type(self.vocab_size - 1))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`; a document end shows as NUL, as it does for bytes."""
        pieces: list[list[int]] = [[]]
        for token in map(int, tokens):
            if token == SEPARATOR:
                pieces.append([])
            else:
                pieces[-1].append(token)
        return "\0".join(self._inner.decode(piece) for piece in pieces)

    def to_json(self) -> str:
        """The JSON that `tokenizer_from_json` reads."""
        return json.dumps({"kind": "bpe", "tokenizer": json.loads(self._inner.to_str())})


def tokenizer_from_json(text: str) -> ByteTokenizer | BPETokenizer:
    """The tokenizer written by `to_json`; raises `ValueError` for anything else."""
    try:
        description = json.loads(text)
        kind = description["kind"]
        if kind == "bytes":
            return ByteTokenizer()
        if kind == "bpe":
            from tokenizers import Tokenizer

            return BPETokenizer(Tokenizer.from_str(json.dumps(description["tokenizer"])))
    except (TypeError, KeyError, json.JSONDecodeError):
        pass
    raise ValueError(f"no tokenizer of this package: {text[:80]!r}")


def load_tokenizer(run: str | Path) -> ByteTokenizer | BPETokenizer:
    """The tokenizer that the run under the folder `run` was trained with; raises `ValueError` naming the path."""
    path = Path(run) / "tokenizer.json"
    try:
        return tokenizer_from_json(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} holds no tokenizer ({error}); is {run} the folder of a run?") from None
