"""Differences, in words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from course.exercises.child.wire import Foreign
from course.exercises.compare import Tolerance, difference


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (1, 1),
        (1.0, 1),
        (1.0, 1.0 + 1e-9),
        ([1, 2], (1, 2)),
        ((1, [2.0]), (1, [2.0])),
        ({"a": 1}, {"a": 1}),
        (math.nan, math.nan),
        (math.inf, math.inf),
        (None, None),
        ({1, 2}, {2, 1}),
        (3, np.int64(3)),
        (np.array([1.0, np.nan]), np.array([1.0, np.nan])),
        (np.array([1.0], np.float32), np.array([1.00001])),
        (b"ab", b"ab"),
        ("é", "é"),
    ],
)
def test_equal(expected: object, got: object) -> None:
    assert difference(expected, got) is None


@pytest.mark.parametrize(
    ("expected", "got", "words"),
    [
        (2, 3, "gives 3, not 2"),
        (2, 2.0, "returns the float 2.0; an int is expected"),
        (2, True, "returns True; an int is expected"),
        (True, 1, "a bool is expected"),
        (2, None, "returns None: is a `return` missing?"),
        ([1, 2], [1], "returns 1 item instead of 2"),
        ([1, [2, 3]], [1, [2, 4]], "[1][1] is 4 instead of 3"),
        ([1], Foreign("generator"), "list(...) collects it"),
        ({"a": 1}, {}, "lacks the key 'a'"),
        ({"a": 1}, {"a": 1, "b": 2}, "has the key 'b'"),
        (np.zeros((2, 3)), np.zeros((3, 2)), "returns shape (3, 2) instead of (2, 3)"),
        (np.zeros(2), [0.0, 0.0], "returns a list"),
        (np.zeros(2), np.zeros(2, int), "returns int64 values; float64 is expected"),
        (np.array([0.0, 1.0]), np.array([0.0, 2.0]), "[1] is 2.0 instead of 1.0 (1 of 2 values differ)"),
        (1.0, np.zeros(1), ".item() takes the number out"),
        (1.0, math.nan, "gives nan"),
        (1.0, 10**400, "gives a huge int"),
        ("a", "b", "gives 'b', not 'a'"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_different(expected: object, got: object, words: str) -> None:
    said = difference(expected, got)
    assert said is not None
    assert words in said


def test_tolerance_is_the_authors() -> None:
    assert difference(100.0, 101.0, Tolerance(0.02, 0.0)) is None
    assert difference(100.0, 103.0, Tolerance(0.02, 0.0)) is not None
