"""``python -m course simulate``: an experiment on the virtual clock."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from course.commands.outputs import check_writable
from course.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from course.serving.cluster import Cluster
    from course.simulator.simulate import Simulation

SUMMARY = "run an experiment (a TOML file or a preset) on the virtual clock"

MOST_STEPS_DRAWN = 20_000
"""More than that in one timeline and a browser gives up."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("experiment", metavar="EXPERIMENT", help="TOML file, or the name of a preset")
    add_overrides(parser)
    parser.add_argument("--json", metavar="FILE", help="write the result to FILE; - writes it out instead of the table")
    parser.add_argument("--per-request", type=Path, metavar="FILE", help="write a CSV with a line for each request")
    parser.add_argument("--timeline", type=Path, metavar="FILE", help="write an HTML page of what every instance ran")


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """The option that all commands on experiments share."""
    parser.add_argument(
        *("--set", "-s"),
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help="change a key of the experiment, such as workload.rate=6 or instances.0.count=2; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Simulate, print, write the files."""
    from course.simulator.experiment import load_experiment
    from course.simulator.report import per_request_lines, report
    from course.simulator.simulate import simulate

    to_stdout = args.json == "-"
    json_file = Path(args.json) if args.json and not to_stdout else None
    check_writable(json_file, args.per_request, args.timeline)
    experiment = load_experiment(args.experiment, args.overrides)
    simulation = simulate(experiment, make_cluster=_watched(args.timeline))
    if args.timeline:
        write_timeline(simulation, args.timeline)
    if args.per_request:
        write_text(args.per_request, per_request_lines(simulation))
    if args.json:
        text = json.dumps(simulation.result(), allow_nan=False)
        if json_file:
            write_text(json_file, [text, "\n"])
        else:
            print(text)
    if not to_stdout:
        print(report(simulation))
    if refused := simulation.refused:
        print(
            f"course: {len(refused)} of {len(simulation.records)} refused; the first: {refused[0].error}",
            file=sys.stderr,
        )
    return 2 if len(simulation.refused) == len(simulation.records) else 0


def write_text(path: Path, pieces: Iterable[str]) -> None:
    """Write a file; raises UserError where that is not possible."""
    try:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(pieces)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another file") from error


def _watched(timeline: Path | None) -> Callable[..., Cluster]:
    from course.serving.cluster import Cluster

    if timeline is None:
        return Cluster
    from course.figures.watch import WatchedCluster

    return WatchedCluster


def write_timeline(simulation: Simulation, path: Path) -> None:
    """The page: one file that needs nothing else."""
    from course.figures.timeline_page import timeline_page
    from course.figures.watch import WatchedCluster

    cluster = simulation.driver.cluster
    assert isinstance(cluster, WatchedCluster)
    num_steps = len(cluster.history.steps)
    if num_steps > MOST_STEPS_DRAWN:
        raise UserError(
            f"--timeline: the run has {num_steps} pieces and a page can show {MOST_STEPS_DRAWN}; simulate fewer "
            "requests (--set workload.requests=200, or workload.limit=200 of a trace)"
        )
    write_text(
        path, [timeline_page(simulation.records, cluster.history, f"Who runs when: {simulation.experiment.name}")]
    )
