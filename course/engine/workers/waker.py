"""Ends a wait from another thread."""

from __future__ import annotations

import contextlib
import socket


class Waker:
    """Something to wait for beside pipes: it is ready from `wake` until `drain`."""

    def __init__(self) -> None:
        self._in, self._out = socket.socketpair()
        self._in.setblocking(False)
        self._out.setblocking(False)

    def fileno(self) -> int:
        """What a selector wants."""
        return self._out.fileno()

    def wake(self) -> None:
        """Be ready. Any thread may call this, also after the end."""
        with contextlib.suppress(OSError):  # full: it is ready anyway
            self._in.send(b"!")

    def drain(self) -> None:
        """Be ready no more."""
        with contextlib.suppress(BlockingIOError):
            while self._out.recv(4096):
                pass

    def close(self) -> None:
        """End."""
        self._in.close()
        self._out.close()
