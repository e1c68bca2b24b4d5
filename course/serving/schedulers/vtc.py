"""Fairness between clients: virtual token counters ("Fairness in Serving Large Language Models", OSDI'24)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from course.serving.parameters import check_not_negative
from course.serving.plan import UNTIL_CHANGE, Plan
from course.serving.schedulers.common import run_decodes, settled
from course.serving.schedulers.on_demand import OnDemand
from course.serving.sequence import Sequence, State
from course.serving.view import InstanceView


@dataclass(eq=False, kw_only=True)
class _Client:
    """What a client was given, and those of its requests that wait, in order of arrival."""

    num_input_tokens: int = 0
    num_output_tokens: int = 0
    lift: float = 0.0
    queue: deque[Sequence] = field(default_factory=deque)


@dataclass(eq=False, kw_only=True)
class VirtualTokenCounter(OnDemand):
    """Of the clients that have requests waiting, the one that was given least goes next.

    A client's counter grows by ``input_weight`` for each token of an admitted prompt and by ``output_weight`` for each
    token of an answer. One that comes back after a pause is lifted to the smallest counter of those that wait (or, if
    nobody does, to that of the last client that did): it cannot save up service by asking for none. Two clients that
    both have requests waiting all the time are then served alike up to
    2 max(input_weight L, output_weight M), L the longest prompt and M the most tokens that run at once, as long as
    memory is not so short that answers are preempted.

    Otherwise as `PrefillFirst`. Nobody is held back while there is room: what one client leaves, others use.
    """

    input_weight: float = 1.0
    output_weight: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(input_weight=self.input_weight, output_weight=self.output_weight)
        self._clients: dict[str, _Client] = {}
        self._queued: dict[str, _Client] = {}  # those with requests waiting
        self._last_to_leave = _Client()
        self._known: set[Sequence] = set()  # in some client's queue
        self._counted: dict[Sequence, int] = {}  # tokens of each answer that were charged

    def schedule(self, view: InstanceView) -> Plan:
        """Prompts of the client with the smallest counter, if any can be admitted, else decodes."""
        self._charge_answers(view)
        self._queue_up(view)
        draft = view.draft()
        self.admit(view, draft, order=self._fair_order(view))
        if not draft.plan.chunks:
            run_decodes(view, draft, self.preempt)
        # While several clients wait, tokens decide whose turn it is, and the next one may fit where this one did not.
        return settled(draft, UNTIL_CHANGE if len(self._queued) < 2 else 1)

    def counter(self, client: str) -> float:
        """What the client was given, weighted, its lifts included."""
        return self._counter(self._clients.get(client, _Client()))

    # inside

    def _counter(self, client: _Client) -> float:
        given = self.input_weight * client.num_input_tokens + self.output_weight * client.num_output_tokens
        return given + client.lift

    def _charge_answers(self, view: InstanceView) -> None:
        for sequence in view.running:
            # An answer begun elsewhere was charged there; the n answers to one prompt are all begun here.
            self._counted.setdefault(sequence, 0 if sequence.sample else sequence.num_output_tokens)
        for sequence, counted in list(self._counted.items()):
            self._client(sequence).num_output_tokens += sequence.num_output_tokens - counted
            self._counted[sequence] = sequence.num_output_tokens
            if sequence.is_ended:
                del self._counted[sequence]

    def _client(self, sequence: Sequence) -> _Client:
        return self._clients.setdefault(sequence.request.client, _Client())

    def _queue_up(self, view: InstanceView) -> None:
        """Put those that came since the last step into their clients' queues."""
        come: list[Sequence] = []
        for sequence in reversed(view.waiting):
            if sequence in self._known or sequence.state is not State.WAITING:
                break
            come.append(sequence)
        num_preempted = sum(1 for _ in _preempted(view))
        if len(self._known) + len(come) + num_preempted != len(view.waiting):  # some were cancelled
            come = self._rebuild(view)
        for sequence in reversed(come):
            name, client = sequence.request.client, self._client(sequence)
            if name not in self._queued:
                others = [self._counter(other) for other in self._queued.values()]
                floor = min(others) if others else self._counter(self._last_to_leave)
                client.lift += max(0.0, floor - self._counter(client))
                self._queued[name] = client
            client.queue.append(sequence)
            self._known.add(sequence)

    def _rebuild(self, view: InstanceView) -> list[Sequence]:
        """Forget those that no longer wait. Returns who is not in a queue yet, the latest first."""
        self._known = {s for s in view.waiting if s in self._known}
        for name, client in list(self._queued.items()):
            client.queue = deque(s for s in client.queue if s in self._known)
            if not client.queue:
                self._leave(name)
        return [s for s in reversed(view.waiting) if s not in self._known and s.state is State.WAITING]

    def _leave(self, name: str) -> None:
        self._last_to_leave = self._queued.pop(name)

    def _fair_order(self, view: InstanceView) -> Iterator[Sequence]:
        """Those preempted, which were charged; then always the first of the client with the smallest counter."""
        yield from _preempted(view)
        while self._queued:
            name = min(self._queued, key=lambda name: (self._counter(self._queued[name]), name))
            client = self._queued[name]
            yield client.queue[0]
            sequence = client.queue.popleft()  # asked for the next one: this one is admitted
            self._known.remove(sequence)
            client.num_input_tokens += sequence.num_prompt_tokens
            self._counted[sequence] = sequence.num_output_tokens
            if not client.queue:
                self._leave(name)


def _preempted(view: InstanceView) -> Iterator[Sequence]:
    for sequence in view.waiting:
        if sequence.state is not State.PREEMPTED:
            return
        yield sequence
