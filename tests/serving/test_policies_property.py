"""Random requests, cancellations and tiny pools through every policy: all ends, nothing leaks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.metrics.record import Outcome
from course.serving.actions import Action
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.schedulers import SCHEDULERS, make_scheduler
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
@settings(max_examples=50, deadline=None)
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


ROLES = [
    ("mixed", "mixed"),
    ("prefill", "decode"),
    ("prefill", "decode", "decode"),
    ("prefill", "prefill", "decode"),
    ("prefill", "mixed", "decode"),
]


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_policy_in_any_role_survives_what_can_happen(data: st.DataObject):
    """Losses, comebacks under the same id, stale reports, broken copies, timers, cancellations at token times."""
    draw = data.draw
    served = draw(workloads(max_requests=8))
    roles = draw(st.sampled_from(ROLES))

    def machine(id: int) -> Instance:
        return instance(
            draw(policies()),
            draw(st.integers(15, 30)),
            BLOCK,
            id=id,
            role=roles[id],
            prefix_cache=draw(st.booleans()),
            num_host_blocks=draw(st.sampled_from([0, 6, 100])),
        )

    cluster = Cluster(machine(k) for k in range(len(roles)))
    driver = checking_driver(cluster, transfer_s_per_block=draw(st.sampled_from([0.0, 1e-4, 5e-3])))
    # Times at which something is bound to happen: a step of one token takes 2.1 ms.
    times = st.one_of(st.floats(0.0, 0.2), st.integers(0, 60).map(lambda k: k * 2.1e-3))

    def come_back(id: int, fresh: Instance, now_s: float) -> list[Action]:
        return [] if id in cluster.instances else cluster.on_instance_joined(fresh, now_s)

    for lost in draw(st.lists(st.sampled_from(range(len(roles))), max_size=3)):
        driver.at(draw(times), cluster.on_instance_lost, lost)
        driver.at(draw(times), come_back, lost, machine(lost))
    for transfer_id in draw(st.lists(st.integers(0, 9), max_size=5)):
        end = draw(st.sampled_from([cluster.on_transfer_refused, cluster.on_transfer_failed]))
        driver.at(draw(times), end, transfer_id)
    for request_id in draw(st.lists(st.integers(0, 7), max_size=2, unique=True)):
        driver.at(draw(times), cluster.on_cancel, request_id)
    driver.at(draw(times), cluster.on_timer)
    recorder = driver.run(served)
    assert_empty(cluster)
    for record in recorder.records:
        length = served.output_lengths[record.request_id]
        if record.outcome is Outcome.FINISHED:
            assert record.num_output_tokens == length, "a token was lost or given twice"
        else:
            assert record.outcome is not Outcome.UNFINISHED
            assert record.error, "no reason was given"
            assert record.num_output_tokens <= length


@pytest.mark.parametrize("name", SCHEDULERS)
@given(served=workloads(max_requests=6), data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_cancellation_at_the_very_time_of_a_token_is_clean(name: str, served: Workload, data: st.DataObject):
    def cluster() -> Cluster:
        return Cluster([instance(make_scheduler(name), 20, BLOCK, prefix_cache=True)])

    calm = checking_driver(cluster()).run(served)
    record = data.draw(st.sampled_from([r for r in calm.records if r.token_times_s] or calm.records))
    token = data.draw(st.integers(0, max(len(record.token_times_s) - 1, 0)))
    time_s = record.token_times_s[token] if record.token_times_s else record.arrival_s
    played = cluster()
    driver = checking_driver(played, single_step=data.draw(st.booleans()))
    driver.at(time_s, played.on_cancel, record.request_id)
    recorder = driver.run(served)
    assert_empty(played)
    if record.token_times_s:
        cancelled = recorder.record(record.request_id, record.sample)
        assert len(cancelled.token_times_s) == token + 1, "of one instant, the step ends first"


@pytest.mark.parametrize("name", ["prefill-first", "decode-first", "chunked-prefill"])
@given(
    shapes=st.lists(
        st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.sampled_from([0.0, 0.003, 0.02])), min_size=2, max_size=7
    ),
    num_blocks=st.integers(1, 10),
    block_size=st.integers(1, 4),
    token_budget=st.integers(1, 20),
)
@settings(max_examples=80, deadline=None)
def test_requests_as_large_as_the_pool_do_not_lock_each_other_out(
    name: str, shapes: list[tuple[float, float, float]], num_blocks: int, block_size: int, token_budget: int
):
    most = num_blocks * block_size
    drawn = []
    for index, (prompt_share, answer_share, arrival_s) in enumerate(shapes):
        prompt = 1 + int(prompt_share * (most - 1))
        drawn.append(Request(index, arrival_s, prompt, 1 + int(answer_share * (most - prompt))))
    served = Workload(sorted(drawn, key=lambda r: r.arrival_s), {r.id: r.max_new_tokens for r in drawn})
    policy = make_scheduler(name, token_budget=token_budget, watermark=0.0)
    cluster = Cluster([instance(policy, num_blocks, block_size)])
    recorder = checking_driver(cluster).run(served)
    assert_empty(cluster)
    assert {r.outcome for r in recorder.records} == {Outcome.FINISHED}


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
