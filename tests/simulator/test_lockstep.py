"""Steps that all take equally long: what is written down of them is what the control plane did."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.errors import UserError
from course.serving.plan import Plan
from course.serving.schedulers import make_scheduler
from course.simulator.linear import LinearCost
from course.simulator.lockstep import Job, LockstepRun, serve_in_steps
from course.simulator.virtual import VirtualDriver
from course.workload.request import Request, Workload

JOBS = st.lists(
    st.tuples(st.integers(0, 8), st.integers(1, 6), st.integers(1, 6), st.integers(0, 3)).map(
        lambda job: Job(job[0], job[1], job[2], job[2] + job[3])
    ),
    min_size=1,
    max_size=6,
)


def test_one_request_runs_its_prompt_and_then_a_token_a_step() -> None:
    run = serve_in_steps(make_scheduler("orca"), [(1, 3, 3, 5)], num_blocks=8)
    assert [step.ran for step in run.steps] == [{}, {0: 3}, {0: 1}, {0: 1}]
    assert [step.prefills for step in run.steps] == [(), (0,), (), ()]
    assert [step.num_free_blocks for step in run.steps] == [8, 8, 5, 4]
    assert not run.error


@given(jobs=JOBS, policy=st.sampled_from(["static", "orca", "prefill-first", "decode-first", "chunked-prefill"]))
def test_every_answer_gets_its_tokens_when_the_virtual_clock_says(jobs: list[Job], policy: str) -> None:
    run = serve_in_steps(make_scheduler(policy), jobs, num_blocks=16)
    assert not run.error
    requests = [Request(i, job.arrival, job.num_prompt_tokens, job.max_new_tokens) for i, job in enumerate(jobs)]
    workload = Workload(requests, {i: job.num_output_tokens for i, job in enumerate(jobs)})
    from course.serving.cluster import Cluster
    from course.serving.instance import Instance

    clock = VirtualDriver(Cluster([Instance(make_scheduler(policy), 16, 1)]), LinearCost(1.0, 0.0, 0.0))
    ends = {record.request_id: record.end_s for record in clock.run(workload).records}
    for number in range(len(jobs)):
        last = max(now for now, step in enumerate(run.steps) if number in step.ran)
        assert last + 1 == ends[number]


def test_a_preempted_request_is_named() -> None:
    run = serve_in_steps(make_scheduler("prefill-first", watermark=0.0), [(0, 1, 4, 4), (0, 1, 4, 4)], num_blocks=4)
    lost = {now: step.preempted for now, step in enumerate(run.steps) if step.preempted}
    assert list(lost.values()) == [(1,)]
    assert 1 in run.steps[next(iter(lost))].waiting


def test_a_scheduler_that_runs_nobody_ends_in_a_sentence() -> None:
    class Idle:
        def schedule(self, view: object) -> Plan:
            return Plan()

    run = serve_in_steps(Idle(), [(0, 1, 1, 1), (1, 1, 1, 1)], num_blocks=4)
    assert run.error == "step 1: nothing runs, and these wait for ever: 0, 1"
    assert [step.waiting for step in run.steps] == [(0,), (0, 1)]


def test_a_plan_that_breaks_a_rule_ends_the_run() -> None:
    class TooMuch:
        def schedule(self, view):
            draft = view.draft()
            draft.add(view.waiting[0], 9)
            return draft.plan

    run = serve_in_steps(TooMuch(), [(0, 2, 1, 1)], num_blocks=4)
    assert run.steps == ()
    assert "only 2 are left" in run.error


def test_a_scheduler_that_always_takes_back_what_it_gave_is_stopped() -> None:
    class Restless:
        def schedule(self, view):
            draft = view.draft()
            for sequence in view.running:
                draft.preempt(sequence)
            for sequence in view.waiting:
                draft.add(sequence, 1)
            return draft.plan

    run = serve_in_steps(Restless(), [(0, 2, 1, 1)], num_blocks=4)
    assert run.error.endswith("this never comes to an end")


def test_a_request_that_could_never_run_is_refused_beforehand() -> None:
    with pytest.raises(UserError, match="give it more blocks"):
        serve_in_steps(make_scheduler("orca"), [(0, 9, 1, 1)], num_blocks=4)


def test_a_run_survives_the_way_through_plain_tuples() -> None:
    run = serve_in_steps(make_scheduler("orca"), [(0, 3, 3, 5), (1, 1, 1, 1)], num_blocks=8)
    plain = (tuple(map(tuple, run.jobs)), tuple(map(tuple, run.steps)), run.error)
    assert LockstepRun.of(plain) == run
