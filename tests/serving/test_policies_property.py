"""Random requests, cancellations and tiny pools through every policy: all ends, nothing leaks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.metrics.record import Outcome
from course.serving.cluster import Cluster
from course.serving.schedulers import SCHEDULERS
from course.workload.request import Request, Workload
from tests.serving.helpers import assert_empty, checking_driver, instance
from tests.serving.strategies import BLOCK, policies, workloads


@pytest.mark.parametrize("name", SCHEDULERS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_request_ends_and_no_block_leaks(name: str, data: st.DataObject):
    served = data.draw(workloads())
    num_blocks = data.draw(st.integers(15, 40))  # 15 blocks of 4 hold the longest request alone
    cluster = Cluster(
        [
            instance(
                data.draw(policies(name)),
                num_blocks,
                BLOCK,
                prefix_cache=data.draw(st.booleans()),
                num_host_blocks=data.draw(st.sampled_from([0, 5, 100])),
            )
        ]
    )
    driver = checking_driver(cluster)
    cancelled = data.draw(st.dictionaries(st.sampled_from([r.id for r in served.requests]), st.floats(0.0, 0.3)))
    for request_id, time_s in cancelled.items():
        driver.at(time_s, cluster.on_cancel, request_id)
    recorder = driver.run(served)
    assert_empty(cluster)
    for record in recorder.records:
        length = served.output_lengths[record.request_id]
        if record.outcome is Outcome.FINISHED:
            assert record.num_output_tokens == length
        elif record.outcome is Outcome.REFUSED:  # only who reserves memory refuses, and only more than there is
            assert name in ("static", "orca")
            assert "reserve" in record.error
        else:
            assert record.outcome is Outcome.CANCELLED
            assert record.request_id in cancelled
            assert record.num_output_tokens < length


@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_a_split_cluster_serves_all_and_survives_losses(data: st.DataObject):
    served = data.draw(workloads(max_requests=8))
    cluster = Cluster(
        [
            instance(data.draw(policies("prefill-first")), data.draw(st.integers(15, 30)), BLOCK, id=0, role="prefill"),
            instance(
                data.draw(policies("chunked-prefill")), data.draw(st.integers(15, 30)), BLOCK, id=1, role="prefill"
            ),
            instance(
                data.draw(policies("chunked-prefill")), data.draw(st.integers(15, 30)), BLOCK, id=2, role="decode"
            ),
            instance(data.draw(policies("decode-first")), data.draw(st.integers(15, 30)), BLOCK, id=3, role="decode"),
        ]
    )
    driver = checking_driver(cluster, transfer_s_per_block=data.draw(st.sampled_from([0.0, 1e-4, 5e-3])))
    for lost in data.draw(st.lists(st.sampled_from([0, 1, 2, 3]), max_size=2, unique=True)):
        driver.at(data.draw(st.floats(0.0, 0.2)), cluster.on_instance_lost, lost)
    for transfer_id in data.draw(st.lists(st.integers(0, 6), max_size=4)):
        event = data.draw(st.sampled_from([cluster.on_transfer_refused, cluster.on_transfer_failed]))
        driver.at(data.draw(st.floats(0.0, 0.2)), event, transfer_id)
    for request_id in data.draw(st.lists(st.integers(0, 7), max_size=2, unique=True)):
        driver.at(data.draw(st.floats(0.0, 0.2)), cluster.on_cancel, request_id)
    recorder = driver.run(served)
    assert_empty(cluster)
    roles = {i.role for i in cluster.instances.values()}
    for record in recorder.records:
        if record.outcome is Outcome.FINISHED:
            assert record.num_output_tokens == served.output_lengths[record.request_id]
        elif record.outcome is Outcome.FAILED:
            assert roles != {"prefill", "decode"}, "a request failed although both phases have an instance left"
            assert "instance is left" in record.error
        else:
            assert record.outcome in (Outcome.CANCELLED, Outcome.REFUSED)


def test_the_same_events_give_the_same_run():
    from random import Random

    draw = Random(0)
    requests = [Request(i, draw.random() * 0.1, draw.randint(1, 30), draw.randint(1, 20)) for i in range(40)]
    served = Workload(sorted(requests, key=lambda r: r.arrival_s), {r.id: r.max_new_tokens for r in requests})
    runs = []
    for _ in range(2):
        cluster = Cluster([instance("chunked-prefill", 20, BLOCK), instance("prefill-first", 20, BLOCK, id=1)])
        runs.append([r.token_times_s for r in checking_driver(cluster).run(served).records])
    assert runs[0] == runs[1]
