"""Text to tokens and back: bytes by default, byte-pair encoding or 27 letters on request.

Token 0 ends a document in bytes and BPE; among letters it is the space, and a document ends in one.

Letters: a … z after lowering the case, and one space for each run of anything else.
Bytes: the 256 values of a byte; text holds no NUL, so token 0 is free. BPE (Sennrich et al., ACL 2016, over bytes as in
GPT-2): merges trained here, on the training split alone, so no text is unknown and nothing has to be downloaded.
A tokenizer is saved beside the weights that were trained with it, as a file that `tokenizers.Tokenizer.from_file` reads
and that gives the same tokens there.

A long text is encoded in pieces, which bounds memory (the `tokenizers` library takes some 90 bytes a byte). Pieces end
where GPT-2's pattern always ends a word: before a space or line end that follows a visible ASCII character, or between
an ASCII letter and a digit. So the tokens are those of the whole text. A run of `PIECE` characters without such a place
is cut anyway: it has no words, and a single one of that length would take memory by the gigabyte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SEPARATOR = 0
PIECE = 2**18  # characters
_WORD_END = re.compile(r"(?<=[!-~])[ \n]|(?<=[A-Za-z])[0-9]|(?<=[0-9])[A-Za-z]")


def pieces(text: str, size: int = PIECE) -> Iterator[str]:
    """`text` in pieces of at most `size` characters that end at a word's end where there is one."""
    start = 0
    while len(text) - start > size:
        cut = None
        # The place is looked for from the end on: most often it lies within a few characters.
        for first in (start + size - 256, start + 1):
            found = [one.start() for one in _WORD_END.finditer(text, max(first, start + 1), start + size + 1)]
            if found:
                cut = found[-1]
                break
        cut = start + size if cut is None else cut
        yield text[start:cut]
        start = cut
    if start < len(text):
        yield text[start:]


class ByteTokenizer:
    """A token is a byte: vocabulary 256."""

    name = "bytes"
    vocab_size = 256
    ends_documents = True

    def encode(self, text: bytes | str) -> np.ndarray:
        """Tokens[length] of `text`, uint8."""
        return np.frombuffer(text.encode() if isinstance(text, str) else text, dtype=np.uint8)

    def encode_in_pieces(self, text: bytes) -> Iterator[np.ndarray]:
        """The tokens of a text of any length: at once, since they take no memory of their own."""
        yield self.encode(text)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of `tokens`; bytes that are no UTF-8 show as U+FFFD, as sampled ones can be."""
        return bytes(int(token) for token in tokens).decode("utf-8", errors="replace")

    def to_json(self) -> str:
        """The JSON that `tokenizer_from_json` and the library `tokenizers` read: a BPE without a merge."""
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        model = {"type": "BPE", "vocab": _BYTES, "merges": []}
        return json.dumps(
            {"version": "1.0", "added_tokens": [], "pre_tokenizer": level, "decoder": level, "model": model}
        )


class LetterTokenizer:
    """A token is a letter, a … z as 1 … 26, or the space, 0: vocabulary 27.

    Examples:
        >>> LetterTokenizer().encode("Ay, there's").tolist()
        [1, 25, 0, 20, 8, 5, 18, 5, 0, 19]
    """

    name = "letters"
    vocab_size = 27
    ends_documents = False

    def encode(self, text: bytes | str) -> np.ndarray:
        """Tokens[length] of `text`, uint8."""
        raw = text.encode() if isinstance(text, str) else text
        letters = np.frombuffer(re.sub(rb"[^a-z]+", b" ", raw.lower()), dtype=np.uint8)
        return np.where(letters == ord(" "), 0, letters - (ord("a") - 1)).astype(np.uint8)

    def encode_in_pieces(self, text: bytes | str) -> Iterator[np.ndarray]:
        """The tokens of a document, in one piece, without a space at either end: the one after it is its separator."""
        yield np.trim_zeros(self.encode(text))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`."""
        return "".join(" " if int(token) == 0 else chr(ord("a") - 1 + int(token)) for token in tokens)

    def to_json(self) -> str:
        """The JSON that `tokenizer_from_json` reads."""
        return json.dumps({"kind": "letters"})


class BPETokenizer:
    """Byte-level BPE around a `tokenizers.Tokenizer`; token 0 is the separator."""

    vocab_size: int

    name = "bpe"
    ends_documents = True

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
        inner.train_from_iterator((piece for text in texts for piece in pieces(text)), trainer)
        if inner.get_vocab_size() != vocab_size:
            raise ValueError(
                f"the training split yields a BPE vocabulary of {inner.get_vocab_size()}, not {vocab_size}: "
                "ask for that or add text"
            )
        return cls(inner)

    def encode(self, text: bytes | str) -> np.ndarray:
        """Tokens[length] of `text`, the narrowest unsigned dtype that holds the vocabulary."""
        found = list(self.encode_in_pieces(text))
        return np.concatenate(found) if found else np.empty(0, np.min_scalar_type(self.vocab_size - 1))

    def encode_in_pieces(self, text: bytes | str) -> Iterator[np.ndarray]:
        """The tokens of a text of any length, piece by piece."""
        dtype = np.min_scalar_type(self.vocab_size - 1)
        for piece in pieces(text if isinstance(text, str) else text.decode("utf-8")):
            yield np.asarray(self._inner.encode(piece, add_special_tokens=False).ids, dtype=dtype)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of `tokens`; a document end shows as NUL, as it does for bytes."""
        pieces: list[list[int]] = [[]]
        for token in map(int, tokens):
            if token == SEPARATOR:
                pieces.append([])
            else:
                pieces[-1].append(token)
        return "\0".join(self._inner.decode(piece) for piece in pieces)

    def to_json(self) -> str:
        """The JSON that `tokenizer_from_json` and the library `tokenizers` read."""
        return self._inner.to_str()


Tokenizer = ByteTokenizer | LetterTokenizer | BPETokenizer


def tokenizer_from_json(text: str) -> Tokenizer:
    """The tokenizer written by `to_json`; raises `ValueError` for anything else."""
    try:
        description = json.loads(text)
        kind = description.get("kind")  # runs of the first version wrap the description
        if kind == "bytes" or description.get("model", {}).get("vocab") == _BYTES:
            return ByteTokenizer()
        if kind == "letters":
            return LetterTokenizer()
        if kind == "bpe" or (kind is None and description["model"]["type"] == "BPE"):
            import tokenizers

            return BPETokenizer(
                tokenizers.Tokenizer.from_str(json.dumps(description["tokenizer"]) if kind == "bpe" else text)
            )
    except (AttributeError, TypeError, KeyError, json.JSONDecodeError):
        pass
    raise ValueError(f"no tokenizer of this package: {text[:80]!r}")


def _byte_signs() -> list[str]:
    """The visible character that stands for each byte in a byte-level BPE (GPT-2): itself where it is one."""
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in visible else next(others)) for byte in range(256)]


_BYTES = {sign: byte for byte, sign in enumerate(_byte_signs())}


def load_tokenizer(run: str | Path) -> Tokenizer:
    """The tokenizer that the run in the folder `run` (or of one of its checkpoints) was trained with.

    Raises `ValueError` naming the path.

    Examples:
        >>> from network import load_tokenizer
        >>> load_tokenizer("no/such/run")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        ...
        ValueError: no/such/run/tokenizer.json
    """
    folder = Path(run)
    if (folder / "checkpoint.json").exists():
        folder = folder.parent.parent
    path = folder / "tokenizer.json"
    try:
        return tokenizer_from_json(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} holds no tokenizer ({error}); is {run} the folder of a run?") from None
