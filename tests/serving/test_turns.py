"""Decode limits and routing against a plain restatement of the rules of DistServe's simulator."""

from __future__ import annotations

import heapq
from collections import deque
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.routers import LeastPrefills, LeastQueued
from course.serving.schedulers import DecodeOnly, PrefillFirst, PrefillOnly
from course.simulator.linear import LinearCost
from course.simulator.virtual import VirtualDriver
from course.workload.request import Request, Workload
from tests.serving.helpers import instance

COST = LinearCost(step_s=0.02, token_s=1.0037e-3, context_token_s=1.0139e-5)  # no two steps end together by chance
ENDLESS = 2000  # blocks


class Worker:
    """One worker of the restatement: two queues and the step that runs."""

    def __init__(self) -> None:
        self.prompts: deque[int] = deque()
        self.answers: deque[int] = deque()
        self.num_prefilling = 0
        self.is_busy = False


def plain(served: Workload, num_prefill: int, num_decode: int, budget: int, most: int) -> dict[int, list[float]]:
    """Token times by request id. Without decode workers, prompts and answers share the same ones, prompts first."""
    requests = {r.id: r for r in served.requests}
    times: dict[int, list[float]] = {r: [] for r in requests}
    workers = [Worker() for _ in range(num_prefill + num_decode)]
    heads, takers = workers[:num_prefill], workers[num_prefill:]
    events: list = [(r.arrival_s, 0, r.id, None, ()) for r in served.requests]
    heapq.heapify(events)
    while events:
        now_s, kind, number, worker, done = heapq.heappop(events)
        if kind == 0:
            min(heads, key=lambda w: w.num_prefilling + len(w.prompts)).prompts.append(number)
        else:
            worker.is_busy = False
            for k in done:
                times[k].append(now_s)
                if len(times[k]) == served.output_lengths[k]:
                    continue
                first = len(times[k]) == 1
                (min(takers, key=lambda w: len(w.answers)) if first and takers else worker).answers.append(k)
            worker.num_prefilling = 0
        for each in workers:
            if each.is_busy or not (each.prompts or each.answers):
                continue
            known = {k: requests[k].num_prompt_tokens + len(times[k]) for k in each.prompts or each.answers}
            queue, limit = (each.prompts, budget) if each.prompts else (each.answers, most)
            batch = [queue.popleft()]
            while queue and sum(known[k] for k in batch) + known[queue[0]] <= limit:
                batch.append(queue.popleft())
            if queue is each.prompts:
                each.num_prefilling = len(batch)
                seconds = COST.step_s + COST.token_s * sum(known[k] for k in batch)
            else:
                seconds = COST.step_s + COST.token_s * len(batch)
                seconds += COST.context_token_s * sum(known[k] - 1 for k in batch)
            each.is_busy = True
            heapq.heappush(events, (now_s + seconds, 1, batch[0], each, batch))
    return times


@pytest.mark.parametrize(("num_prefill", "num_decode"), [(1, 1), (2, 1), (1, 3), (1, 0), (2, 0)])
@given(seed=st.integers(0, 10**6), most=st.sampled_from([20, 60, 150, 400, 10**6]))
def test_the_control_plane_obeys_the_same_rules(num_prefill: int, num_decode: int, seed: int, most: int):
    draw = Random(seed)
    arrivals = sorted(draw.random() * draw.choice([0.3, 3.0]) for _ in range(25))
    requests = [Request(k, t, draw.randint(1, 30), draw.randint(1, 30)) for k, t in enumerate(arrivals)]
    served = Workload(requests, {r.id: r.max_new_tokens for r in requests})
    budget = draw.choice([20, 60, 1000])
    made: list[Instance] = []
    for _ in range(num_prefill):
        alone = PrefillFirst(max_num_sequences=None, token_budget=budget, watermark=0.0, max_context_tokens=most)
        policy, role = (PrefillOnly(budget), "prefill") if num_decode else (alone, "mixed")
        made.append(instance(policy, ENDLESS, id=len(made), role=role))
    for _ in range(num_decode):
        made.append(instance(DecodeOnly(max_context_tokens=most), ENDLESS, id=len(made), role="decode"))
    cluster = Cluster(made, LeastPrefills(), LeastQueued())
    records = VirtualDriver(cluster, COST).run(served).records
    expected = plain(served, num_prefill, num_decode, budget, most)
    for record in records:
        assert record.token_times_s == pytest.approx(expected[record.request_id], abs=1e-9)
