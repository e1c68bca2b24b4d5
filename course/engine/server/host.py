"""The process: a socket, uvicorn on it, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from course.engine.server.app import Service, make_app
from course.engine.server.limits import Limits
from course.errors import UserError

LAST_WORDS_S = 2.0  # for clients to hear that the server ends


def check_address(host: str, api_key: str | None) -> None:
    """Raise UserError where others could reach the server and need no key."""
    if api_key is not None and not api_key.strip():
        raise UserError("--api-key is empty; give a long random one")
    if api_key is None and not is_loopback(host):
        raise UserError(f"on {host} other machines can reach the server: protect it with --api-key KEY")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_socket(host: str, port: int, limits: Limits) -> socket.socket:
    """Take the port before anything slow happens; nobody is heard on it yet. Raises UserError where that cannot be."""
    if not 0 <= port < 65536:
        raise UserError(f"--port {port} is not a port: give a number from 0 (any free one) to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise UserError(f"--host {host} is no address of this machine") from None
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer_bytes)  # connections inherit it
        found.bind(address)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is taken: stop what listens there, or name another with --port") from None
        raise UserError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return found


async def serve(
    service: Service,
    listener: socket.socket,
    *,
    api_key: str | None = None,
    grace_s: float = 5.0,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM. What is being written then has ``grace_s`` seconds to end."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        make_app(service, api_key),
        http=make_protocol(service.limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(grace_s + LAST_WORDS_S),
    )
    server = Server(config)
    service.bridge.on_death = server.end
    service.bridge.start()
    with server.ending(lambda: service.bridge.cancel_all("the server is shutting down"), grace_s):
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not (server.started or serving.done()):
            await asyncio.sleep(0.005)
        on_ready()
        await serving
    await service.bridge.stop()


class Server(uvicorn.Server):
    """uvicorn that ends by our rules: it would raise the signal again, before anything is cleaned up."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # type: ignore[override]
        """Leave the signals alone; `ending` takes them."""
        yield

    @contextlib.contextmanager
    def ending(self, cancel_all: Callable[[], None], grace_s: float) -> Iterator[None]:
        """End at the first signal, within ``grace_s`` seconds; at the second at once."""
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            if self.should_exit:
                cancel_all()
            else:
                loop.call_later(grace_s, cancel_all)
            self.end()

        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, on_signal)
        yield

    def end(self) -> None:
        """Take no more connections, let those that are open finish."""
        self.should_exit = True


def make_protocol(limits: Limits) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 for clients that may be slow on purpose."""

    class Protocol(H11Protocol):
        """Ends connections on which a request's head does not come, or an answer is not read."""

        _head_timer: asyncio.TimerHandle | None = None
        _num_responses = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, "abort": transport.abort}
            self._expect_head(True)

        def connection_lost(self, exc: Exception | None) -> None:
            self._expect_head(False)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._expect_head(self.conn.their_state is h11.IDLE and not self.transport.is_closing())

        def on_response_complete(self) -> None:
            self._num_responses += 1
            super().on_response_complete()
            if self.transport.get_write_buffer_size():
                self.loop.call_later(limits.write_timeout_s, self._end_if_unread, self._num_responses)

        def _end_if_unread(self, num_responses: int) -> None:
            if self._num_responses == num_responses and self.transport.get_write_buffer_size():
                self.transport.abort()  # closing would wait for the client to read

        def _expect_head(self, expect: bool) -> None:
            if self._head_timer and not expect:
                self._head_timer.cancel()
                self._head_timer = None
            elif expect and not self._head_timer:
                self._head_timer = self.loop.call_later(limits.head_timeout_s, self.transport.abort)

    return Protocol


def address_of(listener: socket.socket) -> str:
    """The URL to reach a server on."""
    host, port, *_ = listener.getsockname()
    any_address: dict[str, Any] = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    host = any_address.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
