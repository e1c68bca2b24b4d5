"""What is kept of every request: when it arrived and when each token came out.

All latencies are computed from this afterwards, so every definition in the literature can be
applied to the same run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain

from course.metrics.times import TokenTimes
from course.workload.request import Request


class Outcome(StrEnum):
    """How a request ended; ``UNFINISHED`` while it has not."""

    UNFINISHED = "unfinished"
    FINISHED = "finished"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class RequestRecord:
    """The life of one answer. Times are seconds on the clock of the run.

    A request with ``n`` > 1 has one record per sample. ``token_times_s`` holds one time per
    output token: when the user's side received it. A simulated run keeps them as `TokenTimes`,
    which read like a list. ``end_s`` is when the request ended, in whatever way; for a finished
    one it is not before its last token.
    """

    arrival_s: float
    num_prompt_tokens: int
    token_times_s: list[float] | TokenTimes = field(default_factory=list)
    outcome: Outcome = Outcome.UNFINISHED
    end_s: float | None = None
    request_id: int = 0
    sample: int = 0
    num_preemptions: int = 0
    client: str = ""
    error: str = ""

    @property
    def num_output_tokens(self) -> int:
        """Tokens that came out."""
        return len(self.token_times_s)

    @property
    def finished(self) -> bool:
        """True for an answer that came to its proper end."""
        return self.outcome is Outcome.FINISHED


class Recorder:
    """Collects records while a run goes on. The driver, real or virtual, calls the ``on_`` methods.

    ``sample`` tells the answers of a request with ``n`` > 1 apart. A time that runs backwards,
    an unknown request or a token after the end is a fault of the driver and raises ValueError.
    """

    def __init__(self) -> None:
        self._records: dict[int, list[RequestRecord]] = {}  # by request id, one for each sample

    @property
    def records(self) -> list[RequestRecord]:
        """All records, in order of arrival."""
        return list(chain.from_iterable(self._records.values()))

    def record(self, request_id: int, sample: int = 0) -> RequestRecord:
        """Return the record of one sample; raises ValueError when it never arrived."""
        try:
            return self._records[request_id][sample]
        except LookupError:
            raise ValueError(f"request {request_id} sample {sample} never arrived") from None

    def on_arrival(self, request: Request, arrival_s: float | None = None) -> None:
        """Open the records of a request, one for each of its ``n`` samples.

        ``arrival_s`` overrides the request's own arrival time: a load client gives the time at
        which it really sent the request. Latencies count from here.
        """
        id = request.id
        if id in self._records:
            raise ValueError(f"request {id} arrived twice")
        if arrival_s is None:
            arrival_s = request.arrival_s
        num_tokens, client = request.num_prompt_tokens, request.client
        records = [RequestRecord(arrival_s, num_tokens, request_id=id, client=client)]
        for sample in range(1, request.n):
            records.append(RequestRecord(arrival_s, num_tokens, request_id=id, sample=sample, client=client))
        self._records[id] = records

    def on_token(self, request_id: int, now_s: float, sample: int = 0) -> None:
        """Note one output token."""
        self.on_tokens(request_id, (now_s,), sample)

    def on_tokens(self, request_id: int, times_s: Iterable[float], sample: int = 0) -> None:
        """Note several output tokens, in order of time."""
        record = self.record(request_id, sample)
        if record.outcome is not Outcome.UNFINISHED:
            raise ValueError(f"request {request_id} sample {sample} has ended ({record.outcome})")
        last_s = record.token_times_s[-1] if record.token_times_s else record.arrival_s
        for time_s in times_s:
            if time_s < last_s:
                raise ValueError(f"request {request_id}: token at {time_s} s comes after {last_s} s")
            record.token_times_s.append(time_s)
            last_s = time_s

    def take(self, request_id: int) -> list[RequestRecord]:
        """Return the records of a request, one per sample, and keep them no longer: for a run without an end."""
        return self._records.pop(request_id, [])

    def on_preemption(self, request_id: int, sample: int = 0) -> None:
        """Count one preemption."""
        self.record(request_id, sample).num_preemptions += 1

    def on_end(
        self,
        request_id: int,
        now_s: float,
        outcome: Outcome | str = Outcome.FINISHED,
        sample: int | None = None,
        error: str = "",
    ) -> None:
        """Close one sample, or with ``sample=None`` all samples of the request that are still open.

        ``outcome`` may be given by its value ("finished", "failed", "refused", "cancelled").
        ``error`` is kept for the reader of the report.
        """
        outcome = Outcome(outcome)
        samples = range(len(self._records.get(request_id, ())) or 1) if sample is None else (sample,)
        for index in samples:
            record = self.record(request_id, index)
            if record.outcome is Outcome.UNFINISHED:
                self._close(record, now_s, outcome, error)
            elif sample is not None:
                raise ValueError(f"request {request_id} sample {sample} ended twice")

    @staticmethod
    def _close(record: RequestRecord, now_s: float, outcome: Outcome, error: str) -> None:
        last_s = record.token_times_s[-1] if record.token_times_s else record.arrival_s
        if now_s < last_s:
            raise ValueError(f"request {record.request_id}: ended at {now_s} s, before {last_s} s")
        record.outcome, record.end_s, record.error = outcome, now_s, error
