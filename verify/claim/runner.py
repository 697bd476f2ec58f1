"""Run claims as cells and gather what they found: `run_claims` is what `python -m verify` calls.

Each check, and with `mutants` each mutant, is a cell of its own (verify.cells): they run side by side, a finished one
is kept, and one that raises is the ERROR of its claim alone. The key of a cell holds the fingerprint of the code, the
versions and the processor: a result is reused only where it would be measured again. Claims about trained models name
the models they need as further cells, which other claims and studies share.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from verify.cells import Cell, CellResult, run_cells, source_fingerprint
from verify.claim.discovery import BUILT_IN, BrokenClaim, FoundClaim, load
from verify.claim.kinds import Claim
from verify.claim.outcome import Outcome, Profile
from verify.claim.result import UNKNOWN_TAG, VOCABULARY, ClaimResult, Report
from verify.statistics.verdict import ERROR, NOT_RUN


def run_claims(
    claims: Sequence[FoundClaim | BrokenClaim],
    profile: Profile,
    *,
    folder: Path,
    cells: Path | None = None,
    mutants: bool = False,
    scheduler: str | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    progress: bool = False,
    finished: Callable[[Report], None] | None = None,
) -> Report:
    """Check `claims` (and run their mutants, if asked) under `profile`, with finished cells kept in `folder`.

    cells: where those of trained models are kept, which studies share (default `folder`). scheduler, jobs, fresh,
    progress: see `verify.cells.run_cells`. finished: called with all results so far after each cell. Raises
    `ValueError` where no claim is given, and as `run_cells` does.
    """
    from verify.statistics.provenance import provenance

    if not claims:
        raise ValueError("no claim is selected")
    made_with = provenance(seed=profile.seed, device=profile.device, profile=profile.name, seeds=list(profile.seeds))
    sound = [found for found in claims if isinstance(found, FoundClaim)]
    roles = {found.id: ("check", *(found.claim.gallery if mutants else ())) for found in sound}
    own = _claim_cells([found for found in sound if found.claim.cells is None], profile, roles, made_with)
    asked_for, refused = _training_cells([found for found in sound if found.claim.cells is not None], profile)
    training = [cell for asked in asked_for.values() for cell in asked]
    apart = {cell.key for cell in training}
    ended: dict[str, CellResult] = {}

    def gathered() -> Report:
        results = []
        for found in claims:
            outcomes = {
                role: _outcome_of(found, role, profile, own, asked_for, ended)
                for role in roles.get(found.id, ("check",))
            }
            check = refused.get(found.id, outcomes.pop("check"))
            if check is not None:
                results.append(_result(found, check, outcomes))
        return Report(tuple(results), made_with)

    def keep(result: CellResult) -> None:
        ended[result.cell.key] = result
        if finished is not None:
            finished(gathered())

    options: dict[str, Any] = {"scheduler": scheduler, "jobs": jobs, "fresh": fresh, "progress": progress}
    run_cells(
        [*own.values(), *training],
        folder=lambda cell: (cells or folder) if cell.key in apart else folder,
        finished=keep,
        **options,
    )
    return gathered()


def check_claim(configuration: dict[str, Any]) -> dict[str, Any]:
    """The work of a cell: run one role of one claim; its outcome as plain data."""
    file = configuration["file"]
    found = load(BUILT_IN / f"{configuration['claim']}.py" if file is None else Path(file))
    if isinstance(found, BrokenClaim):
        raise ValueError(found.reason)
    profile = Profile(
        configuration["profile"],
        tuple(configuration["seeds"]),
        configuration["device"],
        rigorous=configuration["rigorous"],
    )
    return outcome_as_dict(found.claim.run(configuration["role"], profile))


def outcome_as_dict(outcome: Outcome) -> dict[str, Any]:
    """An outcome as plain data, with its verdict and whether it refutes the claim."""
    fields = {f.name: getattr(outcome, f.name) for f in dataclasses.fields(outcome)}
    return fields | {"verdict": str(outcome.verdict), "refuted": outcome.refuted}


def _claim_cells(
    claims: Iterable[FoundClaim], profile: Profile, roles: Mapping[str, Sequence[str]], made_with: dict[str, Any]
) -> dict[tuple[str, str], Cell]:
    code = source_fingerprint("theory", "network", "verify")
    machine = {key: made_with[key] for key in ("versions", "platform", "processor")}
    cells = {}
    for found in claims:
        built_in = found.file.parent.resolve() == BUILT_IN.resolve()
        for role in roles[found.id]:
            configuration = {
                "claim": found.id,
                "file": None if built_in else str(found.file.resolve()),
                "source": None if built_in else found.file.read_text(encoding="utf-8"),
                "role": role,
                "profile": profile.name,
                "seeds": list(profile.seeds),
                "device": profile.device,
                "rigorous": profile.rigorous,
                "code": code,
                "machine": machine | {"device": made_with["device"]},
            }
            cells[found.id, role] = Cell(check_claim, configuration, f"{found.id} ({role})")
    return cells


def _training_cells(
    claims: Iterable[FoundClaim], profile: Profile
) -> tuple[dict[str, list[Cell]], dict[str, CellResult]]:
    """The cells that each claim asks for, and the ERROR of a claim that cannot say: its texts are missing, say."""
    asked_for: dict[str, list[Cell]] = {}
    refused: dict[str, CellResult] = {}
    for found in claims:
        try:
            asked_for[found.id] = [] if found.claim.cells is None else found.claim.cells(profile)
        except Exception as error:
            asked_for[found.id] = []
            nothing = Cell(check_claim, {"claim": found.id})
            refused[found.id] = CellResult(nothing, None, 0.0, _told(error), traceback.format_exc())
    return asked_for, refused


def _outcome_of(
    found: FoundClaim | BrokenClaim,
    role: str,
    profile: Profile,
    own: dict[tuple[str, str], Cell],
    asked_for: dict[str, list[Cell]],
    ended: dict[str, CellResult],
) -> CellResult | None:
    """What one role of a claim gave; None while it has not ended."""
    if isinstance(found, BrokenClaim):
        nothing = Cell(check_claim, {"claim": found.id})
        return CellResult(nothing, None, 0.0, found.reason) if role == "check" else None
    if found.id not in asked_for:
        return ended.get(own[found.id, role].key)
    cells = asked_for[found.id]
    if not all(cell.key in ended for cell in cells):
        return None
    return _from_training(found.claim, role, profile, [ended[cell.key] for cell in cells])


def _from_training(claim: Claim[Any], role: str, profile: Profile, trained: Sequence[CellResult]) -> CellResult:
    """The outcome of a claim about trained models: statistics of finished cells, cheap enough for this process."""
    nothing = Cell(check_claim, {"claim": claim.id})
    seconds = sum((cell.seconds for cell in trained), 0.0)
    lost = [cell for cell in trained if cell.failed]
    if lost and role == "check":
        reason = f"{len(lost)} of {len(trained)} of its cells failed, first {lost[0].cell.label}: {lost[0].error}"
        return CellResult(nothing, None, seconds, reason, lost[0].traceback)
    resumed = bool(trained) and all(cell.resumed for cell in trained)
    try:
        results = tuple(cell.result for cell in trained if not cell.failed)
        outcome = claim.run(role, dataclasses.replace(profile, trained=results))
    except Exception as error:
        return CellResult(nothing, None, seconds, _told(error), traceback.format_exc())
    return CellResult(nothing, outcome_as_dict(outcome), seconds, resumed=resumed)


def _result(found: FoundClaim | BrokenClaim, check: CellResult, mutants: dict[str, CellResult | None]) -> ClaimResult:
    if isinstance(found, BrokenClaim):
        return ClaimResult(
            id=found.id,
            tag=UNKNOWN_TAG,
            statement="",
            source="",
            verdict=ERROR,
            reason=check.error,
            file=found.file.name,
        )
    claim = found.claim
    told: dict[str, Any] = {
        "id": claim.id,
        "tag": claim.tag,
        "statement": claim.statement,
        "source": claim.source,
        "mutation": claim.mutation,
        "seconds": check.seconds,
        "file": found.file.name,
        "resumed": check.resumed,
    }
    ended = {role: cell for role, cell in mutants.items() if cell is not None}
    if ended and len(ended) == len(mutants):
        told["mutants"] = [_seen(claim, role, cell) for role, cell in ended.items()]
        alive = [one for one in told["mutants"] if not one["refuted"]]
        told["mutant_refuted"] = not alive
        told["mutant_reason"] = "; ".join(one["reason"] for one in alive or told["mutants"][:1])
    if check.failed:
        return ClaimResult(**told, verdict=ERROR, reason=check.error, traceback=check.traceback)
    fields = dict(check.result)
    del fields["refuted"]
    if fields["verdict"] not in (*VOCABULARY[claim.tag], NOT_RUN):
        raise ValueError(f"claim {claim.id} is {claim.tag} and cannot end in {fields['verdict']!r}")
    if fields["interval"] is not None:
        fields["interval"] = tuple(fields["interval"])
    return ClaimResult(**told, **fields)


def _seen(claim: Claim[Any], role: str, cell: CellResult) -> dict[str, Any]:
    """One mutant: its name, what it breaks, whether the check refuted it, and what it said."""
    refuted = not cell.failed and bool(cell.result["refuted"])
    reason = cell.error or _summary(cell.result)
    return {"name": role, "breaks": claim.gallery[role].breaks, "refuted": refuted, "reason": reason}


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _summary(outcome: dict[str, Any]) -> str:
    against = "" if outcome["bound"] is None else f" against {outcome['bound']:.3g}"
    measured = "nothing finite" if outcome["measured"] is None else f"{outcome['measured']:.3g}"
    return f"{outcome['verdict']}: {outcome['quantity']} {measured}{against}"
