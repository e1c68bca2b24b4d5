"""How many requests were good enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from course.metrics.answers import Answers
from course.metrics.latency import e2e_s, tpot_s, ttft_s
from course.metrics.record import RequestRecord
from course.workload.slo import SLO


class Verdict(NamedTuple):
    """Which limits one request kept; ``good`` means all that the SLO has."""

    ttft: bool
    tpot: bool
    good: bool


class Attainment(NamedTuple):
    """Shares (0 to 1) of ALL requests that kept the TTFT limit, the TPOT limit, all limits.

    ``both`` is what DistServe calls SLO attainment (OSDI'24, section 1): the limits hold for one
    and the same request, so it is at most the smaller of the other two. 0 without requests.
    """

    ttft: float
    tpot: float
    both: float
    num_good: int
    num_requests: int


def judge(record: RequestRecord, slo: SLO) -> Verdict:
    """Say which limits a request kept, inclusive (<=).

    A request that failed, was refused, cancelled or never ended kept none, whatever tokens came
    out before. An answer of one token has a TPOT of 0 (DistServe's evaluation, vllm bench serve).
    """
    first_s, last_s = ttft_s(record), e2e_s(record)
    if not record.finished or first_s is None or last_s is None:
        return Verdict(False, False, False)
    ttft_ok = first_s <= slo.ttft_s
    tpot_ok = (tpot_s(record) or 0.0) <= slo.tpot_s
    e2e_ok = slo.e2e_s is None or last_s <= slo.e2e_s
    return Verdict(ttft_ok, tpot_ok, ttft_ok and tpot_ok and e2e_ok)


def attainment(records: Sequence[RequestRecord] | Answers, slo: SLO) -> Attainment:
    """Share of requests that keep each limit and all limits, over every request that arrived; `judge` of all."""
    answers = records if isinstance(records, Answers) else Answers.of(records)
    total = len(answers.arrival_s)
    ttft = answers.is_finished & (answers.ttft_s <= slo.ttft_s)
    tpot = answers.is_finished & (np.nan_to_num(answers.tpot_s) <= slo.tpot_s)
    good = ttft & tpot
    if slo.e2e_s is not None:
        good &= answers.e2e_s <= slo.e2e_s
    num_ttft, num_tpot, num_good = (int(each.sum()) for each in (ttft, tpot, good))
    most = max(1, total)
    return Attainment(num_ttft / most, num_tpot / most, num_good / most, num_good, total)


def request_goodput(records: Sequence[RequestRecord] | Answers, slo: SLO, duration_s: float) -> float:
    """Good requests per second of this run, as ``vllm bench serve --goodput`` prints it.

    Not DistServe's goodput, which is the largest request rate that still meets the attainment
    goal and needs a search over rates. 0 for a run without duration.
    """
    if duration_s <= 0:
        return 0.0
    return attainment(records, slo).num_good / duration_s
