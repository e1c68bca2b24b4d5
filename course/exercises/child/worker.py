"""The process of one verdict: loads the cell into a fresh namespace and answers calls until it is ended."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import signal
import socket
import sys
import traceback
import types
from collections.abc import Callable
from functools import partial
from typing import Any

import cage  # type: ignore[import-not-found]
import wire  # type: ignore[import-not-found]
from parts import future_flags, parts_of  # type: ignore[import-not-found]

CELL, EARLIER = "<cell>", "<earlier cell>"
MOST_PRINTED = 4000


class OutOfTime(BaseException):
    """The processor time of the exercise is used up."""


class Tape(io.TextIOBase):
    """Takes what the learner prints, up to a length."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.left = MOST_PRINTED

    def write(self, text: str) -> int:
        """Keep as much as still fits."""
        if self.left > 0:
            self.parts.append(text[: self.left])
            self.left -= len(text)
        return len(text)

    def take(self) -> str:
        """What was printed since the last time."""
        said, self.parts = "".join(self.parts), []
        return said


class MagicIgnored:
    """Stands in for ``get_ipython()``: a ``%time`` in a cell must not fail it."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


def serve(sock: socket.socket) -> None:
    """Answer every request with one frame, whatever the learner's code does."""
    tape = Tape()
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(), tape, tape
    signal.signal(signal.SIGPROF, _out_of_time)
    signal.signal(signal.SIGALRM, _out_of_time)
    bench = Bench()
    while True:
        try:
            request = wire.receive(sock)
        except EOFError:
            return
        try:
            answer = bench.handle(request)
        except BaseException as error:
            stop_clocks()
            answer = {"error": describe(error)}
        try:
            wire.send(sock, answer | {"printed": tape.take()})
        except (ValueError, MemoryError, RecursionError) as error:
            wire.send(sock, {"error": {"type": "TooLarge", "text": str(error), "line": None}, "printed": tape.take()})


def _out_of_time(signum: int, frame: types.FrameType | None) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0.05)  # again, should a bare `except:` have swallowed it
    raise OutOfTime


def stop_clocks() -> tuple[float, float]:
    """Stop both clocks; what was left on them."""
    return signal.setitimer(signal.ITIMER_PROF, 0)[0], signal.setitimer(signal.ITIMER_REAL, 0)[0]


class Bench:
    """The learner's object, the instances made from it, and how to reach them."""

    def __init__(self) -> None:
        self.learner: Any = None
        self.through: Callable[..., Any] | None = None
        self.instances: dict[int, Any] = {}
        self.aside: list[types.ModuleType] = []
        self.seconds = self.patience = 1.0

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do one request."""
        match request["do"]:
            case "load":
                return self.load(request)
            case "call":
                target = self.learner
                if self.through is not None:
                    through, learner = self.through, target
                    return self.call(lambda *args, **kwargs: through(learner, *args, **kwargs), request)
                return self.call(target, request)
            case "new":
                return self.call(self.learner, request, keep=request["id"])
            case "method":
                method = getattr(self.instances[request["id"]], request["name"])
                return self.call(method, request)
            case "get":
                return {"value": getattr(self.instances[request["id"]], request["name"])}
        raise ValueError(f"no such request: {request['do']}")

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run the grants, close the cage, run the cell."""
        module = types.ModuleType("__main__")
        names = module.__dict__
        for source in request["grants"]:
            exec(compile(source, "<grants>", "exec"), names)
        if request["through"]:
            apart: dict[str, Any] = {}
            exec(compile(request["through"], "<through>", "exec"), apart)
            self.through = apart[request["through_name"]]
        self.aside = set_aside(request["not_granted"])
        strict, lenient = parts_of(request["text"], request["name"])
        names["get_ipython"] = MagicIgnored
        self.seconds, self.patience = request["seconds"], request["patience"]
        cage.close(request["memory_mb"], int(request["seconds"]) + 5)
        sys.modules["__main__"] = module
        for name in ("cage", "linux", "parts", "wire", "worker", "nursery"):
            sys.modules.pop(name, None)
        for text in request["beneath"]:
            below, below_lenient = parts_of(text, "")
            self.timed(partial(run_cell, below, below_lenient, names, EARLIER))
        self.timed(lambda: run_cell(strict, lenient, names))
        name = request["name"]
        if name not in names:
            return {"error": {"type": "NotDefined", "text": name, "line": None}}
        self.learner = names[name]
        if isinstance(self.learner, type) != request["is_class"] or not callable(self.learner):
            return {"error": {"type": "OtherKind", "text": type(self.learner).__name__, "line": None}}
        return {"value": None}

    def call(self, target: Callable[..., Any], request: dict[str, Any], keep: int | None = None) -> dict[str, Any]:
        """Call with fresh arguments; say what came back and which arguments were changed on the way."""
        args, kwargs = request["args"], request["kwargs"]
        places: dict[Any, Any] = dict(enumerate(args)) | kwargs
        before = {place: wire.pack(value) for place, value in places.items()}
        value = self.timed(lambda: target(*args, **kwargs))
        if keep is not None:
            self.instances[keep], value = value, None
        changed = {place: value for place, value in places.items() if wire.pack(value) != before[place]}
        same = [place for place, given in places.items() if given is value and isinstance(value, list)]
        return {"value": value, "changed": changed, "same": same}

    def timed(self, work: Callable[[], Any]) -> Any:
        """Run under two clocks, of processor time and of real time; a verdict's work shares what they allow."""
        signal.setitimer(signal.ITIMER_PROF, max(self.seconds, 0.01))
        signal.setitimer(signal.ITIMER_REAL, max(self.patience, 0.01))
        value = work()
        self.seconds, self.patience = stop_clocks()
        return value


def set_aside(packages: list[str]) -> list[types.ModuleType]:
    """Take out packages that are loaded for other exercises: a verdict must not depend on what was judged before."""
    names = [name for name in sys.modules if name.split(".")[0] in packages]
    return [sys.modules.pop(name) for name in names]


def run_cell(strict: list[ast.stmt], lenient: list[ast.stmt], names: dict[str, Any], filename: str = CELL) -> None:
    """Run the statements; the lenient ones may fail."""
    flags = future_flags(strict)
    exec(compile(ast.Module(strict, []), filename, "exec", flags, dont_inherit=True), names)
    for node in lenient:
        with contextlib.suppress(Exception):
            exec(compile(ast.Module([node], []), filename, "exec", flags, dont_inherit=True), names)


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as plain data: its type, its text, the line of the cell."""
    frames = traceback.extract_tb(error.__traceback__, limit=-200)
    lines = [frame.lineno for frame in frames if frame.filename == CELL]
    if isinstance(error, SyntaxError) and error.filename == CELL:
        lines = [error.lineno]
    try:
        text = str(error)[:500]
    except BaseException:
        text = ""
    return {
        "type": type(error).__name__,
        "text": text,
        "line": lines[-1] if lines else None,
        "name": str(getattr(error, "name", None) or ""),
        "inside": frames[-1].filename if frames else None,
        "kinds": [kind.__name__ for kind in type(error).__mro__],
    }


def live(sock: socket.socket) -> None:
    """The whole life of the process."""
    os.chdir("/")
    try:
        serve(sock)
    finally:
        os._exit(0)
