"""Moves of sequences that decode: copied in stages, handed over between two steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from course.serving.actions import Action, StartTransfer, StopTransfer, Transfer
from course.serving.instance import Instance
from course.serving.sequence import Sequence


@dataclass(slots=True, eq=False)
class Migration:
    """One sequence on its way. ``key`` names its reservation at the target."""

    key: int
    sequence: Sequence
    source: Instance
    target: Instance
    num_stages_left: int
    num_preemptions: int  # of the sequence when the move began: one more, and what was copied is worth nothing
    num_blocks_copied: int = 0
    transfer: Transfer | None = None  # the stage under way
    is_void: bool = False

    @property
    def is_stopped(self) -> bool:
        """Whether the sequence stands still for its last stage."""
        return not self.is_void and self.sequence in self.source.held

    @property
    def makes_sense(self) -> bool:
        """Whether the sequence still decodes, or is held, where its blocks were copied from."""
        stays = self.num_preemptions == self.sequence.num_preemptions and not self.sequence.is_ended
        return stays and not self.is_void and (self.is_stopped or self.sequence in self.source.decoding)


class Migrations:
    """Live migration as in Llumnix (OSDI'24): keys and values are only ever appended, so full blocks can be copied
    while the sequence decodes on, again and again, until what is left is so little that it can stop for it.

    A stage that finds at most ``LAST_STAGE_BLOCKS`` left to copy is the last. A move that needs more than
    ``MAX_STAGES`` is given up: the sequence writes faster than the link carries. (Both numbers are the published
    code's.) The target reserves what a stage needs when it begins; if it has no room, the move is given up and the
    sequence stays where it is. Nobody waits for room, so moves in opposite directions cannot block each other.
    """

    MAX_STAGES = 3
    LAST_STAGE_BLOCKS = 16

    def __init__(self, new_id: Callable[[], int], wake: Callable[[Instance], None]) -> None:
        self.of: dict[Sequence, Migration] = {}
        self._new_id = new_id
        self._wake = wake
        self._stages: dict[int, Migration] = {}  # by the id of the transfer under way
        self._stopping: dict[Migration, None] = {}  # those whose last stage begins when a step of the source ends

    def start(self, sequence: Sequence, source: Instance, target: Instance, live: bool) -> list[Action]:
        """Begin to move a sequence that decodes on ``source``, if ``target`` has room for it."""
        if target is source or sequence in self.of or sequence not in source.decoding:
            return []
        if target.why_never(sequence) or not target.has_room(sequence):
            return []
        stages = self.MAX_STAGES if live else 1
        migration = Migration(self._new_id(), sequence, source, target, stages, sequence.num_preemptions)
        self.of[sequence] = migration
        return self._next_stage(migration)

    def on_step_done(self, instance: Instance) -> list[Action]:
        """A step has ended: begin the last stages that waited for it."""
        actions: list[Action] = []
        for migration in [m for m in self._stopping if m.source is instance]:
            actions += self._stop(migration) if migration.makes_sense else self._give_up(migration)
        return actions

    def on_stage_done(self, transfer_id: int) -> tuple[list[Action], Migration | None]:
        """A stage is copied. Returns what follows, and the migration if the sequence is at its target now."""
        migration = self._stages.pop(transfer_id)
        assert migration.transfer
        migration.num_blocks_copied += migration.transfer.num_blocks
        migration.transfer = None
        if not migration.makes_sense:
            return self._give_up(migration), None
        if not migration.is_stopped:
            return self._next_stage(migration), None
        del self.of[migration.sequence]
        migration.source.hand_over(migration.key, migration.sequence, migration.target)
        self._wake(migration.source)
        self._wake(migration.target)
        return [], migration

    def on_stage_failed(self, transfer_id: int) -> list[Action]:
        """A stage was refused or broke: the sequence goes on where it is."""
        migration = self._stages.pop(transfer_id)
        migration.transfer = None
        return self._give_up(migration)

    def stage(self, transfer_id: int) -> Transfer | None:
        """The stage with that id, if it is one and under way."""
        migration = self._stages.get(transfer_id)
        return migration.transfer if migration else None

    def drop(self, sequence: Sequence) -> list[Action]:
        """The sequence has ended. What is being copied stays reserved until its end is reported."""
        migration = self.of.get(sequence)
        if migration is None or migration.is_void:
            return []
        migration.is_void = True
        return [StopTransfer(migration.transfer)] if migration.transfer else self._give_up(migration)

    def lose(self, lost: Instance) -> list[Action]:
        """An instance is gone: who was to go there stays, who lived there is computed again."""
        actions: list[Action] = []
        for migration in [m for m in self.of.values() if lost in (m.source, m.target)]:
            if migration.source is lost:
                actions += self.drop(migration.sequence)
                continue
            if migration.transfer:
                actions.append(StopTransfer(migration.transfer))
                del self._stages[migration.transfer.id]
            self._give_up(migration)
        return actions

    def check_integrity(self) -> None:
        """Raise AssertionError unless every migration has a next event to come and its blocks reserved."""
        for migration in self.of.values():
            stage = migration.transfer
            assert bool(stage) != (migration in self._stopping), f"nothing moves {migration.sequence!r} on"
            if stage:
                assert self._stages[stage.id] is migration, "a stage is unknown"
                reserved = migration.target.reserved[migration.key]
                assert len(reserved) == migration.num_blocks_copied + stage.num_blocks, "blocks are miscounted"

    # inside

    def _next_stage(self, migration: Migration) -> list[Action]:
        """Copy what is full by now; stop the sequence and copy the rest if that is little, or no stage is left."""
        sequence, copied = migration.sequence, migration.num_blocks_copied
        pool = migration.source.memory.pool
        left = pool.blocks_for(sequence.num_computed_tokens) - copied
        if left > self.LAST_STAGE_BLOCKS and migration.num_stages_left > 1:
            migration.num_stages_left -= 1
            return self._copy(migration, sequence.num_computed_tokens // pool.block_size - copied)
        if left > self.LAST_STAGE_BLOCKS and copied:
            return self._give_up(migration)
        return self._stop(migration)

    def _stop(self, migration: Migration) -> list[Action]:
        """The last stage: the sequence stands still, as soon as it is in no running step."""
        sequence, source = migration.sequence, migration.source
        if any(sequence in batch.decodes for batch in source.in_flight):
            self._stopping[migration] = None
            self._wake(source)  # end a long run with the step that runs now
            return []
        self._stopping.pop(migration, None)
        left = source.memory.pool.blocks_for(sequence.num_computed_tokens) - migration.num_blocks_copied
        if not migration.target.can_allocate(left):
            return self._give_up(migration)
        source.hold(sequence)
        return self._copy(migration, left)

    def _copy(self, migration: Migration, num_blocks: int) -> list[Action]:
        target, sequence, copied = migration.target, migration.sequence, migration.num_blocks_copied
        if not target.can_allocate(num_blocks):
            return self._give_up(migration)
        reservation = target.reserve_blocks(migration.key, num_blocks)
        number = self._new_id()
        migration.transfer = Transfer(number, sequence, migration.source, target, reservation, first_block=copied)
        self._stages[number] = migration
        self._wake(target)  # it has less room than its running batch was promised
        return [StartTransfer(migration.transfer)]

    def _give_up(self, migration: Migration) -> list[Action]:
        del self.of[migration.sequence]
        self._stopping.pop(migration, None)
        if migration.key in migration.target.reserved:
            migration.target.cancel_reservation(migration.key)
            self._wake(migration.target)
        if migration.is_stopped:
            migration.source.resume(migration.sequence)
            self._wake(migration.source)
        return []
