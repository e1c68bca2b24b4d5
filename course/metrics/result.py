"""Result JSON with the field names and units of ``vllm bench serve --save-result``.

Source: vllm/benchmarks/serve.py. Seconds unless a name ends in ``_ms``. So scripts that read
vLLM's results read ours; what vLLM does not have comes after it under names of our own.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from course.errors import UserError
from course.metrics.answers import Answers
from course.metrics.attainment import Attainment, attainment
from course.metrics.latency import gaps_s, ttft_s
from course.metrics.peaks import max_concurrent_requests, max_output_tokens_per_s
from course.metrics.pooled import Pooled, TokenPool
from course.metrics.record import Outcome, RequestRecord
from course.metrics.statistics import Samples, Statistics, run_duration_s
from course.metrics.steps import FloatArray
from course.workload.slo import SLO

METRICS = ("ttft", "tpot", "itl", "e2el")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What vLLM writes about the run itself. ``request_rate`` is in requests/s.

    ``metadata`` holds further keys for the top level of the JSON, such as hardware and versions.
    """

    backend: str = "course"
    label: str | None = None
    model_id: str = ""
    tokenizer_id: str | None = None
    request_rate: float = math.inf
    burstiness: float = 1.0
    max_concurrency: int | None = None
    date: str = field(default_factory=lambda: datetime.now().strftime("%Y%m%d-%H%M%S"))
    metadata: dict[str, Any] = field(default_factory=dict)


def result_json(
    records: Sequence[RequestRecord],
    *,
    info: RunInfo | None = None,
    duration_s: float | None = None,
    slo: SLO | None = None,
    metrics: Sequence[str] = METRICS,
    percentiles: Sequence[float] = (90, 99),
    detailed: bool = False,
    texts: Sequence[str] | None = None,
    answers: Answers | None = None,
) -> dict[str, Any]:
    """Return the result of a run as a dictionary that ``json.dumps`` takes.

    A metric without samples is 0.0, as vLLM writes it. ``failed`` is everything that did not
    finish (vLLM knows no other end); ``refused``, ``cancelled`` and ``unfinished`` say how many
    of those it was. With ``n`` > 1 every sample counts as a request; its prompt counts once.

    Args:
        records: every request that arrived.
        info: who ran what.
        duration_s: seconds of the run, for throughput; default first arrival to last token.
        slo: fills ``request_goodput`` (else null) and adds the attainment keys.
        metrics: which of ttft, tpot, itl, e2el get statistics (vLLM leaves e2el out by default).
        percentiles: which percentiles (vLLM's default is 99 alone).
        detailed: add the per-request lists of ``--save-detailed``.
        texts: generated text of each record, for the detailed form.
        answers: those of the records, where they have been looked up already.

    Raises:
        UserError: for a metric that does not exist.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise UserError(f"unknown metric {unknown[0]!r}; choose from {', '.join(METRICS)}")
    info = info or RunInfo()
    answers = answers or Answers.of(records)
    seconds = run_duration_s(records, answers) if duration_s is None else duration_s
    met = attainment(answers, slo) if slo else None
    tokens = TokenPool(record for record in records if record.finished)
    result = _header(info, len(records)) | _totals(records, answers, tokens, seconds, met)
    if detailed:
        result |= _details(records, texts)
    samples = Samples.of(records, answers, tokens)
    for name in metrics:
        result |= _statistics(name, getattr(samples, name), percentiles)
    return result | _own_keys(records, slo, met)


def save_result(path: str | Path, result: dict[str, Any]) -> None:
    """Write a result to a file; raises UserError when the file cannot be written."""
    try:
        Path(path).write_text(json.dumps(result, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another file") from error


def _header(info: RunInfo, num_prompts: int) -> dict[str, Any]:
    return {
        "date": info.date,
        "endpoint_type": info.backend,
        "backend": info.backend,
        "label": info.label,
        "model_id": info.model_id,
        "tokenizer_id": info.tokenizer_id,
        "num_prompts": num_prompts,
        **info.metadata,
        "request_rate": info.request_rate if math.isfinite(info.request_rate) else "inf",
        "burstiness": info.burstiness if math.isfinite(info.burstiness) else "inf",
        "max_concurrency": info.max_concurrency,
    }


def _totals(
    records: Sequence[RequestRecord], answers: Answers, tokens: TokenPool, seconds: float, met: Attainment | None
) -> dict[str, Any]:
    is_finished = np.array([record.finished for record in records], np.bool_)
    finished = [record for record in records if record.finished]
    num_input = sum(record.num_prompt_tokens for record in finished if record.sample == 0)
    num_output = sum(record.num_output_tokens for record in finished)

    def per_second(count: float) -> float:
        return count / seconds if seconds > 0 else 0.0

    return {
        "duration": seconds,
        "completed": len(finished),
        "failed": len(records) - len(finished),
        "total_input_tokens": num_input,
        "total_output_tokens": num_output,
        "request_throughput": per_second(len(finished)),
        "request_goodput": per_second(met.num_good) if met else None,
        "output_throughput": per_second(num_output),
        "total_token_throughput": per_second(num_input + num_output),
        "max_output_tokens_per_s": max_output_tokens_per_s(finished, tokens),
        "max_concurrent_requests": max_concurrent_requests(finished, answers.those(is_finished)),
        "rtfx": 0.0,  # audio seconds per second; vLLM writes it for text, too
        "latencies": np.where(answers.is_finished, answers.e2e_s, 0.0).tolist(),
        "queue_times": [0.0] * len(records),  # wait for --max-concurrency before sending: none here
    }


def _details(records: Sequence[RequestRecord], texts: Sequence[str] | None) -> dict[str, Any]:
    return {
        "input_lens": [record.num_prompt_tokens for record in records],
        "output_lens": [record.num_output_tokens if record.finished else 0 for record in records],
        "start_times": [record.arrival_s for record in records],
        "ttfts": [ttft_s(record) or 0.0 for record in records],
        "itls": [gaps_s(record) for record in records],
        "generated_texts": list(texts) if texts is not None else [""] * len(records),
        "errors": [_error(record) for record in records],
    }


def _error(record: RequestRecord) -> str:
    return "" if record.finished else record.error or str(record.outcome)


def _statistics(name: str, seconds: FloatArray | Pooled, percentiles: Sequence[float]) -> dict[str, float]:
    stats = Statistics.of(seconds if len(seconds) else [0.0], percentiles)
    entries = {"mean": stats.mean, "median": stats.median, "std": stats.std}
    entries |= {f"p{_word(percent)}": value for percent, value in stats.percentiles.items()}
    return {f"{word}_{name}_ms": value * 1000 for word, value in entries.items()}


def _word(percent: float) -> str:
    return str(int(percent)) if int(percent) == percent else str(percent)


def _own_keys(records: Sequence[RequestRecord], slo: SLO | None, met: Attainment | None) -> dict[str, Any]:
    counts = Counter(record.outcome for record in records)
    keys: dict[str, Any] = {
        str(outcome): counts[outcome] for outcome in (Outcome.REFUSED, Outcome.CANCELLED, Outcome.UNFINISHED)
    }
    keys["num_preemptions"] = sum(record.num_preemptions for record in records)
    if slo is not None and met is not None:
        keys |= {"slo_ttft_ms": _limit_ms(slo.ttft_s), "slo_tpot_ms": _limit_ms(slo.tpot_s)}
        keys |= {"slo_e2el_ms": _limit_ms(slo.e2e_s)}
        keys |= {"attainment_ttft": met.ttft, "attainment_tpot": met.tpot, "attainment": met.both}
    return keys


def _limit_ms(limit_s: float | None) -> float | None:
    """Milliseconds; None (null) for no limit, because JSON has no infinity."""
    return limit_s * 1000 if limit_s is not None and math.isfinite(limit_s) else None
