"""Pipelines on the virtual clock: a step alone takes its cost, and the next one enters behind its first stage."""

from __future__ import annotations

import pytest

from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.schedulers import PrefillOnly
from course.simulator.costs.fitted import FittedCost
from course.simulator.costs.roofline import RooflineCost
from course.simulator.hardware import load_hardware
from course.simulator.shapes import load_shape
from course.simulator.virtual import VirtualDriver
from course.workload.request import Request, Workload
from tests.simulator.costs.helpers import batch

OPT = load_shape("opt-13b")
COSTS = {
    "distserve-a100": FittedCost("distserve-a100", "opt-13b", 1, 2),
    "vllm-a100": FittedCost("vllm-a100", "opt-13b", 2, 3),
    "roofline": RooflineCost(OPT, load_hardware("a100-80gb"), 1, 4),
}


@pytest.mark.parametrize("name", COSTS)
def test_prompts_follow_each_other_through_the_stages(name: str):
    cost = COSTS[name]
    num_stages = cost.pp if isinstance(cost, FittedCost) else cost.split.pp
    served = Workload([Request(i, 0.0, 512, 1) for i in range(3)], dict.fromkeys(range(3), 1))
    cluster = Cluster([Instance(PrefillOnly(token_budget=512), 200, num_stages=num_stages)])
    records = VirtualDriver(cluster, cost).run(served).records
    first_s, second_s, third_s = (record.token_times_s[0] for record in records)
    step = batch([(0, 512)])
    assert first_s == pytest.approx(cost.batch_s(step), rel=1e-12)
    stage_s = cost.batch_stage_s(step)  # the slowest one: nobody waits further on
    assert second_s - first_s == pytest.approx(stage_s, rel=1e-9)
    assert third_s - second_s == pytest.approx(stage_s, rel=1e-9)
