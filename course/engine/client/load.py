"""The open loop: every request goes out at its time, however late the answers to those before are.

A closed loop waits for answers and so asks a slow server for less: its latencies look better the slower the server
is. Real users do not wait for one another.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from course.engine.client.answer import Answer
from course.engine.client.call import BrokenError, Target, call
from course.engine.client.probe import ServerCard
from course.engine.client.prompts import word_prompt
from course.metrics.record import Outcome, RequestRecord
from course.workload.request import Request, Workload


@dataclass(frozen=True, slots=True)
class Style:
    """How requests are written. ``ignore_end``: answers go on to their planned length whatever the model says."""

    is_chat: bool = False
    ignore_end: bool = True
    temperature: float = 0.0
    seed: int = 0

    @property
    def path(self) -> str:
        """The endpoint."""
        return "/v1/chat/completions" if self.is_chat else "/v1/completions"

    def body(self, card: ServerCard, request: Request, num_tokens: int) -> bytes:
        """The JSON of one request."""
        body: dict[str, Any] = {"model": card.model, "max_tokens": num_tokens, "temperature": self.temperature}
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        if self.ignore_end:
            body["ignore_eos"] = True
        if self.is_chat:
            body["messages"] = [{"role": "user", "content": word_prompt(request, self.seed)}]
        else:
            body["prompt"] = word_prompt(request, self.seed) if request.prompt is None else list(request.prompt)
        return json.dumps(body).encode()


@dataclass(slots=True)
class Report:
    """What became of the load. ``late_s`` is how long after its planned time each request was sent."""

    records: list[RequestRecord] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    num_with_usage: int = 0

    @property
    def counted_by(self) -> str:
        """Whose count of tokens the report uses."""
        num_answered = sum(bool(record.token_times_s) for record in self.records)
        if self.num_with_usage == 0:
            return "chunks"
        return "usage" if self.num_with_usage >= num_answered else "usage where it came, else chunks"


class OpenLoop:
    """Sends a workload to a server. Times are seconds from the start of the load."""

    def __init__(self, target: Target, card: ServerCard, style: Style, timeout_s: float = 600.0) -> None:
        self._target = target
        self._card = card
        self._style = style
        self._timeout_s = timeout_s
        self._answers: dict[int, Answer] = {}

    async def run(
        self,
        workload: Workload,
        *,
        stop: asyncio.Event | None = None,
        on_end: Callable[[RequestRecord], None] = lambda record: None,
    ) -> Report:
        """Send everything, wait for all answers. Once ``stop`` is set nothing more is sent or waited for."""
        style, lengths = self._style, workload.output_lengths
        # Written beforehand: what takes time must not delay a request.
        bodies = [style.body(self._card, request, lengths[request.id]) for request in workload.requests]
        self._start_s = time.perf_counter()
        report, tasks = Report(), []
        for request, body in zip(workload.requests, bodies, strict=True):
            if await self._pause_until(request.arrival_s, stop):
                break
            record = RequestRecord(self._now_s, request.num_prompt_tokens, request_id=request.id, client=request.client)
            report.records.append(record)
            report.late_s.append(record.arrival_s - request.arrival_s)
            tasks.append(asyncio.create_task(self._send(record, body, on_end)))
        await self._wait_for(tasks, stop)
        report.texts = [self._answers[record.request_id].text for record in report.records]
        report.num_with_usage = sum(answer.usage is not None for answer in self._answers.values())
        return report

    @property
    def _now_s(self) -> float:
        return time.perf_counter() - self._start_s

    async def _pause_until(self, time_s: float, stop: asyncio.Event | None) -> bool:
        """Wait for the time; whether the load was stopped meanwhile."""
        pause_s = time_s - self._now_s
        if stop is None or stop.is_set():
            await asyncio.sleep(max(0.0, pause_s))
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, pause_s)):
                    await stop.wait()
        return stop is not None and stop.is_set()

    async def _wait_for(self, tasks: Sequence[asyncio.Task[None]], stop: asyncio.Event | None) -> None:
        stopped = asyncio.create_task((stop or asyncio.Event()).wait())
        everything = asyncio.gather(*tasks, return_exceptions=True)
        waiting: list[asyncio.Future[Any]] = [everything, stopped]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, record: RequestRecord, body: bytes, on_end: Callable[[RequestRecord], None]) -> None:
        answer = self._answers[record.request_id] = Answer()
        outcome = Outcome.CANCELLED
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await call(self._target, "POST", self._style.path, body, answer.on_data)
            answer.close(reply)
            outcome = Outcome.FAILED if answer.error else Outcome.FINISHED
        except TimeoutError:
            outcome, answer.error = Outcome.FAILED, f"no end within {self._timeout_s:g} s"
        except OSError as error:
            outcome, answer.error = Outcome.FAILED, f"no connection: {error.strerror or error}"
        except BrokenError as error:
            outcome, answer.error = Outcome.FAILED, str(error)
        finally:
            self._fill(record, answer, outcome)
            on_end(record)

    def _fill(self, record: RequestRecord, answer: Answer, outcome: Outcome) -> None:
        record.outcome, record.error = outcome, answer.error
        record.token_times_s = [time_s - self._start_s for time_s in answer.token_times_s()]
        record.end_s = max(self._now_s, *record.token_times_s[-1:], record.arrival_s)
        if answer.usage and isinstance(answer.usage.get("prompt_tokens"), int):
            record.num_prompt_tokens = answer.usage["prompt_tokens"]
