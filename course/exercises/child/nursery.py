"""The warm process: imports once what exercises grant, then forks one worker for each verdict.

It never runs a learner's code itself. On its socket come single letters: P (a frame with imports follows), B (a socket
for a new worker comes along), E (end the worker). When the other side is gone, it ends its worker and itself.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import cage
import wire
import worker

sys.path.pop(0)


class Nursery:
    """One worker at a time."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.worker = 0

    def serve(self) -> None:
        """Do what the letters say."""
        while True:
            letter, handles, _, _ = socket.recv_fds(self.control, 1, 1)
            match letter:
                case b"P":
                    wire.send(self.control, preload(wire.receive(self.control)))
                case b"B":
                    self.bear(handles[0])
                case b"E":
                    wire.send(self.control, {"status": self.end()})
                case _:
                    self.end()
                    return

    def bear(self, handle: int) -> None:
        """Fork a worker that owns the given socket and nothing else of ours."""
        self.end()
        self.worker = os.fork()
        if self.worker == 0:
            try:
                os.setpgid(0, 0)
                self.control.close()
                worker.live(socket.socket(fileno=handle))
            finally:
                os._exit(1)
        os.close(handle)

    def end(self) -> int:
        """Kill the worker and all of its group; say how it ended (the negative number of a signal, or its status)."""
        if not self.worker:
            return 0
        child, self.worker = self.worker, 0
        for kill in (os.killpg, os.kill):
            try:
                kill(child, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def preload(sources: list[str]) -> dict[str, Any]:
    """Import now what workers will be granted."""
    for source in sources:
        try:
            exec(compile(source, "<grants>", "exec"), {})
        except Exception as error:
            return {"error": f"{source!r}: {error}"}
    cage.readable_places()  # each worker will need them, and finds them remembered
    gc.collect()
    gc.freeze()
    return {"error": None}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:] = json.loads(sys.argv[2])
    with contextlib.suppress(OSError, EOFError):
        Nursery(socket.socket(fileno=int(sys.argv[1]))).serve()
    os._exit(0)
