"""What is recorded of a run, and the spans made from it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from course.figures.spans import NEGLIGIBLE_S, Span, instance_spans, joined, request_spans, spans_by_request
from course.figures.timeline import timeline_summary
from course.figures.watch import ChunkRun, History, Move, Step, WatchedCluster
from course.metrics.record import Outcome, RequestRecord
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.schedulers import ChunkedPrefill, PrefillFirst
from course.simulator.linear import LinearCost
from course.simulator.virtual import VirtualDriver
from course.workload.request import Request, Workload


def run(cluster: Cluster, workload: Workload) -> list[RequestRecord]:
    return VirtualDriver(cluster, LinearCost(), transfer_s_per_block=1e-3).run(workload).records


def workload(*requests: tuple[float, int, int]) -> Workload:
    made = [Request(i, arrival, prompt, output) for i, (arrival, prompt, output) in enumerate(requests)]
    return Workload(made, {request.id: request.max_new_tokens for request in made})


TWO = workload((0.0, 40, 8), (0.003, 100, 4))


def split() -> list[Instance]:
    return [Instance(PrefillFirst(), 64, id=i, role=role) for i, role in ((0, "prefill"), (1, "decode"))]


def test_every_token_is_in_the_history_once() -> None:
    watched = WatchedCluster([Instance(ChunkedPrefill(token_budget=16), 64)])
    records = run(watched, TWO)
    for record in records:
        chunks = [c for step in watched.history.steps for c in step.chunks if c.request_id == record.request_id]
        assert sum(c.num_tokens for c in chunks if c.is_prefill) == record.num_prompt_tokens
        assert sum(c.num_tokens for c in chunks if not c.is_prefill) == record.num_output_tokens - 1
        assert [c.start for c in chunks] == sorted(c.start for c in chunks)


def test_a_prompt_of_one_token_is_prefill() -> None:
    watched = WatchedCluster([Instance(PrefillFirst(), 64)])
    run(watched, workload((0.0, 1, 3)))
    chunks = [step.chunks[0] for step in watched.history.steps]
    assert [(c.is_prefill, c.start, c.num_tokens) for c in chunks] == [(True, 0, 1), (False, 1, 2)]


def test_watching_changes_nothing() -> None:
    assert run(WatchedCluster(split()), TWO) == run(Cluster(split()), TWO)


def test_moves_are_recorded() -> None:
    watched = WatchedCluster(split())
    run(watched, TWO)
    assert [(m.request_id, m.source_id, m.target_id, m.num_blocks) for m in watched.history.moves] == [
        (0, 0, 1, 3),
        (1, 0, 1, 7),
    ]
    assert [m.end_s - m.start_s for m in watched.history.moves] == pytest.approx([0.003, 0.007])
    assert watched.history.roles == {0: "prefill", 1: "decode"}


def test_steps_of_one_instance_do_not_overlap() -> None:
    watched = WatchedCluster([Instance(PrefillFirst(), 64, id=i) for i in range(2)])
    run(watched, TWO)
    for instance_id in (0, 1):
        steps = [step for step in watched.history.steps if step.instance_id == instance_id]
        assert all(a.end_s <= b.start_s for a, b in pairwise(steps))


def test_the_life_of_a_request_has_no_gaps() -> None:
    watched = WatchedCluster(split())
    records = run(watched, TWO)
    for record, spans in zip(records, spans_by_request(records, watched.history), strict=True):
        assert spans[0].start_s == record.arrival_s
        assert spans[-1].end_s == record.end_s
        assert all(a.end_s == b.start_s for a, b in pairwise(spans))
        assert spans == request_spans(record, watched.history)
    assert [span.kind for span in spans] == ["waiting", "prefill", "transfer", "decode"]


def test_what_ran_for_nobody_is_waiting() -> None:
    record = RequestRecord(1.0, 4, [3.0, 6.0], Outcome.FINISHED, 6.0, request_id=7)
    history = History(
        [Step(0, 2.0, 3.0, (ChunkRun(7, 0, 0, 4, True),)), Step(0, 5.0, 6.0, (ChunkRun(7, 0, 4, 1, False),))]
    )
    assert request_spans(record, history) == [
        Span(1.0, 2.0, "waiting"),
        Span(2.0, 3.0, "prefill", 4),
        Span(3.0, 5.0, "waiting"),
        Span(5.0, 6.0, "decode", 1),
    ]
    history.moves.append(Move(7, 0, 0, 1, 3.0, 4.5, 1))
    assert [s.kind for s in request_spans(record, history)][2:] == ["transfer", "waiting", "decode"]


def test_a_request_that_never_ran_waited_to_its_end() -> None:
    record = RequestRecord(1.0, 4, [], Outcome.CANCELLED, 2.0)
    assert request_spans(record, History()) == [Span(1.0, 2.0, "waiting")]
    assert request_spans(RequestRecord(1.0, 4), History()) == []


def test_a_mixed_step_is_in_both_lanes_of_its_worker() -> None:
    step = Step(3, 0.0, 1.0, (ChunkRun(0, 0, 5, 1, False), ChunkRun(1, 0, 0, 30, True)))
    assert instance_spans([step], 3) == ([Span(0.0, 1.0, "prefill", 30)], [Span(0.0, 1.0, "decode", 1)])
    assert instance_spans([step], 4) == ([], [])


def test_joining_counts_steps_and_overlooks_the_drivers_pauses() -> None:
    pause = NEGLIGIBLE_S / 2
    spans = [Span(0.0, 1.0, "decode", 2), Span(1.0 + pause, 2.0, "decode", 3), Span(3.0, 4.0, "decode", 1)]
    assert joined(spans) == [Span(0.0, 2.0, "decode", 5, 2), Span(3.0, 4.0, "decode", 1)]


def test_many_steps_in_one_event_look_like_single_steps() -> None:
    """The simulator may make many decode steps one event: the picture must not change."""
    pictures = []
    for single_step in (False, True):
        watched = WatchedCluster(split())
        driver = VirtualDriver(watched, LinearCost(), transfer_s_per_block=1e-3, single_step=single_step)
        records = driver.run(TWO).records
        lanes = [instance_spans(watched.history.steps, i) for i in (0, 1)]
        pictures.append((spans_by_request(records, watched.history), lanes, timeline_summary(records, watched.history)))
    assert pictures[0] == pictures[1]
