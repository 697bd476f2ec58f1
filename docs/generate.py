"""Write the generated parts of README.md anew: the claims, and the speed against peers.

    python docs/generate.py

A part stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`. `claims` comes from the files of
verify/claims/, `speed` from the committed JSON of the benchmarks; a test compares the README with both.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from verify.claim.discovery import FoundClaim, discover
from verify.report.claims_page import claims_table

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"


def claims() -> str:
    """Claim, tag and statement, each linked to its place in docs/claims.md."""
    return claims_table([found for found in discover() if isinstance(found, FoundClaim)], link="docs/claims.md")


def speed() -> str:
    """How many times longer a peer takes than this toolkit, one line per task and peer."""
    stationary, sparse, flow, jumps, step_time = map(result, ("stationary", "sparse", "flow", "jumps", "step_time"))
    lattice = sparse["cases"]["lattice, 124 decades"]
    cvode = {(row["states"], row["rtol"]): row for row in flow["against_cvode"]}
    small, large = cvode[3, 1e-6], cvode[16, 1e-6]
    diffrax = {setup: times(flow["against_diffrax"], setup) for setup in dict.fromkeys(of(flow, "setup"))}
    defaults, tuned = diffrax["defaults"], diffrax["chord, steps to the output times"]
    side = round(lattice["states"] ** 0.5)
    rows = [
        (f"p_st, {sizes(stationary)}", "quantecon `gth_solve`", of_peer(stationary, "quantecon")),
        ("p_st, n = 1024, right in every entry", "LAPACK `dgetrf`, one LU alone", of_peer(stationary, "dgetrf")),
        (f"sparse p_st, {side} × {side} lattice", superlu(lattice, "SuperLU", "SuperLU"), over(lattice, "SuperLU")),
        (
            "the same",
            superlu(lattice, "SuperLU at its best", "SuperLU, best order"),
            over(lattice, "SuperLU at its best"),
        ),
        (
            f"{flow['provenance']['batch']} stiff trajectories, n = 3 · n = 16, rtol 1e-6",
            "CVODE with NumPy functions",
            f"{number(small['ratio_numpy'])} · {number(large['ratio_numpy'])}",
        ),
        (
            "the same",
            "CVODE with compiled functions",
            f"{number(small['ratio_compiled'])} · {number(large['ratio_compiled'])}",
        ),
        ("the same at equal error, n = 3", "diffrax Kvaerno5: defaults", defaults),
        ("the same at equal error, n = 3", "diffrax Kvaerno5: tuned to the problem", tuned),
        (
            f"jumps, n = {jumps['race']['states']}",
            "a compiled direct method",
            number(jumps["race"]["ratios"]["ours over direct method"]["median"]),
        ),
        (
            f"training step, dense arm, T = {' · '.join(str(case['block_size']) for case in step_time['cases'])}",
            "the same model in plain PyTorch",
            " · ".join(f"{1 / ratio(case, 'dense', 'peer'):.2f}" for case in step_time["cases"]),
        ),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in [("task", "peer", "its time over ours"), ("---",) * 3, *rows])


def result(name: str) -> dict[str, Any]:
    """The committed JSON of a benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def sizes(stationary: dict[str, Any]) -> str:
    """batch × (n × n) of each case."""
    return " · ".join(f"{c['batch']:,} × ({c['n']} × {c['n']})" for c in stationary["cases"])


def of_peer(stationary: dict[str, Any], peer: str) -> str:
    """The ratios of one peer over the cases that it was raced in."""
    return " · ".join(number(r["times_ours"]) for c in stationary["cases"] for r in c["ratios"] if r["peer"] == peer)


def superlu(case: dict[str, Any], name: str, shown: str) -> str:
    """The peer with its largest relative error in an entry of p."""
    return f"{shown} (largest error {case['results'][name]['error']:.0e}, ours {case['results']['ours']['error']:.0e})"


def over(case: dict[str, Any], name: str) -> str:
    """The peer's time over ours."""
    return number(1 / case["results"][name]["ours_over_it"])


def of(flow: dict[str, Any], key: str) -> list[Any]:
    """That entry of every row against diffrax."""
    return [row[key] for row in flow["against_diffrax"]]


def times(rows: list[dict[str, Any]], setup: str) -> str:
    """The range of a set-up over its tolerances."""
    ratios = [row["ratio_at_equal_error"] for row in rows if row["setup"] == setup]
    return f"{number(min(ratios))} to {number(max(ratios))}"


def ratio(case: dict[str, Any], model: str, over: str) -> float:
    """The median step time of `model` over that of `over`."""
    (found,) = [r["median"] for r in case["ratios"] if (r["model"], r["over"]) == (model, over)]
    return found


def number(value: float) -> str:
    """Two significant digits."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}" if value < 1 else f"{value:.1f}"


PARTS: dict[str, Callable[[], str]] = {"claims": claims, "speed": speed}


def between(name: str) -> re.Pattern[str]:
    """What stands between the markers of a part."""
    return re.compile(rf"(?<=<!-- generated: {name} -->\n\n).*?(?=\n\n<!-- end: {name} -->)", re.DOTALL)


def generated(text: str) -> str:
    """`text` with every part as it should be; `ValueError` for a part whose markers are missing or repeated."""
    for name, part in PARTS.items():
        text, found = between(name).subn(lambda _, part=part: part(), text)
        if found != 1:
            raise ValueError(f"README.md holds the part {name!r} {found} times; it must hold it once")
    return text


def main() -> int:
    """Rewrite README.md where it differs."""
    before = README.read_text(encoding="utf-8")
    after = generated(before)
    if after != before:
        README.write_text(after, encoding="utf-8")
    print("README.md rewritten" if after != before else "README.md is as it should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
