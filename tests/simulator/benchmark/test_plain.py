"""The plain loop, by hand: constants of 1, 2 and 3 ms make the steps easy to add up."""

from __future__ import annotations

import pytest

from course.simulator.benchmark import plain
from course.simulator.benchmark.plain import Worker, play

CONSTANTS = {"prefill": [10.0, 1.0, 0.0], "decode_small": [20.0, 0.0, 1.0], "decode_large": [500.0, 0.0, 0.0]}


@pytest.fixture(autouse=True)
def _constants(monkeypatch: pytest.MonkeyPatch):
    table = {"engines": {"e": {"m": {"1": CONSTANTS}}}, "kv_capacity_tokens": {"m": {"1,1": 100}}}
    monkeypatch.setattr(plain, "published", lambda: table)


def prefill_s(*prompts: int) -> float:
    return (10 + sum(prompts) + 1 + 2 + 1e-4 * sum(prompts)) / 1e3


def decode_s(*contexts: int) -> float:
    return (20 + len(contexts) + 2 + 1e-4 * sum(contexts)) / 1e3


def worker() -> Worker:
    return Worker("e", "m", 1)


def test_one_request():
    (latency,) = play([(1.0, 50, 2)], [worker()], [worker()])
    assert latency.ttft_s == pytest.approx(prefill_s(50))
    assert latency.tpot_s == pytest.approx((decode_s(50) + decode_s(51)) / 2)
    assert latency.e2e_s == pytest.approx(prefill_s(50) + decode_s(50) + decode_s(51))


def test_prompts_run_together_while_they_fit():
    latencies = play([(0.0, 10, 1), (0.001, 60, 1), (0.002, 40, 1), (0.003, 30, 1)], [worker()], [worker()])
    first = prefill_s(10)
    second = first + prefill_s(60, 40)
    third = second + prefill_s(30)
    ends = [latency.ttft_s + arrival for latency, arrival in zip(latencies, (0.0, 0.001, 0.002, 0.003), strict=True)]
    assert ends == pytest.approx([first, second, second, third])


def test_who_comes_at_one_instant_is_batched_together():
    one, two = play([(0.5, 40, 1), (0.5, 30, 1)], [worker()], [worker()])
    assert one.ttft_s == two.ttft_s == pytest.approx(prefill_s(40, 30))


def test_who_does_not_fit_into_a_decode_step_has_the_next(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plain, "MOST_CONTEXT", 75)
    one, two = play([(0.0, 40, 4), (0.01, 40, 1)], [worker()], [worker()])
    third = prefill_s(40) + decode_s(40) + decode_s(41) + decode_s(42)  # the second request comes while it runs
    assert third - decode_s(42) < 2 * prefill_s(40) < third
    assert two.e2e_s == pytest.approx(third + decode_s(40) - 0.01), "first in the queue, and both are 85 tokens"
    assert one.e2e_s == pytest.approx(third + decode_s(40) + decode_s(43))


def test_a_colocated_worker_lets_prompts_go_first():
    one, two = play([(0.0, 50, 3), (0.07, 50, 1)], [worker()])
    first = prefill_s(50) + decode_s(50)
    second = first + prefill_s(50)
    assert two.ttft_s == pytest.approx(second - 0.07)
    assert one.e2e_s == pytest.approx(second + decode_s(51, 50) + decode_s(52))


def test_the_router_counts_prompts_alone():
    _, two = play([(0.0, 50, 9), (0.07, 50, 1)], [worker(), worker()])
    waits_until_s = prefill_s(50) + decode_s(50)  # for the answer on the first worker, although the second is idle
    assert two.ttft_s == pytest.approx(waits_until_s + prefill_s(50) - 0.07)


def test_the_decode_worker_with_the_shortest_queue():
    requests = [(0.0, 50, 9), (0.1, 50, 9), (0.2, 50, 9)]
    latencies = play(requests, [worker()], [worker(), worker()])
    # All three go to the first: whoever is in the step that runs stands in no queue.
    alone = play(requests, [worker()], [worker()])
    assert latencies == alone
