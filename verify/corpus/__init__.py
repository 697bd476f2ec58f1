"""Corpora with a known answer, under names that every study takes. `python -m verify.corpus NAME --out DIR`.

    python -m verify.corpus regimes --out out/regimes
    python -m verify.corpus regimes:s=0.5,f=1/64,n=16 --reach 7 --out out/regimes
    python -m verify.corpus system:driven_cycle --out out/cycle

`regimes` is a source whose slow regime decides the kernel of its tokens (`verify.corpus.regimes`), `system:NAME` the
fast states of a built-in system (`verify.corpus.systems`). A text has one printable character a token, so that
`network.train`, which imports nothing of theory, reads it as it reads any text.

The command writes DIR/tokens.txt for `python -m network.train --corpus DIR`, and DIR.json with the exact losses: y
known, the Bayes filter that does not know where blocks begin and the one that does, the last token alone, and the best
that the last m tokens allow for each m of --reach (L layers of a window w reach m = L(w − 1) + 1). They are means over
the validation windows of --block-size tokens, those that the studies measure on.

Exit codes: 0 written; 2 usage or input; 3 a numerical failure; 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verify.corpus.regimes import LARGEST, Regimes
from verify.corpus.systems import SystemText

if TYPE_CHECKING:
    import numpy as np

    from network.corpus import Corpus

__all__ = ["Regimes", "SystemText", "made", "open_corpus", "parse", "text_of", "tokens_of"]

FIRST = 33  # '!': the character of token 0, the first that is printable and no space


def parse(name: str) -> Regimes | SystemText | None:
    """The source called `name`; None for a name that is not of a made corpus.

    Raises `ValueError` for an option that there is not, or a value that it cannot have.

    Examples:
        >>> from verify.corpus import parse
        >>> parse("regimes:s=0.5,f=1/64").f, parse("shakespeare")
        (Fraction(1, 64), None)
    """
    kind, _, rest = name.partition(":")
    if kind not in ("regimes", "system") or (kind == "system" and not rest):
        return None
    words = [word for word in rest.split(",") if word]
    system = words.pop(0) if kind == "system" else None
    options = ("period", "blocks", "step", "seed", "length") if system else ("s", "f", "n", "block", "seed", "length")
    values: dict[str, Any] = {}
    for word in words:
        field, equals, text = word.partition("=")
        if not equals or field not in options or field in values:
            raise ValueError(
                f"corpus {name!r}: {word!r} is not one of {', '.join(f'{o}=…' for o in options)}, given once"
            )
        values[field] = _number(name, field, text)
    return SystemText(system, **values) if system else Regimes(**values)


def made(source: Regimes | SystemText, folder: Path) -> Path:
    """The text of `source` as the one file of `folder`, written now unless it is there.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from verify.corpus import Regimes, made
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(made(Regimes(length=20_000), Path(folder)).stat().st_size)
        20000
    """
    from network.atomic import write_atomic

    path = folder / "tokens.txt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text_of(source.sample()[0]))
    return path


def open_corpus(spec: str | Path | Sequence[str | Path], **options: Any) -> Corpus:
    """`network.corpus.open_corpus`, for the names of made corpora too: their text lies in the token cache.

    options: `exclude` and `skip_undecodable`, of text files and folders.

    Examples:
        >>> from verify.corpus import open_corpus
        >>> open_corpus("regimes:s=")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        ...
        ValueError: corpus 'regimes:s=': s = '' must be a number
    """
    import hashlib
    from dataclasses import replace

    from network import corpus
    from network.data import default_cache

    names = [spec] if isinstance(spec, str | Path) else list(spec)
    source = parse(str(names[0])) if len(names) == 1 else None
    if source is None:
        return corpus.open_corpus(spec, **options)
    if options:
        raise ValueError(f"the corpus {source.name} is made here: leave {' and '.join(options)} away")
    key = hashlib.sha256(f"1 {source.name}".encode()).hexdigest()[:16]
    path = made(source, default_cache() / f"{source.name.partition(':')[0]}-{key}")
    return replace(corpus.open_corpus(path), paths=(source.name,))


def text_of(tokens: np.ndarray) -> bytes:
    """Tokens 0 … 93 as printable characters.

    Examples:
        >>> import numpy as np
        >>> from verify.corpus import text_of
        >>> text_of(np.array([0, 1, 2]))
        b'!"#'
    """
    import numpy as np

    if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < LARGEST:
        raise ValueError(f"tokens must lie in 0 … {LARGEST - 1} to be printable, got up to {int(tokens.max())}")
    return (np.asarray(tokens, dtype=np.uint8) + FIRST).tobytes()


def tokens_of(text: np.ndarray) -> np.ndarray:
    """The tokens back from the bytes of a text.

    Examples:
        >>> import numpy as np
        >>> from verify.corpus import tokens_of
        >>> tokens_of(np.frombuffer(b'!"#', dtype=np.uint8)).tolist()
        [0, 1, 2]
    """
    import numpy as np

    return np.asarray(text, dtype=np.int64) - FIRST


def _number(name: str, field: str, text: str) -> int | float | Fraction:
    try:
        if "/" in text:
            return Fraction(text)
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"corpus {name!r}: {field}={text} is not a number") from None
