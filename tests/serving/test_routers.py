"""Which instance an arrival goes to."""

from __future__ import annotations

import pytest

from course.errors import UserError
from course.serving.cluster import Cluster
from course.serving.routers import ROUTERS, LeastRequests, RoundRobin, make_router
from tests.serving.helpers import Scripted, instance, queue, request


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


def test_only_instances_with_enough_memory_are_candidates():
    small, large = instance(Scripted(), 2, id=0), instance(Scripted(), 20, id=1)
    cluster = Cluster([small, large], RoundRobin())
    for number in range(3):
        cluster.on_arrival(request(number, 8, 8), 0.0)
    assert waiting(cluster) == {0: 0, 1: 3}


def test_routers_are_found_by_name():
    assert {type(make_router(name)) for name in ROUTERS} == {RoundRobin, LeastRequests}
    with pytest.raises(UserError, match=r"unknown router 'fastest'.*round-robin"):
        make_router("fastest")
