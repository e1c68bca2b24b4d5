"""``python -m course goodput``: the largest request rate that an experiment serves within its limits."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course.commands.outputs import check_writable
from course.commands.simulate import add_overrides, write_text

if TYPE_CHECKING:
    from course.simulator.goodput import Goodput

SUMMARY = "find the largest request rate that keeps the limits of an experiment"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("experiment", metavar="EXPERIMENT", help="TOML file, or the name of a preset")
    add_overrides(parser)
    parser.add_argument("--start", type=float, metavar="RATE", help="first rate to try (default: the experiment's)")
    parser.add_argument(
        "--tolerance", type=float, default=0.02, metavar="SHARE", help="how exactly, as a share (default 0.02)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the result to FILE; - writes it out instead of the table")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="write the curve as an HTML page")


def run(args: argparse.Namespace) -> int:
    """Search, print the curve and the answer, write the files."""
    from course.figures.goodput import goodput_curve, goodput_summary
    from course.figures.page import html_page
    from course.simulator.experiment import load_experiment
    from course.simulator.goodput import goodput

    to_stdout = args.json == "-"
    json_file = Path(args.json) if args.json and not to_stdout else None
    check_writable(json_file, args.figure)
    experiment = load_experiment(args.experiment, args.overrides)
    found = goodput(experiment, start=args.start, tolerance=args.tolerance)
    result = {"experiment": experiment.name, **as_json(found)}
    if json_file:
        write_text(json_file, [json.dumps(result, indent=2), "\n"])
    if args.figure:
        title = f"How many keep their limits: {experiment.name}"
        write_text(args.figure, [html_page(title, [goodput_curve(found, title)], goodput_summary(found))])
    print(json.dumps(result) if to_stdout else "\n".join([*table(found), "", goodput_summary(found)]))
    return 0


def table(found: Goodput) -> list[str]:
    """One line for each rate tried."""
    lines = [f"{'requests/s':>12}{'per GPU':>10}{'TTFT':>9}{'TPOT':>9}{'all':>9}"]
    for trial in found.trials:
        mark = "" if trial.both >= found.wanted else "  misses"
        lines.append(
            f"{trial.rate:>12.6g}{trial.rate / found.num_gpus:>10.4g}"
            f"{trial.ttft:>9.1%}{trial.tpot:>9.1%}{trial.both:>9.1%}{mark}"
        )
    return lines


def as_json(found: Goodput) -> dict[str, Any]:
    """The outcome as plain data; null for a rate that was not found."""
    return {
        "goodput": found.rate,
        "goodput_per_gpu": found.per_gpu,
        "num_gpus": found.num_gpus,
        "first_miss": found.miss if math.isfinite(found.miss) else None,
        "limits_missed": list(found.limits),
        "attainment_wanted": found.wanted,
        "trials": [
            {"rate": t.rate, "attainment_ttft": t.ttft, "attainment_tpot": t.tpot, "attainment": t.both}
            for t in found.trials
        ],
    }
