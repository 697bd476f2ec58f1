"""Execute the notebooks in place, each in a fresh kernel: `python notebooks/execute.py [NAME.ipynb …]`.

A kernel runs in this folder with one thread and turns every warning into an error. What is written holds the cells,
their outputs and the kernel's name: nothing of the machine, no times.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat
from nbclient import NotebookClient
from nbclient.util import run_sync
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "JUPYTER_PLATFORM_DIRS": "1",  # what jupyter would otherwise warn of
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the same for its debugger
}
# torch's forward mode scripts its decompositions when jvp is first called; that warning is not ours.
STRICT = """
import warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
del warnings
"""


def execute(path: Path, *, timeout: float = 600.0) -> NotebookNode:
    """The notebook at `path`, executed; the file is left as it is. Raises nbclient's `CellExecutionError`."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],  # not the remark that the loopback interface is not encrypted
        startup_timeout=timeout,
        timeout=timeout,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    with mock.patch.dict(os.environ, ENVIRONMENT), client.setup_kernel():
        kernel: Any = client.kc  # of a class that nbclient makes up at run time
        run = run_sync(kernel.execute_interactive)
        reply = run(STRICT, silent=True, store_history=False, timeout=timeout)
        if reply["content"]["status"] != "ok":
            raise RuntimeError(f"the kernel of {path.name} does not start: {reply['content']}")
        try:
            for number, cell in enumerate(notebook.cells):
                client.execute_cell(cell, number)
        finally:
            run("import warnings; warnings.resetwarnings()", silent=True, store_history=False, timeout=timeout)
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells):
        cell.metadata = nbformat.from_dict({})
        cell.id = f"cell-{number}"
    nbformat.validate(notebook)
    return notebook


def main(names: list[str]) -> int:
    """Execute `names`, or all notebooks of this folder, and write each as it ends."""
    for path in [Path(name).resolve() for name in names] or sorted(HERE.glob("*.ipynb")):
        done = execute(path)
        text = nbformat.writes(done) + "\n"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
        print(path.name)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
