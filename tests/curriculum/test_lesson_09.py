"""Lesson 09: its exercises are sound, they agree with the package, and its prose says what its runs give."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.curriculum.lesson_09_goodput import exercises, explorer, real
from course.curriculum.lesson_09_goodput.definitions import definitions, side_by_side
from course.exercises import load, prove
from course.metrics import attainment as metrics
from course.metrics.record import Outcome, RequestRecord
from course.model.loading import load_model
from course.serving.schedulers import Orca, Static
from course.simulator.goodput import largest_good
from course.workload.arrivals import poisson_arrivals
from course.workload.slo import SLO

EXERCISES = load("goodput")
LIMITS = SLO(1.0, 0.05, attainment=0.9)
MEASURED = explorer.Measured()


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_it_is_sound(exercise) -> None:
    prove(exercise)


def sent(num: int, rate: float, seed: int) -> list[float]:
    times: list[float] = []

    def send(time_s: float) -> float:
        times.append(time_s)
        return time_s

    exercises.open_loop(num, rate, np.random.default_rng(seed), send)
    return times


def test_its_users_come_as_often_as_the_packages() -> None:
    theirs = np.diff(poisson_arrivals(4000, 5.0, seed=3))
    ours = np.diff(sent(4000, 5.0, seed=3))
    assert np.percentile(ours, [10, 50, 90]) == pytest.approx(np.percentile(theirs, [10, 50, 90]), rel=0.15)


SERVED = st.builds(
    lambda arrival, waits, finished: RequestRecord(
        arrival_s=arrival,
        num_prompt_tokens=1,
        token_times_s=[float(time) for time in arrival + np.cumsum(waits)],
        outcome=Outcome.FINISHED if finished and waits else Outcome.FAILED,
    ),
    st.integers(0, 9).map(float),
    st.lists(st.integers(1, 80).map(lambda n: n / 64), max_size=5),
    st.booleans(),
)


@given(st.lists(SERVED, max_size=12))
@settings(max_examples=60)
def test_attainment_is_the_packages(records: list[RequestRecord]) -> None:
    ours = exercises.attainment(explorer.as_log(records), 1.0, 0.5)
    assert ours == pytest.approx(metrics.attainment(records, SLO(1.0, 0.5)).both)


@given(st.floats(0.01, 20), st.sampled_from([0.25, 1.0]))
def test_goodput_finds_what_the_packages_search_finds(knee: float, tolerance: float) -> None:
    found = exercises.goodput(lambda rate: 1.0 if rate <= knee else 0.0, 0.9, 16.0, tolerance)
    assert min(knee, 16.0) - tolerance <= found <= knee
    good, miss = largest_good(lambda rate: rate <= knee, 16.0, 0.01, max_rate=16.0)
    assert good - tolerance <= found <= max(miss, 16.0)


def goodputs(ttft_ms: float, tpot_ms: float, goal: float = 90) -> list[float]:
    return [MEASURED.goodput(system, explorer.slo_of(ttft_ms, tpot_ms, goal)) for system in explorer.SYSTEMS]


def test_the_higher_throughput_has_the_lower_goodput() -> None:
    a, b = (explorer.throughput(system) for system in explorer.SYSTEMS)
    assert 1.15 < a / b < 1.2  # "nearly a fifth more"
    assert goodputs(1000, 50) == [3.5, 4.25]
    kept = [MEASURED.share(system, 4.5, LIMITS) for system in explorer.SYSTEMS]
    assert [round(share, 2) for share in kept] == [0.70, 0.88]


def test_each_limit_alone_reaches_a_goal_that_both_together_miss() -> None:
    alone = [MEASURED.share(explorer.A, 4.0, SLO(*limits)) for limits in ((0.25, math.inf), (math.inf, 0.055))]
    assert [round(share, 2) for share in alone] == [0.95, 0.93]
    assert MEASURED.share(explorer.A, 4.0, SLO(0.25, 0.055)) < 0.9


def test_the_answers_to_the_things_to_try() -> None:
    assert goodputs(300, 100) == [6.25, 1.25]
    assert goodputs(1000, 50, 99) == [2.75, 3.75]
    assert min(goodputs(1000, 50, 50)) >= 5
    assert goodputs(1000, 30) == goodputs(2000, 30)
    low, high = (explorer.cloud_of(explorer.A, rate) for rate in (1.0, 7.0))
    assert np.median(high.tpot_s) > 2 * np.median(low.tpot_s)
    assert np.percentile(high.ttft_s, 90) < 1.0
    assert np.percentile(explorer.cloud_of(explorer.B, 7.0).ttft_s, 90) > 1.0


def test_who_buys_by_throughput_lets_most_users_down() -> None:
    gpus = math.ceil(100 / explorer.throughput(explorer.A))
    assert gpus == 16
    assert MEASURED.share(explorer.A, 100 / gpus, LIMITS) < 0.25


def test_a_short_run_shows_more_goodput_than_throughput() -> None:
    assert goodputs(2000, 60)[1] == 5.5 > explorer.throughput(explorer.B)
    assert 50 < explorer.workload(5.5).requests[-1].arrival_s < 70


def test_refusing_half_makes_more_users_content() -> None:
    assert MEASURED.share(explorer.B, 3.5, LIMITS) / 2 > 5 * MEASURED.share(explorer.B, 7.0, LIMITS)


def test_the_definitions_disagree_about_the_same_run() -> None:
    run = explorer.serve(explorer.A, 4.0)
    said = {name: say(run) for name, say in definitions(LIMITS).items()}
    assert said["DistServe: requests that keep both"] == "85%"
    assert said["Mooncake: TTFT 30 s, worst gaps 100 ms"] == "34%"
    assert said["Etalon: 90% of the tokens in time"] == "100%"
    assert len(side_by_side({"A": run, "B": run}, LIMITS).splitlines()) == 1 + len(said)


def test_figure_1_of_distserve_is_found_within_a_fifth() -> None:
    found = exercises.goodput(lambda rate: exercises.attainment(explorer.figure_1(rate), 0.4, 0.04), 0.9, 4.0, 0.05)
    assert found == pytest.approx(1.6, rel=0.2)


def test_the_explorer_is_driven_by_what_it_is_given() -> None:
    mine = explorer.Measured(attainment=lambda log, ttft_s, tpot_s: 0.0, goodput=lambda *_: 2.5)
    assert "Goodput: 2.5 requests/s" in explorer.explorer(mine).draw()[1]
    assert "Goodput: 3.5 requests/s" in explorer.explorer().draw()[1]

    def all_at_once(num, rate, rng, send):
        for _ in range(num):
            send(0.0)

    assert explorer.workload(4.0, all_at_once).requests[-1].arrival_s == 0.0


def test_the_real_model_serves_users_who_come_by_and_by() -> None:
    model = load_model("tiny")
    asked = real.requests(model, 200.0, exercises.open_loop, num=6)
    assert len({request.arrival_s for request in asked.requests}) == 6
    for scheduler in (Static(16), Orca(4)):
        log = real.measure(model, scheduler, asked)
        assert [len(times_s) for _, times_s, _ in log] == [real.ANSWER_TOKENS] * 6
        assert all(finished for *_, finished in log)
        assert real.per_second(log) > 0
