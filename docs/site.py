"""Build the site of the documentation into out/docs: `python docs/site.py` (`make docs`).

Pages: the README as landing page, the documents of this folder, the notebooks, and one page of the API for each room
of the packages, made from what they export. Formulas become MathML while the site is built, so a page asks the network
for nothing. A broken link, a name without an entry and any warning of the builder end it with exit code 1.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCE, SITE = ROOT / "out" / "docs-source", ROOT / "out" / "docs"
DOCUMENTS = ("mathematics", "your-model", "extending", "scaling", "findings", "claims")
PUBLIC = {
    "theory": None,  # None: what `__all__` names
    "network": None,
    "verify": None,
    "verify.manifold_gap": None,
    "verify.generator_defect": None,
    "verify.ablation": None,
    "verify.reduction": None,
    "verify.compare": None,
    "verify.corpus": None,
    "verify.claim": None,
    "verify.cells": None,
    "verify.observe": ("Observation", "get_observer", "is_continuous", "is_sampled", "list_observers"),
    "verify.fits": ("Fit", "get_fit", "list_fits", "takes_samples"),
}


def public_names() -> dict[str, dict[str, Any]]:
    """Page -> {dotted name -> object}: everything exported, on the page of the room that defines it."""
    pages: dict[str, dict[str, Any]] = {}
    for package, names in PUBLIC.items():
        try:
            module = importlib.import_module(package)
        except ModuleNotFoundError:
            continue
        for name in names or getattr(module, "__all__", ()):
            value = getattr(module, name)
            home = getattr(value, "__module__", package)
            if not isinstance(home, str) or not home.startswith(package.split(".")[0]):
                home = package  # a constant, or a type alias
            page = ".".join(home.split(".")[:2])
            pages.setdefault(page, {})[f"{package}.{name}"] = value
    return pages


def undocumented() -> list[str]:
    """Public functions and classes that have no docstring, or none with an example that runs."""
    missing = []
    for names in public_names().values():
        for name, value in names.items():
            if inspect.isroutine(value) or (inspect.isclass(value) and not issubclass(value, BaseException)):
                text = inspect.getdoc(value) or ""
                if not re.search(r"^Examples:\n    >>> ", text, flags=re.M):
                    missing.append(name)
    return sorted(missing)


def api_pages() -> dict[str, str]:
    """File name -> Markdown of every page of the API."""
    made = {}
    for page, names in sorted(public_names().items()):
        room = importlib.import_module(page)
        about = inspect.getdoc(room) or ""
        packages = " and ".join(
            f"`from {package} import *`" for package in sorted({n.rpartition(".")[0] for n in names})
        )
        lines = [f"# {page}", "", _math(about.split("\n\n")[0]), "", f"The examples begin with {packages}.", ""]
        for name, value in sorted(names.items(), key=lambda item: item[0].rpartition(".")[2].lower()):
            if inspect.isroutine(value) or inspect.isclass(value):
                path = f"{value.__module__}.{value.__qualname__}"
                named = ["    options:", f"      heading: {name}", f"      toc_label: {name.rpartition('.')[2]}"]
                lines += [f"::: {path}", *named, ""]
            else:
                lines += [f"## {name}", "", f"`{value!r}`" if len(repr(value)) < 300 else "", ""]
        made[f"api/{page}.md"] = "\n".join(lines)
    return made


def _math(text: str) -> str:
    """LaTeX between dollars and in ```math fences as MathML, outside of code."""
    from latex2mathml.converter import convert

    def block(match: re.Match[str]) -> str:
        return f'\n<div class="formula">{convert(match[1].strip(), display="block")}</div>\n'

    def inline(match: re.Match[str]) -> str:
        # within a span: Markdown takes a line that begins with <math> for a block
        return match[0] if match[1] is None else f"<span>{convert(match[1])}</span>"

    text = re.sub(r"^```math\n(.*?)^```$", block, text, flags=re.M | re.S)
    parts = re.split(r"(^```.*?^```$|`[^`\n]*`)", text, flags=re.M | re.S)
    return "".join(
        part if part.startswith("`") else re.sub(r"(?<![\\$\w])\$([^$]+)\$(?![\w$])", inline, part) for part in parts
    )


def _linked(text: str, here: str) -> str:
    """Links of a document of the repository, as the site has them; what the site does not have goes to the code."""

    def target(match: re.Match[str]) -> str:
        address = match[2]
        if re.match(r"[a-z]+:|#", address):
            return match[0]
        path, _, anchor = address.partition("#")
        found = ((ROOT / here).parent / path).resolve()
        if not found.exists():
            raise SystemExit(f"{here}: the link {address} leads nowhere")
        name = found.relative_to(ROOT).as_posix()
        suffix = f"#{anchor}" if anchor else ""
        if name == "README.md":
            return f"{match[1]}(index.md{suffix})"
        if name.startswith("docs/figures/"):
            return f"{match[1]}({name.removeprefix('docs/')})"
        if name.startswith("docs/") and found.stem in DOCUMENTS:
            return f"{match[1]}({found.stem}.md{suffix})"
        if name == "notebooks":
            return f"{match[1]}(notebooks/{_notebooks()[0].name})"
        if name.startswith("notebooks/") and found.suffix == ".ipynb":
            return f"{match[1]}({name})"
        if name in ("CHANGELOG.md", "CONTRIBUTING.md"):
            return f"{match[1]}({found.stem.lower()}.md{suffix})"
        label = re.sub(r"^!?\[|\]$", "", match[1])
        return f"{label} (`{name}`)" if label.strip("`") != name else f"`{name}`"

    return re.sub(r"(!?\[[^\]]*\])\(([^)\s]+)\)", target, text)


def _notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def assemble() -> None:
    """Write what the builder reads."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    (SOURCE / "api").mkdir(parents=True)
    sources = {"index.md": "README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
    present = [stem for stem in DOCUMENTS if (ROOT / "docs" / f"{stem}.md").exists()]
    sources |= {f"{stem}.md": f"docs/{stem}.md" for stem in present}
    for page, source in sources.items():
        (SOURCE / page).write_text(
            _math(_linked((ROOT / source).read_text(encoding="utf-8"), source)), encoding="utf-8"
        )
    shutil.copytree(ROOT / "docs" / "figures", SOURCE / "figures")
    shutil.copytree(ROOT / "docs" / "assets", SOURCE / "assets")
    (SOURCE / "notebooks").mkdir()
    for notebook in _notebooks():
        shutil.copy(notebook, SOURCE / "notebooks")
    pages = api_pages()
    for page, text in pages.items():
        (SOURCE / page).write_text(text, encoding="utf-8")
    titles = {path: json.loads(path.read_text(encoding="utf-8")) for path in _notebooks()}
    navigation: list[Any] = [
        {"Start": "index.md"},
        *({_title(SOURCE / f"{stem}.md"): f"{stem}.md"} for stem in present),
        {"Notebooks": [{_heading(content): f"notebooks/{path.name}"} for path, content in titles.items()]},
        {"API": [{name: list(group)} for name, group in _grouped(pages)]},
        {"Contributing": "contributing.md"},
        {"Changes": "changelog.md"},
    ]
    settings = (ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8")
    settings += "\nnav: " + json.dumps(navigation, ensure_ascii=False) + "\n"
    settings += f"docs_dir: {json.dumps(str(SOURCE))}\nsite_dir: {json.dumps(str(SITE))}\n"
    (SOURCE.parent / "mkdocs.yml").write_text(settings, encoding="utf-8")


def _title(page: Path) -> str:
    heading = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.M)
    return re.sub("`", "", heading[1]) if heading else page.stem


def _heading(notebook: dict[str, Any]) -> str:
    first = "".join(notebook["cells"][0]["source"])
    return re.sub(r"^#+ *", "", first.splitlines()[0])


def _grouped(pages: Iterable[str]) -> list[tuple[str, list[dict[str, str]]]]:
    groups: dict[str, list[dict[str, str]]] = {}
    for page in pages:
        name = page.removeprefix("api/").removesuffix(".md")
        groups.setdefault(name.split(".")[0], []).append({name: page})
    return sorted(groups.items())


def main() -> int:
    """Build; 1 where a name is undocumented or the builder warns."""
    if missing := undocumented():
        print("without an example that runs: " + ", ".join(missing), file=sys.stderr)
        return 1
    assemble()
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(SOURCE.parent / "mkdocs.yml")]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # an announcement of the theme, not a warning of the build
    code = subprocess.run(command, check=False, cwd=SOURCE.parent, env=quiet).returncode
    if code == 0:
        print(f"the documentation: {SITE / 'index.html'}")
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(main())
