"""Token times worked out by hand: 1 s a step, 1/4 s a token, 1/64 s a cached token. All are exact in floats."""

from __future__ import annotations

from typing import Any

import pytest

from course.errors import UserError
from course.metrics.record import Outcome, Recorder
from course.serving.actions import Action
from course.serving.cluster import Cluster, StalledError
from course.serving.schedulers import ChunkedPrefill, PrefillFirst
from course.simulator.linear import LinearCost
from course.simulator.virtual import VirtualDriver
from course.workload.request import Request, Workload
from tests.serving.helpers import Scripted, assert_empty, instance, request, workload

COST = LinearCost(step_s=1.0, token_s=0.25, context_token_s=1 / 64)


def step(num_tokens: int, *context: int) -> float:
    return 1.0 + num_tokens / 4 + sum(context) / 64


def driver(*instances: Any, **fields: Any) -> VirtualDriver:
    cluster = Cluster(instances or [instance()])
    return VirtualDriver(cluster, COST, after_event=lambda now_s: cluster.check_integrity(), **fields)


def times(recorder: Recorder) -> dict[int, list[float]]:
    return {record.request_id: record.token_times_s for record in recorder.records}


def test_one_request_alone():
    played = driver()
    recorder = played.run(workload(request(0, 3, 3, arrival_s=0.5)))
    first = 0.5 + step(3)
    second = first + step(1, 3)
    third = second + step(1, 4)
    assert times(recorder) == {0: [first, second, third]} == {0: [2.25, 3.546875, 4.859375]}
    assert recorder.record(0).end_s == third
    assert_empty(played.cluster)


def test_the_answer_is_as_long_as_the_workload_says_not_as_declared():
    recorder = driver().run(workload(request(0, 3, 50), lengths={0: 2}))
    assert times(recorder) == {0: [1.75, 1.75 + step(1, 3)]}


def test_who_arrives_in_one_instant_is_decided_upon_together():
    recorder = driver().run(workload(request(0, 2, 1), request(1, 3, 1)))
    assert times(recorder) == {0: [step(5)], 1: [step(5)]}


def test_who_arrives_during_a_step_joins_the_next():
    recorder = driver().run(workload(request(0, 4, 2), request(1, 4, 1, arrival_s=1.5)))
    end = step(4) + step(5, 4)  # one decode with 4 tokens behind it, and a prompt of 4
    assert times(recorder) == {0: [2.0, end], 1: [end]}


def test_who_arrives_at_the_end_of_a_step_joins_the_next():
    recorder = driver().run(workload(request(0, 4, 2), request(1, 4, 1, arrival_s=2.0)))
    assert times(recorder) == {0: [2.0, 2.0 + step(5, 4)], 1: [2.0 + step(5, 4)]}


def test_an_idle_instance_starts_at_the_arrival():
    recorder = driver().run(workload(request(0, 4, 1), request(1, 4, 1, arrival_s=9.0)))
    assert times(recorder) == {0: [2.0], 1: [11.0]}


def test_a_prompt_stalls_the_answers_of_prefill_first_but_not_of_chunked_prefill():
    served = workload(request(0, 4, 3), request(1, 16, 1, arrival_s=0.5))
    stalled = driver(instance(PrefillFirst())).run(served)
    assert times(stalled) == {0: [2.0, 7.0 + step(1, 4), 7.0 + step(1, 4) + step(1, 5)], 1: [2.0 + step(16)]}
    chunked = driver(instance(ChunkedPrefill(token_budget=4))).run(served)
    second = 2.0 + step(4, 4)  # one decode and 3 of the prompt
    third = second + step(4, 5, 3)
    fourth = third + step(4, 6)
    assert times(chunked)[0] == [2.0, second, third]
    assert times(chunked)[1] == [fourth + step(4, 10) + step(2, 14)]


def test_all_answers_of_a_prompt_come_out_together():
    recorder = driver().run(workload(request(0, 4, 2, n=3)))
    assert [r.token_times_s for r in recorder.records] == [[2.0, 2.0 + step(3, 4, 4, 4)]] * 3


def test_hashes_for_other_blocks_than_the_pool_has_are_an_error():
    served = Workload([request(0, 8, 1)], {0: 1}, block_size=16)
    with pytest.raises(UserError, match=r"instance 0 has blocks of 4 tokens.*prefix hashes.*blocks of 16"):
        driver(instance(prefix_cache=True)).run(served)
    driver(instance(prefix_cache=False)).run(served)


def test_a_cached_prefix_is_not_paid_for_again():
    prompt = tuple(range(8))
    hashes = (11, 12)
    first, second = (Request(k, 10.0 * k, 8, 1, prompt, prefix_hashes=hashes) for k in range(2))
    recorder = driver(instance(prefix_cache=True)).run(Workload([first, second], {0: 1, 1: 1}))
    assert times(recorder) == {0: [step(8)], 1: [10.0 + step(4, 4)]}


def test_a_sequence_that_moves_pays_for_each_block():
    split = (instance("prefill-first", id=0, role="prefill"), instance(id=1, role="decode"))
    recorder = driver(*split, transfer_s_per_block=0.5).run(workload(request(0, 9, 3)))
    first = step(9)
    second = first + 3 * 0.5 + step(1, 9)
    assert times(recorder) == {0: [first, second, second + step(1, 10)]}


def test_the_next_prompt_runs_while_the_last_one_moves():
    split = (instance(PrefillFirst(token_budget=8), id=0, role="prefill"), instance(id=1, role="decode"))
    recorder = driver(*split, transfer_s_per_block=0.5).run(workload(request(0, 8, 2), request(1, 8, 2)))
    assert times(recorder) == {0: [3.0, 4.0 + step(1, 8)], 1: [6.0, 7.0 + step(1, 8)]}


def test_a_preemption_is_paid_for_and_counted():
    # 3 blocks: both prompts fit, then the first needs the third block and later the second's
    played = driver(instance(PrefillFirst(watermark=0.0), 3))
    recorder = played.run(workload(request(0, 4, 6), request(1, 4, 2)))
    decodes = [step(1, 4 + k) for k in range(5)]
    end = step(8) + sum(decodes)
    assert times(recorder)[0][-1] == end
    assert times(recorder)[1] == [step(8), end + step(5)], "prompt and first token are computed again"
    assert [r.num_preemptions for r in recorder.records] == [0, 1]


def test_a_cancelled_request_ends_when_it_is_cancelled_and_its_batch_runs_on():
    played = driver()
    played.at(2.5, played.cluster.on_cancel, 0)
    recorder = played.run(workload(request(0, 4, 9), request(1, 4, 2, arrival_s=1.0)))
    assert recorder.record(0).outcome is Outcome.CANCELLED
    assert recorder.record(0).end_s == 2.5
    assert times(recorder) == {0: [2.0], 1: [2.0 + step(5, 4), 2.0 + step(5, 4) + step(1, 4)]}


def test_tokens_of_a_batch_that_was_lost_do_not_count():
    played = driver(instance(id=0), instance(id=1))
    played.at(3.0, played.cluster.on_instance_lost, 0)
    recorder = played.run(workload(request(0, 4, 3)))
    again = 3.0 + step(5)  # the prompt and the one token that was out, computed elsewhere
    assert times(recorder) == {0: [2.0, again, again + step(1, 5)]}


def test_a_comeback_under_the_same_id_does_not_finish_the_old_batch():
    played = driver(instance(id=0), instance(id=1))

    def come_back(now_s: float) -> list[Action]:
        return played.cluster.on_instance_joined(instance(id=0), now_s)

    played.at(3.0, played.cluster.on_instance_lost, 0)
    played.at(3.0, come_back)
    recorder = played.run(
        workload(request(0, 4, 2), request(1, 4, 1, arrival_s=3.125), request(2, 4, 1, arrival_s=3.125))
    )
    assert {r.outcome for r in recorder.records} == {Outcome.FINISHED}
    assert times(recorder)[0] == [2.0, 3.0 + step(5)]
    assert_empty(played.cluster)


def test_a_refused_request_is_in_the_records_with_its_reason():
    recorder = driver(instance(num_blocks=2)).run(workload(request(0, 9, 4), request(1, 4, 1)))
    assert recorder.record(0).outcome is Outcome.REFUSED
    assert "give it more blocks or ask for fewer tokens" in recorder.record(0).error
    assert recorder.record(1).token_times_s == [2.0]


def test_a_scheduler_that_leaves_sequences_waiting_is_reported():
    with pytest.raises(StalledError, match="scheduler Scripted plans nothing"):
        driver(instance(Scripted())).run(workload(request(0, 4)))


def test_integrity_is_checked_after_every_instant():
    instants: list[float] = []
    played = VirtualDriver(Cluster([instance()]), COST, after_event=instants.append)
    played.run(workload(request(0, 4, 2), request(1, 4, 1, arrival_s=2.0)))
    assert instants == [0.0, 2.0, 2.0 + step(5, 4)]
