"""What a result was made with. No host name, path, user or date: the same seed on the same machine gives the same
JSON."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("fastslow", "torch", "numpy", "scipy", "numba")


def provenance(*, seed: int, device: str, **settings: Any) -> dict[str, Any]:
    """Versions, processor, commit and settings of a run, as plain JSON; what cannot be known is 'unknown'."""
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count() or "unknown",
        "commit": _commit(),
        "device": _device_name(device),
        "seed": seed,
        **settings,
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or "unknown"


def _commit() -> str:
    """The commit of the checkout that holds this file, with '+' if files differ from it; 'unknown' without git."""
    here = Path(__file__).resolve().parents[2]
    try:
        run = {"cwd": here, "capture_output": True, "text": True, "timeout": 10, "check": True}
        if Path(_git(["rev-parse", "--show-toplevel"], run)).resolve() != here:
            return "unknown"  # installed inside somebody else's repository
        commit = _git(["rev-parse", "--short=12", "HEAD"], run)
        return commit + ("+" if _git(["status", "--porcelain", "--untracked-files=no"], run) else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(words: list[str], run: dict[str, Any]) -> str:
    return subprocess.run(["git", *words], **run).stdout.strip()


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"
