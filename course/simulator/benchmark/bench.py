"""The simulator and the plain loop on the same requests, from a thousand to a million."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

from course.metrics.latency import e2e_s, tpot_s, ttft_s
from course.simulator.benchmark.plain import Latency, Worker, play
from course.simulator.experiment import Experiment, load_experiment
from course.simulator.simulate import Simulation, simulate
from course.workload.request import Workload

PRESET = "simdistserve-disaggregated"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
SAME_S = 1e-6
"""Answers are equal when no latency differs by more: the tolerance to which the kept answers are reproduced.

The two add the same numbers in another order, so the last digits of long runs may differ. In a million requests such a
digit can decide whether somebody joins a step or the next one; those who share the steps after it then differ by more.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One size. Seconds: to draw the requests, to simulate, to work the result out, and of the plain loop."""

    num_requests: int
    num_tokens: int
    num_events: int
    draw_s: float
    simulate_s: float
    result_s: float
    peak_mb: float
    plain_s: float
    largest_difference_s: float
    num_different: int
    """Requests of which a latency differs by more than `SAME_S`."""

    @property
    def requests_per_s(self) -> float:
        """Of the simulation."""
        return self.num_requests / self.simulate_s

    @property
    def plain_requests_per_s(self) -> float:
        """Of the plain loop."""
        return self.num_requests / self.plain_s

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self) | {
            "requests_per_s": self.requests_per_s,
            "plain_requests_per_s": self.plain_requests_per_s,
        }


def bench(num_requests: int, repeats: int = 1) -> Row:
    """Both on one list of requests, the fastest of ``repeats`` each; the answers are compared, all of them.

    The requests are those of the preset: ShareGPT's lengths, 2 per second, one prefill and one decode instance.
    """
    start_s = perf_counter()
    experiment = load_experiment(PRESET, [f"workload.requests={num_requests}"])
    simulation = simulate(experiment)
    draw_s = perf_counter() - start_s - simulation.wall_s
    workload = simulation.workload
    times_s = [simulation.wall_s] + [simulate(experiment, workload).wall_s for _ in range(repeats - 1)]
    result_s, _ = _timed(simulation.result)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    plain_s, expected = min((_timed(lambda: _plain(experiment, workload)) for _ in range(repeats)), key=lambda t: t[0])
    differences_s = [*_differences_s(simulation, expected)]
    return Row(
        num_requests=num_requests,
        num_tokens=sum(workload.output_lengths.values()),
        num_events=simulation.num_events,
        draw_s=draw_s,
        simulate_s=min(times_s),
        result_s=result_s,
        peak_mb=peak_mb,
        plain_s=plain_s,
        largest_difference_s=max(differences_s),
        num_different=sum(difference_s > SAME_S for difference_s in differences_s),
    )


def _plain(experiment: Experiment, workload: Workload) -> list[Latency]:
    requests = [(r.arrival_s, r.num_prompt_tokens, workload.output_lengths[r.id] - 1) for r in workload.requests]
    prefill, decode = (Worker(experiment.cost, experiment.model, spec.tp) for spec in experiment.instances)
    return play(requests, [prefill], [decode])


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start_s = perf_counter()
    result = call()
    return perf_counter() - start_s, result


def _differences_s(simulation: Simulation, expected: list[Latency]) -> Iterator[float]:
    """The largest difference of each request's latencies."""
    for record, latency in zip(simulation.records, expected, strict=True):
        got = (ttft_s(record), tpot_s(record), e2e_s(record))
        yield max(abs((got_s or 0.0) - wanted_s) for got_s, wanted_s in zip(got, latency, strict=True))


HEADER = (
    f"{'requests':>10}{'tokens':>13}{'events':>11}{'draw s':>9}{'simulate s':>12}{'requests/s':>12}{'result s':>10}"
    f"{'peak MB':>9}{'plain loop s':>14}{'requests/s':>12}{'ratio':>7}  answers"
)


def lines(rows: Iterator[Row]) -> Iterator[str]:
    """A table, line by line as the rows come."""
    yield HEADER
    for row in rows:
        yield (
            f"{row.num_requests:>10,}{row.num_tokens:>13,}{row.num_events:>11,}{row.draw_s:>9.2f}{row.simulate_s:>12.3f}"
            f"{row.requests_per_s:>12,.0f}{row.result_s:>10.2f}{row.peak_mb:>9,.0f}{row.plain_s:>14.3f}"
            f"{row.plain_requests_per_s:>12,.0f}{row.plain_s / row.simulate_s:>7.2f}  "
            + (
                f"{row.num_different:,} differ, by up to {row.largest_difference_s:.1e} s"
                if row.num_different
                else "equal"
            )
        )
