"""Lesson 03: its exercises are sound, its counts are the simulator's, and its text says what they give."""

from __future__ import annotations

import pytest

from course.curriculum.lesson_03_roofline import exercises, explorer
from course.curriculum.lesson_03_roofline.models import model_of, roof_of, shape_of_step
from course.exercises import load, prove
from course.simulator.operators import step_operators
from course.simulator.parallel import Split
from course.simulator.shapes import load_shape, shape_names

EXERCISES = load("roofline")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_it_is_sound(exercise) -> None:
    prove(exercise)


def at_best_s(sequences: list[tuple[int, int]], model: str = "opt-13b", gpu: str = "a100-80gb") -> float:
    roof = roof_of(gpu)
    return exercises.step_time(exercises.step(model_of(model), sequences), roof.flops_s, roof.bytes_s)


@pytest.mark.parametrize("name", shape_names())
def test_it_counts_as_the_simulator_does(name: str) -> None:
    model, split = model_of(name), Split(load_shape(name))
    for chunks, contexts in (([(0, 100), (30, 7)], []), ([], [5, 300]), ([(16, 64)], [9])):
        work = exercises.step(model, [(new, start) for start, new in chunks] + [(1, cached) for cached in contexts])
        attended = [0.0, 0.0]
        for operator in step_operators(split, chunks, contexts):
            if operator.name.startswith("attention of"):
                attended = [attended[0] + operator.flops, attended[1] + operator.bytes]
            elif operator.name in work:
                assert work.pop(operator.name) == (operator.flops, operator.bytes)
        assert work == {"attention": tuple(attended)}


def test_the_numbers_in_the_text() -> None:
    assert [
        exercises.tokens_to_saturate(roof_of(gpu).flops_s, roof_of(gpu).bytes_s) for gpu in ("a100-80gb", "h100")
    ] == [
        154,
        296,
    ]
    assert [round(1e3 * at_best_s([(1, 512)] * batch)) for batch in (1, 64)] == [13, 26]
    assert at_best_s([(128, 0)]) < 1.05 * at_best_s([(16, 0)]) < 0.7 * at_best_s([(256, 0)])
    assert 512 / at_best_s([(512, 0)]) == pytest.approx(12_200, rel=0.01)
    assert 154 / at_best_s([(1, 300)] * 154) == pytest.approx(4_855, rel=0.01)
    assert explorer.fit("OPT-13B", "A100", 30 * 2048).startswith("The caches of the batch hold 61,440 tokens and fit")
    assert "NOT" in explorer.fit("OPT-13B", "A100", 31 * 2048)
    fitted = explorer.OPT_13B_PREFILL
    assert round(fitted.constant_s / fitted.linear_s) == 178


def test_no_measurement_lies_below_the_bound_and_all_within_a_factor_of_two() -> None:
    measured = {(512, 0): explorer.OPT_13B_PREFILL.ttft_s(512), (1, 512): explorer.opt_13b_decode_s(1, 513)}
    for sequence, seconds in measured.items():
        assert at_best_s([sequence]) < seconds < 2 * at_best_s([sequence])
    assert at_best_s([(1, 512)] * 64) < explorer.opt_13b_decode_s(64, 513) < 2 * at_best_s([(1, 512)] * 64)


def test_the_explorer_is_driven_by_the_step_that_it_is_given() -> None:
    def without_attention(model, sequences):
        return {name: work for name, work in exercises.step(model, sequences).items() if name != "attention"}

    machine = explorer.Roof("here", 80e9, 16e9)
    for step in (exercises.step, without_attention):
        shown = explorer.explorer(step, machine)
        figure, summary = shown.draw(batch=64, context=2048)
        expected_s = exercises.step_time(step(model_of("opt-13b"), [(1, 2048)] * 64), 312e12, 2039e9)
        assert f"TPOT {1e3 * expected_s:.0f} ms" in summary
        assert f"TPOT<br>{1e3 * expected_s:.0f} ms" in figure.layout.xaxis2.ticktext
        assert "do NOT fit" in summary
    _, summary = shown.draw(hardware=explorer.MACHINE)
    assert "The ridge is at 5 FLOPs per byte." in summary
    assert "caches" not in summary
    assert "weights alone do NOT fit" in shown.draw(hardware="L4")[1]


def test_the_step_that_is_timed_is_the_one_that_is_counted() -> None:
    shape = shape_of_step([(16, 0), (1, 300), (4, 32), (1, 5)])
    assert shape.prompts == ((0, 16), (32, 4))
    assert shape.contexts == (300, 5)
