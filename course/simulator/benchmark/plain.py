"""The rules of DistServe's simulator, written down plainly: a heap of events, one for each step.

It knows nothing of `course.serving`: no blocks, no plans, no validation, one policy. So it is what the control plane
is measured against, in speed and, since it was written from the rules alone, in every answer. One pipeline stage.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from course.simulator.costs.distserve import published

MOST_CONTEXT = 50_000  # tokens of a decode step


class Latency(NamedTuple):
    """Of one request, in seconds."""

    ttft_s: float
    tpot_s: float
    e2e_s: float


@dataclass(slots=True, eq=False)
class Job:
    """A request: its lengths (``num_decodes`` tokens follow the first), and how far it is."""

    number: int
    arrival_s: float
    num_prompt_tokens: int
    num_decodes: int
    done: int = 0
    first_s: float = 0.0
    end_s: float = 0.0


@dataclass(slots=True, eq=False)
class Worker:
    """A queue for prompts, one for answers, and the batch that runs."""

    engine: str
    model: str
    tp: int
    prompts: deque[Job] = field(default_factory=deque)
    answers: deque[Job] = field(default_factory=deque)
    batch: list[Job] = field(default_factory=list)
    num_prefilling: int = 0
    constants: dict[str, Any] = field(init=False)
    most_prompt_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.constants = published()["engines"][self.engine][self.model][str(self.tp)]
        self.most_prompt_tokens = published()["kv_capacity_tokens"][self.model][f"{self.tp},1"]

    def begin(self) -> float:
        """Take the next batch; how long its step takes, in seconds."""
        if self.prompts:
            tokens = squares = 0
            while self.prompts and tokens + self.prompts[0].num_prompt_tokens <= self.most_prompt_tokens:
                job = self.prompts.popleft()
                tokens += job.num_prompt_tokens
                squares += job.num_prompt_tokens**2
                self.batch.append(job)
            self.num_prefilling = len(self.batch)
            a, b, c = self.constants["prefill"]
            return (a + b * tokens + c * squares + 1 + 2 + 1e-4 * tokens) / 1e3
        context = 0
        while self.answers:
            job = self.answers[0]
            length = job.num_prompt_tokens + job.done + 1
            if context + length > MOST_CONTEXT:
                break
            context += length
            self.batch.append(self.answers.popleft())
        num = len(self.batch)
        a, b, c = self.constants["decode_small" if num < 95 else "decode_large"]
        return (a + b * context + c * num + 2 + 1e-4 * (context - num)) / 1e3


def play(
    requests: Sequence[tuple[float, int, int]],
    prefill: Sequence[Worker],
    decode: Sequence[Worker] = (),
) -> list[Latency]:
    """Serve (arrival in seconds, prompt tokens, tokens after the first); without ``decode`` all stays where it is."""
    jobs = [Job(number, *request) for number, request in enumerate(requests)]
    events: list[tuple[float, int, Worker | Job]] = [(job.arrival_s, job.number, job) for job in jobs]
    heapq.heapify(events)
    num_events = len(events)
    woken: list[Worker] = []
    while events:
        now_s, _, subject = heapq.heappop(events)
        if isinstance(subject, Job):
            worker = min(prefill, key=lambda w: w.num_prefilling + len(w.prompts))
            worker.prompts.append(subject)
            woken.append(worker)
        else:
            woken += _end(subject, now_s, decode)
        if events and events[0][0] == now_s:
            continue  # whoever comes at this instant is in the queue before a batch is taken from it
        while woken:
            worker = woken.pop(0)
            if not worker.batch and (worker.prompts or worker.answers):
                heapq.heappush(events, (now_s + worker.begin(), num_events, worker))
                num_events += 1
    return [
        Latency(job.first_s - job.arrival_s, (job.end_s - job.first_s) / job.num_decodes, job.end_s - job.arrival_s)
        for job in jobs
    ]


def _end(worker: Worker, now_s: float, decode: Sequence[Worker]) -> list[Worker]:
    """A step is over. Returns the workers that may begin one."""
    batch, worker.batch = worker.batch, []
    if not worker.num_prefilling:
        for job in batch:
            job.done += 1
            if job.done < job.num_decodes:
                worker.answers.append(job)
            else:
                job.end_s = now_s
        return [worker]
    worker.num_prefilling = 0
    woken = {id(worker): worker}
    for job in batch:
        job.first_s = now_s
        target = min(decode, key=lambda w: len(w.answers)) if decode else worker
        target.answers.append(job)
        woken[id(target)] = target
    return list(woken.values())
