"""Prefill here, decode there: reserve, copy, commit, free; and what can go wrong on the way."""

from __future__ import annotations

from typing import Any

from course.metrics.record import Outcome
from course.serving.actions import Action, RunBatch, SequenceEnded, StartTransfer, StopTransfer, Transfer, WakeAt
from course.serving.batch import Batch, TokenResult
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.plan import Chunk, Plan, Preemption
from course.serving.sequence import State
from course.workload.request import Request
from tests.serving.helpers import (
    Scripted,
    assert_all_served,
    assert_empty,
    checking_driver,
    finish,
    instance,
    queue,
    request,
    run,
    with_tokens,
    workload,
)


class Split:
    """A cluster of prefill instances 0.. and decode instances 10.., played by hand, one event at a time."""

    def __init__(self, prefill: tuple[int, ...] = (64,), decode: tuple[int, ...] = (64,)) -> None:
        self.prefill = [instance("prefill-first", blocks, id=k, role="prefill") for k, blocks in enumerate(prefill)]
        self.decode = [instance("chunked-prefill", blocks, id=10 + k, role="decode") for k, blocks in enumerate(decode)]
        self.cluster = Cluster([*self.prefill, *self.decode])
        self.running: dict[int, Batch] = {}
        self.copying: list[Transfer] = []
        self.ended: list[tuple[tuple[int, int], State]] = []
        self.tokens: dict[tuple[int, int], int] = {}
        self.now_s = 0.0

    def event(self, handler: Any, *arguments: Any) -> list[Action]:
        """Report one event, decide, and note what is to be done."""
        actions = handler(*arguments, self.now_s) + self.cluster.decide(self.now_s)
        self.cluster.check_integrity()
        for action in actions:
            match action:
                case RunBatch(batch):
                    self.running[batch.instance_id] = batch
                case StartTransfer(transfer):
                    self.copying.append(transfer)
                case SequenceEnded(sequence, _):
                    self.ended.append((sequence.id, sequence.state))
        return actions

    def arrive(self, *requests: Request) -> None:
        for each in requests:
            self.event(self.cluster.on_arrival, each)

    def step(self, machine: Instance) -> list[Action]:
        """The batch of an instance is done."""
        batch = self.running.pop(machine.id)
        sampled = [s for chunk in batch.chunks for s in chunk.samples if not s.is_ended]
        for sequence in sampled:
            self.tokens[sequence.id] = self.tokens.get(sequence.id, 0) + 1
        return self.event(self.cluster.on_batch_done, batch, [TokenResult(s) for s in sampled])

    def report(self, end: str) -> list[Action]:
        """The oldest copy has ended: ``done``, ``refused`` or ``failed``."""
        return self.event(getattr(self.cluster, f"on_transfer_{end}"), self.copying.pop(0).id)

    def drain(self) -> None:
        """Let everything go well from now on."""
        while self.running or self.copying:
            if self.copying:
                self.report("done")
            for machine in list(self.running):
                self.step(self.cluster.instances[machine])
        self.cluster.check_not_stalled()
        assert_empty(self.cluster)


def free(machine: Instance) -> int:
    return machine.memory.pool.num_free_blocks


def test_the_target_reserves_before_and_the_source_frees_after_the_copy():
    split = Split()
    split.arrive(request(0, 9, 4))
    (source,), (target,) = split.prefill, split.decode
    split.step(source)
    (transfer,) = split.copying
    assert (transfer.source, transfer.target, transfer.attempt) == (source, target, 1)
    target_blocks = list(transfer.target_blocks)
    assert len(transfer.source_blocks) == len(target_blocks) == 3
    assert (free(source), free(target)) == (61, 61)
    assert not target.running
    split.event(split.cluster.on_transfer_progress, transfer.id, 2)
    assert transfer.num_blocks_done == 2
    split.report("done")
    assert (free(source), free(target)) == (64, 61)
    (chunk,) = split.running[10].chunks
    assert (chunk.start, chunk.num_tokens, chunk.block_table) == (9, 1, target_blocks)
    split.drain()
    assert split.tokens == {(0, 0): 4}


def test_an_answer_of_one_token_ends_where_its_prompt_ran():
    split = Split()
    split.arrive(request(0, 9, 1))
    split.step(split.prefill[0])
    assert not split.copying
    assert split.ended == [((0, 0), State.FINISHED)]
    assert_empty(split.cluster)


def test_a_full_decode_instance_holds_sequences_back_at_their_source():
    split = Split(decode=(4,))
    split.arrive(request(0, 9, 4), request(1, 9, 4))
    (source,), (target,) = split.prefill, split.decode
    split.step(source)
    split.step(source)
    assert len(split.copying) == 1, "four blocks have no room for two prompts of three"
    split.report("done")
    assert len(source.held) == 1
    assert free(source) == 61
    while not split.ended:
        assert not split.copying
        split.step(target)
    assert [t.sequence.id for t in split.copying] == [(1, 0)], "room came with the end of the first"
    split.drain()
    assert split.tokens == {(0, 0): 4, (1, 0): 4}


def test_prompts_wait_while_the_source_is_full_of_sequences_held_back():
    split = Split(prefill=(6,), decode=(4,))
    split.arrive(*(request(k, 9, 4) for k in range(3)))
    (source,) = split.prefill
    split.step(source)
    split.step(source)
    assert free(source) == 0
    assert len(source.waiting) == 1
    assert source.is_idle
    split.drain()
    assert split.tokens == {(k, 0): 4 for k in range(3)}


def test_sequences_move_first_come_first_served():
    split = Split(decode=(8,))
    split.arrive(request(0, 20, 4), request(1, 20, 4), request(2, 2, 4))
    for _ in range(2):
        split.step(split.prefill[0])
    assert [t.sequence.id for t in split.copying] == [(0, 0)], "the short one would fit but must not overtake"
    split.drain()


def test_answers_of_one_prompt_move_one_by_one():
    split = Split()
    split.arrive(request(0, 9, 4, n=3))
    split.step(split.prefill[0])
    assert [t.sequence.id for t in split.copying] == [(0, 0), (0, 1), (0, 2)]
    assert free(split.prefill[0]) == 61, "at the source they share the prompt"
    split.drain()
    assert split.tokens == {(0, k): 4 for k in range(3)}


# refused and failed


def test_a_refused_transfer_gives_its_reservation_back_and_is_tried_again_after_a_pause():
    split = Split()
    split.arrive(request(0, 9, 4))
    split.step(split.prefill[0])
    split.now_s = 1.0
    (wake,) = split.report("refused")
    assert isinstance(wake, WakeAt)
    assert wake.time_s > 1.0
    assert free(split.decode[0]) == 64
    assert len(split.prefill[0].held) == 1
    split.now_s = wake.time_s
    split.event(split.cluster.on_timer)
    assert [t.attempt for t in split.copying] == [1]
    split.drain()


def test_a_transfer_that_keeps_failing_is_given_up_and_the_sequence_computed_again():
    split = Split()
    split.arrive(request(0, 9, 4))
    (source,) = split.prefill
    split.step(source)
    attempts = []
    while split.copying:
        attempts.append(split.copying[0].attempt)
        split.report("failed")
    assert attempts == [1, 2, 3]
    (chunk,) = split.running[0].chunks
    assert (chunk.start, chunk.num_tokens) == (0, 10), "prompt and first token are known, none is computed"
    assert chunk.sequence.num_preemptions == 1
    split.drain()
    assert split.tokens == {(0, 0): 4}, "the first token was not given twice"


def starved_target() -> Split:
    """The target's only sequence needs the very block that is reserved for one on its way."""
    split = Split(prefill=(64, 64), decode=(4,))
    split.arrive(request(0, 8, 9))
    split.step(split.prefill[0])
    split.report("done")
    split.arrive(request(1, 3, 2))
    split.step(split.prefill[1])
    for _ in range(5):  # from 8 to 12 tokens computed: the third block is full, the fourth reserved
        if split.decode[0].is_idle:
            break
        split.step(split.decode[0])
    assert split.decode[0].is_idle
    assert len(split.decode[0].running) == len(split.copying) == 1
    return split


def test_a_target_that_waited_for_reserved_room_runs_on_when_the_transfer_is_refused():
    split = starved_target()
    split.report("refused")
    assert 10 in split.running
    split.now_s = 1.0
    split.event(split.cluster.on_timer)
    split.drain()


def test_a_target_that_waited_for_reserved_room_runs_on_when_the_transfer_was_not_wanted_any_more():
    split = starved_target()
    split.event(split.cluster.on_cancel, 1)
    split.report("failed")
    assert 10 in split.running
    split.drain()


def test_a_target_that_waited_for_reserved_room_runs_on_when_the_transfer_is_given_up():
    split = starved_target()
    for _ in range(3):
        split.report("failed")
    assert 10 in split.running
    split.drain()
    assert split.tokens == {(0, 0): 9, (1, 0): 2}


# cancelled and lost on the way


def test_a_reservation_outlives_the_sequence_until_the_end_of_the_copy_is_reported():
    for end in ("done", "failed", "refused"):
        split = Split()
        split.arrive(request(0, 9, 4))
        split.step(split.prefill[0])
        actions = split.event(split.cluster.on_cancel, 0)
        assert [type(a) for a in actions] == [StopTransfer, SequenceEnded]
        assert (free(split.prefill[0]), free(split.decode[0])) == (64, 61)
        assert split.report(end) == []
        assert_empty(split.cluster)


def test_a_sequence_whose_target_is_lost_moves_elsewhere():
    split = Split(decode=(64, 64))
    split.arrive(request(0, 9, 4))
    split.step(split.prefill[0])
    (first,) = split.copying
    split.event(split.cluster.on_instance_lost, first.target.id)
    assert split.copying[1].target is not first.target
    assert split.copying[1].sequence is first.sequence
    split.report("done")  # the stale one: of no consequence
    assert len(split.prefill[0].held) == 1
    split.drain()
    assert split.tokens == {(0, 0): 4}


def test_a_sequence_whose_source_is_lost_is_computed_again():
    split = Split(prefill=(64, 64))
    split.arrive(request(0, 9, 4))
    split.step(split.prefill[0])
    split.event(split.cluster.on_instance_lost, 0)
    (chunk,) = split.running[1].chunks
    assert (chunk.start, chunk.num_tokens) == (0, 10)
    assert free(split.decode[0]) == 61
    split.report("done")  # half of it may be rubbish: the copy is not used, the reservation ends
    assert free(split.decode[0]) == 64
    split.drain()
    assert split.tokens == {(0, 0): 4}


def test_a_sequence_whose_decode_instance_is_lost_goes_on_after_its_last_token():
    split = Split(decode=(64, 64))
    split.arrive(request(0, 9, 6))
    split.step(split.prefill[0])
    split.report("done")
    (lost,) = split.running
    split.step(split.cluster.instances[lost])
    assert split.tokens == {(0, 0): 2}
    split.event(split.cluster.on_instance_lost, lost)
    del split.running[lost]
    (chunk,) = split.running[0].chunks
    assert (chunk.start, chunk.num_tokens) == (0, 11)
    split.drain()
    assert split.tokens == {(0, 0): 6}


def test_events_of_a_lost_instance_do_not_touch_the_one_that_took_its_id():
    split = Split(decode=(64,))
    split.arrive(request(0, 9, 4))
    split.step(split.prefill[0])
    back = instance("chunked-prefill", 64, id=10, role="decode")
    split.cluster.on_instance_lost(10, 0.0)
    assert split.cluster.num_unfinished == 0, "without any decode instance the request fails"
    split.event(split.cluster.on_instance_joined, back)
    split.arrive(request(1, 9, 4))
    split.step(split.prefill[0])
    split.report("done")  # that of the lost instance
    assert not back.running
    assert len(back.reserved) == 1
    split.drain()
    assert split.tokens[1, 0] == 4


# what is left of a cluster


def test_answers_being_written_survive_the_loss_of_the_last_prefill_instance():
    split = Split()
    split.arrive(request(0, 9, 4))
    split.step(split.prefill[0])
    split.report("done")
    split.event(split.cluster.on_instance_lost, 0)
    split.arrive(request(1, 9, 4))
    assert split.ended == [((1, 0), State.REFUSED)], "nobody computes prompts any more"
    split.drain()
    assert split.tokens == {(0, 0): 4}


def test_without_a_decode_instance_what_is_not_there_yet_fails_with_a_reason():
    split = Split()
    split.arrive(request(0, 9, 4), request(1, 9, 4))
    split.step(split.prefill[0])
    actions = split.event(split.cluster.on_instance_lost, 10)
    reasons = [a.reason for a in actions if isinstance(a, SequenceEnded)]
    assert reasons == [f"request {k}: no decode instance is left" for k in range(2)]
    split.copying.clear()
    split.event(split.cluster.on_batch_done, split.running.pop(0), [])
    assert_empty(split.cluster)


def test_a_sequence_that_has_outgrown_every_prefill_instance_fails_instead_of_waiting_for_ever():
    served = workload(request(0, 16, 40))
    cluster = Cluster(
        [
            instance("prefill-first", 4, id=0, role="prefill"),
            instance("chunked-prefill", 20, id=1, role="decode"),
            instance("chunked-prefill", 20, id=2, role="decode"),
        ]
    )
    driver = checking_driver(cluster)
    driver.at(0.05, cluster.on_instance_lost, 1)
    (record,) = driver.run(served).records
    assert record.outcome is Outcome.FAILED
    assert "instance 0 has 4" in record.error
    assert_empty(cluster)


def test_a_cluster_of_all_roles_serves_everything():
    served = workload(*(request(k, 5 + k, 3 + k, arrival_s=0.001 * k, n=1 + k % 2) for k in range(12)))
    cluster = Cluster(
        [
            instance("prefill-first", 16, id=0, role="prefill"),
            instance("chunked-prefill", 16, id=1, role="mixed"),
            instance("decode-first", 16, id=2, role="decode"),
        ]
    )
    assert_all_served(checking_driver(cluster, transfer_s_per_block=1e-3).run(served), served)
    assert_empty(cluster)


# who takes, and who is told


def test_an_instance_with_a_queue_takes_nobody_else():
    machine = instance(Scripted())
    (moving,) = queue(instance(Scripted()), request(9, 4))
    assert machine.can_reserve(moving)
    (waiting,) = queue(machine, request(0, 4))
    assert not machine.can_reserve(moving)
    run(machine, Plan([Chunk(waiting, 4)]))
    assert machine.can_reserve(moving)


def test_blocks_that_are_being_swapped_out_are_not_given_to_a_transfer():
    machine = instance(Scripted(), num_blocks=4, num_host_blocks=4)
    (moving,) = queue(instance(Scripted()), request(9, 4))
    first, second = queue(machine, request(0, 8), request(1, 1))
    run(machine, Plan([Chunk(first, 8)]))
    machine.scheduler.plans = [Plan([Chunk(second, 1)], preempt=[Preemption(first, swap=True)])]
    batch = machine.schedule(0.0)[1]
    machine.end(first, State.CANCELLED)  # nobody waits any more, but its copy to the host still runs
    assert not machine.can_reserve(moving)
    finish(machine, batch)
    assert machine.can_reserve(moving)


def test_a_prefix_that_moved_is_found_at_its_new_place():
    source, target = (instance(Scripted(), id=k, prefix_cache=True) for k in range(2))
    text = list(range(9))
    (sequence,) = queue(source, with_tokens(request(0, 9), text, 4))
    run(source, Plan([Chunk(sequence, 9)]))
    source.hold(sequence)
    target.reserve(0, sequence)
    source.hand_over(0, sequence, target)
    (like_it,) = queue(target, with_tokens(request(1, 9), text, 4))
    (chunk,) = run(target, Plan([Chunk(like_it, 1)])).chunks
    assert chunk.start == 8
    assert chunk.block_table[:2] == list(sequence.block_table[:2])


def test_a_source_that_gives_a_sequence_up_uses_its_room():
    split = Split(prefill=(6, 6), decode=(64,))
    split.arrive(request(0, 20, 4), request(1, 4, 4), request(2, 20, 4))  # to instances 0, 1, 0
    split.step(split.prefill[0])
    split.report("failed")
    split.report("failed")
    assert split.prefill[0].is_idle
    split.report("failed")  # the first goes to instance 1, so there is room for the third
    assert [chunk.sequence.id for chunk in split.running[0].chunks] == [(2, 0)]
    split.drain()
    assert split.tokens == {(k, 0): 4 for k in range(3)}
