"""The engine's end of the nursery: asks it for workers, and starts another if it is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import NamedTuple

from course.errors import UserError
from course.model.recipe import Recipe

PROJECT = Path(__file__).resolve().parents[3]
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
PATIENCE_S = 120.0


class Born(NamedTuple):
    """A worker's process: its id, and the engine's end of its pipe."""

    pid: int
    pipe: Connection


class Starter:
    """Starts workers of one model. ``on_cpu``: whether any of them will be on the CPU and need the weights there."""

    def __init__(self, recipe: Recipe, on_cpu: bool) -> None:
        self._recipe = recipe
        self._on_cpu = on_cpu
        self._process: subprocess.Popen[bytes] | None = None
        self._control: Connection | None = None

    def launch(self) -> None:
        """Start a nursery; it loads the model while other things are done."""
        self.close()
        mine, others = socket.socketpair()
        paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), "PYTHONPATH": os.pathsep.join(paths)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "course.engine.workers.nursery", str(others.fileno())],
            pass_fds=[others.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        others.close()
        self._control = Connection(mine.detach())
        self._control.send(self._recipe)
        self._control.send(self._on_cpu)

    def wait(self) -> None:
        """Until the nursery has the model. Raises UserError if it cannot."""
        try:
            assert self._control
            if not self._control.poll(PATIENCE_S):
                raise UserError(f"the workers' model was not loaded within {PATIENCE_S:.0f} s")
            if problem := self._control.recv():
                raise UserError(problem)
        except (EOFError, OSError) as error:
            raise UserError("the process that starts workers ended before it was ready") from error

    def start(self) -> Born:
        """A new worker process. Raises UserError if there is no way to get one."""
        try:
            return self._fork()
        except (EOFError, OSError, AssertionError):  # somebody has killed the nursery
            try:
                self.launch()
                self.wait()
                return self._fork()
            except EOFError:
                raise UserError("no worker could be started: the process that starts them keeps ending") from None
            except OSError as error:
                raise UserError(f"no worker could be started: {error}") from error

    def _fork(self) -> Born:
        assert self._process
        assert self._control
        mine, others = socket.socketpair()
        try:
            self._control.send("fork")
            send_handle(self._control, others.fileno(), self._process.pid)
            if not self._control.poll(PATIENCE_S):
                raise EOFError
            pid: int = self._control.recv()
        except BaseException:
            mine.close()
            raise
        finally:
            others.close()
        return Born(pid, Connection(mine.detach()))

    def close(self) -> None:
        """End the nursery; its workers are not touched."""
        if self._control:
            self._control.close()
        if self._process:
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._process = self._control = None
