"""One HTTP request on a connection of its own.

No pool of connections: a pool has a limit, makes requests wait for one another, and hands out
connections that the server is just closing. None of that may delay a request or end it. The price:
TTFT holds the time to connect.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import h11

from course.errors import UserError

MOST_BODY_BYTES = 64 * 1024 * 1024  # of an answer that is not a stream


@dataclass(frozen=True, slots=True)
class Target:
    """A server: where it is and how it is spoken to. ``prefix`` comes before every path.

    ``address`` is the host's number, once it is known: looking a name up takes time and threads.
    """

    host: str
    port: int
    prefix: str = ""
    is_secure: bool = False
    api_key: str | None = None
    address: str | None = None

    @classmethod
    def of(cls, url: str, api_key: str | None = None) -> Target:
        """Read a URL, with or without /v1 at its end. Raises UserError."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError as error:
            raise UserError(f"--url {url} is no address: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"--url {url} is no address; give one such as http://127.0.0.1:8000")
        is_secure = parts.scheme == "https"
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        return cls(parts.hostname, port or (443 if is_secure else 80), prefix, is_secure, api_key)

    @property
    def authority(self) -> str:
        """Host and port as a URL has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def located(self) -> Target:
        """The same with its address, that at which somebody takes a connection. Raises OSError where nobody does."""
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, self.host, self.port)
        address: str = transport.get_extra_info("peername")[0]
        transport.abort()
        return replace(self, address=address)


@dataclass(slots=True)
class Reply:
    """What came back: the status (0 before one came) and, unless it was a stream, the body."""

    status: int = 0
    body: bytes = b""
    is_stream: bool = False


class BrokenError(Exception):
    """The connection ended before the answer did; the text says how."""


async def call(
    target: Target,
    method: str,
    path: str,
    body: bytes = b"",
    on_data: Callable[[bytes, float], None] | None = None,
) -> Reply:
    """Send a request and wait for the end of its answer.

    ``on_data`` gets the pieces of a stream as they arrive and the time when they did (`time.perf_counter`, taken
    before anything else is done). Raises OSError where there is no connection, BrokenError where it breaks off.
    """
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context() if target.is_secure else None
    transport, connection = await loop.create_connection(
        lambda: Connection(on_data),
        target.address or target.host,
        target.port,
        ssl=context,
        server_hostname=target.host if context else None,
    )
    try:
        connection.send(target, method, path, body)
        return await connection.done
    finally:
        transport.abort()


class Connection(asyncio.Protocol):
    """The client's end of one exchange."""

    def __init__(self, on_data: Callable[[bytes, float], None] | None) -> None:
        self.reply = Reply()
        self.done: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._http = h11.Connection(h11.CLIENT)
        self._on_data = on_data
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, target: Target, method: str, path: str, body: bytes) -> None:
        """Write the request."""
        headers = [("Host", target.authority), ("Connection", "close"), ("Accept", "*/*")]
        if body:
            headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        if target.api_key:
            headers.append(("Authorization", f"Bearer {target.api_key}"))
        request = h11.Request(method=method, target=target.prefix + path, headers=headers)
        parts = [self._http.send(request), self._http.send(h11.Data(data=body)), self._http.send(h11.EndOfMessage())]
        self._transport.write(b"".join(part for part in parts if part))

    def data_received(self, data: bytes) -> None:
        """Something came."""
        now_s = time.perf_counter()
        if self.done.done():
            return
        try:
            self._http.receive_data(data)
            self._read(now_s)
        except h11.RemoteProtocolError as error:
            self._break(f"what came is not HTTP: {error}")

    def _read(self, now_s: float) -> None:
        while not self.done.done():
            match self._http.next_event():
                case h11.Response(status_code=status, headers=headers):
                    kind = dict(headers).get(b"content-type", b"")
                    self.reply.status = status
                    self.reply.is_stream = self._on_data is not None and kind.startswith(b"text/event-stream")
                case h11.Data(data=data) if self.reply.is_stream and self._on_data:
                    self._on_data(bytes(data), now_s)
                case h11.Data(data=data):
                    self.reply.body += bytes(data)
                    if len(self.reply.body) > MOST_BODY_BYTES:
                        self._break(f"the answer is longer than {MOST_BODY_BYTES} bytes")
                case h11.EndOfMessage():
                    self.done.set_result(self.reply)
                case h11.NEED_DATA | h11.PAUSED | h11.ConnectionClosed():
                    return

    def connection_lost(self, error: Exception | None) -> None:
        """The server has gone; where nothing else says how long an answer is, that is its end."""
        if self.done.done():
            return
        try:
            self._http.receive_data(b"")
            self._read(time.perf_counter())
        except h11.RemoteProtocolError:
            pass
        self._break("the connection broke off")

    def _break(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(BrokenError(reason))
