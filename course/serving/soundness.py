"""Whether the books of a whole cluster agree, and whether anything in it waits for what will never come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from course.errors import UserError
from course.serving.instance import Instance
from course.serving.migration import Migrations
from course.serving.sequence import Sequence
from course.serving.transfer import Handovers


class StalledError(UserError):
    """Sequences wait but nothing will ever wake them: a scheduler plans nothing."""


def check_books(
    instances: Iterable[Instance],
    sequences: Mapping[int, list[Sequence]],
    home: Mapping[Sequence, Instance],
    handovers: Handovers,
    migrations: Migrations,
) -> None:
    """Raise AssertionError unless every instance is sound and every sequence has exactly one home."""
    instances = list(instances)
    for instance in instances:
        instance.check_integrity()
        for sequence in instance.sequences:
            assert home.get(sequence) is instance, f"{sequence!r} is not at home on {instance!r}"
    alive = [s for group in sequences.values() for s in group if not s.is_ended]
    homeless = [s for s in alive if s not in home]
    assert all(s.sample > 0 for s in homeless), f"nobody looks after {homeless}"
    moving = {t.sequence for t in handovers.transfers.values() if not t.is_void and t.sequence not in handovers.early}
    held = {s for i in instances for s in i.held}
    stopped = {m.sequence for m in migrations.of.values() if m.is_stopped}
    assert held == moving | handovers.waiting.keys() | stopped, "a held sequence waits for no transfer"
    migrations.check_integrity()


def check_not_stalled(instances: Iterable[Instance], handovers: Handovers) -> None:
    """Raise StalledError if anything waits, now that no event is to come any more."""
    for instance in instances:
        if instance.has_work:
            raise StalledError(
                f"instance {instance.id}: scheduler {type(instance.scheduler).__name__} plans nothing although "
                f"{len(instance.waiting)} sequences wait and {len(instance.running)} run, and nothing else is "
                "to come; it must run some of them"
            )
    if handovers.waiting:
        raise StalledError(
            f"{len(handovers.waiting)} sequences wait for a decode instance with room, and none will have any"
        )
