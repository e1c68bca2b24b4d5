"""How much KV memory a request is given, and how much of it ever holds tokens.

The vLLM paper (SOSP'23, section 6.1) compares paged memory with three versions of Orca, which set contiguous memory
aside when a request is admitted: for the longest sequence there is (max), for the next power of two of the answer
(pow2), for the answer exactly (oracle, which nobody can know). Orca's buddy allocator rounds each of them up to a power
of two. Paged memory takes a block when one is needed, and preempts when none is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

import numpy as np

from course.errors import UserError
from course.metrics.record import RequestRecord
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.pool import BlockPool
from course.serving.schedulers import Orca, PrefillFirst
from course.simulator.run import CostModel
from course.simulator.virtual import VirtualDriver
from course.workload.lengths import Lengths
from course.workload.request import Request, Workload

WAYS = ("max", "pow2", "oracle", "paged")
MAX_NUM_SEQUENCES = 256


class Room(NamedTuple):
    """Memory for the keys and values of ``num_slots`` tokens; no sequence has more than ``context`` tokens."""

    num_slots: int
    block_size: int = 16
    context: int = 2048


class Use(NamedTuple):
    """Shares of the KV memory in the mean over time, and how many requests ran.

    ``states`` holds tokens, ``reserved`` will before the answer ends, ``internal`` never will. ``other`` is the rest:
    what the allocator rounds up, and what is free.
    """

    states: float
    reserved: float
    internal: float
    other: float
    batch: float


class Served(NamedTuple):
    """What came of a run: a record of each request, the use of the memory, and the most that ran at once."""

    records: list[RequestRecord]
    use: Use
    most: int


def power_of_two(num_tokens: int) -> int:
    """The next power of two."""
    return 1 << (num_tokens - 1).bit_length()


def set_aside(way: str, num_prompt_tokens: int, num_output_tokens: int, context: int) -> int:
    """Slots that a version of Orca means to keep for a request, before the allocator rounds them up."""
    answer = {"max": context, "pow2": power_of_two(num_output_tokens), "oracle": num_output_tokens}[way]
    return min(context, num_prompt_tokens + answer)


def serve(
    way: str,
    lengths: Lengths,
    arrivals_s: Sequence[float],
    room: Room,
    cost: CostModel,
    make_pool: Callable[[int, int, bool], BlockPool] = BlockPool,
    *,
    single_step: bool = False,
) -> Served:
    """Serve the requests on one instance that gives memory in one of `WAYS`.

    Prompts go first with paged memory and run beside the answers with Orca: those are the two papers' schedulers. Use
    is averaged over the second half of the arrivals, when memory has filled (over the whole run if all come at once).
    ``single_step`` makes every step an event, which takes longer and changes nothing (the tests see to that).

    Raises:
        UserError: for an unknown way.
    """
    if way not in WAYS:
        raise UserError(f"unknown way to give memory {way!r}; there are {', '.join(WAYS)}")
    pairs = [(int(prompt), int(output)) for prompt, output in zip(*lengths, strict=True)]
    is_paged = way == "paged"
    kept = [room.context if is_paged else set_aside(way, *pair, room.context) for pair in pairs]
    declared = [room.context if is_paged else power_of_two(slots) for slots in kept]
    requests = [
        Request(i, time_s, prompt, most - prompt)
        for i, (time_s, (prompt, _), most) in enumerate(zip(arrivals_s, pairs, declared, strict=True))
    ]
    instance = _instance(room, is_paged, make_pool)
    last_s = arrivals_s[-1]
    window_s = (last_s / 2, last_s) if last_s else (0.0, inf)
    ledger = _Ledger(instance, [sum(pair) for pair in pairs], kept, window_s)
    driver = VirtualDriver(Cluster([instance]), cost, after_event=ledger.note, single_step=single_step)
    records = driver.run(Workload(requests, {i: output for i, (_, output) in enumerate(pairs)})).records
    return Served(records, ledger.use(room.num_slots, is_paged), ledger.most)


def _instance(room: Room, is_paged: bool, make_pool: Callable[[int, int, bool], BlockPool]) -> Instance:
    if is_paged:
        num_blocks = room.num_slots // room.block_size
        scheduler = PrefillFirst(max_num_sequences=MAX_NUM_SEQUENCES)
        return Instance(scheduler, num_blocks, room.block_size, make_pool=make_pool)
    return Instance(Orca(max_num_sequences=MAX_NUM_SEQUENCES), room.num_slots, 1)


@dataclass
class _Ledger:
    """What stands in the memory after each step of the window."""

    instance: Instance
    final: list[int]  # tokens of each request in the end
    kept: list[int]  # slots meant for it
    window_s: tuple[float, float]
    times_s: list[float] = field(default_factory=list)
    states: list[int] = field(default_factory=list)
    finals: list[int] = field(default_factory=list)
    keeps: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    decodes: list[int] = field(default_factory=list)  # tokens of each sequence that decodes, at the last instant
    steps: int = 0  # of the decode clock, at the last instant
    most: int = 0  # that ran at once

    def note(self, now_s: float) -> None:
        """Take stock of those that run, after the decisions of this instant."""
        running = self.instance.running
        self.most = max(self.most, len(running))
        low_s, high_s = self.window_s
        if self.times_s and self.times_s[-1] >= high_s:
            return
        if now_s <= low_s:  # what lies before the window is not asked for
            for amounts in (self.times_s, self.states, self.finals, self.keeps, self.blocks, self.running):
                amounts.clear()
        decoding = self.instance.decoding
        if self.times_s:
            self._grow(decoding.steps - self.steps, now_s)
        ids = [sequence.request.id for sequence in running]
        self.times_s.append(now_s)
        self.states.append(sum([sequence.num_computed_tokens for sequence in running]))
        self.finals.append(sum([self.final[i] for i in ids]))
        self.keeps.append(sum([self.kept[i] for i in ids]))
        self.blocks.append(self.instance.memory.pool.num_used_blocks)
        self.running.append(len(ids))
        self.decodes = [sequence.num_computed_tokens for sequence in decoding.members]
        self.steps = decoding.steps

    def _grow(self, num_steps: int, now_s: float) -> None:
        """Go through the steps since the last instant: they took about the same time, and each grew what decodes."""
        if num_steps < 2 or not self.decodes:
            return
        since_s, states, blocks = self.times_s[-1], self.states[-1], self.blocks[-1]
        steps = np.arange(1, num_steps)
        held = -(-(np.array(self.decodes) + 1 + np.arange(num_steps)[:, None]) // self.instance.memory.pool.block_size)
        self.times_s += (since_s + steps * ((now_s - since_s) / num_steps)).tolist()
        self.states += (states + steps * len(self.decodes)).tolist()
        self.blocks += (blocks + (held[1:] - held[0]).sum(axis=1)).tolist()  # the token of a step has its block
        for unchanged in (self.finals, self.keeps, self.running):
            unchanged += unchanged[-1:] * (num_steps - 1)

    def use(self, num_slots: int, is_paged: bool) -> Use:
        """The means over the window."""
        low_s, high_s = self.window_s[0], min(self.window_s[1], self.times_s[-1])
        spans_s = np.diff(np.clip(self.times_s, low_s, high_s))

        def mean(amounts: Sequence[int]) -> float:
            return float(np.dot(amounts[:-1], spans_s)) / (high_s - low_s)

        states, batch = mean(self.states), mean(self.running)
        if is_paged:
            reserved, internal = 0.0, mean(self.blocks) * self.instance.memory.pool.block_size - states
        else:
            reserved, internal = mean(self.finals) - states, mean(self.keeps) - mean(self.finals)
        states, reserved, internal = (part / num_slots for part in (states, reserved, internal))
        return Use(states, reserved, internal, 1 - states - reserved - internal, batch)
