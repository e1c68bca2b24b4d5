"""The form in which Azure publishes its LLM inference traces (AzurePublicDataset).

Columns TIMESTAMP, ContextTokens, GeneratedTokens; timestamps such as
``2023-11-16 18:17:03.9799600``, with seven fractional digits (2023) or a time zone (2024).
Described in Splitwise (Patel et al., ISCA'24), section 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from course.workload.traces.records import Record
from course.workload.traces.row import TraceRow

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?")
_EPOCH = datetime(1970, 1, 1)


def azure_rows(records: Iterable[Record]) -> list[TraceRow]:
    """Rows whose arrivals count from the first request of the file."""
    rows: list[TraceRow] = []
    first_ns = last_ns = 0
    for record in records:
        now_ns = _nanoseconds(record)
        first_ns = first_ns if rows else now_ns
        if rows and now_ns < last_ns:
            raise record.error("TIMESTAMP", "is earlier than the line above; sort the file by it")
        arrival_s = (now_ns - first_ns) / 1e9
        rows.append(TraceRow(arrival_s, record.tokens("ContextTokens"), record.tokens("GeneratedTokens")))
        last_ns = now_ns
    return rows


def _nanoseconds(record: Record) -> int:
    """Nanoseconds of a timestamp, as a whole number: ``datetime`` would drop the seventh digit."""
    text = str(record.get("TIMESTAMP"))
    match = _TIMESTAMP.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        seconds, fraction, _zone = match.groups()
        since = datetime.fromisoformat(seconds) - _EPOCH
    except ValueError:
        raise record.error(
            "TIMESTAMP", f"{text!r} is not a time such as 2023-11-16 18:17:03.9799600; correct it"
        ) from None
    return (since.days * 86_400 + since.seconds) * 10**9 + int((fraction or "0").ljust(9, "0"))
