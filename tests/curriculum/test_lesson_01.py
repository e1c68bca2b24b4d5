"""Lesson 01: its exercises are sound, and its pictures show what they should."""

from __future__ import annotations

import pytest

from course.curriculum.lesson_01_attention.explorer import Pattern, compare_patterns, pattern_explorer
from course.exercises import find, load, prove
from course.exercises.judge import judge

EXERCISES = load("attention")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_the_exercise_is_sound(exercise) -> None:
    prove(exercise)


def test_wrong_weights_are_drawn_beside_the_right_ones() -> None:
    exercise = find("attention.causal_attention")
    [scales_by_d] = [mistake for mistake in exercise.mistakes if mistake.name == "scales by d"]
    wrong = scales_by_d.text.replace(scales_by_d.target, exercise.name)
    verdict = judge(exercise, wrong, seed=1)
    expected, yours = verdict.picture.data
    assert (expected.name, yours.name) == ("expected", "yours")
    assert list(expected.z[0]) == list(yours.z[0]) == [1, 0]
    assert list(expected.z[1]) != list(yours.z[1])


def test_two_patterns_share_a_scale() -> None:
    figure = compare_patterns([[1.0, 0.0], [0.25, 0.75]], [[1.0, 0.0], [0.5, 0.5]])
    assert {(heat.zmin, heat.zmax) for heat in figure.data} == {(0, 1)}


def test_the_pattern_follows_text_layer_and_head() -> None:
    asked = []

    def look(text: str) -> Pattern:
        asked.append(text)
        first, itself = [[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]
        return Pattern(text.split(), [[first, itself]])

    explorer = pattern_explorer(look, "one two", num_layers=2, num_heads=2)
    figure, summary = explorer.draw(text="three four", head=1)
    assert set(asked) == {"three four"}
    assert list(figure.data[0].z[1]) == [0, 1]
    assert "'four' (100%)" in summary
