"""Lesson 00: its exercises are sound, its explorer draws the learner's numbers, its prose says what its runs show."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import pytest

from course.curriculum.lesson_00_start_here import burst, explorer
from course.engine.answer import Answer
from course.exercises import find, load, prove
from course.metrics.attainment import attainment
from course.metrics.latency import e2e_s, gaps_s, tpot_s, ttft_s
from course.metrics.record import RequestRecord
from course.model.loading import load_model
from course.simulator.linear import LinearCost

EXERCISES = load("start_here")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_exercises_are_sound(exercise) -> None:
    prove(exercise, seeds=2)


def test_references_are_the_courses_own_definitions() -> None:
    records, _ = explorer.serve(20, 256, explorer.SPLIT)
    logs = explorer.logs(20, 256, explorer.SPLIT)
    ttft_and_e2e, itl, tpot = (find(f"start_here.{name}") for name in ("ttft_and_e2e", "itl", "tpot"))
    for record, log in zip(records, logs, strict=True):
        assert ttft_and_e2e(*log) == (ttft_s(record), e2e_s(record))
        assert tpot(log.token_times_s) == tpot_s(record)
        assert itl([log.token_times_s]) == gaps_s(record)
        assert log.arrival_s <= log.started_s < log.token_times_s[0]


def test_the_explorer_draws_what_the_learners_functions_say() -> None:
    shown = explorer.explorer(lambda arrival_s, started_s, times_s: (0.123, 1.0), lambda times_s: 0.0045)
    figure, _ = shown.draw()
    first, per_token = figure.data[:2]
    assert set(first.x) == {123.0}
    assert set(per_token.x) == {4.5}


def test_the_answers_to_the_things_to_try() -> None:
    runs = [explorer.serve(20, 256, policy)[0] for policy in explorer.POLICIES]
    ttfts, tpots = ([median(map(f, records)) for records in runs] for f in (ttft_s, tpot_s))
    assert ttfts == sorted(ttfts)
    assert tpots == sorted(tpots, reverse=True)
    longest = [max(max(gaps_s(r)) for r in explorer.serve(20, 16, policy)[0]) for policy in explorer.POLICIES]
    assert max(longest) < 0.025
    assert attainment(runs[2], explorer.LIMITS).both > attainment(runs[0], explorer.LIMITS).both
    first, _, split = (attainment(explorer.serve(10, 512, p)[0], explorer.LIMITS).both for p in explorer.POLICIES)
    assert first > split


def test_the_unlucky_reader_is_request_3() -> None:
    records, _ = explorer.serve(20, 256, explorer.SHARED)
    assert max(records, key=lambda record: max(gaps_s(record))).request_id == 3


def measured() -> list[RequestRecord]:
    """As the notebook records it: two readers, then four long prompts at once."""
    asked = [(0.0, 4, 80), (0.1, 4, 80), *[(0.25, 1100, 8)] * 4]
    return [
        RequestRecord(arrival_s, prompt, [arrival_s + 0.01 * i for i in range(1, tokens + 1)], request_id=i)
        for i, (arrival_s, prompt, tokens) in enumerate(asked)
    ]


def test_splitting_takes_the_pause_away_and_the_prompts_pay() -> None:
    cost = LinearCost(step_s=0.005, token_s=2e-4)
    one, _ = burst.again(measured(), cost, num_workers=1)
    shared, _ = burst.again(measured(), cost)
    split, history = burst.again(measured(), cost, split=True)
    assert burst.longest_pause_s(one) == pytest.approx(4 * 1100 * 2e-4, rel=0.1)
    assert burst.longest_pause_s(shared) == pytest.approx(burst.longest_pause_s(one) / 2, rel=0.1)
    assert burst.longest_pause_s(split) < 0.1 * burst.longest_pause_s(shared)
    assert burst.slowest_start_s(split) > 1.5 * burst.slowest_start_s(shared)
    assert len(history.moves) == 6
    assert all(a.num_output_tokens == b.num_output_tokens for a, b in zip(split, measured(), strict=True))


def test_a_replay_is_the_answer_with_its_long_gap(capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model("tiny")
    prompt, tokens = model.encode("A list is"), model.encode(" a list of\nstrings")
    answer = Answer(0, 0, tuple(prompt), list(tokens), model=model)
    assert "".join(burst.pieces(answer)) == answer.text
    times_s = [0.1 * i for i in range(len(tokens) - 1)]
    times_s.append(times_s[-1] + 1.5)
    assert max(b - a for a, b in pairwise(times_s)) == pytest.approx(1.5)
    burst.replay(answer, times_s, limit_s=1.0)
    said = capsys.readouterr().out
    assert said.count("[… 1,500 ms …]") == 1
    assert said.replace(" [… 1,500 ms …] ", "") == "A list is |" + answer.text.replace("\n", " ") + "\n"


def test_a_replay_breaks_lines_between_words(capsys: pytest.CaptureFixture[str]) -> None:
    line = burst.Line()
    for word in ["token"] * 40:
        line.say(f" {word}")
        line.say("s")
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines).split() == ["tokens"] * 40
    assert max(map(len, lines)) <= burst.LINE + 1
    assert len(lines) == 4
