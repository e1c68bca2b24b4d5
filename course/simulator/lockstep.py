"""Serve requests in steps that all take equally long, and write down who did what in each.

The smallest world that a scheduler can live in: the real control plane, one instance, whole numbers. What comes out is
plain data, so that a run can be sent between processes, compared step by step, and drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from course.errors import UserError
from course.serving.actions import RunBatch
from course.serving.batch import Batch, TokenResult
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.plan import Scheduler
from course.workload.request import Request


class Job(NamedTuple):
    """A request: the step before which it arrives, its prompt, its answer, and the longest answer that it declares."""

    arrival: int
    num_prompt_tokens: int
    num_output_tokens: int
    max_new_tokens: int


class LockStep(NamedTuple):
    """One step: tokens computed of whom, who is here and does not run, who lost its place, blocks free before it.

    ``ran`` maps the numbers of requests to tokens; ``prefills`` are those of them that do not just add a token.
    """

    ran: dict[int, int]
    prefills: tuple[int, ...]
    waiting: tuple[int, ...]
    preempted: tuple[int, ...]
    num_free_blocks: int


class LockstepRun(NamedTuple):
    """A run. ``error`` says why it did not come to its end; the steps before that are there all the same."""

    jobs: tuple[Job, ...]
    steps: tuple[LockStep, ...]
    error: str = ""

    @classmethod
    def of(cls, data: Iterable[object]) -> LockstepRun:
        """A run from plain tuples, as it comes out of another process."""
        jobs, steps, error = data
        return cls(
            tuple(Job(*job) for job in jobs),  # type: ignore[attr-defined]
            tuple(LockStep(*step) for step in steps),  # type: ignore[attr-defined]
            str(error),
        )


def serve_in_steps(
    scheduler: Scheduler, jobs: Iterable[tuple[int, int, int, int]], num_blocks: int, block_size: int = 1
) -> LockstepRun:
    """Serve ``jobs`` (as in `Job`, numbered from 0) on one instance.

    What the scheduler itself raises is passed on; a plan that breaks a rule, and requests that never come to their end,
    end the run with an ``error``. Raises UserError for a request that could never run.
    """
    todo = tuple(Job(*job) for job in jobs)
    instance = Instance(scheduler, num_blocks, block_size)
    cluster = Cluster([instance])
    steps: list[LockStep] = []
    most_steps = 20 + 4 * sum(max(job.arrival, job.num_output_tokens) for job in todo) * max(1, len(todo))
    for now in range(most_steps):
        for number, job in enumerate(todo):
            if job.arrival == now:
                _arrive(cluster, number, job)
        if now >= max((job.arrival for job in todo), default=0) and not cluster.num_unfinished:
            return LockstepRun(todo, tuple(steps))
        num_free = instance.memory.pool.num_free_blocks
        try:
            counts = {sequence: sequence.num_preemptions for sequence in instance.running}
            batch = _batch(cluster, now)
            lost = tuple(s.request.id for s, count in counts.items() if s.num_preemptions > count)
            steps.append(_seen(instance, batch, lost, num_free))
        except UserError as error:
            return LockstepRun(todo, tuple(steps), f"step {now}: {error}")
        if batch:
            results = [
                TokenResult(sequence, sequence.num_output_tokens + 1 == todo[sequence.request.id].num_output_tokens)
                for chunk in batch.chunks
                for sequence in chunk.samples
            ]
            cluster.on_batch_done(batch, results, now + 1)
        elif all(job.arrival <= now for job in todo):
            waits = ", ".join(str(s.request.id) for s in instance.sequences)
            return LockstepRun(todo, tuple(steps), f"step {now}: nothing runs, and these wait for ever: {waits}")
    return LockstepRun(todo, tuple(steps), f"step {most_steps}: this never comes to an end")


def _arrive(cluster: Cluster, number: int, job: Job) -> None:
    request = Request(number, float(job.arrival), job.num_prompt_tokens, job.max_new_tokens)
    if ended := cluster.on_arrival(request, job.arrival):
        raise UserError(getattr(ended[0], "reason", ""))


def _batch(cluster: Cluster, now: int) -> Batch | None:
    """What runs in this step."""
    return next((action.batch for action in cluster.decide(now) if isinstance(action, RunBatch)), None)


def _seen(instance: Instance, batch: Batch | None, lost: tuple[int, ...], num_free_blocks: int) -> LockStep:
    chunks = batch.chunks if batch else []
    ran = {chunk.sequence.request.id: chunk.num_tokens for chunk in chunks}
    return LockStep(
        ran=ran,
        prefills=tuple(
            chunk.sequence.request.id
            for chunk in chunks
            if chunk.num_tokens > 1 or chunk.start < chunk.sequence.num_prompt_tokens
        ),
        waiting=tuple(s.request.id for s in instance.sequences if s.request.id not in ran),
        preempted=lost,
        num_free_blocks=num_free_blocks,
    )
