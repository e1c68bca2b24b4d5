"""What the lesson's schedulers must do, step by step in plain numbers, and the first step in which one does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from course.simulator.lockstep import Job, LockstepRun


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


class World(NamedTuple):
    """What a check asks for: requests, places in the batch, blocks, tokens per block."""

    jobs: list[tuple[int, int, int, int]]
    max_num_sequences: int
    num_blocks: int
    block_size: int


def blocks(num_tokens: int, block_size: int) -> int:
    """Blocks for so many tokens, counted one by one."""
    return sum(1 for token in range(num_tokens) if token % block_size == 0)


def reserving_fault(run: LockstepRun, world: World) -> tuple[str, int | None]:
    """What is wrong first with an iteration-level scheduler that sets memory aside, and whom it hurts."""
    lives = [Life(i, Job(*job)) for i, job in enumerate(world.jobs)]
    size = world.block_size
    for now, step in enumerate(run.steps):
        here = [one for one in lives if one.job.arrival <= now and one.written < one.job.num_output_tokens]
        going = [one for one in here if one.in_batch]
        set_aside = sum(blocks(one.at_most, size) for one in going)
        places = world.max_num_sequences - len(going)
        is_open = True
        for one in going:
            if one.number not in step.ran:
                return f"Step {now}: request {one.number} is in the batch and does not run in it", one.number
        for one in here:
            if one.in_batch:
                continue
            needs = blocks(one.at_most, size)
            why_not = ""
            if not is_open:
                why_not = "an earlier request has to wait"
            elif places < 1:
                why_not = f"{world.max_num_sequences} run already"
            elif set_aside + needs > world.num_blocks:
                why_not = f"of {world.num_blocks} blocks {set_aside} are set aside, and it may come to need {needs}"
            if why_not and one.number in step.ran:
                return f"Step {now}: request {one.number} joins, though {why_not}", one.number
            if not why_not and one.number not in step.ran:
                return f"Step {now}: request {one.number} waits, though there is a place and memory for it", one.number
            is_open = is_open and not why_not
            if not why_not:
                one.in_batch, places, set_aside = True, places - 1, set_aside + needs
        if fault := _move_on(lives, step.ran, now):
            return fault
    return _at_the_end(run)


def on_demand_fault(run: LockstepRun, world: World) -> tuple[str, int | None]:
    """What is wrong first with a scheduler that admits what fits now, and preempts the latest, and whom it hurts."""
    lives = [Life(i, Job(*job)) for i, job in enumerate(world.jobs)]
    size = world.block_size
    for now, step in enumerate(run.steps):
        here = [one for one in lives if one.job.arrival <= now and one.written < one.job.num_output_tokens]
        going = [one for one in here if one.in_batch]
        wanted = sum(blocks(one.computed + 1, size) - blocks(one.computed, size) for one in going)
        if step.preempted and wanted <= step.num_free_blocks:
            lost = step.preempted[0]
            return f"Step {now}: request {lost} loses its place, though there are blocks for all that run", lost
        stay = [one for one in going if one.number not in step.preempted]
        for lost in step.preempted:
            if later := [one.number for one in stay if one.number > lost]:
                return f"Step {now}: request {lost} loses its place, and request {later[-1]} came later", lost
        if fault := _too_many_lost(lives, step.preempted, wanted, step.num_free_blocks, size, now):
            return fault
        for one in stay:
            if one.number not in step.ran:
                return f"Step {now}: request {one.number} is in the batch and does not run in it", one.number
        fault = _joining_fault(here, step.ran, step.preempted, world, step.num_free_blocks - wanted, now)
        if fault:
            return fault
        for one in lives:
            if one.number in step.preempted:
                one.in_batch, one.computed = False, 0
            elif one.number in step.ran:
                one.in_batch = True
        if fault := _move_on(lives, step.ran, now):
            return fault
    return _at_the_end(run)


def _too_many_lost(
    lives: list[Life], lost: tuple[int, ...], wanted: int, free: int, size: int, now: int
) -> tuple[str, int | None] | None:
    """Blocks that come free one by one, the latest first: was the last of them still needed?"""
    order = sorted(lost, reverse=True)
    for number in order[:-1]:
        held = blocks(lives[number].computed, size)
        own = blocks(lives[number].computed + 1, size) - held
        free, wanted = free + held, wanted - own
        if wanted <= free:
            rest = order[order.index(number) + 1]
            return f"Step {now}: request {rest} loses its place, though there was room enough by then", rest
    return None


def _joining_fault(
    here: list[Life], ran: dict[int, int], lost: tuple[int, ...], world: World, left: int, now: int
) -> tuple[str, int | None] | None:
    """Who waits joins in order of arrival, while there are places and blocks; nobody in a step that preempts."""
    going = [one for one in here if one.in_batch and one.number not in lost]
    waits = [one for one in here if not one.in_batch]
    places, is_closed = world.max_num_sequences - len(going), ""
    for one in waits:
        needs = blocks(one.known, world.block_size)
        why_not = is_closed
        if lost:
            why_not = f"request {lost[0]} loses its place in the same step"
        elif not why_not and places < 1:
            why_not = f"{world.max_num_sequences} run already"
        elif not why_not and needs > left:
            why_not = f"its {one.known} tokens need {needs} blocks and {left} are left"
        if why_not and one.number in ran:
            return f"Step {now}: request {one.number} joins, though {why_not}", one.number
        if not why_not and one.number not in ran:
            return f"Step {now}: request {one.number} waits, though there is a place and memory for it", one.number
        if why_not:
            is_closed = is_closed or f"request {one.number} came before it and waits"
        else:
            places, left = places - 1, left - needs
    return None


def _move_on(lives: list[Life], ran: dict[int, int], now: int) -> tuple[str, int | None] | None:
    """Count what the step computed; each sequence computes all that is left of it."""
    for number, num_tokens in ran.items():
        one = lives[number]
        left = one.known - one.computed
        if num_tokens != left:
            return f"Step {now}: {num_tokens} of the {left} tokens left of request {number} are computed", number
        one.computed = one.known
        one.written += 1
        if one.written == one.job.num_output_tokens:
            one.in_batch = False
    return None


def _at_the_end(run: LockstepRun) -> tuple[str, int | None]:
    return (run.error[:1].upper() + run.error[1:], None) if run.error else ("", None)
