"""The engine's end of one worker process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from typing import Any

from course.engine.texts import Planned
from course.engine.workers.messages import Begin, Run
from course.engine.workers.starter import Born
from course.serving.batch import Batch
from course.serving.instance import Instance


class Worker:
    """A process that computes for one instance of the control plane, and dies with it.

    ``running`` is the batch under way, with its step and what the clock said when it was sent.
    """

    def __init__(self, born: Born, begin: Begin, instance: Instance, clock_s: float) -> None:
        self.pid, self.pipe = born
        self.begin = begin
        self.instance = instance
        self.running: tuple[Batch, Planned, float] | None = None
        self.is_ready = False
        self.is_lost = False
        self.started_s = clock_s
        self.offer = b""
        self._num_steps = 0

    def __repr__(self) -> str:
        return f"<worker {self.instance.id} {self.instance.role} on {self.begin.device}, process {self.pid}>"

    @property
    def number(self) -> int:
        """A number that no other process of the engine ever has."""
        return self.begin.number

    def run(self, batch: Batch, planned: Planned, clock_s: float, tells_layers: bool) -> None:
        """Let it carry out a step."""
        self.running = batch, planned, clock_s
        self._num_steps += 1
        self.send(Run(self._num_steps, planned.step, tells_layers))

    def send(self, command: object, descriptor: int | None = None) -> None:
        """Send a command, and a file descriptor with it. To a worker that has died nothing is sent: its pipe tells."""
        with contextlib.suppress(OSError):
            self.pipe.send(command)
            if descriptor is not None:
                send_handle(self.pipe, descriptor, self.pid)

    def receive(self) -> Iterator[Any]:
        """What has come by now. Raises EOFError when the process is gone."""
        try:
            while self.pipe.poll():
                yield self.pipe.recv()
        except OSError as error:
            raise EOFError from error

    def end(self) -> None:
        """Let the process end: it does so when its pipe is closed. One that does not is killed."""
        end_all([self.pipe], [self.pid])

    def kill(self) -> None:
        """End the process at once."""
        kill(self.pid)
        self.pipe.close()


def kill(pid: int) -> None:
    """SIGKILL; a process that is gone is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def end_all(pipes: list[Connection], pids: list[int]) -> None:
    """Close the pipes of all workers, and return when their processes are gone."""
    open_pipes = [(pipe, pid) for pipe, pid in zip(pipes, pids, strict=True) if not pipe.closed]
    for pipe, _ in open_pipes:
        with contextlib.suppress(OSError):
            end = socket.socket(fileno=os.dup(pipe.fileno()))
            end.shutdown(socket.SHUT_WR)
            end.close()
    for pipe, pid in open_pipes:
        with contextlib.suppress(EOFError, OSError):
            while pipe.poll(2.0):
                pipe.recv()
            kill(pid)
        pipe.close()
