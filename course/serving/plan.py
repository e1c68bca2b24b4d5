"""What a scheduler answers: who runs how many tokens next, who must yield, who is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from course.errors import UserError
from course.serving.sequence import Sequence

if TYPE_CHECKING:
    from course.serving.view import InstanceView


class Chunk(NamedTuple):
    """Compute the next ``num_tokens`` known tokens of a sequence.

    A whole prompt, a part of one and a decode step (one token) are the same thing.
    """

    sequence: Sequence
    num_tokens: int


class Preemption(NamedTuple):
    """Take a running sequence off the device, to be computed again or swapped to host memory."""

    sequence: Sequence
    swap: bool = False


class Refusal(NamedTuple):
    """Turn away a request that has not begun."""

    sequence: Sequence
    reason: str


_NONE: Any = ()  # stands for a list of one's own


@dataclass(slots=True, init=False)
class Plan:
    """One step of one instance. Preemptions come first and free their blocks for the chunks.

    A chunk of a waiting or preempted sequence admits it. ``decode_all`` adds a chunk of one token for every
    sequence that decodes. ``wake_at_s`` asks to be called again at that time even if nothing happens until then.

    ``holds`` says for how many steps the plan would be the same if nobody came or went and only token counts moved.
    It is a permission: the simulator makes these steps one event, the engine asks again after each. Leaving it at 1
    is always right.

    Until an instance has checked them, fields may hold anything.
    """

    chunks: list[Chunk] | Any
    decode_all: bool | Any
    preempt: list[Preemption] | Any
    refuse: list[Refusal] | Any
    wake_at_s: float | Any
    holds: int | Any

    def __init__(
        self,
        chunks: list[Chunk] | Any = _NONE,
        decode_all: bool | Any = False,
        preempt: list[Preemption] | Any = _NONE,
        refuse: list[Refusal] | Any = _NONE,
        wake_at_s: float | Any = None,
        holds: int | Any = 1,
    ) -> None:
        self.chunks = [] if chunks is _NONE else chunks
        self.decode_all = decode_all
        self.preempt = [] if preempt is _NONE else preempt
        self.refuse = [] if refuse is _NONE else refuse
        self.wake_at_s = wake_at_s
        self.holds = holds


UNTIL_CHANGE = 2**31  # as many steps as a plan can hold: until somebody comes or goes


class PlanError(UserError):
    """A plan breaks a rule. The sentence names the sequence and the rule; nothing was changed."""


class Scheduler(Protocol):
    """Decides what one instance runs next.

    It is asked whenever the instance is idle and something has happened. It may keep a state of
    its own, must not keep or change what it is shown, and never reads a clock: time is ``view.now_s``.
    """

    def schedule(self, view: InstanceView) -> Plan:
        """The next step of the instance behind ``view``."""
        ...
