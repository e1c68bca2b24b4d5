"""What the lesson's scheduler must do, step by step in plain numbers, and the first step in which one does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from course.simulator.lockstep import Job, LockStep, LockstepRun

Fault = tuple[str, int | None]
"""A sentence (empty: there is no fault) and the request that it hurts."""


@dataclass
class Life:
    """One request: tokens computed, tokens of its answer written."""

    number: int
    job: Job
    computed: int = 0
    written: int = 0

    @property
    def left(self) -> int:
        """Known tokens still to compute."""
        return self.job.num_prompt_tokens + self.written - self.computed

    def is_here(self, now: int) -> bool:
        """Whether it has arrived and has not ended."""
        return self.job.arrival <= now and self.written < self.job.num_output_tokens


class World(NamedTuple):
    """What a check asks for: requests in order of arrival, and the most tokens that a step may compute."""

    jobs: list[tuple[int, int, int, int]]
    token_budget: int


def chunked_fault(run: LockstepRun, world: World) -> Fault:
    """What is wrong first with a scheduler that fills a token budget: decodes, then prompts as they came."""
    lives = [Life(number, Job(*job)) for number, job in enumerate(world.jobs)]
    for now, step in enumerate(run.steps):
        here = [one for one in lives if one.is_here(now)]
        fault = _decode_fault(here, step) or _budget_fault(here, step, world.token_budget)
        if fault := fault or _prompt_fault(here, step, world.token_budget):
            return f"Step {now}: {fault[0]}", fault[1]
        for number, num_tokens in step.ran.items():
            one = lives[number]
            one.computed += num_tokens
            one.written += one.left == 0
    return run.error[:1].upper() + run.error[1:], None


def _decode_fault(here: Sequence[Life], step: LockStep) -> Fault | None:
    """Whoever has begun its answer gets its next token in every step."""
    if step.preempted:
        return f"request {step.preempted[0]} loses its place, and there is memory for all", step.preempted[0]
    for one in here:
        if one.written and one.number not in step.ran:
            prompts = sum(num for number, num in step.ran.items() if number in step.prefills)
            said = f"request {one.number} is in the middle of its answer and gets no token"
            return said + (f", while {_tokens(prompts)} of prompts are computed" if prompts else ""), one.number
    return None


def _budget_fault(here: Sequence[Life], step: LockStep, budget: int) -> Fault | None:
    """All tokens of a step count: those of answers, and those of prompts."""
    if (total := sum(step.ran.values())) <= budget:
        return None
    decodes = sum(one.written > 0 for one in here)
    parts = f"{decodes} {'decode' if decodes == 1 else 'decodes'} and {_tokens(total - decodes)} of prompts"
    return f"{parts} are {total}, and the budget is {budget}", None


def _prompt_fault(here: Sequence[Life], step: LockStep, budget: int) -> Fault | None:
    """Prompts take what decodes leave of the budget, in order of arrival, each as much as it can."""
    room = budget - sum(one.written > 0 for one in here)
    prompts = [one for one in here if not one.written]
    for place, one in enumerate(prompts):
        got, fair = step.ran.get(one.number, 0), min(one.left, room)
        if got < fair:
            later = next((other.number for other in prompts[place + 1 :] if other.number in step.ran), None)
            said = f"request {one.number} computes {_tokens(got)}, and {one.left} of its prompt are left"
            if later is not None:
                return f"{said}; request {later}, which came later, computes {step.ran[later]}", one.number
            return f"{said}; the budget has room for {room}", one.number
        room -= got
    return None


def _tokens(number: int) -> str:
    return f"{number} {'token' if number == 1 else 'tokens'}"
