"""The fuzz tests share `fuzz_inputs`; a session that is given FUZZ_LOG=FILE adds to that JSON how its calls ended.

    FUZZ_EXAMPLES=10000 FUZZ_LOG=fuzz.json JAXTYPING_DISABLE=1 python -m pytest tests/fuzz -o timeout=0

One function: `-k test_certificate`. An entry holds the most examples that one session tried and how they ended:
answered (and found right), or refused with a documented error; and the commit it was made with. A session that fails
writes nothing.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode puts no test folder on the path


def pytest_sessionfinish(session, exitstatus):
    if "FUZZ_LOG" not in os.environ or exitstatus != 0:
        return
    from fuzz_inputs import TALLY

    from verify.statistics.provenance import provenance

    file = Path(os.environ["FUZZ_LOG"])
    known = json.loads(file.read_text()) if file.exists() else {}
    commit = provenance(seed=0, device="cpu")["commit"]
    for name, count in TALLY.items():
        before = known.get(name, {})
        if count["answered"] + count["refused"] > before.get("answered", 0) + before.get("refused", 0):
            known[name] = {"answered": count["answered"], "refused": count["refused"], "commit": commit}
    file.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
