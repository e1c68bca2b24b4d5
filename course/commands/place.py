"""``python -m course place``: how many prefill and decode instances, how parallel, on which GPUs."""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course.commands.outputs import check_writable
from course.commands.simulate import add_overrides, write_text
from course.errors import UserError

if TYPE_CHECKING:
    from course.simulator.experiment import Experiment
    from course.simulator.goodput import Goodput
    from course.simulator.placement.machines import Machines
    from course.simulator.placement.search import Affinity, Search

MOST_IN_ONE_PROCESS = 2_000  # requests per trial times GPUs: about a second of simulation

SUMMARY = "search the best placement of prefill and decode instances on GPUs (DistServe's algorithms)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("experiment", metavar="EXPERIMENT", help="TOML file, or the name of a preset")
    add_overrides(parser)
    parser.add_argument("--gpus", type=int, required=True, help="how many GPUs there are")
    parser.add_argument("--gpus-per-node", type=int, metavar="N", help="how many of them one node has (default: all)")
    parser.add_argument(
        "--affinity",
        choices=["high", "low", "both"],
        default="both",
        help="high: the network between nodes is fast (algorithm 1); low: it is not (algorithm 2); default both",
    )
    parser.add_argument("--rate", type=float, help="traffic to carry, requests/s (default: as much as the GPUs can)")
    parser.add_argument(
        "--tolerance", type=float, default=0.05, metavar="SHARE", help="how exactly, as a share (default 0.05)"
    )
    parser.add_argument("--exact", action="store_true", help="search every candidate as closely as the best one")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="searches at a time (default: one for each core; a small one at a time)"
    )
    parser.add_argument("--backend", help="joblib backend that runs them, such as dask or ray (docs/placement.md)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster, such as tcp://head:8786")
    parser.add_argument("--json", metavar="FILE", help="write the result to FILE; - writes it out instead of the table")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="write a drawing of the placement as an HTML page")


def run(args: argparse.Namespace) -> int:
    """Search, print tables and drawing, write the files."""
    from course.simulator.experiment import load_experiment
    from course.simulator.placement.machines import Machines
    from course.simulator.placement.search import search

    to_stdout = args.json == "-"
    json_file = Path(args.json) if args.json and not to_stdout else None
    check_writable(json_file, args.figure)
    experiment = load_experiment(args.experiment, args.overrides)
    machines = Machines(args.gpus, args.gpus if args.gpus_per_node is None else args.gpus_per_node)
    kinds: list[Affinity] = ["high", "low"] if args.affinity == "both" else [args.affinity]
    jobs = args.jobs
    if jobs is None:
        jobs = 1 if args.backend is None and is_small(experiment, machines) else -1
    with workers(args.backend, jobs, args.scheduler):
        found = [
            search(experiment, machines, kind, rate=args.rate, tolerance=args.tolerance, exact=args.exact)
            for kind in kinds
        ]
    result = {"experiment": experiment.name, "searches": [as_json(each) for each in found]}
    if json_file:
        write_text(json_file, [json.dumps(result, indent=2), "\n"])
    if args.figure:
        write_figure(args.figure, found)
    print(json.dumps(result) if to_stdout else "\n\n".join("\n".join(report(each)) for each in found))
    return 0


def is_small(experiment: Experiment, machines: Machines) -> bool:
    """Whether the search would be over before worker processes have started."""
    num_requests = experiment.workload.requests or experiment.workload.limit
    return num_requests is not None and num_requests * machines.num_gpus <= MOST_IN_ONE_PROCESS


def workers(backend: str | None, jobs: int, scheduler: str | None) -> AbstractContextManager[Any]:
    """Where the candidates are judged. Raises UserError for a backend that cannot be had."""
    import joblib

    if jobs == 0:
        raise UserError("--jobs must not be 0; leave it out to use all cores")
    if scheduler is not None and backend != "dask":
        raise UserError("--scheduler goes with --backend dask; give both or leave it out")
    options = {} if scheduler is None else {"scheduler_host": scheduler}
    try:
        if backend == "ray":
            from ray.util.joblib import register_ray

            register_ray()
        return joblib.parallel_config(backend=backend or "loky", n_jobs=jobs, **options)
    except (ImportError, OSError, TypeError, ValueError) as error:
        raise UserError(f"--backend {backend or 'loky'}: {error}") from None


def report(found: Search) -> list[str]:
    """The table of all candidates, the choice and its drawing."""
    from course.figures.placement import placement_summary
    from course.simulator.placement.search import ALGORITHMS, best_first

    about = {
        "high": "fast network between nodes: each phase by itself, by its own limit",
        "low": "slow network between nodes: pairs that share their nodes, by both limits",
    }
    lines = [f"Algorithm {ALGORITHMS[found.affinity]}, {about[found.affinity]}"]
    lines.append(f"{'candidate':<54}{'GPUs':>5}{'requests/s':>16}{'per GPU':>16}  ended by")
    for candidate, goodput in best_first(found.outcomes):
        ended = "too few requests" if math.isinf(goodput.miss) else " and ".join(goodput.limits) or "both together"
        rates = f"{span(goodput):>16}{span(goodput, candidate.num_gpus):>16}"
        lines.append(f"{candidate!s:<54}{candidate.num_gpus:>5}{rates}  {ended}")
    reasons = Counter(outcome.reason for outcome in found.outcomes if outcome.goodput is None)
    lines += [f"{count} left out: {reason}" for reason, count in reasons.items()]
    placed, together = found.placement, found.together
    unit = placed.unit
    lines += ["", f"Chosen: {placed.num_prefill} x prefill {unit.prefill}; {placed.num_decode} x decode {unit.decode}"]
    lines.append(f"{placed.rate:.4g} requests/s on {placed.num_gpus} GPUs, {placed.per_gpu:.3g} per GPU")
    if together:
        short = together.rate < placed.rate and math.isinf(together.miss)
        more = " or more (too few requests to try)" if short else ""
        lines.append(f"simulated as one cluster: {together.rate:.4g} requests/s, {together.per_gpu:.3g} per GPU{more}")
    return [*lines, placement_summary(placed.layout), str(placed.layout)]


def span(goodput: Goodput, divisor: int = 1) -> str:
    """The rate, or the range in which it lies where it was not searched closely."""
    good, miss = goodput.rate / divisor, goodput.miss / divisor
    if math.isinf(miss):
        return f"over {good:.3g}"
    if not good:
        return f"under {miss:.3g}"
    return f"{good:.3g}" if miss <= 1.1 * good else f"{good:.3g} to {miss:.3g}"


def as_json(found: Search) -> dict[str, Any]:
    """One search as plain data."""
    from course.simulator.placement.search import ALGORITHMS

    placed, together = found.placement, found.together
    return {
        "algorithm": ALGORITHMS[found.affinity],
        "num_gpus": found.machines.num_gpus,
        "gpus_per_node": found.machines.gpus_per_node,
        "candidates": [
            {
                **_parts(outcome.candidate),
                "num_gpus": outcome.candidate.num_gpus,
                "goodput": outcome.goodput.rate if outcome.goodput else None,
                "goodput_per_gpu": outcome.goodput.per_gpu if outcome.goodput else None,
                "first_miss": _finite(outcome.goodput.miss) if outcome.goodput else None,
                "reason": outcome.reason,
            }
            for outcome in found.outcomes
        ],
        "chosen": {
            **_parts(placed.unit),
            "num_prefill": placed.num_prefill,
            "num_decode": placed.num_decode,
            "num_gpus": placed.num_gpus,
            "goodput": placed.rate,
            "goodput_per_gpu": placed.per_gpu,
            "goodput_together": together.rate if together else None,
            "goodput_together_per_gpu": together.per_gpu if together else None,
            "nodes": [[str(slot) if slot else None for slot in node] for node in placed.layout.nodes],
        },
    }


def _finite(rate: float) -> float | None:
    return rate if math.isfinite(rate) else None


def _parts(candidate: Any) -> dict[str, Any]:
    """Parallelism of either role, null where it has none."""
    return {
        "prefill": candidate.prefill._asdict() if candidate.prefill else None,
        "decode": candidate.decode._asdict() if candidate.decode else None,
        "num_segments": candidate.num_segments,
    }


def write_figure(path: Path, found: list[Search]) -> None:
    """One page with a drawing for each search."""
    from course.figures.page import html_page
    from course.figures.placement import placement_map, placement_summary
    from course.simulator.placement.search import ALGORITHMS

    figures = [
        placement_map(each.placement.layout, f"Algorithm {ALGORITHMS[each.affinity]}: which GPU does what")
        for each in found
    ]
    text = " ".join(
        f"Algorithm {ALGORITHMS[each.affinity]}: {placement_summary(each.placement.layout)}" for each in found
    )
    write_text(path, [html_page("Placement", figures, text)])
