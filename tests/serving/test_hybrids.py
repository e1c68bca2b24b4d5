"""What is particular to each published hybrid."""

from __future__ import annotations

from collections.abc import Sequence as List

import pytest

from course.errors import UserError
from course.serving.cluster import Cluster
from course.serving.estimator import LinearEstimator
from course.serving.instance import Instance
from course.serving.predictor import Buckets
from course.serving.routers import LeastRequests, Llumnix, SplitwisePools, TaiChi, TetriInfer
from course.serving.schedulers import ChunkedPrefill, DecodeOnly, FixedChunks, Splitwise
from course.serving.sequence import Sequence, State
from course.simulator.estimate import CostEstimator
from course.simulator.linear import LinearCost
from course.simulator.virtual import VirtualDriver
from course.workload.request import Request, Workload
from tests.serving.helpers import (
    Scripted,
    assert_all_served,
    checking_driver,
    finish,
    instance,
    queue,
    request,
    workload,
)

ESTIMATOR = LinearEstimator(per_step_s=0.002, per_prompt_token_s=1e-4, per_decode_s=1e-4)  # as LinearCost, no context


def lives_on(cluster: Cluster, request_id: int) -> int | None:
    """The instance that a request's sequence is on."""
    return next((i.id for i in cluster.instances.values() for s in i.sequences if s.request.id == request_id), None)


# TaiChi


def taichi(*budgets: int, num_blocks: int = 64, **fields: object) -> tuple[TaiChi, Cluster]:
    limits = {"ttft_s": 0.02, "tpot_s": 0.1, "interval_s": 0.01, **fields}
    router = TaiChi(ESTIMATOR, **limits)
    made = [instance(ChunkedPrefill(token_budget=b), num_blocks, id=k) for k, b in enumerate(budgets)]
    return router, Cluster(made, router)


def test_taichi_gives_short_prompts_to_small_chunks_and_long_ones_to_large_chunks():
    _, cluster = taichi(64, 8)
    cluster.on_arrival(request(0, 30), 0.0)  # 4 steps of 8 tokens: 11 ms
    cluster.on_arrival(request(1, 60), 0.0)  # behind it, 12 steps: 33 ms
    cluster.on_arrival(request(2, 20), 0.0)  # behind the first: 7 steps, 19 ms
    cluster.on_arrival(request(3, 20), 0.0)  # no more room in the limit there
    assert [lives_on(cluster, k) for k in range(4)] == [1, 0, 1, 0]


def test_taichi_takes_the_soonest_when_nobody_is_in_time():
    router, cluster = taichi(64, 8, ttft_s=0.0)
    cluster.on_arrival(request(0, 200), 0.0)
    assert lives_on(cluster, 0) == 0
    cluster.on_arrival(request(1, 4), 0.0)
    assert lives_on(cluster, 1) == 1
    (arriving,) = queue(instance(Scripted()), request(2, 60))
    first, second = cluster.instances.values()
    assert router.time_to_first_token_s(first, arriving) == pytest.approx(4 * (0.002 + 64e-4) + 0.002 + 4e-4)
    assert router.time_to_first_token_s(second, arriving) == pytest.approx(8 * (0.002 + 8e-4))


def test_taichi_counts_the_tokens_that_decodes_take_from_a_chunk():
    router, cluster = taichi(8, 8)
    machine = cluster.instances[0]
    queue(machine, *(request(k, 2) for k in range(3)))
    finish(machine, machine.schedule(0.0)[1])
    (arriving,) = queue(instance(Scripted()), request(9, 12))
    full = 0.002 + 5e-4 + 3e-4
    assert router.time_to_first_token_s(machine, arriving) == pytest.approx(2 * full + 0.002 + 2e-4 + 3e-4)


def test_taichi_lets_answers_flow_to_small_chunks_and_out_of_full_memory():
    """One long prompt after the other on the P-heavy instance; their answers fill the D-heavy one."""
    router = TaiChi(ESTIMATOR, ttft_s=0.01, tpot_s=1.0, watermark=0.7, interval_s=0.01)
    sizes = ((64, 200), (8, 60))
    cluster = Cluster([instance(ChunkedPrefill(token_budget=b), n, id=k) for k, (b, n) in enumerate(sizes)], router)
    served = workload(*(request(k, 40, 40, arrival_s=0.01 * k) for k in range(6)))
    driver = checking_driver(cluster, transfer_s_per_block=1e-5)
    used: list[float] = []
    visits: dict[int, list[int]] = {k: [] for k in range(6)}

    def look(now_s: float) -> None:
        used.append(cluster.instances[1].memory.pool.num_used_blocks / 60)
        for machine in cluster.instances.values():
            prompts = [chunk.sequence for batch in machine.in_flight for chunk in batch.prompts]
            for sequence in [*prompts, *machine.decoding]:
                places = visits[sequence.request.id]
                if places[-1:] != [machine.id]:
                    places.append(machine.id)

    driver.after_event = look
    assert_all_served(driver.run(served), served)
    assert [0, 1] in visits.values(), "from P-heavy to D-heavy"
    assert [0, 1, 0] in visits.values(), "and out again when memory fills up"
    assert 0.5 < max(used) < 0.85, "D-heavy stays near its watermark"


def test_taichi_moves_the_longest_answer_out_and_back_when_its_slack_is_gone():
    router, cluster = taichi(64, 8, num_blocks=20, watermark=0.5, tpot_s=0.1, alpha=0.5)
    p_heavy, d_heavy = cluster.instances.values()
    queue(d_heavy, request(0, 12, 30), request(1, 16, 30))
    while any(s.num_output_tokens < 6 for s in d_heavy.sequences):
        finish(d_heavy, d_heavy.schedule(0.0)[1])
    first, second = d_heavy.decoding
    assert first.num_output_tokens > second.num_output_tokens
    for sequence in (first, second):
        router.after_prefill(sequence, d_heavy, [p_heavy, d_heavy], 1.0)
    (move,) = router.rebalance([p_heavy, d_heavy], 1.1)
    assert (move.sequence, move.target) == (first, p_heavy), "it has written most"
    d_heavy.hold(first)
    assert not list(router.rebalance([p_heavy, d_heavy], 1.1)), "what is leaving counts as gone"
    p_heavy.reserve(0, first)
    d_heavy.hand_over(0, first, p_heavy)
    late_s = 1.0 + 0.051 * (first.num_output_tokens - 1)
    assert not list(router.rebalance([p_heavy, d_heavy], late_s)), "there is no room for it"
    d_heavy.end(second, State.CANCELLED)
    steps = first.num_output_tokens - 1
    assert not list(router.rebalance([p_heavy, d_heavy], 1.0 + 0.049 * steps)), "its TPOT is below 0.5 * 0.1 s"
    (move,) = router.rebalance([p_heavy, d_heavy], late_s)
    assert (move.sequence, move.target) == (first, d_heavy)


def test_taichi_with_equal_chunks_is_aggregation():
    _, cluster = taichi(16, 16)
    served = workload(*(request(k, 20, 20, arrival_s=0.005 * k) for k in range(10)))
    assert_all_served(checking_driver(cluster, transfer_s_per_block=1.0).run(served), served)
    assert cluster.handovers._num_started == 0, "nobody moves"


def test_a_linear_estimator_adds_up():
    estimator = LinearEstimator(1.0, per_prompt_token_s=0.1, per_decode_s=0.01, per_context_token_s=0.001)
    assert estimator.step_s(instance(), 5, 2, 30, prompt_start=7) == pytest.approx(1.0 + 0.5 + 0.02 + 0.037)
    assert estimator.step_s(instance(), 0, 2, 30, prompt_start=7) == pytest.approx(1.0 + 0.02 + 0.030)


def test_cost_models_are_estimators():
    cost = LinearCost(step_s=1.0, token_s=0.1, context_token_s=0.01)
    other = LinearCost(step_s=5.0, token_s=0.0, context_token_s=0.0)
    machine = instance(id=3)
    assert CostEstimator(cost).step_s(machine, 10, 3, 50) == pytest.approx(1.0 + 1.3 + 0.5)
    assert CostEstimator(cost).step_s(machine, 10, 3, 50, prompt_start=40) == pytest.approx(1.0 + 1.3 + 0.9)
    assert CostEstimator({2: cost, 3: other}).step_s(machine, 10, 3, 50) == pytest.approx(5.0)
    assert CostEstimator(cost).step_s(machine, 0, 0, 0) == pytest.approx(1.0)


# Splitwise


def pools(num_prompt: int, num_token: int, **fields: int) -> tuple[SplitwisePools, Cluster]:
    router = SplitwisePools(num_prompt, **fields)
    made = [instance(Splitwise(token_budget=32), 40, id=k) for k in range(num_prompt + num_token)]
    return router, Cluster(made, router)


def test_splitwise_keeps_prompts_and_answers_apart_while_there_is_room():
    _, cluster = pools(1, 1, overflow_tokens=1000)
    served = workload(*(request(k, 16, 8, arrival_s=0.02 * k) for k in range(8)))
    driver = checking_driver(cluster)
    kinds: dict[int, set[str]] = {0: set(), 1: set()}

    def look(now_s: float) -> None:
        for machine in cluster.instances.values():
            for batch in machine.in_flight:
                kinds[machine.id] |= {"prompt"} if batch.prompts else {"answer"}

    driver.after_event = look
    assert_all_served(driver.run(served), served)
    assert kinds == {0: {"prompt"}, 1: {"answer"}}


def test_splitwise_overflows_into_the_opposite_pool_and_back():
    router, cluster = pools(1, 2, overflow_tokens=20)
    for number in range(5):
        cluster.on_arrival(request(number, 16, 4), 0.0)
    assert [lives_on(cluster, k) for k in range(5)] == [0, 0, 1, 1, 2], "32 tokens are too many for each"
    assert [router.pool_of(i) for i in cluster.instances.values()] == ["prompt", "mixed", "mixed"]
    router, cluster = pools(1, 2, overflow_tokens=20)
    served = workload(*(request(k, 16, 4) for k in range(5)))
    assert_all_served(checking_driver(cluster).run(served), served)
    assert [router.pool_of(i) for i in cluster.instances.values()] == ["prompt", "token", "token"]


def test_splitwise_prefers_machines_that_are_mixed_already():
    _, cluster = pools(1, 3, overflow_tokens=20)
    for number in range(3):
        cluster.on_arrival(request(number, 12, 4), 0.0)
    assert [lives_on(cluster, k) for k in range(3)] == [0, 0, 1]
    cluster.on_arrival(request(3, 4, 4), 0.0)
    assert lives_on(cluster, 3) == 1


def test_splitwise_leaves_an_answer_where_it_is_when_no_token_machine_has_room():
    router, cluster = pools(1, 1)
    cluster.instances[1].reserve_blocks(99, 38)
    served = workload(request(0, 16, 8))
    driver = VirtualDriver(cluster, LinearCost())
    pools_seen = set()
    driver.after_event = lambda now_s: pools_seen.add(router.pool_of(cluster.instances[0]))
    assert_all_served(driver.run(served), served)
    assert pools_seen == {"prompt", "mixed"}


# Llumnix


class Crowded(Llumnix):
    """Everybody arrives at the first instance."""

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        return candidates[0]


def crowd(router: object) -> tuple[int, float]:
    """Preemptions, and when the last answer ends."""
    cluster = Cluster([instance(ChunkedPrefill(token_budget=64), 60, id=k) for k in range(3)], router)
    served = workload(*(request(k, 8, 40, arrival_s=0.005 * k) for k in range(20)))
    recorder = checking_driver(cluster, transfer_s_per_block=1e-4).run(served)
    assert_all_served(recorder, served)
    return sum(r.num_preemptions for r in recorder.records), max(r.end_s for r in recorder.records)


def test_llumnix_evens_out_what_arrived_in_one_place():
    without, with_moves = crowd(Crowded(interval_s=None)), crowd(Crowded(interval_s=0.01))
    assert without[0] > 5
    assert with_moves[0] < without[0] / 2
    assert with_moves[1] < without[1] * 0.7


def test_llumnix_sends_arrivals_where_memory_lasts_longest():
    first, second = instance(num_blocks=20, id=0), instance(num_blocks=40, id=1)
    router = Llumnix()
    (arriving,) = queue(instance(Scripted()), request(9, 4))
    assert router.choose([first, second], arriving, 0.0) is second
    for machine, prompts in ((second, 4), (first, 1)):
        queue(machine, *(request(10 * machine.id + k, 8) for k in range(prompts)))
        finish(machine, machine.schedule(0.0)[1])
    assert router.freeness(first) == (80 - 8) / 1
    assert router.freeness(second) == (160 - 4 * 8) / 4
    assert router.choose([first, second], arriving, 0.0) is first


def test_llumnix_counts_the_head_of_the_queue_and_room_for_priority():
    machine = instance(num_blocks=20, id=0)
    queue(machine, request(0, 8, priority=1), request(1, 8))
    finish(machine, machine.schedule(0.0)[1])
    queue(machine, request(2, 30), request(3, 30), rank=2)
    assert Llumnix().freeness(machine) == (80 - 16 - 30) / 2
    assert Llumnix(headroom_tokens=10).freeness(machine) == (80 - 16 - 30 - 10) / 2


def test_llumnix_moves_the_shortest_without_priority_only_if_that_evens_out():
    source, target = instance(num_blocks=20, id=0), instance(num_blocks=20, id=1)
    queue(source, request(0, 4, priority=1), request(1, 12), request(2, 8))
    finish(source, source.schedule(0.0)[1])
    router = Llumnix(migrate_below=50)
    (move,) = router.rebalance([source, target], 0.0)
    assert (move.sequence.request.id, move.target, move.live) == (2, target, True)
    assert not list(Llumnix(migrate_below=10).rebalance([source, target], 0.0)), "free enough"
    queue(target, request(3, 4))
    assert not list(router.rebalance([source, target], 0.0)), "somebody waits there"
    finish(target, target.schedule(0.0)[1])
    queue(target, request(4, 60))
    finish(target, target.schedule(0.0)[1])
    assert not list(router.rebalance([source, target], 0.0)), "it would only change places with its problem"


# TetriInfer


def test_tetri_infer_keeps_heavy_answers_apart():
    """Heavy and light by turns: counting requests puts all heavy ones on one instance."""
    lengths = {k: 400 if k % 2 == 0 else 40 for k in range(40)}
    requests = [Request(k, 0.001 * k, 8, 400) for k in range(40)]
    served = Workload(requests, lengths)

    def heavy_by_instance(decode_router: object) -> list[int]:
        prefill = instance(FixedChunks(token_budget=16), 2000, id=0, role="prefill")
        decode = [instance(DecodeOnly(), 8000, id=k, role="decode") for k in (1, 2)]
        cluster = Cluster([prefill, *decode], decode_router=decode_router)
        driver = VirtualDriver(cluster, LinearCost())
        where: dict[int, int] = {}
        driver.after_event = lambda now_s: where.update(
            (s.request.id, i.id) for i in cluster.instances.values() if i.id for s in i.running
        )
        assert_all_served(driver.run(served), served)
        return [sum(where[k] == i for k in range(0, 40, 2)) for i in (1, 2)]

    assert heavy_by_instance(TetriInfer(Buckets(lengths, accuracy=1.0))) == [10, 10]
    assert heavy_by_instance(LeastRequests()) == [20, 0]


def test_tetri_infer_looks_for_room_for_the_predicted_answer():
    small, large = instance(num_blocks=20, id=0), instance(num_blocks=200, id=1)
    (heavy, light) = queue(instance(Scripted()), Request(0, 0.0, 8, 400), Request(1, 0.0, 8, 60))
    router = TetriInfer(Buckets({0: 400, 1: 40}, accuracy=1.0))
    assert router.choose([small, large], heavy, 0.0) is large
    assert router.choose([small, large], light, 0.0) is small, "room on both; the heavy one is on its way to the other"
    assert router.choose([small], heavy, 0.0) is small, "room for it nowhere"


# parameters


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Llumnix(migrate_below=-1), "migrate_below"),
        (lambda: Llumnix(interval_s=-1), "interval_s"),
        (lambda: SplitwisePools(num_prompt=0), "num_prompt"),
        (lambda: TaiChi(ESTIMATOR, ttft_s=-1, tpot_s=1), "ttft_s"),
        (lambda: TaiChi(ESTIMATOR, ttft_s=1, tpot_s=1, watermark=1.5), "watermark"),
    ],
)
def test_a_parameter_out_of_range_is_named(make, field: str):
    with pytest.raises(UserError, match=field):
        make()
