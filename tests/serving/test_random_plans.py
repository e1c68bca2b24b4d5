"""Plans at random, valid and not: a draft never lies, and a plan that breaks a rule changes nothing."""

from __future__ import annotations

import re
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.metrics.record import Outcome
from course.serving.actions import Action
from course.serving.cluster import Cluster
from course.serving.draft import Draft
from course.serving.instance import Instance
from course.serving.plan import Chunk, Plan, PlanError, Preemption, Refusal
from course.serving.schedulers import ChunkedPrefill
from course.serving.sequence import Sequence, State
from course.serving.view import InstanceView
from tests.serving.helpers import assert_empty, checking_driver, instance, request, workload
from tests.serving.strategies import BLOCK, workloads


def snapshot(machine: Instance) -> list[Any]:
    """Everything that a plan could have changed."""
    memory = machine.memory
    for sequence in machine.sequences:
        _ = sequence.block_table  # blocks get their numbers when somebody asks; let that be now
    pools = [memory.pool, memory.host] if memory.host else [memory.pool]
    return [
        [(set(p._used), dict(p._more), list(p._free), list(p._cached), dict(p._block_of)) for p in pools],
        [list(queue) for queue in (machine.waiting, machine.running, machine.decoding, machine.held)],
        [values_of(sequence) for sequence in machine.sequences],
        (list(machine.in_flight), machine._num_steps, list(memory._host_blocks_being_read), dict(machine.reserved)),
    ]


def values_of(sequence: Sequence) -> list[str]:
    """Everything that the sequence knows, inside and out."""
    names = [name for name in dir(sequence) if not name.startswith("__")]
    return [repr(value) for name in names if not callable(value := getattr(sequence, name))]


class RandomPlans:
    """Plans by the dice: `Draft`'s methods in any order, and now and then a plan that breaks a known rule."""

    def __init__(self, dice: Random, num_wild_plans: int = 60) -> None:
        self.dice = dice
        self.num_wild_plans = num_wild_plans  # then it settles down, so that the run ends
        self.steady = ChunkedPrefill(token_budget=8)
        self.seen: list[Sequence] = []
        self.broken_rule = ""  # what the last plan must be rejected with
        self.before: list[Any] = []
        self.rules_broken: set[str] = set()

    def schedule(self, view: InstanceView) -> Any:
        self.broken_rule = ""
        self.before = snapshot(view._instance)
        self.seen += [s for s in [*view.waiting, *view.running] if s not in self.seen]
        self.num_wild_plans -= 1
        if self.num_wild_plans < 0:
            return self.steady.schedule(view)
        draft = view.draft()
        free = [*view.running, *view.waiting]
        if self.dice.random() < 0.3 and draft.can_decode_all():
            draft.decode_all()
            free = [s for s in free if s not in view.decoding]
        for sequence in self.shuffled(free):
            self.play(draft, sequence)
        plan = draft.plan
        plan.holds = self.dice.choice([1, 1, 2, 7, 1000])
        if self.dice.random() < 0.3:
            draft.wake_at(view.now_s + 0.001)
        if self.dice.random() < 0.5:
            return self.spoilt(view, plan)
        if not plan.chunks and not (plan.decode_all and len(view.decoding)):
            plan.wake_at_s = view.now_s + 0.001  # nobody else would ask again
        return plan

    def check_rejection(self, machine: Instance, sentence: str) -> None:
        """The last plan was rejected: it had to be, for the reason given, and nothing has changed."""
        assert self.broken_rule, f"a plan made by a draft was rejected: {sentence}"
        assert re.search(self.broken_rule, sentence), (self.broken_rule, sentence)
        assert "\n" not in sentence
        assert snapshot(machine) == self.before, f"a rejected plan has changed something: {sentence}"

    def shuffled(self, sequences: list[Sequence]) -> list[Sequence]:
        return self.dice.sample(sequences, len(sequences))

    def play(self, draft: Draft, sequence: Sequence) -> None:
        """One random entry for a sequence, if it is allowed."""
        die = self.dice.random()
        if sequence.state is State.RUNNING and die < 0.2:
            draft.preempt(sequence, swap=self.dice.random() < 0.5 and draft.can_swap(sequence))
        elif sequence.state is State.WAITING and die < 0.02:
            draft.refuse(sequence, "bad luck")
        elif die < 0.8:
            count = self.dice.randint(1, draft.tokens_left(sequence))
            if draft.can_add(sequence, count):
                draft.add(sequence, count)

    def spoilt(self, view: InstanceView, plan: Plan) -> Any:
        """The plan with one entry that breaks a rule, and ``broken_rule`` to match."""
        rules = [name for name in sorted(dir(self)) if name.startswith("break_")]
        for rule in self.dice.sample(rules, len(rules)):
            broken = getattr(self, rule)(view, plan)
            if broken is not None:
                self.rules_broken.add(rule)
                return broken[0]
        raise AssertionError("some rule can always be broken")

    def expect(self, plan: Any, sequence: Sequence | None, rule: str) -> tuple[Any]:
        self.broken_rule = (re.escape(repr(sequence)) if sequence else "") + ".*" + rule
        return (plan,)

    def pick(self, sequences: Any) -> Sequence | None:
        candidates = list(sequences)
        return self.dice.choice(candidates) if candidates else None

    def unused(self, view: InstanceView, plan: Plan) -> list[Sequence]:
        used = {entry[0] for entry in [*plan.chunks, *plan.preempt, *plan.refuse]}
        used |= set(view.decoding) if plan.decode_all else set()
        return [s for s in [*view.running, *view.waiting] if s not in used]

    # the rules

    def break_type(self, view: InstanceView, plan: Plan) -> Any:
        return self.expect(self.dice.choice([None, plan.chunks, "plan", 7]), None, "must return a Plan")

    def break_shape(self, view: InstanceView, plan: Plan) -> Any:
        if sequence := self.pick([*view.running, *view.waiting]):
            plan.preempt.append(sequence)  # type: ignore[arg-type]
            return self.expect(plan, None, "plan.preempt must be a list of Preemption")

    def break_with_a_stranger(self, view: InstanceView, plan: Plan) -> Any:
        stranger = Sequence(request(999, 5), rank=999)
        self.dice.choice(
            [
                lambda: plan.chunks.append(Chunk(stranger, 1)),
                lambda: plan.preempt.append(Preemption(stranger)),
                lambda: plan.refuse.append(Refusal(stranger, "")),
            ]
        )()
        return self.expect(plan, stranger, "is not on instance")

    def break_with_one_that_is_not_here(self, view: InstanceView, plan: Plan) -> Any:
        here = view._instance.sequences
        if gone := self.pick(s for s in self.seen if s not in here):  # ended, or on another instance
            plan.chunks.append(Chunk(gone, 1))
            return self.expect(plan, gone, "is not on instance")

    def break_by_naming_twice(self, view: InstanceView, plan: Plan) -> Any:
        if twice := self.pick(chunk.sequence for chunk in plan.chunks):
            plan.chunks.append(Chunk(twice, 1))
            return self.expect(plan, twice, "appears twice")

    def break_by_preempting_what_runs_on(self, view: InstanceView, plan: Plan) -> Any:
        if torn := self.pick(p.sequence for p in plan.preempt):
            plan.chunks.append(Chunk(torn, 1))
            return self.expect(plan, torn, "appears twice")

    def break_with_too_many_tokens(self, view: InstanceView, plan: Plan) -> Any:
        if greedy := self.pick(self.unused(view, plan)):
            plan.chunks.append(Chunk(greedy, greedy.num_known_tokens + self.dice.randint(1, 3)))
            return self.expect(plan, greedy, "are left")

    def break_with_no_tokens(self, view: InstanceView, plan: Plan) -> Any:
        if idle := self.pick(self.unused(view, plan)):
            plan.chunks.append(Chunk(idle, self.dice.choice([0, -1, True, 1.0, 2.5, None, "1"])))  # type: ignore[arg-type]
            return self.expect(plan, idle, "at least 1")

    def break_with_too_few_blocks(self, view: InstanceView, plan: Plan) -> Any:
        draft = view.draft()
        for sequence in self.shuffled([*view.running, *view.waiting]):
            left = draft.tokens_left(sequence)
            if draft.can_add(sequence, left):
                draft.add(sequence, left)
            else:
                draft.plan.chunks.append(Chunk(sequence, left))
                return self.expect(draft.plan, sequence, r"needs \d+ blocks but \d+ are free")

    def break_by_preempting_what_waits(self, view: InstanceView, plan: Plan) -> Any:
        if waiting := self.pick(s for s in self.unused(view, plan) if s in view.waiting):
            plan.preempt.append(Preemption(waiting))
            return self.expect(plan, waiting, "is not running")

    def break_by_refusing_what_has_begun(self, view: InstanceView, plan: Plan) -> Any:
        if begun := self.pick(s for s in self.unused(view, plan) if s.state is not State.WAITING):
            plan.refuse.append(Refusal(begun, "too late"))
            return self.expect(plan, begun, "has begun")

    def break_by_swapping_without_room(self, view: InstanceView, plan: Plan) -> Any:
        free = view.num_free_host_blocks
        large = [s for s in self.unused(view, plan) if s in view.running and len(s.block_table) > free]
        if large := self.pick(large):
            plan.preempt.append(Preemption(large, swap=True))
            return self.expect(plan, large, "host blocks")

    def break_with_no_steps(self, view: InstanceView, plan: Plan) -> Any:
        plan.holds = self.dice.choice([0, -1, True, 1.5, None])
        return self.expect(plan, None, "a plan holds for at least 1 step")

    def break_by_decoding_twice(self, view: InstanceView, plan: Plan) -> Any:
        if (torn := self.pick(view.decoding)) and view.draft().can_decode_all():
            entry = self.dice.choice([{"chunks": [Chunk(torn, 1)]}, {"preempt": [Preemption(torn)]}])
            return self.expect(Plan(**entry, decode_all=True), torn, "appears twice")

    def break_by_waking_in_the_past(self, view: InstanceView, plan: Plan) -> Any:
        plan.wake_at_s = self.dice.choice([view.now_s, view.now_s - 1, float("nan"), float("inf"), "soon"])
        return self.expect(plan, None, "wake_at_s must be a time after now")


class Forgiving(Cluster):
    """Asks again after a plan was rejected, as the engine does for a learner who mends a scheduler."""

    def decide(self, now_s: float) -> list[Action]:
        while True:
            try:
                return super().decide(now_s)
            except PlanError as error:
                machine = next(iter(self._to_decide))
                machine.scheduler.check_rejection(machine, str(error))


@given(served=workloads(max_requests=8), seed=st.integers(0, 10**6), data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_rejected_plan_changes_nothing_and_the_run_goes_on(served, seed: int, data: st.DataObject):
    dice = Random(seed)
    cluster = Forgiving(
        instance(
            RandomPlans(dice),
            data.draw(st.integers(15, 30)),
            BLOCK,
            id=k,
            prefix_cache=data.draw(st.booleans()),
            num_host_blocks=data.draw(st.sampled_from([0, 4, 50])),
        )
        for k in range(data.draw(st.integers(1, 2)))
    )
    driver = checking_driver(cluster)
    cancelled = data.draw(st.dictionaries(st.integers(0, 7), st.floats(0.0, 0.1), max_size=2))
    for request_id, time_s in cancelled.items():
        driver.at(time_s, cluster.on_cancel, request_id)
    recorder = driver.run(served)
    assert_empty(cluster)
    for record in recorder.records:
        if record.outcome is Outcome.FINISHED:
            assert record.num_output_tokens == served.output_lengths[record.request_id]
        else:
            assert record.outcome in (Outcome.CANCELLED, Outcome.REFUSED)
            assert record.error in ("cancelled by the client", "bad luck")


def test_every_rule_is_broken_some_time():
    """The test above would prove little if some kinds of broken plans never came up."""
    broken: set[str] = set()
    for seed in range(10):
        scheduler = RandomPlans(Random(seed))
        cluster = Forgiving([instance(scheduler, 15, BLOCK, num_host_blocks=3), instance(id=1)])
        checking_driver(cluster).run(workload(*(request(k, 5 + k, 10, n=1 + k % 2) for k in range(10))))
        broken |= scheduler.rules_broken
    assert broken == {name for name in dir(RandomPlans) if name.startswith("break_")}


@pytest.mark.parametrize("bad", [ValueError("a learner's mistake"), ZeroDivisionError()])
def test_an_exception_inside_a_scheduler_changes_nothing_either(bad: Exception):
    class Failing:
        def schedule(self, view: InstanceView) -> Plan:
            view.draft().add(view.waiting[0], 1)
            raise bad

    machine = instance(Failing())
    cluster = Cluster([machine])
    cluster.on_arrival(request(0, 5), 0.0)
    before = snapshot(machine)
    with pytest.raises(type(bad)):
        cluster.decide(0.0)
    assert snapshot(machine) == before
    machine.scheduler = ChunkedPrefill()
    assert len(cluster.decide(0.0)) == 1
