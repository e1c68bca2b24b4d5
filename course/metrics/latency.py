"""The four latencies that a user feels, from the token times of one answer.

The definitions of DistServe (OSDI'24, section 1) and ``vllm bench serve``. Where a paper or a
tool means something else by the same word, ``variants`` has it under a name of its own.
"""

from __future__ import annotations

from itertools import pairwise

from course.metrics.record import RequestRecord


def ttft_s(record: RequestRecord) -> float | None:
    """Time to first token in seconds: arrival to first token, queueing included.

    None when no token came out.
    """
    if not record.token_times_s:
        return None
    return record.token_times_s[0] - record.arrival_s


def tpot_s(record: RequestRecord) -> float | None:
    """Time per output token in seconds, the first excluded: (last - first) / (n - 1).

    None for fewer than two tokens: such answers have no TPOT and stay out of its statistics
    (for goodput they count as 0). n - 1 because n tokens have n - 1 gaps between them.
    """
    times_s = record.token_times_s
    if len(times_s) < 2:
        return None
    return (times_s[-1] - times_s[0]) / (len(times_s) - 1)


def gaps_s(record: RequestRecord) -> list[float]:
    """Gaps between consecutive tokens in seconds, n - 1 of them.

    What ``vllm bench serve`` calls ITL, AIPerf inter-chunk latency, and Sarathi-Serve TBT.
    """
    times_s = record.token_times_s
    return [later - earlier for earlier, later in pairwise(times_s)]


def e2e_s(record: RequestRecord) -> float | None:
    """End-to-end latency in seconds: arrival to last token (E2EL). None when no token came out."""
    if not record.token_times_s:
        return None
    return record.token_times_s[-1] - record.arrival_s
