"""What one client may cost the others: bytes, seconds, answers at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from course.engine.server.errors import RequestError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that the server holds every client to.

    ``max_answers`` counts what is being written or waits, over all clients: each prompt n times. Whoever would
    exceed it is told to come back after ``retry_after_s``. ``head_timeout_s`` and ``body_timeout_s`` bound how long a
    request may take to come; ``write_timeout_s`` how long a client may not read what it is sent.
    ``send_buffer_bytes`` is what the operating system keeps for a client that does not read.
    """

    max_answers: int = 256
    max_body_bytes: int = 4 * 1024 * 1024
    head_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    write_timeout_s: float = 30.0
    send_buffer_bytes: int = 128 * 1024
    retry_after_s: int = 1


class Admission:
    """Counts the answers that are in the house."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.num_answers = 0

    @contextmanager
    def of(self, num_answers: int) -> Iterator[None]:
        """Let so many answers in for the time of the block. Raises RequestError: 429 for now, 400 for ever."""
        most = self._limits.max_answers
        if num_answers > most:
            raise RequestError(f"{num_answers} answers were asked for at once; this server writes at most {most}")
        if self.num_answers + num_answers > most:
            raise RequestError(
                f"the server is busy with {self.num_answers} of at most {most} answers; try again in a moment",
                status=429,
                code="rate_limit_exceeded",
                headers={"retry-after": str(self._limits.retry_after_s)},
            )
        self.num_answers += num_answers
        try:
            yield
        finally:
            self.num_answers -= num_answers


class GoneError(Exception):
    """The client has left; nobody is there to be told anything."""


async def read_body(receive: Receive, limits: Limits) -> bytes:
    """The whole body of a request. Raises RequestError where it is too long or too slow, GoneError where it breaks off.

    What is too long is read to its end (up to ten times the limit) before it is refused: a client that is still
    sending would not see the answer.
    """
    body, num_bytes = bytearray(), 0
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise GoneError
                chunk = message.get("body", b"")
                num_bytes += len(chunk)
                if num_bytes <= limits.max_body_bytes:
                    body += chunk
                if not message.get("more_body") or num_bytes > 10 * limits.max_body_bytes:
                    break
    except TimeoutError:
        raise RequestError(
            f"the body did not come within {limits.body_timeout_s:g} s", status=408, headers={"connection": "close"}
        ) from None
    if num_bytes > limits.max_body_bytes:
        raise RequestError(f"the body is longer than {limits.max_body_bytes} bytes", status=413)
    return bytes(body)
