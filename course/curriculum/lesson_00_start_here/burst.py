"""Two readers and a burst of long prompts: on the real model, replayed, and again on the virtual clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

from course.engine.answer import Answer
from course.engine.sampling import Sampling
from course.figures import History, WatchedCluster
from course.figures.style import say_ms
from course.metrics.latency import gaps_s, ttft_s
from course.metrics.record import RequestRecord
from course.serving.instance import Instance, Role
from course.serving.routers import LeastRequests
from course.serving.schedulers import PrefillFirst
from course.simulator.linear import LinearCost
from course.simulator.virtual import VirtualDriver
from course.widgets import is_live
from course.workload.request import Request, Workload

READERS = ("A thread is", "A list is")
SAMPLING = Sampling(temperature=0.7)  # the likeliest token each time makes the model repeat itself
LONG_PROMPTS = tuple(f"Letter {i}. " + "The people of the town talked about the weather. " * 60 for i in range(4))
TRANSFER_S_PER_BLOCK = 5e-5  # assumed: 16 tokens between two processes of one machine
SLOWER = 4
LINE = 80  # letters


def replay(answer: Answer, times_s: Sequence[float], limit_s: float) -> None:
    """Print a prompt, and its answer at a quarter of its speed, with every gap above ``limit_s`` (seconds) written out.

    Where nobody watches (builds, tests) it is printed at once.
    """
    assert answer.model is not None
    line = Line()
    line.say(answer.model.decode(list(answer.prompt)) + " |")
    gaps = [0.0, *(later - earlier for earlier, later in pairwise(times_s))]
    for piece, gap_s in zip(pieces(answer), gaps, strict=True):
        if gap_s > limit_s:
            line.say(f" [… {say_ms(gap_s)} …] ")
        if is_live():
            time.sleep(SLOWER * gap_s)
        line.say(piece.replace("\n", " "))
    print()


class Line:
    """Prints piece by piece; breaks lines between words, where JupyterLab would break inside of them."""

    def __init__(self) -> None:
        self.length = 0

    def say(self, piece: str) -> None:
        """Go on with the line, or begin another."""
        if self.length + len(piece) > LINE and piece.startswith(" "):
            print()
            self.length, piece = 0, piece.lstrip()
        print(piece, end="", flush=True)
        self.length += len(piece)


def pieces(answer: Answer) -> list[str]:
    """The text that each token adds; none where it leaves a letter unfinished."""
    assert answer.model is not None
    known, said = list(answer.prompt), answer.model.decode(list(answer.prompt))
    found = []
    for token in answer.tokens:
        known.append(token)
        text = answer.model.decode(known)
        unfinished = text.endswith("\ufffd")
        found.append("" if unfinished else text[len(said) :])
        said = said if unfinished else text
    return found


def again(
    records: Sequence[RequestRecord], cost: LinearCost, num_workers: int = 2, *, split: bool = False
) -> tuple[list[RequestRecord], History]:
    """The same requests on the virtual clock: as long as they were, arriving when they arrived.

    ``split``: the first worker only computes prompts, the others only write answers.
    """
    roles: list[Role] = (
        ["prefill" if i == 0 else "decode" for i in range(num_workers)] if split else ["mixed"] * num_workers
    )
    instances = [Instance(PrefillFirst(), 8192, id=i, role=role) for i, role in enumerate(roles)]
    watched = WatchedCluster(instances, LeastRequests())
    driver = VirtualDriver(watched, cost, transfer_s_per_block=TRANSFER_S_PER_BLOCK)
    return driver.run(workload_of(records)).records, watched.history


def workload_of(records: Sequence[RequestRecord]) -> Workload:
    """What was asked for in a run."""
    requests = [
        Request(record.request_id, record.arrival_s, record.num_prompt_tokens, record.num_output_tokens)
        for record in records
    ]
    return Workload(requests, {record.request_id: record.num_output_tokens for record in records})


def longest_pause_s(records: Sequence[RequestRecord]) -> float:
    """The longest gap that one of the readers saw, in seconds."""
    return max(gap for record in records[: len(READERS)] for gap in gaps_s(record))


def slowest_start_s(records: Sequence[RequestRecord]) -> float:
    """The longest TTFT of a long prompt, in seconds."""
    return max(ttft_s(record) or 0.0 for record in records[len(READERS) :])
