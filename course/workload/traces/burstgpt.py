"""The form in which BurstGPT is published (Wang et al., KDD'25; github.com/HPMLL/BurstGPT, CC-BY-4.0).

Columns Timestamp, Model, Request tokens, Response tokens, Total tokens, Log Type; release 2.0 puts Session ID and
Elapsed time behind the first. Timestamps are whole seconds since the midnight before the first file begins: the second
and third file do not start near 0, and some requests share a second.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

from course.errors import UserError
from course.workload.traces.records import Record
from course.workload.traces.row import TraceRow

COLUMNS = ("Timestamp", "Model", "Request tokens", "Response tokens")


def burstgpt_rows(path: Path, records: Iterable[Record]) -> list[TraceRow]:
    """Rows whose arrivals count from the first request of the file.

    Requests that failed have 0 response tokens, and some have 0 request tokens too: they are left out, with a warning
    that counts them.
    """
    rows: list[TraceRow] = []
    first_s: float | None = None
    last_s = 0.0
    num_failed = 0
    for record in records:
        now_s = record.number("Timestamp")
        first_s = now_s if first_s is None else first_s
        if now_s < max(first_s, last_s):
            raise record.error("Timestamp", "is earlier than the line above; sort the file by it")
        last_s = now_s
        if record.number("Request tokens") == 0 or record.number("Response tokens") == 0:
            num_failed += 1
        else:
            prompt, output = record.tokens("Request tokens"), record.tokens("Response tokens")
            rows.append(TraceRow(now_s - first_s, prompt, output))
    if num_failed:
        num = num_failed + len(rows)
        warnings.warn(f"{path}: {num_failed} of {num} requests failed (0 tokens) and are left out", stacklevel=2)
    if not rows:
        raise UserError(f"{path}: every request of it failed (0 tokens); give another part of the trace")
    return rows
