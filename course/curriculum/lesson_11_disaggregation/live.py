"""Real workers: two readers and a burst of long letters, what it did to them, and what moved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from course.curriculum.lesson_00_start_here.burst import (
    LONG_PROMPTS,
    READERS,
    SAMPLING,
    longest_pause_s,
    slowest_start_s,
)
from course.engine.front import Engine
from course.engine.transfer.record import TransferRecord
from course.figures import History, WatchedCluster
from course.metrics.latency import tpot_s
from course.metrics.record import RequestRecord

LETTER = LONG_PROMPTS[0]


def start_over(engine: Engine) -> None:
    """Time 0 is now, and nothing is recorded yet, nor watched."""
    engine.start_over()
    if isinstance(engine.cluster, WatchedCluster):
        engine.cluster.history = History(roles=engine.cluster.history.roles)


def burst(engine: Engine) -> list[list[int]]:
    """Lesson 00's readers, and four letters that arrive while they read; the tokens of all answers."""
    start_over(engine)
    [anna] = engine.submit(READERS[0], 80, SAMPLING, ignore_end=True)
    while len(anna.tokens) < 20:
        engine.advance()
    [ben] = engine.submit(READERS[1], 80, SAMPLING, ignore_end=True)
    while len(anna.tokens) < 40:
        engine.advance()
    letters = [engine.submit(prompt, 8, ignore_end=True)[0] for prompt in LONG_PROMPTS]
    while engine.num_unfinished:
        engine.advance()
    return [answer.tokens for answer in (anna, ben, *letters)]


def letters(engine: Engine) -> tuple[float, list[float]]:
    """Eight letters at once, answers of two tokens: seconds until all are done, and each worker's share of them."""
    start_over(engine)
    engine.generate([*LONG_PROMPTS, *LONG_PROMPTS], 2, ignore_end=True)
    assert isinstance(engine.cluster, WatchedCluster)
    tokens = dict.fromkeys(sorted(engine.cluster.history.roles), 0)
    for step in engine.cluster.history.steps:
        tokens[step.instance_id] += sum(chunk.num_tokens for chunk in step.chunks if chunk.is_prefill)
    last_s = max(record.token_times_s[-1] for record in engine.recorder.records)
    return last_s, [count / sum(tokens.values()) for count in tokens.values()]


def warm_up(engine: Engine) -> None:
    """One prompt for each worker: what is done for the first time is slow."""
    engine.generate([LETTER, LETTER], 4, ignore_end=True)


def say(records: Sequence[RequestRecord]) -> str:
    """What a burst did to the readers, their pauses and their TPOT, and to the writers of the letters."""
    readers = 1e3 * np.mean([tpot_s(record) or 0.0 for record in records[: len(READERS)]])
    pause, start = 1e3 * longest_pause_s(records), 1e3 * slowest_start_s(records)
    felt = f"longest pause {pause:>4.0f} ms, TPOT {readers:>4.1f} ms"
    return f"{felt}, slowest letter's TTFT {start:>4.0f} ms"


def say_move(move: TransferRecord) -> str:
    """One move in a line."""
    assert move.end_s is not None
    took_ms, copied_ms = 1e3 * (move.end_s - move.start_s), 1e3 * move.copy_s
    size = f"{move.num_blocks:>3} blocks, {move.num_bytes / 1e6:>5.2f} MB"
    return f"request {move.request_id}: {size}, copied in {copied_ms:>5.2f} ms, committed after {took_ms:>5.2f} ms"
