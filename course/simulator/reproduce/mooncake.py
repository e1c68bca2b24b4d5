"""Mooncake's conversation trace: how many prompt blocks an unlimited cache would have kept from before."""

from __future__ import annotations

from pathlib import Path

from course.simulator.reproduce.register import Entry, Row, find_file, number, skipped
from course.workload.conversations import ideal_reuse
from course.workload.traces import read_trace

FILES = ("mooncake_conversation.jsonl", "conversation_trace.jsonl")
PUBLISHED = {12_031: 36.6, 6_017: 34.6}
"""Percent of blocks by number of requests: the file as released, and its first half in time."""


def rows(data: Path) -> list[Row]:
    """The reuse of the file, if the user has it."""
    what = "prompt blocks that an earlier request had"
    found = find_file(data, *FILES)
    if found is None:
        why = f"needs {FILES[1]} of kvcache-ai/Mooncake (FAST25-release/traces) in the folder that --data names"
        return [skipped(what, "36.6 %", why)]
    trace = read_trace(found)
    if len(trace) not in PUBLISHED:
        return [skipped(what, "36.6 %", f"{found} has {len(trace):,} requests, the released file has 12,031")]
    ours = 100 * ideal_reuse(trace)
    note = "table 2 of the paper says 40 % of this trace; counting the ids of the released file gives 36.6 %"
    return [number(f"{what}, {len(trace):,} requests", PUBLISHED[len(trace)], ours, unit="%", within=0.1, note=note)]


ENTRIES = (
    Entry(
        "mooncake-reuse",
        "Mooncake, FAST'25",
        "released conversation trace",
        "every block hash that an earlier request had counts as a hit; the cache forgets nothing",
        rows,
    ),
)
