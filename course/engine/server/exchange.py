"""One request for answers, from the engine's first token to the last byte that the client gets."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from course.engine.server.ask import Ask
from course.engine.server.bridge import Update
from course.engine.server.errors import RequestError
from course.engine.server.jobs import Job
from course.engine.server.limits import GoneError, Message, Receive
from course.engine.server.measures import Life
from course.engine.server.shapes import DONE, Shape, Usage, event, to_json
from course.engine.server.writing import Piece, Writing
from course.serving.sequence import State

if TYPE_CHECKING:
    from course.engine.server.app import Service

Send = Callable[[Message], Awaitable[None]]
STREAM_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class Exchange:
    """Hears what the engine writes and passes it on, whole or as a stream.

    A token that comes while the client does not read waits here: at most as many as were asked for.
    """

    def __init__(self, service: Service, ask: Ask, jobs: Sequence[Job], shape: Shape, arrival_s: float) -> None:
        self._service = service
        self._ask = ask
        self._jobs = jobs
        self._shape = shape
        self._writings = [Writing(service.model, job, ask) for job in jobs for _ in range(ask.n)]
        self._lives = [Life(arrival_s, len(job.prompt), job.max_new_tokens) for job in jobs for _ in range(ask.n)]
        self._usage = Usage(sum(len(job.prompt) for job in jobs))
        self._news: deque[Update] = deque()
        self._changed = asyncio.Event()
        self._is_gone = False

    async def run(self, receive: Receive, send: Send, abort: Callable[[], None]) -> None:
        """Answer. Raises RequestError where nothing was sent yet; a client that leaves ends the answers."""
        bridge = self._service.bridge
        ticket = self._ticket = await bridge.submit(self._jobs, self)
        for life in self._lives:
            life.queued_s = ticket.queued_s
        for job in self._jobs:
            self._service.measures.on_arrival(len(job.prompt))
        watcher = asyncio.create_task(self._watch(receive))
        try:
            await (self._stream(send) if self._ask.stream else self._whole(send))
        except TimeoutError:
            abort()  # closing would wait for the client to read
        except GoneError:
            pass
        finally:
            watcher.cancel()
            unfinished = [life for life, each in zip(self._lives, self._writings, strict=True) if not each.is_ended]
            for life in unfinished:
                self._service.measures.on_end(life, "abort")
            bridge.cancel(ticket)

    def hear(self, update: Update) -> None:
        """News from the engine."""
        if update.tokens and not self._writings[update.number].is_ended:
            life = self._lives[update.number]
            life.started_s = update.started_s
            self._service.measures.on_tokens(life, len(update.tokens), update.time_s)
        self._news.append(update)
        self._changed.set()

    async def _watch(self, receive: Receive) -> None:
        """Wait until the client leaves."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        self._changed.set()

    async def _pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """What is new of the answers, by their numbers, until all have ended."""
        num_open = len(self._writings)
        while num_open:
            await self._changed.wait()
            self._changed.clear()
            while self._news:
                if self._is_gone:
                    raise GoneError
                update = self._news.popleft()
                writing = self._writings[update.number]
                if writing.is_ended:
                    continue
                if update.state not in (State.WAITING, State.FINISHED):
                    raise self._failure(update.reason)
                piece = writing.add(update.tokens, update.state)
                self._usage.num_output_tokens += len(piece.tokens)
                if piece.finish_reason:
                    num_open -= 1
                    if (
                        num_open and update.state is State.WAITING
                    ):  # at a stop string, which the engine knows nothing of
                        self._service.bridge.cancel_answer(self._ticket, update.number)
                    self._service.measures.on_end(self._lives[update.number], piece.finish_reason)
                yield update.number, piece
            if self._is_gone:
                raise GoneError

    def _failure(self, reason: str) -> RequestError:
        for life, writing in zip(self._lives, self._writings, strict=True):
            if not writing.is_ended:
                writing.is_ended = True
                self._service.measures.on_end(life, "error")
        return RequestError(reason or "the answer could not be finished", status=503, code="engine_failed")

    async def _whole(self, send: Send) -> None:
        """All answers at once, when the last has ended."""
        texts = self._echoes()
        tokens: list[list[int]] = [[] for _ in self._writings]
        ends: dict[int, Piece] = {}
        async for index, piece in self._pieces():
            texts[index] += piece.text
            tokens[index] += piece.tokens
            ends[index] = piece
        body = self._shape.body(texts, [ends[index] for index in sorted(ends)], self._usage)
        if self._ask.return_token_ids:
            for index, choice in enumerate(body["choices"]):
                choice |= {"token_ids": tokens[index], "prompt_token_ids": list(self._job_of(index).prompt)}
        data = to_json(body)
        length = str(len(data)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await self._put(send, {"type": "http.response.start", "status": 200, "headers": headers})
        await self._put(send, {"type": "http.response.body", "body": data})

    async def _stream(self, send: Send) -> None:
        """Server-sent events, one for each token as long as the client keeps up."""
        await self._put(send, {"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        echoes = dict(enumerate(self._echoes()))
        heads = {index: self._shape.head(index) for index in range(len(self._writings))}
        try:
            async for index, piece in self._pieces():
                if head := heads.pop(index, None):
                    await self._event(send, head)
                await self._event(send, self._chunk(index, piece._replace(text=echoes.pop(index, "") + piece.text)))
            if self._ask.include_usage:
                await self._event(send, {**self._shape.part_of([]), "usage": self._usage.body()})
        except RequestError as error:  # the status is out already
            await self._event(send, error.body())
        await self._put(send, {"type": "http.response.body", "body": DONE})

    def _chunk(self, index: int, piece: Piece) -> dict[str, Any]:
        chunk = self._shape.chunk(index, piece)
        if self._ask.return_token_ids:
            chunk["choices"][0]["token_ids"] = list(piece.tokens)
        if self._ask.include_usage:
            chunk["usage"] = self._usage.body() if self._ask.usage_in_every_chunk else None
        return chunk

    async def _event(self, send: Send, body: dict[str, Any]) -> None:
        await self._put(send, {"type": "http.response.body", "body": event(body), "more_body": True})

    async def _put(self, send: Send, message: Message) -> None:
        """Send; raises TimeoutError when the client has not read for too long."""
        async with asyncio.timeout(self._service.limits.write_timeout_s):
            await send(message)

    def _echoes(self) -> list[str]:
        """What each answer begins with: its prompt, where that was asked for."""
        if not self._ask.echo:
            return [""] * len(self._writings)
        return [self._service.model.decode(list(job.prompt)) for job in self._jobs for _ in range(self._ask.n)]

    def _job_of(self, index: int) -> Job:
        return self._jobs[index // self._ask.n]
