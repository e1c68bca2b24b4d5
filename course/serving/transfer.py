"""Sequences on their way from one instance to another: reserve, copy, commit, free."""

from __future__ import annotations

from collections.abc import Sequence as List

from course.serving.actions import Action, StartTransfer, StopTransfer, Transfer
from course.serving.batch import Batch
from course.serving.instance import Instance
from course.serving.routers import Router, choose
from course.serving.sequence import Sequence


class Handovers:
    """Pull transfers: a sequence waits at its source, blocks and all, until an instance has room for it.

    The source's memory is thus the buffer against bursts (DistServe, OSDI'24, section 4.3). First come, first served.
    """

    RETRY_S = 0.01  # pause before a refused transfer is tried again

    def __init__(self, router: Router) -> None:
        self.router = router
        self.transfers: dict[int, Transfer] = {}
        self.waiting: dict[Sequence, tuple[Instance, int]] = {}  # where it is, and which attempt comes next
        self.early: dict[Sequence, Transfer] = {}  # those whose prompt is still being computed
        self._not_before_s = 0.0
        self._num_started = 0

    def new_id(self) -> int:
        """A number for a transfer that no other has."""
        self._num_started += 1
        return self._num_started - 1

    def add(self, sequence: Sequence, source: Instance) -> None:
        """Let a sequence wait for its move, unless that is under way."""
        if self.early.pop(sequence, None) is None:
            self.waiting[sequence] = source, 1

    def add_again(self, transfer: Transfer, attempt: int) -> None:
        """Let a sequence whose move came to nothing wait again, before those that came after it.

        One whose prompt is still being computed waits from the end of that step on.
        """
        if self.early.pop(transfer.sequence, None):
            return
        self.waiting = {transfer.sequence: (transfer.source, attempt), **self.waiting}

    def pause(self, now_s: float) -> float:
        """A target has refused: start nothing before the time returned."""
        self._not_before_s = now_s + self.RETRY_S
        return self._not_before_s

    def start(self, takers: List[Instance], now_s: float) -> list[StartTransfer]:
        """Start every move for which one of ``takers`` has room."""
        actions: list[StartTransfer] = []
        waiting = self.waiting
        while waiting and now_s >= self._not_before_s:
            sequence, (source, attempt) = next(iter(waiting.items()))
            with_room = [i for i in takers if i.can_reserve(sequence) and i is not source]
            if not with_room:
                break
            target = choose(self.router, with_room, sequence, now_s)
            del waiting[sequence]
            actions.append(self._start(sequence, source, target, attempt))
        return actions

    def start_early(self, batch: Batch, source: Instance, takers: List[Instance], now_s: float) -> list[StartTransfer]:
        """Begin to move those whose prompts ``batch`` will complete, as far as there is room and nobody waits for it.

        Their layers can be copied one after another while the next ones are computed.
        """
        actions: list[StartTransfer] = []
        for chunk in batch.prompts:
            sequence = chunk.sequence
            if chunk.samples != (sequence,) or self.waiting or now_s < self._not_before_s:
                continue
            if with_room := [i for i in takers if i is not source and i.can_reserve(sequence, is_early=True)]:
                target = choose(self.router, with_room, sequence, now_s)
                actions.append(self._start(sequence, source, target, attempt=1, is_early=True))
                self.early[sequence] = actions[-1].transfer
        return actions

    def _start(
        self, sequence: Sequence, source: Instance, target: Instance, attempt: int, is_early: bool = False
    ) -> StartTransfer:
        number = self._num_started
        self._num_started += 1
        transfer = Transfer(number, sequence, source, target, target.reserve(number, sequence, is_early), attempt)
        transfer.is_early = is_early
        self.transfers[number] = transfer
        return StartTransfer(transfer)

    def commit(self, transfer_id: int) -> Transfer | None:
        """All blocks are there: from now on the target's copy counts. None if the transfer is unknown."""
        if (transfer := self.transfers.pop(transfer_id, None)) is None:
            return None
        if transfer.is_void:
            transfer.target.cancel_reservation(transfer_id)
        else:
            transfer.source.hand_over(transfer_id, transfer.sequence, transfer.target)
        return transfer

    def give_up(self, transfer_id: int) -> Transfer | None:
        """The copy did not succeed: the target's reservation ends. None if the transfer is unknown."""
        if transfer := self.transfers.pop(transfer_id, None):
            transfer.target.cancel_reservation(transfer_id)
        return transfer

    def drop(self, sequence: Sequence) -> list[Action]:
        """The sequence is not to be moved any more. What is being copied stays reserved until its end is reported."""
        self.waiting.pop(sequence, None)
        self.early.pop(sequence, None)
        actions: list[Action] = []
        for transfer in self.transfers.values():
            if transfer.sequence is sequence and not transfer.is_void:
                transfer.is_void = True
                actions.append(StopTransfer(transfer))
        return actions

    def lose(self, lost: Instance) -> list[Action]:
        """An instance is gone: what was on its way there waits again, what came from there is void."""
        actions: list[Action] = []
        for transfer in list(self.transfers.values()):
            if transfer.target is lost:
                del self.transfers[transfer.id]
                actions.append(StopTransfer(transfer))
                if not transfer.is_void:
                    self.add_again(transfer, transfer.attempt)
        from_there = [sequence for sequence, transfer in self.early.items() if transfer.source is lost]
        for sequence in [*lost.held, *from_there]:
            actions += self.drop(sequence)
        return actions
