"""What other papers and tools mean by the same words.

Every function takes the record of one answer and gives seconds unless its name says otherwise.
None means that the answer has too few tokens for the metric. Numbers of two systems can only be
compared after the same definition has been applied to both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from course.errors import UserError
from course.metrics.latency import e2e_s, gaps_s, tpot_s, ttft_s
from course.metrics.record import RequestRecord


def tpot_simdistserve_s(record: RequestRecord) -> float | None:
    """TPOT over n instead of n - 1: (last - first) / n.

    DistServe's simulator, simdistserve/base/organize_data.py. Its own runs emit one token more
    than the ``output_len`` that it divides by; on a record of such a run ``tpot_s`` gives its figure.
    """
    times_s = record.token_times_s
    return (times_s[-1] - times_s[0]) / len(times_s) if times_s else None


def tpot_etalon_s(record: RequestRecord) -> float | None:
    """Mean of the gaps, and 0 (not excluded) for one token: Etalon's code, request_metrics.py."""
    if not record.token_times_s:
        return None
    return tpot_s(record) or 0.0


def tpot_etalon_docs_s(record: RequestRecord) -> float | None:
    """Time of all output tokens over their number, Etalon's documentation (metrics_used.rst).

    Read as arrival to last token over n, which makes it equal to the normalized latency.
    """
    return normalized_latency_s(record)


def normalized_latency_s(record: RequestRecord) -> float | None:
    """End-to-end latency over output length; the vLLM paper reports its mean (SOSP'23, section 6.1)."""
    latency_s = e2e_s(record)
    return None if latency_s is None else latency_s / record.num_output_tokens


def inter_token_latency_aiperf_s(record: RequestRecord) -> float | None:
    """(request latency - TTFT) / (n - 1), AIPerf's ITL: one number per answer, elsewhere called TPOT."""
    return tpot_s(record)


def inter_chunk_latency_aiperf_s(record: RequestRecord) -> list[float]:
    """List of the gaps of one answer, AIPerf's inter-chunk latency: elsewhere called ITL or TBT."""
    return gaps_s(record)


def time_to_second_token_s(record: RequestRecord) -> float | None:
    """Second token minus first (AIPerf). Disaggregation pays its KV transfer here (Splitwise, section 6.1)."""
    return gaps_s(record)[0] if record.num_output_tokens > 1 else None


def tbt_mooncake_s(record: RequestRecord) -> float | None:
    """Mean of the longest 10 % of the gaps, at least one gap (Mooncake, FAST'25, section 5)."""
    longest = sorted(gaps_s(record), reverse=True)
    if not longest:
        return None
    num_worst = math.ceil(len(longest) / 10)
    return math.fsum(longest[:num_worst]) / num_worst


def fluidity_index(record: RequestRecord, prefill_deadline_s: float, decode_deadline_s: float) -> float | None:
    """Share of tokens (0 to 1) that meet their deadline, with slack (Etalon, docs metrics_used.rst).

    The first token has ``prefill_deadline_s``, each later one ``decode_deadline_s`` after the
    token before it, plus the slack that early tokens have banked; a miss empties the bank. So a
    stall that the client's buffer hides is not held against the server. (Etalon's code counts a
    long stall as several misses; this is the definition of its documentation.)

    Raises:
        UserError: when a deadline is not positive.
    """
    if not (prefill_deadline_s > 0 and decode_deadline_s > 0):
        raise UserError(f"fluidity deadlines must be positive, got {prefill_deadline_s} s and {decode_deadline_s} s")
    first_s = ttft_s(record)
    if first_s is None:
        return None
    num_met, slack_s, deadline_s = 0, 0.0, prefill_deadline_s
    for took_s in (first_s, *gaps_s(record)):
        met = took_s <= deadline_s + slack_s
        num_met += met
        slack_s = slack_s + deadline_s - took_s if met else 0.0
        deadline_s = decode_deadline_s
    return num_met / record.num_output_tokens


def fluid_share(
    records: Sequence[RequestRecord],
    prefill_deadline_s: float,
    decode_deadline_s: float,
    wanted_index: float = 0.9,
) -> float:
    """Share of all requests whose fluidity-index is at least ``wanted_index``.

    Etalon's fluid token generation rate is the largest token rate at which this is 0.99.
    Requests that did not finish count as misses; 0 without requests.
    """
    indices = (fluidity_index(r, prefill_deadline_s, decode_deadline_s) for r in records if r.finished)
    num_fluid = sum(index is not None and index >= wanted_index for index in indices)
    return num_fluid / max(1, len(records))
