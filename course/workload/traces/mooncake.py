"""Mooncake's traces (FAST'25; kvcache-ai/Mooncake): JSON lines that name the blocks of a prompt.

``timestamp`` in milliseconds, ``input_length`` and ``output_length`` in tokens, and ``hash_ids``:
one id for each block of 512 prompt tokens, a last incomplete block included. Requests with the
same id share that block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from course.errors import UserError
from course.workload.hashing import chain_all
from course.workload.seeds import generator
from course.workload.traces.records import Record
from course.workload.traces.row import MOONCAKE_BLOCK_TOKENS, TraceRow

COLUMNS = ("timestamp", "input_length", "output_length")


def mooncake_rows(records: Iterable[Record], block_tokens: int = MOONCAKE_BLOCK_TOKENS) -> list[TraceRow]:
    """Rows with chained prefix hashes; ``hash_ids`` may be absent, then nothing is shared.

    Args:
        records: objects with the keys above.
        block_tokens: prompt tokens that one hash id stands for.
    """
    rows: list[TraceRow] = []
    for record in records:
        arrival_s = record.number("timestamp") / 1000
        if arrival_s < 0:
            raise record.error("timestamp", f"{arrival_s * 1000:g} ms is negative; count from the start")
        if rows and arrival_s < rows[-1].arrival_s:
            raise record.error("timestamp", "is earlier than the line above; sort the file by it")
        prompt, output = record.tokens("input_length"), record.tokens("output_length")
        hashes = _chained(record, prompt, block_tokens)
        rows.append(TraceRow(arrival_s, prompt, output, hashes, hash_block_tokens=block_tokens))
    return rows


def _chained(record: Record, num_prompt_tokens: int, block_tokens: int) -> tuple[int, ...]:
    ids = record.values.get("hash_ids") or []
    if not isinstance(ids, list) or any(isinstance(i, bool) or not isinstance(i, int) for i in ids):
        raise record.error("hash_ids", "is not a list of whole numbers; correct it or leave it out")
    num_full = num_prompt_tokens // block_tokens
    num_all = -(-num_prompt_tokens // block_tokens)
    if ids and not num_full <= len(ids) <= num_all:
        raise record.error(
            "hash_ids",
            f"{len(ids)} ids for a prompt of {num_prompt_tokens} tokens, but blocks of {block_tokens} "
            f"make {num_all}; correct it or say how many tokens a block has",
        )
    return chain_all(ids)


def spread_ticks(rows: Sequence[TraceRow], tick_s: float, seed: int = 0) -> list[TraceRow]:
    """Spread requests with the same arrival time over the ``tick_s`` seconds that follow.

    Mooncake's conversation trace is quantised to ticks of 3 s, so about ten requests arrive at
    one instant, which no server ever saw. Times are drawn uniformly inside the tick: given their
    number, that is how the arrivals of a Poisson process lie. A tick ends early where the next
    one begins; a request never leaves its tick.

    Raises:
        UserError: when the tick is not positive.
    """
    if not tick_s > 0:
        raise UserError(f"a tick of {tick_s} s cannot be spread; Mooncake's conversation trace has 3 s")
    times_s = np.array([row.arrival_s for row in rows])
    begins = np.append(True, times_s[1:] != times_s[:-1])[: len(rows)]
    tick = np.cumsum(begins) - 1
    widths_s = np.minimum(tick_s, np.append(np.diff(times_s[begins]), np.inf))
    shares = generator(seed, "spread ticks").random(len(rows))
    shares = shares[np.lexsort((shares, tick))]  # in order within each tick
    spread_s = np.round(times_s + shares * widths_s[tick], 6).tolist()
    return [replace(row, arrival_s=time_s) for row, time_s in zip(rows, spread_s, strict=True)]
