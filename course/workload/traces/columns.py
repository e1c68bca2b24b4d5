"""Traces with plain columns: arrival in seconds and two lengths, or the two lengths alone.

The kept form is ``arrived_s, prompt_tokens, output_tokens``. The other names that request lists
use for the same things are accepted, too: ``vllm bench`` says input_len and output_len.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from course.workload.traces.records import Record
from course.workload.traces.row import TraceRow

ARRIVAL = ("arrived_s", "arrival_s", "arrival_time", "start_time")
PROMPT = ("prompt_tokens", "num_prompt_tokens", "prompt_len", "input_len", "input_tokens")
OUTPUT = ("output_tokens", "num_output_tokens", "output_len", "expected_output_len")


def find(names: Sequence[str], columns: Collection[str]) -> str | None:
    """Return the first of the names that the file has as a column."""
    return next((name for name in names if name in columns), None)


def timed_rows(records: Iterable[Record], columns: Collection[str]) -> list[TraceRow]:
    """Rows with arrival times in seconds, taken as they are."""
    arrival = find(ARRIVAL, columns) or ARRIVAL[0]
    row = _row_reader(columns)
    rows: list[TraceRow] = []
    last_s = 0.0
    for record in records:
        arrival_s = record.number(arrival)
        if arrival_s < 0:
            raise record.error(arrival, f"{arrival_s} s is negative; count time from the start of the trace")
        if arrival_s < last_s:
            raise record.error(arrival, f"{arrival_s} s comes before the line above; sort the file by it")
        rows.append(row(record, arrival_s))
        last_s = arrival_s
    return rows


def untimed_rows(records: Iterable[Record], columns: Collection[str]) -> list[TraceRow]:
    """Rows without arrival times: all at 0 until ``with_arrivals`` gives them others."""
    row = _row_reader(columns)
    return [row(record, 0.0) for record in records]


def _row_reader(columns: Collection[str]) -> Callable[[Record, float], TraceRow]:
    prompt = find(PROMPT, columns) or PROMPT[0]
    output = find(OUTPUT, columns) or OUTPUT[0]

    def row(record: Record, arrival_s: float) -> TraceRow:
        client = str(record.values.get("client") or "")
        return TraceRow(arrival_s, record.tokens(prompt), record.tokens(output), client=client)

    return row
