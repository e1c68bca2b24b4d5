"""One answer in the making: two counters, a block table and a state.

Prefill and decode are not states. They follow from two counters that race: the tokens that
are *known* (prompt and answer so far) and those whose keys and values are *computed*. While
more than one known token is left to compute, it is prefill; one left is decode. A token is
sampled exactly when a chunk brings the computed count up to the known count.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from course.workload.request import Request

if TYPE_CHECKING:
    from course.serving.pool import BlockPool


class State(Enum):
    """Where a sequence stands. The last four are final."""

    WAITING = "waiting"
    RUNNING = "running"
    PREEMPTED = "preempted"
    FINISHED = "finished"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"

    _next: tuple[State, ...]  # where it may lead; tuples, because members are compared by identity and hash slowly


_FINAL: Final = (State.FINISHED, State.FAILED, State.REFUSED, State.CANCELLED)
State.WAITING._next = (State.RUNNING, State.FAILED, State.REFUSED, State.CANCELLED)
State.RUNNING._next = (State.PREEMPTED, State.FINISHED, State.FAILED, State.CANCELLED)
State.PREEMPTED._next = (State.RUNNING, State.FAILED, State.CANCELLED)
for _state in _FINAL:
    _state._next = ()


class Clock:
    """Counts the steps of sequences that move on together (`course.serving.decoding`).

    A sequence's own counters stand for what they were when the clock stood at 0, so that one tick moves all.
    This one, of the sequences that move on alone, always stands at 0.
    """

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps = 0

    def num_unnamed(self, sequence: Sequence) -> int:
        """Blocks that the sequence holds and that have no number yet: a pool has promised them."""
        return sequence._num_unnamed

    def name_blocks(self, sequence: Sequence) -> None:
        """Bring the block table of the sequence up to date."""
        if sequence._num_unnamed:
            assert sequence._pool
            sequence._block_table += sequence._pool.redeem(sequence._num_unnamed)
            sequence._num_unnamed = 0


ALONE: Final = Clock()


class IllegalMoveError(Exception):
    """A sequence was asked to go where its state does not lead: a fault of the control plane."""


class Sequence:
    """One of the ``request.n`` answers to a request.

    Schedulers read it; only the control plane moves it on. Every public value is therefore a
    read-only property, so that a scheduler that assigns to one fails at that line.
    """

    __slots__ = (
        "_block_hashes", "_block_table", "_clock", "_host_blocks", "_num_computed", "_num_output",
        "_num_preemptions", "_num_published", "_num_unnamed", "_pool", "_rank", "_request", "_sample", "_siblings",
        "_state",
    )  # fmt: skip

    def __init__(self, request: Request, rank: int, sample: int = 0) -> None:
        self._request = request
        self._rank = rank
        self._sample = sample
        self._state = State.WAITING
        self._clock = ALONE
        self._num_computed = 0  # this and the next: less than the truth by the steps of the clock
        self._num_output = 0
        self._num_preemptions = 0
        self._num_published = 0
        self._pool: BlockPool | None = None  # where its blocks are, if some of them have no number yet
        self._num_unnamed = 0  # these, unless the clock counts them
        self._block_table: list[int] = []
        self._host_blocks: list[int] = []
        self._block_hashes = list(request.prefix_hashes)
        self._siblings: tuple[Sequence, ...] = ()
        if sample == 0 and request.n > 1:
            self._siblings = tuple(Sequence(request, rank, k) for k in range(1, request.n))

    def __repr__(self) -> str:
        name = f"{self._request.id}" if self._request.n == 1 else f"{self._request.id}.{self._sample}"
        computed, known = self.num_computed_tokens, self.num_known_tokens
        return f"<sequence {name} {self._state.value}: {computed} of {known} tokens computed>"

    # what schedulers read

    @property
    def request(self) -> Request:
        """The request that this sequence answers."""
        return self._request

    @property
    def id(self) -> tuple[int, int]:
        """(request id, sample index)."""
        return self._request.id, self._sample

    @property
    def sample(self) -> int:
        """Which of the n answers this is, from 0."""
        return self._sample

    @property
    def rank(self) -> int:
        """Order of arrival at the cluster: lower came first."""
        return self._rank

    @property
    def state(self) -> State:
        """Where the sequence stands."""
        return self._state

    @property
    def is_ended(self) -> bool:
        """Whether the state is final."""
        return self._state in _FINAL

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt."""
        return self._request.num_prompt_tokens

    @property
    def num_output_tokens(self) -> int:
        """Tokens of the answer so far."""
        return self._num_output + self._clock.steps

    @property
    def num_known_tokens(self) -> int:
        """Prompt and answer so far."""
        return self._request.num_prompt_tokens + self._num_output + self._clock.steps

    @property
    def num_computed_tokens(self) -> int:
        """Tokens whose keys and values are in the cache (on the device or swapped out)."""
        return self._num_computed + self._clock.steps

    @property
    def num_tokens_at_most(self) -> int:
        """Tokens whose keys and values the sequence may come to need.

        The last token of an answer is never fed back, hence the minus one.
        """
        return self._request.num_prompt_tokens + self._request.max_new_tokens - 1

    @property
    def num_preemptions(self) -> int:
        """How often the sequence lost its place on the device."""
        return self._num_preemptions

    @property
    def num_slots(self) -> int:
        """Sequences that this one stands for: n until the prompt is computed, then 1."""
        return 1 + len(self._siblings)

    @property
    def is_swapped(self) -> bool:
        """Whether keys and values wait in host memory."""
        return bool(self._host_blocks)

    @property
    def block_table(self) -> tuple[int, ...]:
        """Device blocks that hold the computed tokens, in order."""
        self._clock.name_blocks(self)
        return tuple(self._block_table)

    # what the control plane does

    def _move_to(self, state: State) -> None:
        if state not in self._state._next:
            raise IllegalMoveError(f"{self!r} cannot become {state.value}")
        self._state = state

    def _forget_computed(self) -> None:
        """Everything must be computed again: no block is held any more."""
        self._num_computed = self._num_published = self._num_unnamed = 0
        self._block_table = []
        self._host_blocks = []
