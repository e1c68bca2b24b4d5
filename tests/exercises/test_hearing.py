"""How a call is named in a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from course.exercises.compare import difference
from course.exercises.definition import define
from course.exercises.feedback import as_text
from course.exercises.hearing import about, last_call
from course.exercises.judge import judge
from course.exercises.registry import find
from course.exercises.show import show


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


def test_a_long_call_is_named_by_its_beginning() -> None:
    long = f"attend({', '.join(map(str, range(40)))})"
    assert (
        about(long, "[0][1, 2] is 0.5 instead of 0.25")
        == "`attend(…)` is wrong: entry [0][1, 2] is 0.5 instead of 0.25"
    )
    assert about("f(1)", "gives 2, not 3") == "`f(1)` gives 2, not 3"


def test_a_wrong_tensor_in_a_pair_is_named_with_its_place() -> None:
    cell = "def append(c, keys, values):\n    return torch.cat([c[0], keys], 1), torch.cat([c[1], -values], 1)\n"
    said = judge(find("kv_cache.append"), cell, seed=1).message
    assert said.startswith("`append(…)` is wrong: entry [1][0, 1, 0] is ")


def through_a_pair(learner, pair, times):
    return learner(pair[0] + pair[1]) * times


@define("hearing.double", through=through_a_pair)
def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


@double.check()
def doubles(rng):
    from course.exercises.cases import call

    yield call((1, 2), 5).returns(30)


def test_a_call_through_a_function_names_what_that_function_takes() -> None:
    assert judge(double, "def double(number):\n    return number\n", seed=1).call == "double(pair=(1, 2), times=5)"


def watched(learner, number, _what="the answer"):
    return learner(number) if _what == "the answer" else 17


@define("hearing.same", through=watched)
def same(number: int) -> int:
    """The number."""
    return number


@same.check(hint="Nothing is added.")
def comes_back(rng):
    from course.exercises.cases import call

    yield call(3).returns(3)
    yield call(3, "how often").returns(1)


def test_words_between_a_check_and_its_function_are_not_in_the_call_that_is_shown() -> None:
    verdict = judge(same, "def same(number):\n    return number\n", seed=1)
    assert (verdict.call, verdict.got) == ("same(3)", "17")


def test_a_hint_is_given_where_a_value_is_wrong_and_not_where_its_kind_says_all() -> None:
    assert judge(same, "def same(number):\n    return 4\n", seed=1).nudge == "Nothing is added."
    for other in ("[number]", "float(number)", "None"):
        assert judge(same, f"def same(number):\n    return {other}\n", seed=1).nudge == ""


def test_what_came_is_shown_where_a_sentence_says_what_is_demanded() -> None:
    cell = "def causal_attention(queries, keys, values):\n    return values * 2\n"
    said = as_text(judge(find("attention.causal_attention"), cell, seed=1))
    assert "The first row must be" in said
    assert "came      tensor of shape (1, 2, 3)" in said


def test_numbers_of_an_array_are_short_unless_they_look_alike() -> None:
    single = np.array([0.123456789, 1.0], dtype=np.float32)
    assert difference(single, single + np.float32(0.5)) == "[0] is 0.6235 instead of 0.1235 (2 of 2 values differ)"
    assert difference(np.array([1.0]), np.array([1.00001])) == "[0] is 1.00001 instead of 1.0"


def test_of_an_error_nothing_came() -> None:
    verdict = judge(find("kv_cache.append"), "def append(cache, keys, values):\n    return 1 / 0\n", seed=1)
    assert "ZeroDivisionError" in verdict.message
    assert verdict.got == ""


def test_each_of_several_matrices_begins_a_line() -> None:
    matrix = np.zeros((2, 2))
    assert show((matrix, matrix)).splitlines()[2].startswith(" numpy array of shape (2, 2)")
    assert show((1, [2.0, 3])) == "(1, [2.0, 3])"
