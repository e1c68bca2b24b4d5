"""Moves that begin while the prompt is still being computed, and instances that are replaced at once."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from course.serving.actions import Action, RunBatch, SequenceEnded, StartTransfer, StopTransfer, Transfer
from course.serving.batch import Batch, TokenResult
from course.serving.cluster import Cluster
from course.serving.instance import Role
from course.serving.sequence import Sequence, State
from tests.serving.helpers import assert_empty, instance, request

ROLES: tuple[Role, ...] = ("prefill", "decode", "decode")
POLICIES = {"prefill": "prefill-only", "decode": "decode-only"}


class Play:
    """Carries actions out in whatever order the dice say: what runs ends some time, or its instance is lost."""

    def __init__(self, dice: random.Random, early: bool = True) -> None:
        self.dice = dice
        self.cluster = Cluster([self.new(i) for i in range(len(ROLES))], early_transfers=early)
        self.batches: list[Batch] = []
        self.transfers: list[Transfer] = []
        self.ended: list[Sequence] = []

    @staticmethod
    def new(id: int):
        return instance(POLICIES[ROLES[id]], num_blocks=16, block_size=4, id=id, role=ROLES[id])

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case RunBatch(batch):
                    self.batches.append(batch)
                case StartTransfer(transfer):
                    self.transfers.append(transfer)
                case SequenceEnded(sequence, _):
                    self.ended.append(sequence)
                case StopTransfer(transfer):
                    pass  # its end is reported some time
        self.cluster.check_integrity()

    def decide(self) -> None:
        self.carry_out(self.cluster.decide(0.0))

    def end_batch(self) -> None:
        batch = self.batches.pop(self.dice.randrange(len(self.batches)))
        results = [TokenResult(s) for chunk in batch.chunks for s in chunk.samples] if self.alive(batch) else []
        self.carry_out(self.cluster.on_batch_done(batch, results, 0.0))

    def alive(self, batch: Batch) -> bool:
        return self.cluster.running(batch) is not None

    def end_transfer(self) -> None:
        is_computing = {s for batch in self.batches if self.alive(batch) for s in batch.sequences}
        ready = [t for t in self.transfers if t.sequence not in is_computing or t.is_void]
        if not ready:
            return
        transfer = self.dice.choice(ready)
        self.transfers.remove(transfer)
        report = (
            self.cluster.on_transfer_failed
            if transfer.is_void
            else self.dice.choice([self.cluster.on_transfer_done] * 4 + [self.cluster.on_transfer_failed])
        )
        self.carry_out(report(transfer.id, 0.0))

    def fail_early(self) -> None:
        """A copy may break before the step is over, too."""
        if self.transfers:
            transfer = self.dice.choice(self.transfers)
            self.transfers.remove(transfer)
            self.carry_out(self.cluster.on_transfer_failed(transfer.id, 0.0))

    def lose(self) -> None:
        lost = self.dice.randrange(len(ROLES))
        self.batches = [batch for batch in self.batches if batch.instance_id != lost]
        self.carry_out(self.cluster.on_instance_lost(lost, 0.0, self.new(lost)))
        self.transfers = [t for t in self.transfers if t.target in self.cluster.instances.values()]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_nothing_is_lost_in_any_order_of_events(seed: int, early: bool) -> None:
    dice = random.Random(seed)
    play = Play(dice, early)
    num = dice.randint(1, 6)
    for id in range(num):
        play.carry_out(play.cluster.on_arrival(request(id, dice.randint(1, 40), dice.randint(1, 12)), 0.0))
    num_losses, cancelled = dice.randint(0, 4), set()
    for _ in range(3000):
        play.decide()
        if not play.cluster.num_unfinished:
            break
        moves = [play.end_batch] * 4 * bool(play.batches) + [play.end_transfer] * 3 * bool(play.transfers)
        if num_losses and dice.random() < 0.05:
            num_losses -= 1
            play.lose()
        elif dice.random() < 0.02:
            play.fail_early()
        elif dice.random() < 0.02:
            id = dice.randrange(num)
            cancelled.add(id)
            play.carry_out(play.cluster.on_cancel(id, 0.0))
        elif moves:
            dice.choice(moves)()
    while play.transfers or play.batches:
        play.end_batch() if play.batches else play.end_transfer()
    assert sorted(s.request.id for s in play.ended) == list(range(num))
    for sequence in play.ended:
        assert sequence.state is State.FINISHED or sequence.request.id in cancelled
    assert_empty(play.cluster)


def test_a_move_begins_with_the_step_that_completes_the_prompt() -> None:
    play = Play(random.Random(0))
    play.carry_out(play.cluster.on_arrival(request(0, 10, 5), 0.0))
    play.decide()
    [transfer], [batch] = play.transfers, play.batches
    assert transfer.is_early
    assert len(transfer.target_blocks) == len(transfer.source_blocks) == 3
    play.end_batch()
    play.carry_out(play.cluster.on_transfer_done(transfer.id, 0.0))
    assert [s.request.id for s in transfer.target.running] == [0]
    assert batch.prompts[0].sequence in transfer.target.decoding


def test_an_answer_that_ends_with_its_first_token_does_not_move() -> None:
    play = Play(random.Random(0))
    play.carry_out(play.cluster.on_arrival(request(0, 10, 1), 0.0))
    play.decide()
    play.end_batch()
    [transfer] = play.transfers
    assert transfer.is_void
    play.end_transfer()
    assert_empty(play.cluster)


def test_a_replacement_takes_over_at_once_and_nothing_fails() -> None:
    play = Play(random.Random(0))
    for id in range(3):
        play.carry_out(play.cluster.on_arrival(request(id, 10, 5), 0.0))
    play.decide()
    play.carry_out(play.cluster.on_instance_lost(0, 0.0, play.new(0)))
    assert not play.ended
    assert len(play.cluster.instances[0].waiting) == 3
