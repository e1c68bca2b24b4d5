"""Moving answers between instances while they are being written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as List
from typing import NamedTuple

from course.errors import UserError
from course.serving.actions import Action, WakeAt
from course.serving.batch import Batch
from course.serving.instance import Instance
from course.serving.migration import Migrations
from course.serving.sequence import Sequence


class Move(NamedTuple):
    """Let a sequence that decodes go on at ``target``.

    ``live``: it decodes on while its finished blocks are copied, and stops for the last few only; otherwise it stops
    first. Nothing happens if ``target`` has no room now, or if the sequence moves already.
    """

    sequence: Sequence
    target: Instance
    live: bool = False


class Mover:
    """Decides who moves. A cluster whose router is a mover asks it; this one moves nobody.

    ``instances`` are always those that keep answers (roles "mixed" and "decode"), in order of their ids.
    ``interval_s`` is the time from one `rebalance` to the next; None is never.
    """

    interval_s: float | None = None

    def after_prefill(
        self, sequence: Sequence, home: Instance, instances: List[Instance], now_s: float
    ) -> Instance | None:
        """Where a sequence goes on whose answer has begun on ``home``; None or ``home`` is to stay.

        Not asked on instances with role "prefill", which keep no answers.
        """
        return None

    def rebalance(self, instances: List[Instance], now_s: float) -> Iterable[Move]:
        """Who moves now."""
        return ()


class Moves:
    """Asks a cluster's mover when it is time, and has carried out what it says. ``home`` says who lives where."""

    def __init__(self, mover: Mover, migrations: Migrations, home: Mapping[Sequence, Instance]) -> None:
        self._mover = mover
        self._migrations = migrations
        self._home = home
        self._next_s: float | None = None  # when the mover is asked next; None: nothing is to come

    def after_step(self, instance: Instance, batch: Batch, instances: List[Instance], now_s: float) -> list[Action]:
        """A step is over: who was to stop after it moves, and whose answer has begun may go on elsewhere."""
        actions = self._migrations.on_step_done(instance)
        for sequence in [s for chunk in batch.prompts for s in chunk.samples if s in instance.decoding]:
            target = self._mover.after_prefill(sequence, instance, instances, now_s)
            if target and target is not instance:
                actions += self._start(Move(sequence, target), instances)
        return actions

    def is_due(self, now_s: float) -> bool:
        """Whether it is time for `rebalance`."""
        return self._next_s is not None and self._next_s <= now_s

    def rebalance(self, instances: List[Instance], now_s: float) -> list[Action]:
        """Begin the moves that the mover wants now."""
        self._next_s = None
        actions: list[Action] = []
        for move in self._mover.rebalance(instances, now_s):
            actions += self._start(move, instances)
        return actions

    def ask_again(self, now_s: float) -> list[Action]:
        """While there is work, somebody has to call when it is time for the next `rebalance`."""
        if self._next_s is not None or not self._mover.interval_s:
            return []
        self._next_s = now_s + self._mover.interval_s
        return [WakeAt(self._next_s)]

    def _start(self, move: Move, instances: List[Instance]) -> list[Action]:
        sequence, target, live = move
        if target not in instances:
            raise UserError(
                f"{type(self._mover).__name__} moves request {sequence.request.id} to {target!r}, "
                "which is not an instance of the cluster that keeps answers"
            )
        home = self._home.get(sequence)
        return self._migrations.start(sequence, home, target, live) if home else []
