"""The table that the command line prints after a run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from course.metrics.answers import Answers
from course.metrics.attainment import attainment, request_goodput
from course.metrics.record import Outcome, RequestRecord
from course.metrics.statistics import Samples, Statistics, run_duration_s
from course.workload.slo import SLO

_LABELS = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2el": "E2E"}


def summary_table(
    records: Sequence[RequestRecord],
    slo: SLO | None = None,
    duration_s: float | None = None,
    answers: Answers | None = None,
) -> str:
    """Return counts, throughput and a table of latencies in milliseconds, as plain text.

    Args:
        records: of the whole run; only finished answers enter the latencies.
        slo: adds a line with attainment and goodput.
        duration_s: length of the run in seconds; default first arrival to last token.
        answers: those of the records, where they have been looked up already.
    """
    answers = answers or Answers.of(records)
    seconds = run_duration_s(records, answers) if duration_s is None else duration_s
    lines = [_counts(records), _throughput(records, seconds)]
    if slo is not None:
        lines.append(_slo_line(answers, slo, seconds))
    return "\n".join([*lines, "", *_latency_lines(Samples.of(records, answers))])


def _counts(records: Sequence[RequestRecord]) -> str:
    counts = Counter(record.outcome for record in records)
    parts = [f"{counts[Outcome.FINISHED]} finished"]
    parts += [f"{counts[o]} {o}" for o in Outcome if o is not Outcome.FINISHED and counts[o]]
    num_preemptions = sum(record.num_preemptions for record in records)
    return f"{len(records)} requests: {', '.join(parts)}; {num_preemptions} preemptions"


def _throughput(records: Sequence[RequestRecord], seconds: float) -> str:
    finished = [record for record in records if record.finished]
    num_tokens = sum(record.num_output_tokens for record in finished)
    if seconds <= 0:
        return f"{seconds:.2f} s, {num_tokens} output tokens"
    requests_per_s, tokens_per_s = len(finished) / seconds, num_tokens / seconds
    return f"{seconds:.2f} s: {requests_per_s:.2f} requests/s, {tokens_per_s:.1f} output tokens/s"


def _slo_line(answers: Answers, slo: SLO, seconds: float) -> str:
    met = attainment(answers, slo)
    goodput = request_goodput(answers, slo, seconds)
    return (
        f"within TTFT {_ms(slo.ttft_s)} ms: {met.ttft:.1%}, TPOT {_ms(slo.tpot_s)} ms: {met.tpot:.1%}, "
        f"all limits: {met.both:.1%} (wanted {slo.attainment:.1%}); {goodput:.2f} good requests/s"
    )


def _latency_lines(samples: Samples) -> list[str]:
    lines = [f"{'ms':<6}{'mean':>10}{'median':>10}{'p90':>10}{'p99':>10}"]
    for name, label in _LABELS.items():
        stats = Statistics.of(getattr(samples, name), (90, 99))
        cells = (stats.mean, stats.median, stats.percentiles[90], stats.percentiles[99])
        lines.append(f"{label:<6}" + "".join(f"{_ms(cell):>10}" for cell in cells))
    return lines


def _ms(seconds: float) -> str:
    """Seconds as milliseconds with enough digits; a dash where nothing was measured."""
    if math.isnan(seconds):
        return "-"
    return f"{seconds * 1000:.2f}" if seconds < 1 else f"{seconds * 1000:.0f}" if seconds < math.inf else "inf"
