"""The headline: how far the learned φ_θ is from p_st as ε = 1/P shrinks. `python -m verify.manifold_gap`.

For each period P, trajectories of a fast-slow system give pairs (y, x̄); φ_θ is fitted to them; at fresh test points
the gap TV(φ_θ, p_st) is measured and held against the leading term that theory predicts, with nothing fitted. The gap
of the same fit trained on exact pairs (y, p_st(y)) is the floor under all of it. The claim is that the gap is
proportional to ε with the predicted constant: slope one, ratio one, each with its interval.

Each system is written under --out as it ends: Ctrl-C keeps those that are finished, and an error in one leaves the
others alone.

Exit codes: 0 the claim holds; 1 it is VIOLATED; 2 usage or input; 3 numerical failure, or INCONCLUSIVE; 130
interrupted. With --system all: 1 if it is violated on any system, else the largest of theirs.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import operator
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from network.command_line import LARGEST_SEED, VIOLATED, failure, seed_number
from verify.command_line import (
    Parser,
    UsageError,
    check_device,
    check_writable,
    module_names,
    positive_integers,
    positive_number,
    run,
    sample_size,
    strict_json,
    write_whole,
)
from verify.tables import gap_table
from verify.verdict import Verdict, exit_code

if TYPE_CHECKING:
    from torch import Tensor

    from theory import FastSlowSystem
    from verify.error_budget import Row
    from verify.fits import Fit
    from verify.observe import Observation

DEFAULT_SYSTEM = "driven_cycle"
DEFAULT_PERIODS = tuple(2**k for k in range(1, 17))
LARGEST_PERIOD = 2**53
KERNELS = ("exp", "euler")
SAMPLED = ("jumps",)  # observations whose pairs are frequencies of sampled states
CONTINUOUS = ("ode",)  # observations without a token clock, hence without its step and kernel
TRAIN_PAIRS, TEST_POINTS = 3000, 500


@dataclass(frozen=True)
class ManifoldGap:
    """The measurement of one system: a row per period, the slope with its interval, the verdict with its reason.

    slope, slope_interval, constant_ratio: over the usable rows; None where none is claimed. ratio_interval: range of
    measured over predicted gap in those rows, widened by the floor. floor_tv: gap of the same fit on exact pairs, plus
    the rounding of a block mean. step_limit: predicted gap over ε φ₁ as the step h is halved. phi_theta: the φ_θ of the
    largest period.
    """

    system: str
    observe: str
    fit: str
    step: float | None
    kernel: str
    rows: list[Row]
    slope: float | None
    slope_interval: tuple[float, float] | None
    constant_ratio: float | None
    ratio_interval: tuple[float, float] | None
    floor_tv: float
    verdict: Verdict
    reason: str
    step_limit: list[dict[str, float]]
    notes: list[str]
    provenance: dict[str, Any]
    interrupted: bool = False
    phi_theta: Callable[..., Tensor] | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Everything but φ_θ, as plain data; the keys of the JSON."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del fields["phi_theta"]
        return fields | {"rows": [dataclasses.asdict(row) for row in self.rows], "verdict": str(self.verdict)}

    def to_json(self) -> str:
        """Strict JSON: no NaN or Infinity, null and a reason instead."""
        return strict_json(self.as_dict())


def measure(
    system: FastSlowSystem | str,
    periods: Any = DEFAULT_PERIODS,
    *,
    seed: Any = 0,
    observe: str = "clock",
    fit: str | None = None,
    step: Any = None,
    kernel: str = "exp",
    device: str = "cpu",
    samples: int | None = None,
    phi_theta: Callable[..., Tensor] | None = None,
    theory_system: FastSlowSystem | None = None,
    progress: bool = False,
) -> ManifoldGap:
    """Measure TV(φ_θ, p_st) over `periods` on `system` (a `FastSlowSystem` or the name of a built-in one).

    observe, fit: names of `verify.observe` and `verify.fits`; fit None takes varpro, for sampled states multinomial,
    since logarithms of sampled frequencies are biased. step: h; None lets `default_step` choose it. samples: tokens
    seen at each y, for sampled states only (None: the observation's own default). phi_theta: a
    trained φ_θ, y[..., m] -> x[..., n], measured instead of fitting one; if it takes the argument `period` it is called
    as phi_theta(period=P) for the φ_θ of that period. theory_system: the system that p_st, prediction and certificate
    are computed from, if not the one that makes the data: a wrong theory held against right data.

    Raises `ValueError` for an unknown name, periods below one, a bad step, a seed outside 0 … 2^63 − 1, a device that
    is not there, an option that the observation does not have, or a generator that is none at a visited y. Ctrl-C ends
    the measurement with the rows there are (`interrupted`), and before the periods begin with `KeyboardInterrupt`.
    """
    from tqdm import tqdm

    from theory.arguments import check_integer, check_positive
    from verify.error_budget import budget
    from verify.fits import Fit, get_fit
    from verify.judgement import judge, slope_and_ratios
    from verify.observe import get_observer
    from verify.observe.clock import default_step
    from verify.provenance import provenance

    system = _checked_system(system, "system")
    theory = system if theory_system is None else _checked_system(theory_system, "theory_system")
    if phi_theta is not None and not callable(phi_theta):
        raise ValueError(f"phi_theta must be a function y[..., m] -> x[..., n], got {type(phi_theta).__name__}")
    seed, device = check_integer(seed, "seed"), check_device(device)
    if seed > LARGEST_SEED:
        raise ValueError(f"seed must be at most 2^63 − 1, got {seed}")
    given = _listed(periods)
    wanted = _clean_periods(given)
    notes = [] if given == wanted else [f"periods were sorted and made unique: {wanted}"]
    _check_options(observe, fit, step, kernel, samples)
    step = default_step(system, kernel) if step is None else check_positive(step, "step")
    sampling = {} if samples is None else {"samples": samples}
    collect = partial(get_observer(observe), step=step, kernel=kernel, device=device, **sampling)
    fit = ("multinomial" if observe in SAMPLED else "varpro") if fit is None else fit
    train_fit = partial(get_fit(fit), seed=seed, device=device)

    def phi_at(period: int) -> Fit:
        if phi_theta is None:
            train = collect(system, period, count=TRAIN_PAIRS, seed=2 * seed)
            _remember(remarks, train, f"P = {period} training")
            return train_fit(train.y, train.x)
        given = phi_theta(period=period) if _takes_period(phi_theta) else phi_theta
        return Fit(given, True, "φ_θ was given, not fitted")

    remarks: dict[str, list[str]] = {}
    floor, rounding, floor_note = _floor(
        theory, collect, train_fit if phi_theta is None else None, system, wanted[-1], seed
    )
    notes.extend(floor_note)
    rows: list[Row] = []
    last_fit, last_test, interrupted = None, None, False
    try:
        for period in tqdm(wanted, desc=system.name, unit="P", file=sys.stderr, disable=not progress, mininterval=0.3):
            test = collect(system, period, count=TEST_POINTS, seed=2 * seed + 1)
            _remember(remarks, test, f"P = {period} test")
            result = phi_at(period)
            rows.append(budget(theory, result, test, period, floor))
            last_fit, last_test = result, test
    except KeyboardInterrupt:
        interrupted = True
    limits: list[dict[str, float]] = []
    try:
        limits = _step_limit(theory, last_test, step, kernel)
    except KeyboardInterrupt:  # the rows are there
        interrupted = True
        notes.append("interrupted before the limit of small steps was known")
    everywhere = 2 if phi_theta is None else 1
    for note, where in remarks.items():
        notes.append(note if len(where) == everywhere * len(rows) else f"{', '.join(where)}: {note}")
    if last_fit is not None:
        notes.append(f"fit at P = {rows[-1].period}: {last_fit.note}")
    slope, ratios = slope_and_ratios(rows, floor)
    verdict, reason = judge(
        rows, slope, ratios, floor, rounding, fixed=phi_theta is not None and not _takes_period(phi_theta)
    )
    if len(rows) < len(wanted):
        verdict, reason = Verdict.INCONCLUSIVE, f"interrupted after {len(rows)} of {len(wanted)} periods; {reason}"
    return ManifoldGap(
        system=system.name,
        observe=observe,
        fit=fit if phi_theta is None else "given",
        step=step if last_test is None or last_test.has_step else None,
        kernel=kernel,
        rows=rows,
        slope=slope.slope,
        slope_interval=slope.interval,
        constant_ratio=statistics.median(r.gap_tv / r.predicted_tv for r in rows if r.usable) if ratios else None,
        ratio_interval=ratios,
        floor_tv=floor,
        verdict=verdict,
        reason=reason,
        step_limit=limits,
        notes=notes,
        provenance=provenance(seed=seed, device=device, train_pairs=TRAIN_PAIRS, test_points=TEST_POINTS),
        interrupted=interrupted,
        phi_theta=None if last_fit is None else last_fit.phi_theta,
    )


def _floor(
    theory: FastSlowSystem,
    collect: partial[Observation],
    train_fit: Callable[..., Fit] | None,
    system: FastSlowSystem,
    period: int,
    seed: int,
) -> tuple[float, float, list[str]]:
    """(floor, its rounding part, note) at the slow states of the largest period; the rest of the floor is the fit's."""
    from theory import stationary_distribution
    from verify.error_budget import learning_floor

    fresh = collect(system, period, count=TEST_POINTS, seed=2 * seed + 1)
    rounding = fresh.rounding(theory) + 0.5 * sys.float_info.epsilon
    if train_fit is None:
        return rounding, rounding, ["floor: rounding alone, φ_θ was given"]
    train = collect(system, period, count=TRAIN_PAIRS, seed=2 * seed)
    exact = train_fit(train.y, train.seen_as(stationary_distribution(theory.A(train.y))))
    return rounding + learning_floor(theory, exact.phi_theta, fresh.y), rounding, [f"floor: {exact.note}"]


def _remember(remarks: dict[str, list[str]], seen: Observation, where: str) -> None:
    for note in seen.notes:
        remarks.setdefault(note, []).append(where)


def _checked_system(system: Any, name: str) -> FastSlowSystem:
    from theory import FastSlowSystem, get_system

    if isinstance(system, str):
        return get_system(system)
    if not isinstance(system, FastSlowSystem):
        raise ValueError(f"{name} must be a FastSlowSystem or the name of one, got {type(system).__name__}")
    return system


def _check_options(observe: str, fit: str | None, step: Any, kernel: str, samples: Any) -> None:
    """`ValueError` for options that do not go together, on whatever system."""
    if kernel not in KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}; there are {', '.join(KERNELS)}")
    if observe in CONTINUOUS and not (step is None and kernel == "exp"):
        raise ValueError(f"step and kernel are the token clock's; observe {observe!r} has neither: leave them away")
    if samples is not None and observe not in SAMPLED:
        raise ValueError(f"samples is for sampled states (observe {', '.join(SAMPLED)}); observe is {observe!r}")
    if observe in SAMPLED and fit == "varpro":
        raise ValueError("fit varpro takes logarithms, which are biased for sampled states: take fit multinomial")


def _listed(periods: Any) -> list[Any]:
    try:
        return list(periods)
    except TypeError:
        raise ValueError(f"periods must be a list of integers >= 1, got {periods!r}") from None


def _clean_periods(periods: list[Any]) -> list[int]:
    for period in periods:
        if not _is_positive_integer(period):
            raise ValueError(f"periods must be integers >= 1, got {period!r}")
        if period > LARGEST_PERIOD:
            raise ValueError(f"periods must be at most 2^53, where 1/P still resolves them; got {period!r}")
    if not periods:
        raise ValueError("periods is empty")
    return sorted({int(period) for period in periods})


def _is_positive_integer(value: Any) -> bool:
    try:
        number = value if isinstance(value, float) else operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool) and 1 <= number < math.inf and number == math.floor(number)


def _takes_period(phi: Callable[..., Any]) -> bool:
    try:
        return "period" in inspect.signature(phi).parameters
    except (TypeError, ValueError):
        return False  # a builtin without a signature takes y alone


def _step_limit(theory: FastSlowSystem, test: Observation | None, step: float, kernel: str) -> list[dict[str, float]]:
    """How the token clock's predicted gap meets the continuous ε φ₁: the ratio of the two at h, h/2, …, h/16."""
    from theory import first_order, predicted_gap, stationary_distribution

    if test is None or not test.has_step:
        return []
    velocity = theory.g(stationary_distribution(theory.A(test.y)), test.y)
    continuous = float(first_order(theory, test.y).abs().sum(-1).mean())
    if continuous == 0:
        return []
    limits = []
    for h in (step / 2**k for k in range(5)):
        clock = predicted_gap(theory, test.y - h * velocity, test.y, period=1, step=h, euler=kernel == "euler")
        limits.append({"step": h, "ratio": float(clock.abs().sum(-1).mean()) / continuous})
    return limits


def parser() -> Parser:
    """The command line; building it imports neither torch nor any system."""
    p = Parser(prog="python -m verify.manifold_gap", description=(__doc__ or "").split("\n\n", 1)[1])
    p.add_argument(
        "--system",
        default=DEFAULT_SYSTEM,
        metavar="NAME|all|FILE.py:FACTORY",
        help=f"default %(default)s; built in: {', '.join(module_names('theory', 'systems'))}",
    )
    p.add_argument(
        "--periods",
        type=positive_integers,
        default=list(DEFAULT_PERIODS),
        metavar="P,P,…",
        help="tokens per slow update; default 2,4,…,65536",
    )
    p.add_argument(
        "--step",
        type=positive_number,
        metavar="h",
        help="fast step in the system's time unit; by default such that blocks of 64 relax",
    )
    p.add_argument(
        "--kernel", choices=KERNELS, default="exp", help="one fast step: e^{hA} or I + hA; default %(default)s"
    )
    p.add_argument(
        "--observe",
        choices=module_names("verify", "observe"),
        default="clock",
        help="where the training pairs come from; default %(default)s. ode has no --step and no --kernel",
    )
    p.add_argument(
        "--fit",
        choices=module_names("verify", "fits", leave_out=("features",)),
        help="how φ_θ is trained; default varpro, for --observe jumps multinomial",
    )
    p.add_argument(
        "--samples", type=sample_size, metavar="N", help="tokens seen at each y, for --observe jumps; default 10^8"
    )
    p.add_argument(
        "--phi-theta",
        metavar="FILE",
        help="measure this φ_θ instead: .safetensors saved by this tool, or FILE.py:FACTORY returning a function "
        "y[..., m] -> x[..., n]. A FACTORY that takes the argument `period` is called with each P, for the φ_θ of that "
        "period",
    )
    p.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; default %(default)s")
    p.add_argument(
        "--seed", type=seed_number, default=0, help="of the points and the fit, 0 … 2^63 − 1; default %(default)s"
    )
    p.add_argument(
        "--out",
        type=Path,
        default=Path("out"),
        metavar="DIR",
        help="where JSON, CSV and the figure go; default %(default)s",
    )
    p.add_argument("--json", action="store_true", help="print the JSON on stdout instead of the table")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    p = parser()
    arguments = p.parse_args(argv)
    names = module_names("theory", "systems")
    if arguments.system not in (*names, "all") and ".py:" not in arguments.system:
        choices = f"all, FILE.py:FACTORY or one of {', '.join(names)}"
        p.error(f"argument --system: unknown system {arguments.system!r}; choose {choices}")
    if arguments.phi_theta and arguments.system == "all":
        p.error("argument --phi-theta: a φ_θ belongs to one system; name it with --system")
    return run(partial(_command, arguments, names, p.prog), p.prog)


def _command(arguments: Any, names: list[str], prog: str) -> int:
    _clean_periods(arguments.periods)
    _check_options(arguments.observe, arguments.fit, arguments.step, arguments.kernel, arguments.samples)
    out = check_writable(arguments.out)
    device = check_device(arguments.device)
    systems = _load_systems(arguments.system, names)
    phi = _load_phi_theta(arguments.phi_theta, systems[0], device) if arguments.phi_theta else None
    several = arguments.system == "all"
    results: list[ManifoldGap] = []
    failed: list[int] = []
    interrupted = False
    for system in systems:
        try:
            result = _measured(arguments, system, phi, device)
        except KeyboardInterrupt:
            interrupted = True
            break
        except Exception as error:
            if not several:
                raise
            code, reason = failure(error)
            failed.append(code)
            print(f"{prog}: {system.name}: {reason}", file=sys.stderr)  # noqa: T201
            continue
        interrupted = result.interrupted
        if result.rows:
            results.append(result)
            _write(results, out, as_list=several)
            if not arguments.json:
                print(gap_table(result) + "\n")  # noqa: T201
        if interrupted:
            break
    if results:
        written = _draw(results, out)
        if arguments.json:
            print(_json(results, as_list=several))  # noqa: T201
        else:
            print(f"figure: {written}")  # noqa: T201
    if interrupted:
        raise KeyboardInterrupt
    code = exit_code(result.verdict for result in results)
    return code if code == VIOLATED else max([code, *failed])


def _measured(arguments: Any, system: FastSlowSystem, phi: Any, device: str) -> ManifoldGap:
    """`measure` as the command line asks; what a user's own file raises on the way is reported against it."""
    from verify.user_code import RAISED, raised_in

    try:
        return measure(
            system,
            arguments.periods,
            seed=arguments.seed,
            observe=arguments.observe,
            fit=arguments.fit,
            step=arguments.step,
            kernel=arguments.kernel,
            device=device,
            samples=arguments.samples,
            phi_theta=phi,
            progress=True,
        )
    except RAISED as error:
        for spec in (arguments.system, arguments.phi_theta):
            if spec and ".py:" in spec and raised_in(spec, error):
                raise UsageError(f"{spec}: measuring it raised {type(error).__name__}: {error}") from error
        raise


def _load_systems(spec: str, names: list[str]) -> list[FastSlowSystem]:
    from theory import get_system
    from verify.user_code import load_system

    if spec == "all":
        return [get_system(name) for name in names]
    return [get_system(spec) if spec in names else load_system(spec)]


def _load_phi_theta(spec: str, system: FastSlowSystem, device: str) -> Callable[..., Tensor]:
    from verify.phi_theta_file import load_phi_theta
    from verify.user_code import call, check_phi_theta, load_factory

    if ".py:" not in spec:
        phi = load_phi_theta(Path(spec), device)
        check_phi_theta(phi, system, spec, device)
        return phi
    factory = load_factory(spec)
    if _takes_period(factory):
        check_phi_theta(call(factory, spec, period=2), system, spec, device)
        return factory
    phi = call(factory, spec)
    check_phi_theta(phi, system, spec, device)
    return phi


def _json(results: list[ManifoldGap], *, as_list: bool) -> str:
    return strict_json([result.as_dict() for result in results]) if as_list else results[0].to_json()


def _write(results: list[ManifoldGap], out: Path, *, as_list: bool) -> None:
    """Write JSON, CSV and φ_θ under `out`, each whole."""
    import csv
    import io

    from network import PhiTheta
    from verify.phi_theta_file import phi_theta_bytes

    write_whole(out / "manifold_gap.json", _json(results, as_list=as_list) + "\n")
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    columns = list(results[0].as_dict()["rows"][0]) if results[0].rows else []
    writer.writerow(["system", *columns])
    for result in results:
        writer.writerows([result.system, *(row[c] for c in columns)] for row in result.as_dict()["rows"])
    write_whole(out / "manifold_gap.csv", sheet.getvalue())
    for result in results:
        if isinstance(result.phi_theta, PhiTheta) and result.fit != "given":
            name = f"phi_theta_{result.system}.safetensors" if as_list else "phi_theta.safetensors"
            write_whole(out / name, phi_theta_bytes(result.phi_theta, result.rows[-1].period))


def _draw(results: list[ManifoldGap], out: Path) -> Path:
    """Write the figure under `out`; the path of the PNG."""
    from verify.figures import manifold_gap_figure, save_figure

    return save_figure(manifold_gap_figure(results), out / "manifold_gap")


if __name__ == "__main__":
    sys.exit(main())
