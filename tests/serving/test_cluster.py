"""Where instances meet: events in, actions out."""

from __future__ import annotations

from course.serving.cluster import Cluster
from course.serving.plan import Chunk, Plan, Preemption
from course.serving.view import InstanceView
from tests.serving.helpers import assert_all_served, assert_empty, checking_driver, instance, request, workload


class OneAtATime:
    """Makes room in one plan and uses it in the next."""

    def schedule(self, view: InstanceView) -> Plan:
        if len(view.running) == 2:
            return Plan(preempt=[Preemption(view.running[1])])
        if view.running:
            return Plan([Chunk(view.running[0], 1)])
        return Plan([Chunk(s, view.tokens_left(s)) for s in view.waiting][:2])


def test_a_plan_that_only_makes_room_is_followed_by_another_at_once():
    cluster = Cluster([instance(OneAtATime())])
    served = workload(request(0, 5, 3), request(1, 5, 3))
    assert_all_served(checking_driver(cluster).run(served), served)
    assert_empty(cluster)
