"""Which instance an arrival goes to."""

from __future__ import annotations

import pytest

from course.errors import UserError
from course.serving.cluster import Cluster
from course.serving.plan import Chunk, Plan
from course.serving.routers import ROUTERS, LeastPrefills, LeastQueued, LeastRequests, RoundRobin, make_router
from tests.serving.helpers import Scripted, instance, queue, request, run


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


def test_only_instances_with_enough_memory_are_candidates():
    small, large = instance(Scripted(), 2, id=0), instance(Scripted(), 20, id=1)
    cluster = Cluster([small, large], RoundRobin())
    for number in range(3):
        cluster.on_arrival(request(number, 8, 8), 0.0)
    assert waiting(cluster) == {0: 0, 1: 3}


def test_routers_are_found_by_name():
    assert all(type(make_router(name)) is router for name, router in ROUTERS.items())
    with pytest.raises(UserError, match=r"unknown router 'fastest'.*round-robin"):
        make_router("fastest")
    with pytest.raises(UserError, match=r"unknown router 'least-request'.*did you mean 'least-requests'"):
        make_router("least-request")
    with pytest.raises(UserError, match=r"'round-robin' has no parameters, so 'seed' cannot be set"):
        make_router("round-robin", seed=1)
