"""The parent's end: a warm child process, started in the background and replaced when it dies."""

from __future__ import annotations

import ast
import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from course.errors import UserError
from course.exercises.child import wire

CHILD = Path(__file__).parent / "child" / "nursery.py"
PROJECT = Path(__file__).resolve().parents[2]
KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
STARTING_S = 120.0
MOST_WORDS = 2000
ALWAYS = frozenset(sys.stdlib_module_names)


class GoneError(Exception):
    """The worker's process ended without an answer."""


class TooLateError(Exception):
    """The worker did not answer in the time allowed."""


class Warm:
    """One warm child. ``start`` returns at once; the imports go on while the learner reads."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.asked: list[str] = []
        self.unanswered: list[str] = []
        self.lock = threading.RLock()

    def start(self, grants: Sequence[str] = ()) -> None:
        """See to it that a child is running and has been asked to import these; wait for nothing."""
        with self.lock:
            if self.process is None or self.process.poll() is not None:
                self._launch()
            assert self.control is not None
            for source in grants:
                if source not in self.asked:
                    self.asked.append(source)
                    self.unanswered.append(source)
                    self.control.sendall(b"P" + wire.pack([source]))

    def _launch(self) -> None:
        if not hasattr(os, "fork"):
            raise UserError("the judge of exercises needs Linux or macOS: on Windows, open the course inside WSL")
        self.stop()
        ours, theirs = socket.socketpair()
        paths = [path for path in sys.path if path and Path(path).resolve() not in (PROJECT, Path.cwd())]
        environment = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        environment |= dict.fromkeys(ONE_THREAD, "1") | {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        environment["COURSE_COMPILED"] = "0"  # one verdict on every machine: compiled or not, the sources are run
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(CHILD), str(theirs.fileno()), json.dumps([*paths, str(PROJECT)])],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C and Jupyter's interrupt go to the parent's group only
        )
        theirs.close()
        self.control = ours
        self.asked, self.unanswered = [], []

    def stop(self) -> None:
        """End the child and whatever it runs."""
        if self.control is not None:
            self.control.close()
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=1)  # it leaves when its socket closes
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        self.process = self.control = None

    def ready(self) -> None:
        """Wait until everything asked for is imported."""
        assert self.control is not None
        while self.unanswered:
            answer = wire.receive(self.control, STARTING_S)
            source = self.unanswered.pop(0)
            if answer["error"]:
                self.asked.remove(source)
                raise RuntimeError(f"an exercise grants what cannot be imported: {answer['error']}")

    @contextlib.contextmanager
    def worker(self, grants: Sequence[str]) -> Iterator[Worker]:
        """A fresh worker; killed, with all its group, when the block is left."""
        with self.lock:
            try:
                worker = self._bear(grants)
            except (OSError, EOFError, wire.LateError):  # the child died since it was last used: once more, afresh
                self.stop()
                worker = self._bear(grants)
            try:
                yield worker
                self._end(worker)
            except BaseException:
                worker.sock.close()
                self.stop()  # an interrupt may have cut a conversation in two: begin anew
                raise

    def _bear(self, grants: Sequence[str]) -> Worker:
        self.start(grants)
        self.ready()
        assert self.control is not None
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.control, [b"B"], [theirs.fileno()])
        granted = packages_of(grants)
        return Worker(ours, sorted(packages_of(self.asked) - granted - ALWAYS))

    def _end(self, worker: Worker) -> None:
        worker.sock.close()
        assert self.control is not None
        try:
            self.control.sendall(b"E")
            wire.receive(self.control, 5.0)
        except (OSError, EOFError, wire.LateError):
            self.stop()


class Worker:
    """A conversation with the process of one verdict."""

    def __init__(self, sock: socket.socket, not_granted: list[str]) -> None:
        self.sock = sock
        self.not_granted = not_granted
        self.left = 10.0

    def allow(self, seconds: float) -> None:
        """From now on it has so long for everything together; only the time that we wait for it counts."""
        self.left = seconds

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request, one answer. ``GoneError`` or ``TooLateError`` where none comes."""
        began = time.monotonic()
        try:
            self.sock.settimeout(max(self.left, 0.01))
            wire.send(self.sock, request)
            answer = wire.receive(self.sock, max(self.left - (time.monotonic() - began), 0.01))
        except (wire.LateError, TimeoutError):
            raise TooLateError from None
        except (EOFError, OSError, wire.GarbledError):
            raise GoneError from None
        finally:
            self.left -= time.monotonic() - began
        if not is_answer(answer):
            raise GoneError
        return answer


def packages_of(grants: Sequence[str]) -> set[str]:
    """The top-level packages that import lines name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse("\n".join(grants))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def is_answer(answer: Any) -> bool:
    """Whether it has the form that a worker's answers have; the learner's code may have tampered with it."""
    if not isinstance(answer, dict) or not isinstance(answer.get("printed"), str):
        return False
    error = answer.get("error")
    if error is None:
        return "value" in answer and isinstance(answer.get("changed", {}), dict)
    return (
        isinstance(error, dict)
        and len(str(error.get("text"))) <= MOST_WORDS
        and isinstance(error.get("kinds", []), list)
        and isinstance(error.get("line"), (int, type(None)))
    )


_shared: dict[int, Warm] = {}


def shared() -> Warm:
    """The one warm child of this process (a forked copy of this process gets its own)."""
    mine = _shared.get(os.getpid())
    if mine is None:
        mine = _shared[os.getpid()] = Warm()
        atexit.register(mine.stop)
    return mine
