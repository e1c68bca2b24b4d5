"""The simulator against queueing theory: waiting times, conservation of work, Little's law."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.metrics.record import Recorder
from course.serving.batch import Batch
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.routers import RoundRobin
from course.serving.schedulers import SCHEDULERS, PrefillOnly
from course.simulator.linear import LinearCost
from course.simulator.theory import mean_ttft_inter_op_s, mean_ttft_intra_op_s, mean_ttft_s, mm1_wait_s
from course.simulator.virtual import VirtualDriver
from course.workload.arrivals import poisson_arrivals
from course.workload.build import build_workload, rows_from
from course.workload.request import Workload
from course.workload.seeds import generator
from tests.serving.helpers import instance
from tests.serving.strategies import BLOCK, MOST_TOKENS, policies, workloads

PREFILL_S = 0.1
TOKENS = 1000
ALONE = LinearCost(step_s=0.0, token_s=PREFILL_S / TOKENS, context_token_s=0.0)  # a prompt of TOKENS takes PREFILL_S
NUM_RUNS, NUM_REQUESTS, NUM_WARM_UP = 20, 1000, 200


def one_at_a_time(served: Workload, num_instances: int = 1, cost: Any = ALONE, num_stages: int = 1) -> Recorder:
    """First come, first served, one prompt after the other, no decode steps."""
    policies = [PrefillOnly(token_budget=1) for _ in range(num_instances)]  # whoever is longer runs alone
    machines = [Instance(p, 100, TOKENS, id=i, num_stages=num_stages) for i, p in enumerate(policies)]
    cluster = Cluster(machines, RoundRobin())
    return VirtualDriver(cluster, cost).run(served)


def prompts(arrivals_s, prompt_tokens) -> Workload:
    return build_workload(rows_from(arrivals_s, prompt_tokens, np.ones(len(prompt_tokens), int)))


def ttfts_s(recorder: Recorder) -> np.ndarray:
    return np.array([record.token_times_s[0] - record.arrival_s for record in recorder.records])


def mean_and_error(run_s) -> tuple[float, float]:
    """Mean over independent runs without their beginning, and the half width of its 99.9 % confidence interval."""
    means = [run_s(seed)[NUM_WARM_UP:].mean() for seed in range(NUM_RUNS)]
    t_quantile = 3.883  # Student's t, 19 degrees of freedom, two-sided 99.9 %
    return float(np.mean(means)), float(t_quantile * np.std(means, ddof=1) / math.sqrt(NUM_RUNS))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_md1(load):
    """Equal prompts at random: M/D/1, equation 1 of DistServe."""
    rate = load / PREFILL_S
    lengths = np.full(NUM_REQUESTS, TOKENS)
    mean_s, error_s = mean_and_error(
        lambda seed: ttfts_s(one_at_a_time(prompts(poisson_arrivals(NUM_REQUESTS, rate, seed), lengths)))
    )
    assert abs(mean_s - mean_ttft_s(rate, PREFILL_S)) < error_s < 0.15 * mean_s


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_mm1(load):
    """Prompts of exponentially distributed length: M/M/1."""
    rate = load / PREFILL_S

    def run_s(seed):
        lengths = np.ceil(generator(seed, "lengths").exponential(TOKENS, NUM_REQUESTS)).astype(int)
        return ttfts_s(one_at_a_time(prompts(poisson_arrivals(NUM_REQUESTS, rate, seed), lengths)))

    mean_s, error_s = mean_and_error(run_s)
    rounded_up_s = 0.5 * PREFILL_S / TOKENS
    assert abs(mean_s - rounded_up_s - mm1_wait_s(rate, PREFILL_S) - PREFILL_S) < error_s < 0.15 * mean_s


@pytest.mark.parametrize(("load", "speedup"), [(0.5, 1.5), (1.0, 1.7)])
def test_tensor_parallel(load, speedup):
    """Two devices that share every layer are one that is K times as fast: equation 3."""
    rate = load / PREFILL_S
    cost = LinearCost(step_s=0.0, token_s=ALONE.token_s / speedup, context_token_s=0.0)
    lengths = np.full(NUM_REQUESTS, TOKENS)
    mean_s, error_s = mean_and_error(
        lambda seed: ttfts_s(one_at_a_time(prompts(poisson_arrivals(NUM_REQUESTS, rate, seed), lengths), cost=cost))
    )
    assert abs(mean_s - mean_ttft_intra_op_s(rate, PREFILL_S, speedup)) < error_s < 0.15 * mean_s


class Staged(NamedTuple):
    """The same work in the stages of a pipeline, an equal part in each."""

    whole: LinearCost
    num_stages: int

    def batch_s(self, batch: Batch) -> float:
        return self.whole.batch_s(batch)

    def batch_stage_s(self, batch: Batch) -> float:
        return self.batch_s(batch) / self.num_stages


@pytest.mark.parametrize("load", [0.6, 1.2])
def test_pipeline(load):
    """Two stages of a pipeline: the next prompt enters after D / 2, each takes D in all: equation 2."""
    rate = load / PREFILL_S
    lengths = np.full(NUM_REQUESTS, TOKENS)

    def run_s(seed):
        served = prompts(poisson_arrivals(NUM_REQUESTS, rate, seed), lengths)
        return ttfts_s(one_at_a_time(served, cost=Staged(ALONE, 2), num_stages=2))

    mean_s, error_s = mean_and_error(run_s)
    assert abs(mean_s - mean_ttft_inter_op_s(rate, PREFILL_S)) < error_s < 0.15 * mean_s


@given(
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 3000)), min_size=1, max_size=60),
    st.integers(1, 3),
)
@settings(max_examples=100, deadline=None)
def test_every_wait_is_lindley_s(drawn, num_instances):
    """Not only in the mean: W' = max(0, W + S - gap) for each request, whatever the gaps and lengths."""
    arrivals_s = np.cumsum([gap_s for gap_s, _ in drawn])
    lengths = [tokens for _, tokens in drawn]
    free_s = [0.0] * num_instances
    expected = []
    for k, (arrival_s, tokens) in enumerate(zip(arrivals_s, lengths, strict=True)):
        end_s = max(free_s[k % num_instances], arrival_s) + tokens * ALONE.token_s
        free_s[k % num_instances] = end_s
        expected.append(end_s - arrival_s)
    recorder = one_at_a_time(prompts(arrivals_s, lengths), num_instances)
    assert ttfts_s(recorder) == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 3000)), min_size=1, max_size=60), st.integers(2, 4))
@settings(max_examples=50, deadline=None)
def test_every_wait_in_a_pipeline_is_that_of_a_flow_shop(drawn, num_stages):
    """A stage takes a prompt that has left the stage before once it is free itself; no more prompts than stages."""
    arrivals_s = np.cumsum([gap_s for gap_s, _ in drawn])
    free_s = [0.0] * num_stages
    ends_s = [0.0] * num_stages
    expected = []
    for arrival_s, (_, tokens) in zip(arrivals_s, drawn, strict=True):
        time_s = max(arrival_s, ends_s[-num_stages])
        for stage in range(num_stages):
            time_s = free_s[stage] = max(time_s, free_s[stage]) + tokens * ALONE.token_s / num_stages
        ends_s.append(time_s)
        expected.append(time_s - arrival_s)
    cost = Staged(ALONE, num_stages)
    recorder = one_at_a_time(prompts(arrivals_s, [tokens for _, tokens in drawn]), cost=cost, num_stages=num_stages)
    assert ttfts_s(recorder) == pytest.approx(expected, abs=1e-9)


single_answers = workloads().map(lambda drawn: replace(drawn, requests=[replace(r, n=1) for r in drawn.requests]))


@dataclass
class Watch:
    """Integrates what a cluster holds over time, and sees whether an instance with work ever rests."""

    cluster: Cluster
    last_s: float = 0.0
    held: int = 0
    sequence_s: float = 0.0

    def __call__(self, now_s: float) -> None:
        self.sequence_s += self.held * (now_s - self.last_s)
        self.last_s, self.held = now_s, self.cluster.num_unfinished
        for each in self.cluster.instances.values():
            if not (each.held or each.reserved):  # what is on the move may leave no room to work
                assert not (each.is_idle and each.has_work), f"{each!r} rests at {now_s} s"


def watched(cluster: Cluster, served: Workload, **fields) -> tuple[Watch, Recorder]:
    watch = Watch(cluster)
    recorder = VirtualDriver(cluster, LinearCost(), after_event=watch, **fields).run(served)
    return watch, recorder


def assert_little(watch: Watch, recorder: Recorder) -> None:
    """L = lambda W: the time integral of the number inside is the sum of the times that each was inside."""
    inside_s = sum(record.end_s - record.arrival_s for record in recorder.records)
    assert watch.held == 0
    assert watch.sequence_s == pytest.approx(inside_s, abs=1e-9)


@pytest.mark.parametrize("name", SCHEDULERS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_no_policy_rests_while_there_is_work_and_little_s_law(name, data):
    served = data.draw(single_answers)
    cluster = Cluster([instance(data.draw(policies(name)), data.draw(st.integers(MOST_TOKENS // BLOCK, 60)), BLOCK)])
    assert_little(*watched(cluster, served))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_little_s_law_with_prefill_and_decode_apart(data):
    served = data.draw(single_answers)
    roles = ["prefill", "prefill", "decode"]
    sizes = [data.draw(st.integers(MOST_TOKENS // BLOCK, 40)) for _ in roles]
    parts = enumerate(zip(sizes, roles, strict=True))
    cluster = Cluster([instance("chunked-prefill", n, BLOCK, id=i, role=role) for i, (n, role) in parts])
    assert_little(*watched(cluster, served, transfer_s_per_block=data.draw(st.sampled_from([0.0, 3e-3]))))
