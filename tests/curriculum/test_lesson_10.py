"""Lesson 10: its exercises are sound, its event loop is the course's simulator, its text says what its runs give."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.curriculum.lesson_10_simulation import exercises, explorer, plan, real
from course.curriculum.lesson_10_simulation.rules import first_wrong_token, tokens_by_hand, told
from course.exercises import load, prove
from course.exercises.judge import judge
from course.model.loading import load_model
from course.simulator import theory
from course.simulator.experiment import load_experiment
from course.simulator.simulate import simulate
from course.workload.arrivals import poisson_arrivals
from course.workload.build import build_workload, rows_from

EXERCISES = load("simulation")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_exercises_are_sound(exercise) -> None:
    prove(exercise)


@given(st.floats(0.0, 3.0), st.floats(0.01, 2.0), st.floats(1.0, 2.0))
def test_the_formulas_are_the_courses(load_of_one: float, prefill_s: float, speedup: float) -> None:
    rate = load_of_one / prefill_s
    assert exercises.mean_ttft(rate, prefill_s) == pytest.approx(theory.mean_ttft_s(rate, prefill_s))
    tensor_s = exercises.tensor_ttft(rate, prefill_s, speedup)
    assert tensor_s == pytest.approx(theory.mean_ttft_intra_op_s(rate, prefill_s, speedup))
    assert exercises.pipeline_ttft(rate, prefill_s) == pytest.approx(theory.mean_ttft_inter_op_s(rate, prefill_s))


@pytest.mark.parametrize("speedup", [1.2, 1.5, 1.9])
def test_the_curves_cross_where_theory_says(speedup: float) -> None:
    crossing = explorer.meeting(explorer.Learner(), 0.25, speedup)
    assert crossing is not None
    assert crossing[0] * 0.25 == pytest.approx(theory.crossover_load(speedup))


REQUESTS = st.lists(
    st.tuples(st.floats(0, 8).map(lambda at: round(2 * at) / 2), st.integers(1, 9), st.integers(1, 6)),
    min_size=1,
    max_size=8,
).map(lambda rows: sorted(rows, key=lambda row: row[0]))
COSTS = st.tuples(*[st.sampled_from([0.25, 0.5, 1.0])] * 2, *[st.sampled_from([0.0, 0.125, 0.5])] * 4)


@given(REQUESTS, COSTS)
@settings(max_examples=80)
def test_the_event_loop_is_the_courses_simulator_and_the_oracle(requests, costs) -> None:
    cost = real.Fitted(costs[:1] + costs[2:4], costs[1:2] + costs[4:])
    mine = exercises.serve(requests, cost.step_s, real.NO_LIMIT)
    workload = build_workload(rows_from(*zip(*requests, strict=True)), max_new_tokens="exact")
    records, _ = real.on_the_virtual_clock(workload, cost)
    assert first_wrong_token([list(record.token_times_s) for record in records], mine) == ""
    assert first_wrong_token(tokens_by_hand(requests, real.NO_LIMIT, [*cost.prefill, *cost.decode]), mine) == ""


def test_with_distserves_constants_it_is_distserves_simulator() -> None:
    theirs = simulate(load_experiment("simdistserve-colocated", ["workload.requests=200"]))
    mine = exercises.serve(real.jobs_of(theirs.workload), real.published_step("vllm-a100"), real.NO_LIMIT)
    for record, row in zip(theirs.records, mine, strict=True):
        assert np.allclose(list(record.token_times_s), row, rtol=0, atol=1e-9)


def test_a_wrong_loop_is_drawn_beside_the_right_one() -> None:
    serve = next(exercise for exercise in EXERCISES if exercise.name == "serve")
    early = next(mistake for mistake in serve.mistakes if mistake.name == "a prompt is taken before it arrives")
    verdict = judge(serve, early.text, seed=0)
    assert verdict.message == (
        "Token 2 of request 0 should come at 2 s, and comes at 4.5 s. A step of prompts takes 1 s; one of answers 1 s."
    )
    assert [note.text for note in verdict.picture.layout.annotations] == ["yours", "as it should be"]


@pytest.mark.parametrize("answer", [None, 3.0, [], [None], [["x"]], [[1.0, 2.0]], [[]]])
def test_any_answer_of_the_loop_is_answered_with_a_sentence(answer) -> None:
    assert first_wrong_token([[1.0]], answer)


def test_the_lengths_of_steps_are_told_without_what_costs_nothing() -> None:
    assert told([0.5, 0.25, 0, 0.1, 0, 0.0625]) == (
        "A step of prompts takes 0.5 s + 0.25 s per token; one of answers 0.1 s + 0.0625 s per answer"
    )


def test_the_number_that_hurts() -> None:
    prefill_s = explorer.OPT_13B_PREFILL.ttft_s(512)
    assert round(1e3 * prefill_s) == 72
    assert 13 < 1 / prefill_s < 14
    assert round(1e3 * exercises.mean_ttft(13, prefill_s)) == 617
    ttfts_s = explorer.ttfts_s(exercises.serve, 13, [512] * 20_000, explorer.OPT_13B_PREFILL)
    assert round(1e3 * np.mean(ttfts_s)) == 560
    assert 13 * prefill_s == pytest.approx(0.94, abs=0.005)
    means = [
        np.mean(np.array(exercises.serve([(t, 1, 1) for t in poisson_arrivals(600, 13, seed)], lambda p, c: prefill_s)))
        - np.mean(poisson_arrivals(600, 13, seed))
        for seed in range(10)
    ]
    assert 3 < max(means) / min(means) < 3.5
    assert sum(mean < 0.617 for mean in means) == 8


def test_the_answers_to_the_first_things_to_try() -> None:
    at_k = [explorer.scene(10, k, 512, 0.0, explorer.Learner()).crossover for k in (1.2, 1.9)]
    assert [round(crossing[0]) for crossing in at_k if crossing] == [6, 23]
    of_two = explorer.scene(12, 1.5, 512, 0.0, explorer.Learner()).ways[1:]
    assert [round(1e3 * np.mean(way.sample_s)) for way in of_two] == [80, 86]
    assert [round(1e3 * np.percentile(way.sample_s, 90)) for way in of_two] == [138, 114]
    long_s = explorer.OPT_13B_PREFILL.ttft_s(2048)
    assert [round(most / long_s, 1) for most in (1, 1.5, 2)] == [3.9, 5.8, 7.8]
    tensor_s, pipeline_s = (
        np.mean(explorer.scene(14, 1.5, 512, 1.0, explorer.Learner()).ways[i].sample_s) for i in (1, 2)
    )
    assert tensor_s < pipeline_s
    tensor_s, pipeline_s = (
        np.mean(explorer.scene(14, 1.5, 512, 0.0, explorer.Learner()).ways[i].sample_s) for i in (1, 2)
    )
    assert tensor_s > pipeline_s


def good_share(server: str, rate: float, most: int = 4, num: int = 600) -> int:
    """Percent of the requests that keep both limits, as the explorer says it."""
    summary = plan.explorer().draw(server=server, rate=rate, most=most, num=num)[1]
    return round(float(summary.split("%")[0].split()[-1]))


def test_the_answers_to_the_second_things_to_try() -> None:
    one, two = "OPT-13B on 1 A100", "OPT-13B on 2 A100"
    assert [good_share(one, rate) for rate in (10, 11)] == [92, 65]
    assert good_share(two, 16) >= 90 > good_share(two, 17)
    assert [good_share(two, 20, num=num) for num in (75, 150, 600)] == [99, 96, 33]
    assert good_share(one, 10, most=1) == 60


def test_the_explorers_run_the_functions_that_they_are_given() -> None:
    def late(requests, step_s, most_prompts=1):
        return [[time_s + 1 for time_s in row] for row in exercises.serve(requests, step_s, most_prompts)]

    given = explorer.explorer(exercises.mean_ttft, exercises.tensor_ttft, exercises.pipeline_ttft, late)
    assert "one GPU: mean TTFT 1,157 ms" in given.draw()[1]
    assert "TTFT median 1,0" in plan.explorer(late).draw()[1]


def test_the_learners_constants_predict_the_engine() -> None:
    model = load_model("tiny")
    prefills, decodes = real.record(model, rounds=1)
    cost = real.Fitted(exercises.fit_steps(prefills, False), exercises.fit_steps(decodes, True))
    workload = real.some_workload(5, 10.0, model.config.vocab_size)
    jobs = real.jobs_of(workload)
    predicted = real.records_of(jobs, exercises.serve(jobs, cost.step_s, 5))
    measured = real.on_the_engine(model, workload, runs=1)
    for name, pairs in real.latencies(predicted, measured).items():
        assert len(pairs) == 5
        assert 0.05 < np.median([told / found for told, found in pairs]) < 20, name
    assert all(math.isfinite(constant) for constant in (*cost.prefill, *cost.decode))
