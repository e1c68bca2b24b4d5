"""The prover, on sound samples and on unsound ones."""

from __future__ import annotations

import pytest

from course.exercises import Cases, call, define, load, prove
from course.exercises.source import edited

SAMPLES = ("kv_bytes", "softmax", "BlockPool", "drain", "count_down")


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_sound(name: str) -> None:
    prove(next(exercise for exercise in load("bytes_and_blocks") if exercise.name == name))


@pytest.mark.parametrize("name", ["append", "total", "append_all"])
def test_lab_is_sound(name: str) -> None:
    prove(next(exercise for exercise in load("lab9") if exercise.name == name), seeds=1)


@define("bytes_and_blocks.half")
def half(n: int) -> float:
    """Half of it."""
    return n / 2


@half.check()
def is_half(rng) -> Cases:
    yield call(4).returns(2.0)


half.mistake("no mistake at all", replace=[("n / 2", "0.5 * n")], caught_by=is_half, nudge="a")
half.mistake("one third", replace=[("n / 2", "n / 3")], caught_by=is_half, nudge="b")
half.mistake("a third again", replace=[("n / 2", "n * 3 ** -1")], caught_by=is_half, nudge="c")
half.alternative("def half(n):\n    return n / 4\n")


@define("bytes_and_blocks.ungranted")
def ungranted(n: Fraction) -> int:  # noqa: F821
    """Not loadable: the cell has no Fraction."""
    return int(n)


def test_unsound_exercise_is_told_what_is_wrong() -> None:
    with pytest.raises(AssertionError) as told:
        prove(half, seeds=1)
    said = str(told.value)
    assert "alternative 1 fails is_half" in said
    assert "'no mistake at all' passes" in said
    assert "'a third again' is answered as 'one third'" in said
    with pytest.raises(AssertionError) as told:
        prove(ungranted, seeds=1)
    assert "it has no check" in str(told.value)
    assert "the stub cannot be loaded" in str(told.value)


@define("bytes_and_blocks.bare", lab=True)
def bare() -> None:
    """Nothing here."""
    raise NotImplementedError


def test_mistake_must_change_what_is_there() -> None:
    with pytest.raises(ValueError, match="stands 0 times"):
        edited("a = 1", (("b", "c"),))
    with pytest.raises(ValueError, match="no reference"):
        bare.mistake("x", caught_by=is_half, nudge="", replace=[("a", "b")])
