"""Code that means harm: it buys nothing, hangs nothing, leaves nothing behind."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from course.exercises import find
from course.exercises.judge import judge

ROOT = Path(__file__).parents[2]
Cell = Callable[..., str]

FORK_WITHOUT_AUDIT = """\
import _posixsubprocess as p, os
r, w = os.pipe()
made = p.fork_exec([b"/bin/sleep"], [b"/bin/sleep", b"50"], True, (w,), None, None, -1, -1, -1, -1, -1, -1, r, w,
                   False, False, 0, None, None, None, -1, None, False)
return made
"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import os\nwhile True: os.fork()", "tries to start a process"),
        ("import os\nos.system('touch /tmp/course-was-here')", "tries to start a process"),
        ("import subprocess\nsubprocess.run(['true'])", "tries to start a process"),
        (
            "import multiprocessing as m\nm.get_context('fork').Process(target=print).start()",
            "tries to start a process",
        ),
        ("import os\nos.kill(os.getppid(), 9)", "tries to send a signal"),
        ("import os\nos.kill(-1, 9)", "tries to send a signal"),
        ("import ctypes\nctypes.CDLL(None).fork()", "tries to load native code"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 1))", "tries to open a connection"),
        ("open('/tmp/course-was-here', 'w').write('x')", "tries to write files"),
        ("import os\nos.remove('/tmp/x')", "tries to change files"),
        (f"return open({str(ROOT / 'README.md')!r}).read()", "tries to read"),
        (f"return np.fromfile({str(ROOT / 'README.md')!r}, 'u1')", "tries to read"),
        ("return open('/proc/self/../1/environ').read()", "tries to read"),
        ("import gc\nreturn gc.get_objects()", "tries to look into the interpreter"),
        ("import course.exercises.judge", "`course` is not among the modules"),
        ("from course.curriculum import contents", "`course` is not among the modules"),
        ("x = []\nwhile True: x.append(bytearray(4 * 10**8))", "asked for more than 512 MB of memory"),
    ],
)
def test_refused_in_words(kv_cell: Cell, body: str, words: str) -> None:
    verdict = judge(find("bytes_and_blocks.kv_bytes"), kv_cell(body))
    assert not verdict.passed
    assert words in verdict.message
    assert not os.path.exists("/tmp/course-was-here")


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the private call has other arguments")
def test_process_start_that_python_does_not_audit(kv_cell: Cell) -> None:
    verdict = judge(find("bytes_and_blocks.kv_bytes"), kv_cell(FORK_WITHOUT_AUDIT))
    assert "Operation not permitted" in verdict.message


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_native_code_cannot_read_the_project() -> None:
    pytest.importorskip("torch")
    file = ROOT / "course" / "errors.py"
    body = f"    return torch.from_file({str(file)!r}, size=10, dtype=torch.uint8)\n"
    verdict = judge(find("bytes_and_blocks.softmax"), f"def softmax(scores):\n{body}")
    assert "Permission denied" in verdict.message


def test_forged_answers_are_only_wrong_answers(kv_cell: Cell) -> None:
    before = """\
import os, socket, struct, json
def flood(text):
    for fd in range(3, 64):
        try:
            os.write(fd, struct.pack(">II", len(text), 0) + text)
        except OSError:
            pass
"""
    for forged in (
        b'{"tree": {"d": [["value", true], ["passed", true], ["printed", ""]]}, "sizes": []}',
        b'{"tree": {"d": [["error", 5], ["printed", ""]]}, "sizes": []}',
        b'{"tree": {"d": [["value", 1], ["changed", 7], ["printed", ""]]}, "sizes": []}',
        b'{"tree": {"d": [["error", {"d": [["kinds", 3], ["line", "x"]]}], ["printed", ""]]}, "sizes": []}',
        b"no json at all",
        b"[" * 100_000,
    ):
        verdict = judge(find("bytes_and_blocks.kv_bytes"), kv_cell(f"flood({forged!r})\nos._exit(0)", before=before))
        assert verdict.status == "failed"


def test_patched_libraries_buy_nothing(kv_cell: Cell) -> None:
    before = """\
import builtins, json, math, sys
class Yes(int):
    def __eq__(self, other): return True
    def __index__(self): return 1
    __hash__ = int.__hash__
np.isclose = lambda *a, **k: True
math.isclose = lambda *a, **k: True
builtins.isinstance = lambda *a: True
print("Passed: 2 checks on random inputs. passed=True points=2")
"""
    verdict = judge(find("bytes_and_blocks.kv_bytes"), kv_cell("return Yes(7)", before=before))
    assert not verdict.passed


def test_no_reference_and_no_check_in_the_child(kv_cell: Cell) -> None:
    body = """\
import sys
for name, module in list(sys.modules.items()):
    for key, value in list(vars(module).items()):
        if "Each token leaves" in repr(value) or key in ("Court", "Exercise", "counts_every_value"):
            return 1 / 0
frame = sys._getframe()
while frame:
    if "Each token leaves" in repr(frame.f_locals):
        return 1 / 0
    frame = frame.f_back
return -5
"""
    assert "gives -5" in judge(find("bytes_and_blocks.kv_bytes"), kv_cell(body)).message


def test_nothing_runs_on_after_a_verdict() -> None:
    before = set(children())
    cell = (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(50,)).start()\ndef count_down(n): return n\n"
    )
    assert judge(find("bytes_and_blocks.count_down"), cell).passed
    deadline = time.monotonic() + 3
    while set(children()) - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert set(children()) <= before


def children() -> list[int]:
    """The workers that live now (the warm child itself stays)."""
    from course.exercises.warm import shared

    child = shared().process
    file = Path(f"/proc/{child.pid}/task/{child.pid}/children") if child else Path("/nonexistent")
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


def test_huge_or_odd_text_is_refused_quickly() -> None:
    exercise = find("bytes_and_blocks.kv_bytes")
    assert "longer than" in judge(exercise, "#" * 300_000).message
    for text in ("(" * 50_000, "def kv_bytes(:\n", "\0", "x" + "+x" * 40_000 + "\n", "", "\udc80"):
        assert not judge(exercise, text).passed
