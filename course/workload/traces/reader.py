"""``read_trace``: a file becomes rows, its format recognised from the columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from course.errors import UserError
from course.workload.traces import azure, burstgpt, columns, mooncake, vllm_bench
from course.workload.traces.records import (
    Record,
    csv_records,
    is_json_lines,
    json_lines,
    json_records,
    read_text,
)
from course.workload.traces.row import MOONCAKE_BLOCK_TOKENS, TraceRow

EXPECTED = {
    "timed": "arrived_s, prompt_tokens, output_tokens",
    "azure": ", ".join(azure.COLUMNS),
    "mooncake": ", ".join((*mooncake.COLUMNS, "hash_ids")),
    "burstgpt": ", ".join(burstgpt.COLUMNS),
    "vllm": "input_lens, output_lens, start_times (JSON)",
    "lengths": "prompt_tokens, output_tokens",
}
FORMATS = tuple(EXPECTED)


def read_trace(
    path: str | Path,
    format: str | None = None,
    *,
    tick_s: float | None = None,
    seed: int = 0,
    block_tokens: int = MOONCAKE_BLOCK_TOKENS,
) -> list[TraceRow]:
    """Read a file of requests: CSV, JSON lines, or one JSON document.

    Formats: "timed" (arrived_s, prompt_tokens, output_tokens), "azure", "mooncake" and "burstgpt"
    (as published), "vllm" (a detailed result of ``vllm bench serve``), "lengths" (no arrivals:
    all at 0). Rows come in order of arrival.

    Args:
        path: the file.
        format: one of ``FORMATS``; None recognises it from the columns.
        tick_s: spread requests of equal arrival time over that many seconds
            (3 for Mooncake's conversation trace, 1 for BurstGPT; see ``mooncake.spread_ticks``).
        seed: of that spreading.
        block_tokens: prompt tokens per hash id in the Mooncake format.

    Raises:
        UserError: for a file that is missing, empty or not of the format, and for the first
            value that cannot be right, with file, line and column.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise UserError(f"unknown trace format {format!r}; choose from {', '.join(FORMATS)}")
    names, content = _load(path, read_text(path))
    format = _checked(path, names, format)
    if format == "vllm":
        rows = vllm_bench.vllm_rows(path, _single_result(path, content))
    elif isinstance(content, dict):
        raise UserError(f"{path}: is one JSON object, but format {format} needs a list of requests; give one")
    elif format == "burstgpt":
        rows = burstgpt.burstgpt_rows(path, content)
    elif format == "mooncake":
        rows = mooncake.mooncake_rows(content, block_tokens)
    else:
        rows = _PLAIN[format](content, names)
    return rows if tick_s is None else mooncake.spread_ticks(rows, tick_s, seed)


_COLUMNS = {
    "azure": azure.COLUMNS,
    "mooncake": mooncake.COLUMNS,
    "burstgpt": burstgpt.COLUMNS,
    "vllm": vllm_bench.COLUMNS,
}
_PLAIN: dict[str, Callable[[Iterable[Record], Collection[str]], list[TraceRow]]] = {
    "timed": columns.timed_rows,
    "lengths": columns.untimed_rows,
    "azure": lambda records, _names: azure.azure_rows(records),
}


def _load(path: Path, text: str) -> tuple[list[str], Iterable[Record] | dict[str, Any]]:
    """Return the column names and the content of a file of any kind."""
    if path.suffix not in {".jsonl", ".ndjson", ".json"} and text.lstrip()[0] not in "{[":
        header, records = csv_records(path, text)
        first = next(records, None)
        if first is None:
            raise UserError(f"{path}: has a header but no requests; give a trace with at least one")
        return header, chain([first], records)
    if is_json_lines(path, text):
        lines = json_lines(path, text)
        return list(lines[0].values), lines
    content = json_records(path, text)
    if isinstance(content, dict):
        return list(content), content
    if not content:
        raise UserError(f"{path}: is an empty list; give a trace with at least one request")
    return list(content[0].values), content


def _checked(path: Path, names: list[str], format: str | None) -> str:
    """Return the format that the columns have, or make sure that they have the one named."""
    fits = [name for name in FORMATS if _has(names, name)]
    # A column of times under an unknown name must not be passed over in silence.
    timed = any(word in name.lower() for name in names for word in ("time", "arriv"))
    if format is None and fits and not (timed and fits[0] == "lengths"):
        return fits[0]
    if format in fits:
        return str(format)
    wanted = EXPECTED[format] if format else "; or ".join(EXPECTED.values())
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    raise UserError(f"{path}: has the columns {shown}; rename them to {wanted}")


def _has(names: Collection[str], format: str) -> bool:
    if format in {"timed", "lengths"}:
        lengths = columns.find(columns.PROMPT, names) and columns.find(columns.OUTPUT, names)
        return bool(lengths and (format == "lengths" or columns.find(columns.ARRIVAL, names)))
    return all(name in names for name in _COLUMNS[format])


def _single_result(path: Path, content: Iterable[Record] | dict[str, Any]) -> dict[str, Any]:
    """Return the one run of a result file (``--append-result`` puts several into one)."""
    if isinstance(content, dict):
        return content
    runs = list(content)
    if len(runs) != 1:
        raise UserError(f"{path}: holds {len(runs)} runs; keep the line of one of them")
    return runs[0].values
