"""python -m network.export RUN DIR: a run as a Hugging Face folder.

    python -m network.export runs/coupled exported

Writes configuration, weights (safetensors) and tokenizer of the newest checkpoint, and the name of the code that reads
them, so that elsewhere, with this package and `transformers` installed,

    import network.hugging_face
    AutoModelForCausalLM.from_pretrained("exported"); AutoTokenizer.from_pretrained("exported")

give the same logits to rounding. Needs the extra `hugging-face`: pip install 'fastslow[hugging-face]'.

Exit codes: 0 written; 2 usage or input; 3 a disk that failed; 130 interrupted.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from network.command_line import Parser, exit_code


def parser() -> Parser:
    """The options of the command."""
    p = Parser(prog="python -m network.export", description=__doc__)
    p.add_argument("run", metavar="RUN", help="folder of a run, or of one of its checkpoints")
    p.add_argument("folder", metavar="DIR", type=Path, help="a new folder")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    p = parser()
    options = p.parse_args(arguments)
    return exit_code(lambda: _export(options), p.prog)


def _export(options: Any) -> int:
    if find_spec("transformers") is None:
        raise ValueError("the export needs the library transformers: pip install 'fastslow[hugging-face]'")
    from network.hugging_face import export

    print(f"written {export(options.run, options.folder)}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
