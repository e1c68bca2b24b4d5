"""Values in few characters."""

from __future__ import annotations

import numpy as np
import pytest

from course.exercises.show import show


@pytest.mark.parametrize("shape", [(1000,), (50, 50), (9, 9, 9), (2, 3, 6, 6), (2, 2, 2, 2, 2, 2)])
def test_an_array_of_any_shape_fits_under_a_cell(shape: tuple[int, ...]) -> None:
    text = show(np.arange(np.prod(shape), dtype=float).reshape(shape))
    assert f"shape {shape}" in text
    assert len(text.splitlines()) <= 70
    assert "\n\n" not in text


def test_a_small_array_is_shown_whole() -> None:
    assert "..." not in show(np.zeros((2, 1, 5, 2)))


def test_numbers_of_16_bits_are_named_so() -> None:
    assert show(np.zeros(1, np.float16)) == "numpy array of shape (1,) in 16 bits: [0.]"
    assert show(np.zeros(1, np.int16)) == "numpy array of shape (1,): [0]"


def test_a_dict_of_arrays_has_a_line_for_each() -> None:
    assert show({"q": np.zeros((2, 1)), "k": 1}).splitlines()[-1] == " 'k': 1}"
    assert show({"q": 0, "k": 1}) == "{'q': 0, 'k': 1}"
