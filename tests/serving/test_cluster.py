"""Where instances meet: events in, actions out."""

from __future__ import annotations

from typing import Any

import pytest

from course.errors import UserError
from course.metrics.record import Outcome
from course.serving.actions import (
    Action,
    CutShort,
    RunBatch,
    SequenceEnded,
    SequenceForked,
    StartTransfer,
    StopTransfer,
    WakeAt,
)
from course.serving.batch import Batch, TokenResult
from course.serving.cluster import Cluster, StalledError
from course.serving.plan import Chunk, Plan, PlanError, Preemption, Refusal
from course.serving.schedulers import ChunkedPrefill
from course.serving.sequence import Sequence
from course.serving.view import InstanceView
from tests.serving.helpers import (
    Scripted,
    assert_all_served,
    assert_empty,
    checking_driver,
    instance,
    request,
    workload,
)

# determinism


def told(action: Action) -> tuple[Any, ...]:
    """An action in plain values, to be compared between runs."""
    match action:
        case RunBatch(batch):
            chunks = [
                (c.sequence.id, c.start, c.num_tokens, list(c.block_table), [s.id for s in c.samples])
                for c in batch.chunks
            ]
            return ("run", batch.instance_id, batch.step, chunks, batch.swap_out, batch.copies, batch.swap_in)
        case StartTransfer(t) | StopTransfer(t):
            blocks = (t.source_blocks, t.target_blocks)
            return (type(action).__name__, t.id, t.sequence.id, t.source.id, t.target.id, blocks, t.attempt)
        case SequenceForked(parent, sibling):
            return ("fork", parent.id, sibling.id)
        case SequenceEnded(sequence, reason):
            return ("end", sequence.id, sequence.state, reason)
        case WakeAt(time_s):
            return ("wake", time_s)
        case CutShort(instance_id):
            return ("cut", instance_id)


class Logging(Cluster):
    """Notes every event that comes in and every action that goes out."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.is_inside = False
        self.log: list[tuple[str, tuple[Any, ...], list[Any]]] = []

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if not (name.startswith("on_") or name in ("decide", "start_transfers")):
            return method

        def noted(*arguments: Any) -> list[Action]:
            if self.is_inside:  # the cluster calls itself
                return method(*arguments)
            # What is live is written down before the event changes it.
            plain = [plainly(argument) for argument in arguments]
            self.is_inside = True
            actions = method(*arguments)
            self.is_inside = False
            self.log.append((name, tuple(plain), [told(action) for action in actions]))
            return actions

        return noted


def plainly(argument: Any) -> Any:
    """What an event tells, without what is live in it."""
    match argument:
        case Batch():
            return argument.instance_id, argument.step
        case list():
            return [(result.sequence.id, result.finished) for result in argument]
    return argument


def machines() -> list[Any]:
    return [
        instance("prefill-first", 16, id=0, role="prefill", prefix_cache=True),
        instance(ChunkedPrefill(token_budget=8, preempt="swap"), 16, id=1, role="decode", num_host_blocks=8),
        instance("decode-first", 16, id=2, role="decode"),
    ]


def test_a_recorded_run_replays_to_the_same_actions():
    recorded = Logging(machines())
    driver = checking_driver(recorded, transfer_s_per_block=1e-3)
    driver.at(0.013, recorded.on_cancel, 3)
    driver.at(0.031, recorded.on_instance_lost, 2)
    driver.at(0.02, recorded.on_transfer_failed, 1)
    driver.run(workload(*(request(k, 5 + k, 12, arrival_s=0.002 * k, n=1 + k % 2) for k in range(9))))
    assert {name for name, _, actions in recorded.log if actions} >= {"decide", "on_cancel", "on_batch_done"}

    replayed = Cluster(machines())
    alive: dict[tuple[int, int], Sequence] = {}
    running: dict[tuple[int, int], Batch] = {}
    for name, arguments, expected in recorded.log:
        if name == "on_batch_done":
            batch, results, *rest = arguments
            arguments = running[batch], [TokenResult(alive[key], finished) for key, finished in results], *rest
        elif name == "on_batch_progress":
            arguments = running[arguments[0]], *arguments[1:]
        actions = getattr(replayed, name)(*arguments)
        assert [told(action) for action in actions] == expected
        for action in actions:
            if isinstance(action, RunBatch):
                running[action.batch.instance_id, action.batch.step] = action.batch
                alive.update({s.id: s for chunk in action.batch.chunks for s in chunk.samples})
    assert_empty(replayed)


# decisions


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


def test_a_plan_that_only_refuses_is_followed_by_another_at_once():
    cluster = Cluster([instance(Scripted())])
    cluster.on_arrival(request(0, 4), 0.0)
    cluster.on_arrival(request(1, 4), 0.0)
    first, second = cluster.instances[0].waiting
    cluster.instances[0].scheduler.plans = [Plan(refuse=[Refusal(first, "no")]), Plan([Chunk(second, 4)])]
    assert [type(a) for a in cluster.decide(0.0)] == [SequenceEnded, RunBatch]


def test_after_a_broken_plan_what_others_decided_is_delivered_by_the_next_call():
    class Mended:
        is_broken = True

        def schedule(self, view: InstanceView) -> Plan:
            tokens = 99 if self.is_broken else 4
            return Plan([Chunk(s, tokens) for s in view.waiting])

    mended = Mended()
    cluster = Cluster([instance(id=0), instance(mended, id=1), instance(id=2)])
    for number in range(3):
        cluster.on_arrival(request(number, 4), 0.0)
    for _ in range(2):
        with pytest.raises(PlanError, match=r"<sequence 1 waiting.*only 4 are left"):
            cluster.decide(0.0)
    mended.is_broken = False
    assert [a.batch.instance_id for a in cluster.decide(0.0)] == [0, 1, 2]
    assert cluster.decide(0.0) == []


def test_an_instance_is_asked_once_however_many_events_there_were():
    class Counting(ChunkedPrefill):
        num_calls = 0

        def schedule(self, view: InstanceView) -> Plan:
            self.num_calls += 1
            return super().schedule(view)

    busy, quiet = Counting(), Counting()
    cluster = Cluster([instance(busy, id=0), instance(quiet, id=1, role="decode")])
    for number in range(5):
        cluster.on_arrival(request(number, 4), 0.0)
    cluster.decide(0.0)
    cluster.on_arrival(request(5, 4), 0.0)
    cluster.decide(0.0)
    assert (busy.num_calls, quiet.num_calls) == (1, 0), "it is busy now, and the other has nothing to do"


def test_a_scheduler_is_woken_when_it_asked_for_it():
    class Patient:
        """Collects a batch until a full second has passed."""

        def schedule(self, view: InstanceView) -> Plan:
            if view.now_s < 1.0:
                return Plan(wake_at_s=1.0)
            return Plan([Chunk(s, view.tokens_left(s)) for s in [*view.running, *view.waiting]])

    cluster = Cluster([instance(Patient())])
    served = workload(request(0, 4, 1), request(1, 4, 1, arrival_s=0.4))
    records = checking_driver(cluster).run(served).records
    assert [r.token_times_s for r in records] == [[1.0 + 2e-3 + 8e-4]] * 2


def test_a_scheduler_that_plans_nothing_has_stalled():
    cluster = Cluster([instance(Scripted(), id=4)])
    with pytest.raises(StalledError, match=r"instance 4: scheduler Scripted plans nothing although 1 sequences wait"):
        checking_driver(cluster).run(workload(request(0, 4)))
    assert cluster.num_unfinished == 1


# arrivals


def test_what_can_never_fit_is_refused_with_what_would_help_and_nothing_else_is_disturbed():
    cluster = Cluster([instance(num_blocks=4)])
    served = workload(request(0, 4, 8), request(1, 12, 6, arrival_s=0.001), request(2, 4, 8, arrival_s=0.002))
    recorder = checking_driver(cluster).run(served)
    assert [r.outcome for r in recorder.records] == [Outcome.FINISHED, Outcome.REFUSED, Outcome.FINISHED]
    assert recorder.record(1).error == (
        "request 1 may need 17 tokens = 5 blocks of 4 but instance 0 has 4; give it more blocks or ask for fewer tokens"
    )
    assert_empty(cluster)


def test_what_fits_on_one_instance_only_goes_there():
    cluster = Cluster([instance(num_blocks=4), instance(num_blocks=5, id=1)])
    served = workload(*(request(k, 12, 6) for k in range(3)))
    assert_all_served(checking_driver(cluster).run(served), served)


def test_all_answers_of_a_refused_request_end():
    cluster = Cluster([instance(num_blocks=2)])
    actions = cluster.on_arrival(request(0, 9, n=3), 0.0)
    assert [a.sequence.id for a in actions] == [(0, 0), (0, 1), (0, 2)]
    assert_empty(cluster)


def test_an_id_in_use_is_an_error_and_free_again_afterwards():
    cluster = Cluster([instance()])
    cluster.on_arrival(request(7, 4), 0.0)
    with pytest.raises(UserError, match="request id 7 is in use"):
        cluster.on_arrival(request(7, 4), 0.0)
    assert cluster.num_unfinished == 1
    cluster.on_cancel(7, 0.0)
    cluster.on_arrival(request(7, 4), 0.0)
    assert cluster.num_unfinished == 1


@pytest.mark.parametrize(
    ("roles", "sentence"),
    [
        ((), "needs at least one instance"),
        (("decode",), "needs at least one instance with role 'mixed' or 'prefill'"),
        (("prefill",), "needs an instance with role 'decode' or 'mixed'"),
        (("mixed", "mixed"), None),
        (("prefill", "mixed"), None),
    ],
)
def test_a_cluster_can_do_both_phases(roles: tuple[str, ...], sentence: str | None):
    members = [instance(id=k, role=role) for k, role in enumerate(roles)]
    if sentence is None:
        Cluster(members)
    else:
        with pytest.raises(UserError, match=sentence):
            Cluster(members)


def test_instances_have_ids_of_their_own():
    with pytest.raises(UserError, match="two instances have the id 3"):
        Cluster([instance(id=3), instance(id=3)])


# cancellations


def test_a_cancelled_request_ends_with_all_its_answers_and_only_once():
    cluster = Cluster([instance()])
    cluster.on_arrival(request(0, 6, n=3), 0.0)
    (run,) = cluster.decide(0.0)
    actions = cluster.on_cancel(0, 0.0)
    assert [told(a) for a in actions] == [
        ("end", (0, k), actions[k].sequence.state, "cancelled by the client") for k in range(3)
    ]
    assert cluster.on_cancel(0, 0.0) == []
    cluster.check_integrity()
    results = [TokenResult(s) for s in run.batch.chunks[0].samples]
    assert cluster.on_batch_done(run.batch, results, 0.1) == []
    assert_empty(cluster)


def test_one_of_several_answers_ends_alone():
    cluster = Cluster([instance()])
    driver = checking_driver(cluster)
    cancel = lambda sample, now_s: cluster.on_cancel(0, now_s, sample)  # noqa: E731
    driver.at(0.05, cancel, 1)
    driver.at(0.05, cancel, 1)
    driver.at(0.06, cancel, 0)
    records = driver.run(workload(request(0, 9, 30, n=4))).records
    assert [record.outcome.value for record in records] == ["cancelled", "cancelled", "finished", "finished"]
    assert [record.num_output_tokens for record in records[2:]] == [30, 30]
    assert all(0 < record.num_output_tokens < 30 for record in records[:2])
    assert cluster.num_unfinished == 0
    assert_empty(cluster)


def test_no_answer_ends_alone_before_they_have_begun():
    cluster = Cluster([instance()])
    cluster.on_arrival(request(0, 9, n=3), 0.0)
    cluster.on_arrival(request(1, 9), 0.0)
    for sample in range(3):
        with pytest.raises(UserError, match="request 0: none of its answers can end alone"):
            cluster.on_cancel(0, 0.0, sample)
    assert [action.sequence.id for action in cluster.on_cancel(1, 0.0, 0)] == [(1, 0)]
    assert len(cluster.on_cancel(0, 0.0)) == 3
    assert_empty(cluster)


def test_cancelling_what_is_unknown_or_over_is_no_error():
    cluster = Cluster([instance()])
    assert cluster.on_cancel(5, 0.0) == []


# losses


@pytest.mark.parametrize("lost_at_s", [0.0, 0.001, 0.01, 0.02])
@pytest.mark.parametrize("n", [1, 3])
def test_a_lost_instance_loses_no_request_and_repeats_no_token(lost_at_s: float, n: int):
    cluster = Cluster([instance(id=0), instance(id=1)])
    driver = checking_driver(cluster)
    driver.at(lost_at_s, cluster.on_instance_lost, 0)
    served = workload(*(request(k, 6, 10, n=n) for k in range(4)))
    recorder = driver.run(served)
    assert_all_served(recorder, served)
    assert_empty(cluster)


def test_reports_of_a_lost_instance_are_ignored():
    cluster = Cluster([instance(id=0), instance(id=1)])
    cluster.on_arrival(request(0, 4), 0.0)
    (run,) = cluster.decide(0.0)
    cluster.on_instance_lost(0, 0.0)
    assert cluster.on_batch_done(run.batch, [TokenResult(run.batch.chunks[0].sequence)], 0.1) == []
    assert cluster.on_instance_lost(0, 0.2) == []
    (again,) = cluster.decide(0.2)
    assert again.batch.instance_id == 1
    assert run.batch.chunks[0].sequence.num_output_tokens == 0


def test_without_any_instance_left_requests_fail_and_arrivals_are_refused():
    cluster = Cluster([instance()])
    cluster.on_arrival(request(0, 4), 0.0)
    (end,) = cluster.on_instance_lost(0, 0.0)
    assert told(end)[0:2] == ("end", (0, 0))
    assert end.reason == "request 0: no prefill instance is left"
    (refused,) = cluster.on_arrival(request(1, 4), 0.0)
    assert refused.reason == "request 1: no prefill instance is left"
    cluster.on_instance_joined(instance(), 0.0)
    assert cluster.on_arrival(request(2, 4), 0.0) == []


def test_an_instance_that_joins_has_to_be_empty():
    cluster = Cluster([instance(id=0), instance(id=1)])
    lost = cluster.instances[0]
    cluster.on_arrival(request(0, 4), 0.0)
    cluster.decide(0.0)
    cluster.on_instance_lost(0, 0.0)
    with pytest.raises(UserError, match="instance 0 is not empty"):
        cluster.on_instance_joined(lost, 0.0)
    cluster.check_integrity()


# routers that misbehave


@pytest.mark.parametrize("answer", [None, instance(id=9)])
def test_a_router_must_choose_one_of_its_candidates(answer: Any):
    class Lost:
        def choose(self, *_: Any) -> Any:
            return answer

    cluster = Cluster([instance()], Lost())
    with pytest.raises(UserError, match=r"router Lost chose .* for request 0, which is none of its candidates"):
        cluster.on_arrival(request(0, 4), 0.0)
    cluster = Cluster([instance(id=0, role="prefill"), instance(id=1, role="decode")], None, Lost())
    cluster.on_arrival(request(0, 4), 0.0)
    (run,) = cluster.decide(0.0)
    cluster.on_batch_done(run.batch, [TokenResult(run.batch.chunks[0].sequence)], 0.1)
    for _ in range(2):
        with pytest.raises(UserError, match="router Lost chose"):
            cluster.decide(0.1)
    cluster.check_integrity()
