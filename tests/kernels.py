"""Which floating-point kernels this process runs, said by the libraries themselves. Printed as JSON.

    OPENBLAS_CORETYPE=Haswell python tests/kernels.py

Each entry changes when other machine code runs: the level that torch dispatches to, what MKL says of itself and of the
mode of one product, the architecture of each OpenBLAS, the target and the instructions of a loop that numba compiled,
the levels that NumPy dispatches to, and the threads of each.
"""

import json
import os
import re
import sys
import tempfile

import numba
import numpy as np
import scipy.linalg  # noqa: F401  (loads SciPy's own OpenBLAS)
import torch
from threadpoolctl import threadpool_info


def kernels() -> dict[str, str]:
    """{library: what it says}."""
    return {
        "torch": torch.backends.cpu.get_cpu_capability(),
        "mkl": mkl(),
        "openblas": ", ".join(sorted(str(i["architecture"]) for i in threadpool_info() if "architecture" in i)),
        "numba": compiled(),
        "numpy": dispatched(),
        "threads": f"torch {torch.get_num_threads()}, OpenBLAS "
        + ", ".join(sorted(str(i["num_threads"]) for i in threadpool_info() if "architecture" in i)),
    }


def mkl() -> str:
    """What MKL reports for one product of torch: the instructions it dispatches to, and its reproducibility mode."""
    if not torch.backends.mkl.is_available():
        return "torch was built without MKL"
    a = torch.ones(64, 64, dtype=torch.float64)
    report = printed(lambda: a @ a)
    name = re.search(r"for Intel\(R\) 64 architecture (.*?), Lnx", report)
    mode = re.search(r"CNR:(\S+)", report)
    return f"{name.group(1) if name else 'unknown'}; CNR:{mode.group(1) if mode else 'no product went through MKL'}"


def printed(call) -> str:
    """What MKL writes to the process's own standard output while `call` runs verbosely."""
    sys.stdout.flush()
    kept = os.dup(1)
    with tempfile.TemporaryFile("w+") as file:
        os.dup2(file.fileno(), 1)
        try:
            with torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON):
                call()
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        return file.read()


def compiled() -> str:
    """The processor that numba compiles for, and the vector registers of a loop that it compiled."""

    @numba.njit
    def loop(x):
        for i in range(x.size):
            x[i] = x[i] * x[i] + 1.0

    loop(np.ones(8))
    (assembly,) = loop.inspect_asm().values()
    registers = [f"{name} {assembly.count('%' + name)}" for name in ("xmm", "ymm", "zmm")]
    triple = numba.core.registry.cpu_target.target_context.codegen().magic_tuple()
    return f"{triple[1]}: {', '.join(registers)}"


def dispatched() -> str:
    """The levels of vector instructions that NumPy was built with and that are switched on."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return " ".join(level for level in __cpu_dispatch__ if __cpu_features__.get(level)) or "none"


if __name__ == "__main__":
    print(json.dumps(kernels()))
