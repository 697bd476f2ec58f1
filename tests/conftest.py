"""Strict numerics for the whole suite: float64 data, warnings are errors, shapes checked at run time."""

import os
import signal

from jaxtyping import install_import_hook

install_import_hook(["theory", "network", "verify"], "beartype.beartype")

import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

# A shell that starts pytest in the background lets it ignore Ctrl-C, which the commands under test would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The suite runs one process per core; tests/portable.py also asks for two threads.
torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))

settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci" if os.environ.get("CI") else "local")
