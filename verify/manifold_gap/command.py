"""The command line of the headline, `python -m verify.manifold_gap`: its arguments, what it writes, its exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from network.command_line import VIOLATED, failure, seed_number
from verify.command_line import (
    Parser,
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
from verify.manifold_gap import __doc__ as HEADLINE
from verify.manifold_gap import measurement
from verify.manifold_gap.options import DEFAULT_PERIODS, KERNELS, check_options, clean_periods, takes_period
from verify.manifold_gap.table import gap_table
from verify.statistics.verdict import exit_code

if TYPE_CHECKING:
    from torch import Tensor

    from theory import FastSlowSystem
    from verify.manifold_gap.measurement import ManifoldGap

DEFAULT_SYSTEM = "driven_cycle"


def parser() -> Parser:
    """The command line; building it imports neither torch nor any system."""
    p = Parser(prog="python -m verify.manifold_gap", description=(HEADLINE or "").split("\n\n", 1)[1])
    p.add_argument(
        "--system",
        default=DEFAULT_SYSTEM,
        metavar="NAME|all|FILE.py:FACTORY",
        help=f"default %(default)s; built in: {', '.join(module_names('theory', 'systems'))}",
    )
    p.add_argument(
        "--network",
        metavar="RUN|train",
        help="a trained network of arm generator instead of a system: its own φ_θ in three rooms; train makes one",
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
    if arguments.network is not None:
        return _network(arguments, p)
    names = module_names("theory", "systems")
    if arguments.system not in (*names, "all") and ".py:" not in arguments.system:
        if arguments.system.endswith(".py"):
            p.error(f"argument --system: which function of {arguments.system}? {arguments.system}:FACTORY")
        choices = f"all, FILE.py:FACTORY or one of {', '.join(names)}"
        p.error(f"argument --system: unknown system {arguments.system!r}; choose {choices}")
    if arguments.phi_theta and arguments.system == "all":
        p.error("argument --phi-theta: a φ_θ belongs to one system; name it with --system")
    return run(partial(_command, arguments, names, p.prog), p.prog)


def _network(arguments: Any, p: Parser) -> int:
    """The rooms of a trained network, which have their own periods, kernel and fits."""
    from verify.trained.identity.command import network_command

    for name in ("system", "periods", "step", "kernel", "observe", "fit", "samples", "phi_theta"):
        if getattr(arguments, name) != p.get_default(name):
            p.error(f"argument --network: a trained network takes no --{name.replace('_', '-')}; leave it away")

    def command() -> int:
        out, device = check_writable(arguments.out), check_device(arguments.device)
        return network_command(arguments.network, out=out, device=device, seed=arguments.seed, as_json=arguments.json)

    return run(command, p.prog)


def _command(arguments: Any, names: list[str], prog: str) -> int:
    clean_periods(arguments.periods)
    check_options(arguments.observe, arguments.fit, arguments.step, arguments.kernel, arguments.samples)
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
    from verify.manifold_gap.user_code import RAISED, measuring_raised, raised_in

    try:
        return measurement.measure(
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
                raise measuring_raised(spec, error) from error
        raise


def _load_systems(spec: str, names: list[str]) -> list[FastSlowSystem]:
    from theory import get_system
    from verify.manifold_gap.user_code import load_system

    if spec == "all":
        return [get_system(name) for name in names]
    return [get_system(spec) if spec in names else load_system(spec)]


def _load_phi_theta(spec: str, system: FastSlowSystem, device: str) -> Callable[..., Tensor]:
    from verify.manifold_gap.phi_theta_file import load_phi_theta
    from verify.manifold_gap.user_code import call, check_phi_theta, load_factory

    if ".py:" not in spec:
        phi = load_phi_theta(Path(spec), device)
        check_phi_theta(phi, system, spec, device)
        return phi
    factory = load_factory(spec)
    if takes_period(factory):
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
    from verify.manifold_gap.phi_theta_file import phi_theta_bytes

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
    from verify.manifold_gap.figure import manifold_gap_figure
    from verify.plotting import save_figure

    return save_figure(manifold_gap_figure(results), out / "manifold_gap")
