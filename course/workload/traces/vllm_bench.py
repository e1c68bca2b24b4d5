"""Results of ``vllm bench serve --save-result --save-detailed``: replay what was sent there.

One JSON object with parallel lists: input_lens, output_lens (tokens), start_times (seconds on a
clock of its own) and errors. Older versions keep no start_times; the requests then all come at 0.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from course.errors import UserError
from course.workload.traces.records import Record
from course.workload.traces.row import TraceRow

COLUMNS = ("input_lens", "output_lens")


def vllm_rows(path: Path, result: dict[str, Any]) -> list[TraceRow]:
    """Rows in order of start time, which count from the first.

    Requests that failed have no answer length; they are left out, with a warning that counts them.
    """
    records = _records(path, result)
    kept = [record for record in records if not record.values["errors"]]
    if len(kept) < len(records):
        warnings.warn(
            f"{path}: {len(records) - len(kept)} of {len(records)} requests failed in that run and are left out",
            stacklevel=2,
        )
    if not kept:
        raise UserError(f"{path}: no request of that run succeeded; give the result of another run")
    starts_s = [record.number("start_times") for record in kept]
    first_s = min(starts_s)
    rows = [
        TraceRow(start_s - first_s, record.tokens("input_lens"), record.tokens("output_lens"))
        for record, start_s in zip(kept, starts_s, strict=True)
    ]
    return sorted(rows, key=lambda row: row.arrival_s)


def _records(path: Path, result: dict[str, Any]) -> list[Record]:
    """One record per request from the parallel lists."""
    lists = {name: result.get(name) for name in ("input_lens", "output_lens", "start_times", "errors")}
    inputs = lists["input_lens"]
    num = len(inputs) if isinstance(inputs, list) else 0
    if not num:
        raise UserError(f"{path}: input_lens lists no request; save the run with --save-detailed")
    for name, default in (("start_times", 0.0), ("errors", "")):
        lists[name] = lists[name] or [default] * num
    for name, values in lists.items():
        if not isinstance(values, list) or len(values) != num:
            found = len(values) if isinstance(values, list) else 0
            raise UserError(f"{path}: {name} has {found} entries where input_lens has {num}; save the run again")
    return [
        Record(f"{path}, request {i + 1}", {name: values[i] for name, values in lists.items() if values})
        for i in range(num)
    ]
