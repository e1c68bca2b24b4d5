"""Between two threads: the engine's loop in one, the event loop of the server in the other.

The engine knows nothing of asyncio, and its steps must not stall the connections. So it runs in a
thread of its own. What the event loop wants of it is put into an inbox as a function, and is called
between two steps; new tokens go back by ``call_soon_threadsafe``, those of one step together.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import queue
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from course.engine.answer import Answer
from course.engine.front import Engine
from course.engine.server.errors import RequestError
from course.engine.server.jobs import Job
from course.errors import UserError
from course.serving.sequence import State

T = TypeVar("T")
STOPPED = "the engine has stopped; try again later"


class Update(NamedTuple):
    """News of one answer. ``time_s`` is when its tokens were there, ``started_s`` when its first step began.

    Times are those of `time.perf_counter`.
    """

    number: int  # of the answer, among all of one ticket
    tokens: list[int]
    time_s: float
    state: State  # WAITING while more may come
    reason: str = ""
    started_s: float = 0.0


class Listener(Protocol):
    """Whoever wants the news of a ticket; called on the event loop."""

    def hear(self, update: Update) -> None: ...  # noqa: D102


@dataclass(slots=True)
class Ticket:
    """The answers to the jobs of one client's request, while the engine writes them.

    ``queued_s`` is when the engine let them in (`time.perf_counter`).
    """

    listener: Listener
    queued_s: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    num_told: list[int] = field(default_factory=list)  # tokens, -1 once the end was told

    @property
    def request_ids(self) -> set[int]:
        """The engine's numbers for the jobs."""
        return {answer.request_id for answer in self.answers}


class Bridge:
    """Runs an engine in a thread. The methods are for the event loop's; ``after_step`` is called in the engine's."""

    def __init__(self, engine: Engine, after_step: Callable[[], None] = lambda: None) -> None:
        self.engine = engine
        self._after_step = after_step
        self.error: BaseException | None = None  # what ended the engine, where it was no request to stop
        self.on_death: Callable[[], None] = lambda: None  # called on the event loop then
        self.num_preemptions = 0  # of answers that have ended
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._tickets: list[Ticket] = []  # the engine's thread alone touches it
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread; to be called inside a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self, timeout_s: float = 10.0) -> None:
        """End what is still being written, then the thread."""
        self._post(self._stop)
        await asyncio.to_thread(self._thread.join, timeout_s)

    @property
    def is_alive(self) -> bool:
        """Whether the engine runs."""
        return self._thread.is_alive() and not self._is_stopping

    @property
    def trouble(self) -> str:
        """Why no request can be answered; empty where they can."""
        return self.engine.trouble if self.is_alive else STOPPED

    async def ask(self, question: Callable[[], T]) -> T:
        """Call a function in the engine's thread between two steps; its result or its exception."""
        future: asyncio.Future[T] = self._loop.create_future()

        def settle(method: Callable[[Any], None], value: Any) -> None:
            if not future.done():
                method(value)

        def work() -> None:
            try:
                result = question()
            except BaseException as error:
                self._loop.call_soon_threadsafe(settle, future.set_exception, error)
            else:
                self._loop.call_soon_threadsafe(settle, future.set_result, result)

        if not self.is_alive:
            raise unable(STOPPED)
        self._post(work)
        return await future

    async def submit(self, jobs: Sequence[Job], listener: Listener) -> Ticket:
        """Let the jobs in, all or none. Raises RequestError where one can never be served, or nobody is there to."""
        ticket = Ticket(listener)
        try:
            await self.ask(lambda: self._admit(jobs, ticket))
        except UserError as error:
            raise RequestError(str(error)) from error
        except asyncio.CancelledError:
            self.cancel(ticket)
            raise
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """End what is unfinished of a ticket; its memory is free after the step that runs."""
        self._post(lambda: self._drop(ticket))

    def cancel_answer(self, ticket: Ticket, number: int) -> None:
        """End one answer, which has begun; nothing more is heard of it."""
        self._post(lambda: self._drop_answer(ticket, number))

    def cancel_all(self, reason: str) -> None:
        """End everything that is being written, saying why."""
        self._post(lambda: self._fail_all(reason))

    # in the engine's thread

    def _post(self, work: Callable[[], None]) -> None:
        self._inbox.put(work)
        self.engine.wake()

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                self._work_off()
                self._advance()
                self._tell()
                self._after_step()
        except BaseException as error:
            self.error = error
            traceback.print_exc()
            self._tell_failure(self._tickets, "the engine has stopped")
        finally:
            self._is_stopping = True
            # Whoever asked in the meantime must not wait for ever.
            self._loop.call_soon_threadsafe(self._work_off)
            if self.error:
                self._loop.call_soon_threadsafe(self.on_death)

    def _work_off(self) -> None:
        """Do what was asked for."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._inbox.get_nowait()()

    def _advance(self) -> None:
        """A step; with nothing to serve, a rest until somebody asks for something."""
        if self._is_stopping:
            return
        try:
            self.engine.advance(None if self._tickets else math.inf)
        except UserError as error:  # a scheduler that plans nothing, or no worker is left: those who wait must know
            self._fail_all(str(error))

    def _stop(self) -> None:
        self._fail_all("the server is shutting down")
        self._is_stopping = True

    def _admit(self, jobs: Sequence[Job], ticket: Ticket) -> None:
        if why := STOPPED if self._is_stopping else self.engine.trouble:
            raise unable(why)
        ticket.queued_s = time.perf_counter()
        try:
            for job in jobs:
                ticket.answers += self.engine.submit(
                    job.prompt,
                    job.max_new_tokens,
                    job.sampling,
                    job.n,
                    ignore_end=job.ignore_end,
                    min_new_tokens=job.min_new_tokens,
                )
            for answer in ticket.answers:
                if answer.state is State.REFUSED:
                    raise UserError(answer.reason)
        except UserError:
            self._drop(ticket)
            raise
        ticket.num_told = [0] * len(ticket.answers)
        self._tickets.append(ticket)

    def _drop(self, ticket: Ticket) -> None:
        for request_id in ticket.request_ids:
            self.engine.cancel(request_id)
            self.num_preemptions += sum(record.num_preemptions for record in self.engine.recorder.take(request_id))
        if ticket in self._tickets:
            self._tickets.remove(ticket)

    def _drop_answer(self, ticket: Ticket, number: int) -> None:
        if ticket in self._tickets and ticket.num_told[number] >= 0:
            ticket.num_told[number] = -1
            answer = ticket.answers[number]
            self.engine.cancel(answer.request_id, answer.sample)

    def _fail_all(self, reason: str) -> None:
        tickets = list(self._tickets)
        for ticket in tickets:
            self._drop(ticket)
        self._tell_failure(tickets, reason)

    def _tell_failure(self, tickets: Sequence[Ticket], reason: str) -> None:
        now_s = time.perf_counter()
        self._send(
            [
                (ticket.listener, Update(index, [], now_s, State.FAILED, reason))
                for ticket in tickets
                for index, num in enumerate(ticket.num_told)
                if num >= 0
            ]
        )

    def _tell(self) -> None:
        """Send what is new since the last step."""
        now_s = time.perf_counter()
        news: list[tuple[Listener, Update]] = []
        for ticket in list(self._tickets):
            told = ticket.num_told
            for index, answer in enumerate(ticket.answers):
                num = told[index]
                if num < 0 or (len(answer.tokens) == num and not answer.is_ended):
                    continue
                started_s = self.engine.start_s + (answer.started_s or 0.0)
                update = Update(index, answer.tokens[num:], now_s, answer.state, answer.reason, started_s)
                news.append((ticket.listener, update))
                told[index] = -1 if answer.is_ended else num + len(update.tokens)
            if max(told) < 0:
                self._drop(ticket)
        self._send(news)

    def _send(self, news: list[tuple[Listener, Update]]) -> None:
        if news:
            self._loop.call_soon_threadsafe(deliver, news)


def unable(why: str) -> RequestError:
    """No request can be answered: it is the server's fault, and another server may be asked."""
    return RequestError(why, status=503, code="engine_stopped")


def deliver(news: list[tuple[Listener, Update]]) -> None:
    """Tell each listener its news."""
    for listener, update in news:
        listener.hear(update)
