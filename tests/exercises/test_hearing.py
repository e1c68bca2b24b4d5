"""How a call is named in a sentence."""

from __future__ import annotations

import pytest

from course.exercises.hearing import last_call


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("", ""),
        ("f(1, 2)", "f(1, 2)"),
        ("pool = Pool(4)\npool.allocate(3)  → [0, 1, 2]", "pool.allocate(3)"),
        ("attend(\n    q=tensor([1.0]),\n    k=tensor([2.0]),\n)", "attend(…)"),
        ("pool = Pool(4)\npool.fill(\n    [[1,\n      2]],\n)", "pool.fill(…)"),
    ],
)
def test_a_call_over_several_lines_is_named_by_its_beginning(text: str, short: str) -> None:
    assert last_call(text) == short
