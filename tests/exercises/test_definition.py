"""What an author can get wrong, and what an author can add."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from course.exercises import Cases, call, define, prove
from course.exercises.judge import judge
from course.exercises.warm import Warm

ROOT = Path(__file__).parents[2]


def draw(expected: object, got: object) -> str:
    return f"<svg><text>{expected} {got}</text></svg>"


@define("bytes_and_blocks.area")
def area(width: int, height: int) -> int:
    """Width by height."""
    return width * height


@area.check(picture=draw)
def multiplies(rng) -> Cases:
    yield call(2, 3).returns(6)


def test_picture_is_drawn_from_the_learners_own_run() -> None:
    assert judge(area, "def area(width, height): return 5").picture == "<svg><text>6 5</text></svg>"
    assert judge(area, "def area(width, height): return 6").picture == "<svg><text>6 6</text></svg>"
    assert "picture" not in judge(area, "def area(width, height): return 6").as_dict()


def double(n: int) -> int:
    """A helper that cells may use."""
    return 2 * n


@define("bytes_and_blocks.four_times", grants=("import math", double))
def four_times(n: int) -> int:
    """Four times n; `double` is given."""
    return double(double(n))


@four_times.check()
def is_four_times(rng) -> Cases:
    for n in (1, int(rng.integers(2, 99))):
        yield call(n).returns(n + n + n + n)


def test_helper_function_can_be_granted() -> None:
    prove(four_times)


def test_ids_names_and_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="the name double"):
        define("a.b")(double)
    with pytest.raises(ValueError, match="at most 5"):
        define("a.double", seconds=9)
    with pytest.raises(ValueError, match="two checks named"):
        area.check()(multiplies.cases)


def test_grant_that_does_not_exist_is_the_authors_fault() -> None:
    broken = define("a.double", grants=("import no_such_module",))(double)
    broken.check()(is_four_times.cases)
    warm = Warm()
    with pytest.raises(RuntimeError, match="no_such_module"):
        judge(broken, "def double(n): return n", warm=warm)
    warm.stop()


def test_import_is_light() -> None:
    code = (
        "import course.exercises, sys; print([m for m in ('torch', 'IPython', 'plotly', 'tqdm') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_starting_returns_at_once() -> None:
    warm = Warm()
    began = time.perf_counter()
    warm.start(["import numpy as np"])
    assert time.perf_counter() - began < 0.3
    warm.stop()


def test_guide_shows_code_that_is_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first example of docs/authoring.md is a working lesson."""
    from course.exercises.registry import load

    example = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "authoring.md").read_text(), re.DOTALL)[0]
    lesson = tmp_path / "guide_example"
    lesson.mkdir()
    (lesson / "exercises.py").write_text(example.replace("kv_cache.", "guide_example."))
    monkeypatch.setenv("COURSE_LESSONS", str(tmp_path))
    (exercise,) = load("guide_example")
    prove(exercise)
    assert len(example.splitlines()) < 45


def test_reference_is_made_of_its_text_with_its_grants() -> None:
    assert four_times(3) == 12
    assert four_times.reference.__globals__["double"](4) == 8
    assert four_times.reference is four_times.reference
