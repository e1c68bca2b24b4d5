"""Runs of many steps and runs of single steps are the same run."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.serving.cluster import Cluster
from course.serving.schedulers import SCHEDULERS
from course.simulator.linear import LinearCost
from course.simulator.virtual import VirtualDriver
from tests.serving.helpers import instance
from tests.serving.strategies import BLOCK, policies, workloads

GRID = st.integers(0, 400).map(lambda k: k * 2.0**-12)  # on the grid of step ends, so that events coincide


class GridCost(LinearCost):
    """Steps that last multiples of 2^-12 s, which floats add without rounding: arrivals fall on step ends."""

    def batch_s(self, batch):
        return 2.0**-12 * (1 + batch.num_tokens)


COSTS = st.sampled_from([LinearCost(), LinearCost(context_token_s=1e-5), GridCost(context_token_s=0.0)])


def life(served, make_cluster, cost, events, single_step, transfer_s):
    cluster = make_cluster()
    driver = VirtualDriver(cluster, cost, single_step=single_step, transfer_s_per_block=transfer_s)
    driver.after_event = lambda now_s: cluster.check_integrity()
    for time_s, name, argument in events:
        driver.at(time_s, getattr(cluster, name), argument)
    recorder = driver.run(served)
    return [(r.request_id, r.sample, r.outcome, r.token_times_s, r.end_s, r.num_preemptions) for r in recorder.records]


@pytest.mark.parametrize("name", SCHEDULERS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_one_instance(name: str, data: st.DataObject):
    served = data.draw(workloads())
    chosen = data.draw(policies(name))
    num_blocks, host = data.draw(st.integers(15, 60)), data.draw(st.sampled_from([0, 100]))
    cached = data.draw(st.booleans())
    events = [(t, "on_cancel", k) for k, t in data.draw(st.dictionaries(st.integers(0, 11), GRID, max_size=4)).items()]
    cost = data.draw(COSTS)

    def make() -> Cluster:
        return Cluster([instance(deepcopy(chosen), num_blocks, BLOCK, prefix_cache=cached, num_host_blocks=host)])

    runs = [life(served, make, cost, events, single, 0.0) for single in (True, False)]
    assert runs[0] == runs[1]


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_split_cluster_with_losses(data: st.DataObject):
    served = data.draw(workloads(max_requests=8))
    sizes = [data.draw(st.integers(15, 40)) for _ in range(4)]
    names = ["prefill-first", "chunked-prefill", "chunked-prefill", "decode-first"]
    roles = ["prefill", "prefill", "decode", data.draw(st.sampled_from(["decode", "mixed"]))]
    chosen = [data.draw(policies(name)) for name in names]
    events = [(data.draw(GRID), "on_instance_lost", i) for i in data.draw(st.sets(st.integers(0, 3), max_size=2))]
    events += [(data.draw(GRID), "on_cancel", i) for i in data.draw(st.sets(st.integers(0, 7), max_size=3))]
    cost = data.draw(COSTS)
    transfer_s = data.draw(st.sampled_from([0.0, 2.0**-12, 3e-3]))

    def make() -> Cluster:
        parts = zip(chosen, sizes, roles, strict=True)
        return Cluster([instance(deepcopy(p), n, BLOCK, id=i, role=r) for i, (p, n, r) in enumerate(parts)])

    runs = [life(served, make, cost, events, single, transfer_s) for single in (True, False)]
    assert runs[0] == runs[1]
