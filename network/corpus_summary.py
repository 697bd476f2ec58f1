"""What a corpus holds, for the person who trains on it: files and shares of the two splits, and what looks wrong.

A validation loss speaks of the training texts only if the held-out ones are of their kind and enough of them. Two
things are looked at: the share of bytes held out, a tenth by intention, which whole documents can miss by far; and the
total variation distance between the byte frequencies of the two splits, over at most `SAMPLED` bytes of each.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from network.corpus import Corpus, Document
    from network.tokenizer import Tokenizer

SAMPLED = 2**20
# Plays of Shakespeare lie 0.02 apart, prose and Python source 0.3; 0.12 is said to the user, who knows the texts.
FAR_APART = 0.12
FEWEST_SHARE, LARGEST_SHARE = 0.05, 0.2
_NAMED = 5


@dataclass(frozen=True)
class CorpusSummary:
    """Files, bytes and tokens of both splits. A document's end counts as one byte, as it does for byte tokens.

    held_out: names of the validation files. byte_distance: TV between the byte frequencies of the splits. cut: whether
    a single document was divided. skipped: files left out as no text.
    """

    training_files: int
    validation_files: int
    training_bytes: int
    validation_bytes: int
    training_tokens: int
    validation_tokens: int
    held_out: tuple[str, ...]
    byte_distance: float
    cut: bool
    skipped: tuple[str, ...] = ()

    @property
    def validation_share(self) -> float:
        """The share of bytes that is held out."""
        return self.validation_bytes / (self.training_bytes + self.validation_bytes)

    @property
    def bytes_per_token(self) -> float:
        """Of the validation split: what turns nats per token into bits per byte."""
        return self.validation_bytes / self.validation_tokens

    def warnings(self) -> list[str]:
        """What should be looked at before a loss is believed."""
        found = []
        share = self.validation_share
        if not FEWEST_SHARE <= share <= LARGEST_SHARE:
            found.append(
                f"{share:.1%} of the bytes are held out, far from 10 %: documents are held out whole, and these are "
                "uneven; divide long files, or name several of like size"
            )
        # The distance between two samples of one source is about half the sum of √(2 q/π n) over its byte values.
        noise = 4.0 / min(self.validation_bytes, SAMPLED) ** 0.5
        if self.byte_distance > FAR_APART + noise:
            found.append(
                "the held-out files are of another kind than the rest (byte frequencies "
                f"{self.byte_distance:.2f} apart in total variation): the validation loss measures that too"
            )
        return found

    def lines(self) -> list[str]:
        """For the terminal: what is trained on and what is held out."""
        names = ", ".join(self.held_out[:_NAMED]) + (", …" if len(self.held_out) > _NAMED else "")
        rest = f"the end of {names}" if self.cut else f"{self.validation_files} files: {names}"
        return [
            f"training   {self.training_tokens:,} tokens, {self.training_bytes:,} bytes, {self.training_files} files",
            f"validation {self.validation_tokens:,} tokens, {self.validation_bytes:,} bytes "
            f"({self.validation_share:.1%}), {rest}",
            *([f"left out as no text: {len(self.skipped)} files"] if self.skipped else []),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The fields, the share and the warnings as plain JSON values."""
        values = asdict(self)
        return {
            **{name: list(value) if isinstance(value, tuple) else value for name, value in values.items()},
            "validation_share": self.validation_share,
            "warnings": self.warnings(),
        }


def summarise(
    corpus: Corpus,
    training: tuple[Document, ...],
    validation: tuple[Document, ...],
    training_tokens: np.ndarray,
    validation_tokens: np.ndarray,
    tokenizer: Tokenizer,
) -> CorpusSummary:
    """The summary of a corpus that was divided and tokenised."""
    frequencies = [_byte_frequencies(tokens, tokenizer) for tokens in (training_tokens, validation_tokens)]
    return CorpusSummary(
        training_files=len(training),
        validation_files=len(validation),
        training_bytes=sum(map(len, training)) + len(training),
        validation_bytes=sum(map(len, validation)) + len(validation),
        training_tokens=len(training_tokens),
        validation_tokens=len(validation_tokens),
        held_out=tuple(document.name for document in validation),
        byte_distance=float(0.5 * np.abs(frequencies[0] - frequencies[1]).sum()),
        cut=len(corpus.documents) == 1,
        skipped=corpus.skipped,
    )


def _byte_frequencies(tokens: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """Of windows spread over the stream, `SAMPLED` tokens in all: [256]."""
    pieces = 64
    size = SAMPLED // pieces
    if len(tokens) <= SAMPLED:
        taken = np.asarray(tokens)
    else:
        taken = np.concatenate([tokens[k : k + size] for k in np.linspace(0, len(tokens) - size, pieces, dtype=int)])
    if tokenizer.name != "bytes":
        taken = np.frombuffer(tokenizer.decode(taken[: SAMPLED // 4].tolist()).encode(), dtype=np.uint8)
    counts = np.bincount(taken, minlength=256).astype(float)
    return counts / counts.sum()
