"""What papers and tools make of the same token times, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from course.metrics import variants
from course.metrics.attainment import attainment, request_goodput
from course.metrics.latency import gaps_s, tpot_s, ttft_s
from course.metrics.record import RequestRecord
from course.metrics.statistics import percentile
from course.workload.slo import SLO

Records = Sequence[RequestRecord]


def definitions(slo: SLO) -> dict[str, Callable[[Records], str]]:
    """A sentence about a run for each definition; limits in seconds, of requests that all finished.

    DistServe (OSDI'24, section 1); vllm bench serve; MLPerf Inference (rules, LLM scenarios); Sarathi-Serve (OSDI'24,
    section 5.1); Mooncake (FAST'25, section 5); Etalon (docs metrics_used.rst).
    """
    return {
        "DistServe: requests that keep both": lambda run: f"{attainment(run, slo).both:.0%}",
        "vllm bench: good requests per second": lambda run: f"{request_goodput(run, slo, _duration_s(run)):.2f}",
        "MLPerf: P99 of TTFT": lambda run: _ms(percentile([ttft_s(one) or 0.0 for one in run], 99)),
        "MLPerf: P99 of TPOT": lambda run: _ms(percentile([tpot_s(one) or 0.0 for one in run], 99)),
        "Sarathi-Serve: P99 of all gaps": lambda run: _ms(percentile([gap for one in run for gap in gaps_s(one)], 99)),
        "Mooncake: TTFT 30 s, worst gaps 100 ms": lambda run: _share(run, _is_effective),
        "Etalon: 90% of the tokens in time": lambda run: f"{variants.fluid_share(run, slo.ttft_s, slo.tpot_s):.0%}",
    }


def side_by_side(runs: Mapping[str, Records], slo: SLO) -> str:
    """A table as text: a row for each definition, a column for each run."""
    lines = [f"{'':<40}" + "".join(f"{name:>10}" for name in runs)]
    for name, say in definitions(slo).items():
        lines.append(f"{name:<40}" + "".join(f"{say(run):>10}" for run in runs.values()))
    return "\n".join(lines)


def _is_effective(record: RequestRecord) -> bool:
    """Mooncake's, with the tightest of its three limits: the mean of the worst tenth of the gaps is at most 100 ms."""
    first_s = ttft_s(record)
    return first_s is not None and first_s <= 30.0 and (variants.tbt_mooncake_s(record) or 0.0) <= 0.1


def _share(run: Records, is_good: Callable[[RequestRecord], bool]) -> str:
    return f"{np.mean([is_good(record) for record in run]):.0%}"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.0f} ms"


def _duration_s(run: Records) -> float:
    return max(record.token_times_s[-1] for record in run) - min(record.arrival_s for record in run)
