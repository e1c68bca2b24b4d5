"""Which instance an arrival goes to."""

from __future__ import annotations

from collections import Counter

import pytest

from course.errors import UserError
from course.serving.chance import draw
from course.serving.cluster import Cluster
from course.serving.estimator import LinearEstimator
from course.serving.instance import Instance
from course.serving.plan import Chunk, Plan
from course.serving.routers import (
    ROUTERS,
    LeastPendingTokens,
    LeastPrefills,
    LeastQueued,
    LeastRequests,
    PowerOfTwo,
    PrefixAware,
    RoundRobin,
    make_router,
)
from course.serving.routers.load import num_cached_tokens
from course.serving.schedulers import ChunkedPrefill
from course.serving.sequence import State
from tests.serving.helpers import (
    Scripted,
    checking_driver,
    finish,
    instance,
    queue,
    request,
    run,
    with_tokens,
    workload,
)


def waiting(cluster: Cluster) -> dict[int, int]:
    return {i.id: len(i.waiting) for i in cluster.instances.values()}


@pytest.mark.parametrize("ids", [(0, 1, 2), (2, 0, 1), (7, 3, 5)])
def test_round_robin_gives_each_instance_its_turn_in_order_of_ids(ids: tuple[int, ...]):
    cluster = Cluster([instance(Scripted(), id=i) for i in ids], RoundRobin())
    homes = []
    for number in range(6):
        before = waiting(cluster)
        cluster.on_arrival(request(number, 4), 0.0)
        homes += [i for i, count in waiting(cluster).items() if count > before[i]]
    assert homes == sorted(ids) * 2


def test_round_robin_gives_an_instance_that_came_back_its_turn():
    cluster = Cluster([instance(Scripted(), id=i) for i in range(3)], RoundRobin())
    cluster.on_instance_lost(0, 0.0)
    cluster.on_instance_joined(instance(Scripted(), id=0), 0.0)
    for number in range(6):
        cluster.on_arrival(request(number, 4), 0.0)
    assert waiting(cluster) == {0: 2, 1: 2, 2: 2}


def test_least_requests_counts_what_waits_runs_and_is_on_its_way():
    first, second, third = (instance(Scripted(), id=i) for i in range(3))
    queue(first, request(0, 4), request(1, 4))
    (moving,) = queue(second, request(2, 4))
    third.reserve(0, moving)
    third.reserve(1, moving)
    (arriving,) = queue(instance(Scripted()), request(3, 4))
    assert LeastRequests().choose([first, second, third], arriving, 0.0) is second
    third.cancel_reservation(0)
    assert LeastRequests().choose([second, third], arriving, 0.0) is second, "ties go to the lowest id"


def test_least_prefills_is_blind_to_what_decodes():
    busy, free = instance(Scripted(), id=0), instance(Scripted(), id=1)
    (decodes, _) = queue(busy, request(0, 4), request(1, 4))
    run(busy, Plan([Chunk(decodes, 4)]))
    queue(free, request(2, 4))
    (arriving,) = queue(instance(Scripted()), request(3, 4))
    assert LeastPrefills().choose([busy, free], arriving, 0.0) is busy, "one prompt each: ties go to the lowest id"
    queue(busy, request(4, 4))
    assert LeastPrefills().choose([busy, free], arriving, 0.0) is free


def test_least_queued_does_not_count_the_running_step():
    busy, free = instance(Scripted(), id=0), instance(Scripted(), id=1)
    queue(busy, request(0, 4), request(1, 4))
    busy.scheduler.plans.append(Plan([Chunk(sequence, 4) for sequence in busy.waiting]))
    (arriving,) = queue(instance(Scripted()), request(3, 4))
    assert LeastQueued().choose([busy, free], arriving, 0.0) is free
    busy.schedule(0.0)
    assert LeastQueued().choose([busy, free], arriving, 0.0) is busy, "both run now, so nobody queues there"
    busy.reserve(0, arriving)
    assert LeastQueued().choose([busy, free], arriving, 0.0) is free


def test_least_pending_tokens_counts_what_is_left_of_prompts():
    first, second = (instance(ChunkedPrefill(token_budget=8), id=i) for i in range(2))
    queue(first, request(0, 20))
    queue(second, request(1, 6), request(2, 7))
    (arriving,) = queue(instance(Scripted()), request(3, 4))
    assert (first.num_pending_tokens, second.num_pending_tokens) == (20, 13)
    assert LeastPendingTokens().choose([first, second], arriving, 0.0) is second
    finish(first, first.schedule(0.0)[1])
    assert first.num_pending_tokens == 12, "8 of 20 are computed"
    assert LeastPendingTokens().choose([first, second], arriving, 0.0) is first
    for _ in range(3):
        finish(first, first.schedule(0.0)[1])
    assert first.num_pending_tokens == 0, "who decodes has nothing pending"


def test_power_of_two_takes_the_less_loaded_of_two_that_depend_on_seed_and_request_alone():
    machines = [instance(Scripted(), id=i) for i in range(8)]
    for k in range(8):
        queue(machines[k], *(request(10 * k + j, 4) for j in range(k)))
    arriving = queue(instance(Scripted()), *(request(100 + k, 4) for k in range(400)))
    chosen = [PowerOfTwo(seed=1).choose(machines, s, 0.0).id for s in arriving]
    assert chosen == [PowerOfTwo(seed=1).choose(machines, s, 9.0).id for s in reversed(arriving)][::-1]
    assert chosen != [PowerOfTwo(seed=2).choose(machines, s, 0.0).id for s in arriving]
    counts = [chosen.count(k) for k in range(8)]
    expected = [400 * (7 - k) / 28 for k in range(8)]  # of 28 pairs, k is the less loaded of 7 - k
    assert all(abs(count - mean) < 5 * mean**0.5 + 1 for count, mean in zip(counts, expected, strict=True)), counts
    assert PowerOfTwo().choose(machines[:1], arriving[0], 0.0) is machines[0]


def test_power_of_two_is_more_even_than_one_draw():
    loads = {"one": [0] * 50, "two": [0] * 50}
    for k in range(5000):
        loads["one"][draw(50, 0, k)] += 1
        a, b = draw(50, 0, k, 0), draw(50, 0, k, 1)
        loads["two"][min((a, b), key=lambda i: loads["two"][i])] += 1
    assert max(loads["two"]) < 105 < 115 < max(loads["one"])


def test_draws_are_even_and_do_not_hang_together():
    counts = Counter((draw(4, 0, k, 0), draw(4, 0, k, 1)) for k in range(16_000))
    assert all(abs(count - 1000) < 5 * 1000**0.5 for count in counts.values())
    assert len(counts) == 16


def cached(tokens: list[int], *machines: Instance) -> None:
    """Let machines compute a prompt, so that its full blocks are in their prefix caches."""
    for machine in machines:
        queue(machine, with_tokens(request(len(machine.memory.pool._block_of) + 50, 1, 1), tokens, 4))
        batch = run(machine, Plan([Chunk(s, len(tokens)) for s in machine.waiting]))
        for s in batch.sequences:
            if not s.is_ended:
                machine.end(s, State.CANCELLED)


def test_prefix_aware_goes_where_most_of_the_prompt_is_cached_unless_too_much_waits_there():
    cold, short, long = (instance(Scripted(), id=i, prefix_cache=True) for i in range(3))
    prompt = list(range(24))
    cached(prompt[:8], short)
    cached(prompt[:20], long)
    (arriving,) = queue(instance(Scripted()), with_tokens(request(0, 1), prompt, 4))
    assert [num_cached_tokens(i, arriving) for i in (cold, short, long)] == [0, 8, 20]
    router = PrefixAware()
    assert [router.score(i, arriving) for i in (cold, short, long)] == [24, 16, 4]
    assert router.choose([cold, short, long], arriving, 0.0) is long
    queue(long, request(1, 13))
    assert router.choose([cold, short, long], arriving, 0.0) is short, "4 + 13 tokens to compute there, 16 here"
    assert PrefixAware(queue_weight=0).choose([cold, short, long], arriving, 0.0) is long, "whatever the load"


def test_prefix_aware_looks_at_the_load_where_nothing_is_cached():
    busy, free = instance(Scripted(), id=0, prefix_cache=True), instance(Scripted(), id=1)
    queue(busy, request(0, 4))
    (arriving,) = queue(instance(Scripted()), request(1, 4))
    assert PrefixAware().choose([busy, free], arriving, 0.0) is free
    assert PrefixAware(queue_weight=0).choose([busy, free], arriving, 0.0) is free, "by number of sequences"
    with pytest.raises(UserError, match="queue_weight must be a number, at least 0, got -1"):
        PrefixAware(-1)


def test_a_shared_prefix_gathers_at_one_instance_and_saves_work():
    """Conversations on two system prompts: prefix-aware computes fewer prompt tokens than round robin."""

    def computed(router: object) -> int:
        total = 0
        machines = [instance("chunked-prefill", 200, id=i, prefix_cache=True) for i in range(2)]
        cluster = Cluster(machines, router)
        driver = checking_driver(cluster)
        seen = set()

        def count(now_s: float) -> None:
            nonlocal total
            for machine in machines:
                for batch in machine.in_flight:
                    if batch not in seen:
                        seen.add(batch)
                        total += sum(c.num_tokens for c in batch.prompts)

        driver.after_event = count
        kinds = [0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1]
        served = [
            with_tokens(request(k, 1, 4, arrival_s=0.1 * k), [kind] * 40 + [2 + k] * 4, 4)
            for k, kind in enumerate(kinds)
        ]
        driver.run(workload(*served))
        return total

    assert computed(PrefixAware()) <= 2 * 44 + 10 * 4
    assert computed(RoundRobin()) > computed(PrefixAware())


def test_only_instances_with_enough_memory_are_candidates():
    small, large = instance(Scripted(), 2, id=0), instance(Scripted(), 20, id=1)
    cluster = Cluster([small, large], RoundRobin())
    for number in range(3):
        cluster.on_arrival(request(number, 8, 8), 0.0)
    assert waiting(cluster) == {0: 0, 1: 3}


def test_routers_are_found_by_name():
    needed: dict[str, dict] = {"taichi": {"estimator": LinearEstimator(1e-3, 1e-4), "ttft_s": 1.0, "tpot_s": 0.1}}
    assert all(type(make_router(name, **needed.get(name, {}))) is router for name, router in ROUTERS.items())
    with pytest.raises(UserError, match="router 'taichi' needs estimator, tpot_s"):
        make_router("taichi", ttft_s=1.0)
    with pytest.raises(UserError, match=r"unknown router 'fastest'.*round-robin"):
        make_router("fastest")
    with pytest.raises(UserError, match=r"unknown router 'least-request'.*did you mean 'least-requests'"):
        make_router("least-request")
    with pytest.raises(UserError, match=r"'round-robin' has no parameters, so 'seed' cannot be set"):
        make_router("round-robin", seed=1)
