"""What the lesson's schedulers must do, step by step in plain numbers, and the first step in which one does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from course.simulator.lockstep import Job, LockstepRun

Fault = tuple[str, int | None]
"""A sentence (empty: there is no fault) and the request that it hurts."""


@dataclass
class Life:
    """One request: what is computed, what is written, whether it is in the batch."""

    number: int
    job: Job
    computed: int = 0
    written: int = 0
    in_batch: bool = False

    @property
    def known(self) -> int:
        """Prompt and answer so far."""
        return self.job.num_prompt_tokens + self.written

    @property
    def at_most(self) -> int:
        """Tokens in the cache if the answer gets as long as declared; its last token is never fed back."""
        return self.job.num_prompt_tokens + self.job.max_new_tokens - 1

    def is_here(self, now: int) -> bool:
        """Whether it has arrived and has not ended."""
        return self.job.arrival <= now and self.written < self.job.num_output_tokens


class World(NamedTuple):
    """What a check asks for: requests, places in the batch, blocks, tokens per block."""

    jobs: list[tuple[int, int, int, int]]
    max_num_sequences: int
    num_blocks: int
    block_size: int

    def blocks(self, num_tokens: int) -> int:
        """Blocks for so many tokens, counted one by one."""
        return sum(1 for token in range(num_tokens) if token % self.block_size == 0)

    def lives(self) -> list[Life]:
        """Its requests, before anything has happened."""
        return [Life(number, Job(*job)) for number, job in enumerate(self.jobs)]


def reserving_fault(run: LockstepRun, world: World) -> Fault:
    """What is wrong first with an iteration-level scheduler that sets memory aside."""
    lives = world.lives()
    for now, step in enumerate(run.steps):
        here = [one for one in lives if one.is_here(now)]
        batch = [one for one in here if one.in_batch]
        if fault := _resting_fault(batch, step.ran):
            return _in_step(now, fault)
        queue = [(one.number, world.blocks(one.at_most)) for one in here if not one.in_batch]
        places = world.max_num_sequences - len(batch)
        left = world.num_blocks - sum(world.blocks(one.at_most) for one in batch)
        fault = _joining_fault(queue, step.ran, places, left, "it may come to need {} blocks and {} are not set aside")
        if fault := fault or _move_on(lives, step.ran):
            return _in_step(now, fault)
    return _at_the_end(run)


def on_demand_fault(run: LockstepRun, world: World) -> Fault:
    """What is wrong first with a scheduler that admits what fits now, and preempts the latest."""
    lives = world.lives()
    for now, step in enumerate(run.steps):
        here = [one for one in lives if one.is_here(now)]
        batch = [one for one in here if one.in_batch]
        if fault := _yielding_fault(batch, step.preempted, step.num_free_blocks, world):
            return _in_step(now, fault)
        stay = [one for one in batch if one.number not in step.preempted]
        if fault := _resting_fault(stay, step.ran):
            return _in_step(now, fault)
        queue = [(one.number, world.blocks(one.known)) for one in here if not one.in_batch]
        places = world.max_num_sequences - len(batch)
        left = step.num_free_blocks - sum(_growth(one, world) for one in batch)
        if step.preempted:
            joining = [number for number, _ in queue if number in step.ran]
            fault = _usurping_fault(joining, step.preempted[0])
        else:
            fault = _joining_fault(queue, step.ran, places, left, "it needs {} blocks and {} are left")
        for one in batch:
            if one.number in step.preempted:
                one.in_batch, one.computed = False, 0
        if fault := fault or _move_on(lives, step.ran):
            return _in_step(now, fault)
    return _at_the_end(run)


def _growth(one: Life, world: World) -> int:
    """Blocks that its next token takes."""
    return world.blocks(one.computed + 1) - world.blocks(one.computed)


def _resting_fault(batch: Sequence[Life], ran: dict[int, int]) -> Fault | None:
    """Everybody in the batch goes on."""
    resting = [one.number for one in batch if one.number not in ran]
    return (f"request {resting[0]} is in the batch and does not run in it", resting[0]) if resting else None


def _yielding_fault(batch: Sequence[Life], lost: tuple[int, ...], free: int, world: World) -> Fault | None:
    """The latest yield, one by one, while the rest do not find the blocks for their next tokens."""
    wanted = sum(_growth(one, world) for one in batch)
    going, why_not = list(batch), ""
    while going and wanted > free and not why_not:
        last = going.pop()
        free, wanted = free + world.blocks(last.computed), wanted - _growth(last, world)
        if last.number not in lost:
            why_not = f"request {last.number} came later"
    for one in going:
        if one.number in lost:
            return f"request {one.number} loses its place, though {why_not or 'there are blocks enough'}", one.number
    return None


def _usurping_fault(joining: Sequence[int], lost: int) -> Fault | None:
    """Nobody joins in a step in which somebody loses its place."""
    return (f"request {joining[0]} joins, and request {lost} loses its place", lost) if joining else None


def _joining_fault(
    queue: Sequence[tuple[int, int]], ran: dict[int, int], places: int, left: int, short: str
) -> Fault | None:
    """Who waits (number, blocks needed) joins in order of arrival, while there are places and blocks."""
    first: int | None = None  # of those that have to wait
    for number, needs in queue:
        why_not, wronged = "", number
        if first is not None:
            why_not, wronged = f"request {first} came before it and waits", first
        elif places < 1:
            why_not = "all places are taken"
        elif needs > left:
            why_not = short.format(needs, left)
        if number in ran and why_not:
            return f"request {number} joins, though {why_not}", wronged
        if number not in ran and not why_not:
            return f"request {number} waits, though there is a place and memory for it", number
        if number in ran:
            places, left = places - 1, left - needs
        elif first is None:
            first = number
    return None


def _move_on(lives: Sequence[Life], ran: dict[int, int]) -> Fault | None:
    """Count what the step computed; everybody who runs computes all that is left of it."""
    for number, num_tokens in ran.items():
        one = lives[number]
        left = one.known - one.computed
        if num_tokens != left:
            return f"{num_tokens} of the {left} tokens left of request {number} are computed", number
        one.computed = one.known
        one.written += 1
        one.in_batch = one.written < one.job.num_output_tokens
    return None


def _in_step(now: int, fault: Fault) -> Fault:
    return f"Step {now}: {fault[0]}", fault[1]


def _at_the_end(run: LockstepRun) -> Fault:
    return run.error[:1].upper() + run.error[1:], None
