"""Lesson 07: its exercises are sound, its schedulers serve both clocks, its prose says what its runs show."""

from __future__ import annotations

from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.curriculum.lesson_07_continuous_batching import exercises, explorer, real
from course.curriculum.lesson_07_continuous_batching.rules import World, on_demand_fault, reserving_fault
from course.exercises import load, prove
from course.exercises.judge import judge
from course.figures import WatchedCluster
from course.metrics.latency import gaps_s, tpot_s, ttft_s
from course.model.loading import load_model
from course.serving.instance import Instance
from course.serving.schedulers import Orca, Static
from course.simulator.costs.fitted import FittedCost
from course.simulator.lockstep import serve_in_steps
from course.simulator.virtual import VirtualDriver

EXERCISES = load("continuous_batching")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_exercises_are_sound(exercise) -> None:
    prove(exercise, seeds=2)


WORLDS = st.builds(
    lambda jobs, places, spare, size: World(
        [(a, p, o, o + more) for a, p, o, more in jobs],
        places,
        max(-(-(p + o + more - 1) // size) for _, p, o, more in jobs) + spare,
        size,
    ),
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(1, 9), st.integers(0, 5)), min_size=1, max_size=9
    ).map(sorted),
    st.integers(1, 5),
    st.integers(0, 12),
    st.sampled_from([1, 2, 4]),
)


@given(world=WORLDS)
@settings(max_examples=60)
def test_the_references_keep_the_rules_that_they_are_judged_by(world: World) -> None:
    for reference, fault in ((exercises.reserving, reserving_fault), (exercises.on_demand, on_demand_fault)):
        run = serve_in_steps(reference(world.max_num_sequences), world.jobs, world.num_blocks, world.block_size)
        assert fault(run, world) == ("", None)


@given(world=WORLDS)
@settings(max_examples=40)
def test_the_courses_orca_keeps_the_same_rules(world: World) -> None:
    run = serve_in_steps(Orca(world.max_num_sequences), world.jobs, world.num_blocks, world.block_size)
    assert reserving_fault(run, world) == ("", None)


@pytest.mark.parametrize("make", [exercises.reserving, exercises.on_demand], ids=["Reserving", "OnDemand"])
@pytest.mark.parametrize("num_tokens", [3_000, 12_000])
def test_saying_how_long_a_plan_holds_changes_no_token(make, num_tokens: int) -> None:
    requests = explorer.workload(16, 0.8)

    def token_times(scheduler) -> list[list[float]]:
        cluster = WatchedCluster([Instance(scheduler, num_tokens // 16)])
        records = VirtualDriver(cluster, FittedCost("distserve-a100", "opt-13b")).run(requests).records
        return [list(record.token_times_s) for record in records]

    skipping, stepping = token_times(explorer.Steady(make(16))), token_times(make(16))
    assert len(skipping) == len(stepping) == explorer.NUM_REQUESTS
    for one, other in zip(skipping, stepping, strict=True):
        assert one == pytest.approx(other, abs=1e-9)  # sums in another order differ in the last bit


def test_the_explorer_runs_the_schedulers_that_it_is_given() -> None:
    default = explorer.explorer().draw()[1]
    mine = explorer.explorer(reserving=Static, on_demand=Static)
    assert mine.draw()[1] == default  # the default policy is static in both
    given_static = explorer.serve(8, 0.8, 16, 12_000, explorer.RESERVING, Static, Static)
    assert explorer.say(given_static) == explorer.say(explorer.serve(8, 0.8, 16, 12_000, explorer.STATIC))


def gap_ms(policy: str, rate: float = 8, spread: float = 0.8, limit: int = 16, memory: int = 12_000) -> float:
    records, _ = explorer.serve(rate, spread, limit, memory, policy)
    return 1000 * max(max(gaps_s(record), default=0.0) for record in records)


def ttft_ms(policy: str, rate: float = 8, spread: float = 0.8, limit: int = 16, memory: int = 12_000) -> float:
    return 1000 * median(ttft_s(r) or 0.0 for r in explorer.serve(rate, spread, limit, memory, policy)[0])


def tpot_ms(policy: str, limit: int = 16) -> float:
    return 1000 * median(tpot_s(r) or 0.0 for r in explorer.serve(8, 0.8, limit, 12_000, policy)[0])


def test_the_answers_to_the_things_to_try() -> None:
    static, reserving, on_demand = explorer.STATIC, explorer.RESERVING, explorer.ON_DEMAND
    assert ttft_ms(static) > 5000
    assert ttft_ms(reserving) < 100
    assert [round(tpot_ms(policy)) for policy in (static, reserving)] == [24, 28]
    assert ttft_ms(static, spread=0.0) > 5 * ttft_ms(reserving, spread=0.0)
    assert round(gap_ms(explorer.PREFILL_FIRST, 32, 0.8, 64)) == 750
    assert round(gap_ms(reserving, 32, 0.8, 64)) == 152
    assert ttft_ms(reserving, memory=3_000) > 3 * ttft_ms(on_demand, memory=3_000)
    ttfts = [ttft_ms(reserving, limit=limit) for limit in (1, 4, 16)]
    assert ttfts == sorted(ttfts, reverse=True)
    tpots = [tpot_ms(reserving, limit) for limit in (1, 4, 16)]
    assert tpots == sorted(tpots)


def test_on_the_a100_what_got_worse_and_by_how_much() -> None:
    static, reserving = (explorer.serve(8, 0.8, 16, 12_000, p) for p in (explorer.STATIC, explorer.RESERVING))
    assert explorer.tokens_per_s(reserving) == pytest.approx(2 * explorer.tokens_per_s(static), rel=0.05)
    assert gap_ms(explorer.RESERVING) > 3 * gap_ms(explorer.STATIC)


def test_with_equal_answers_taking_memory_back_costs_throughput() -> None:
    policies = (explorer.RESERVING, explorer.ON_DEMAND)
    few_long = [explorer.tokens_per_s(explorer.serve(16, 0.8, 64, 3_000, policy)) for policy in policies]
    equal = [explorer.tokens_per_s(explorer.serve(16, 0.0, 64, 3_000, policy)) for policy in policies]
    assert few_long[0] < few_long[1]
    assert equal[0] > equal[1]


def test_on_the_real_model_all_schedulers_write_the_same_tokens() -> None:
    model = load_model("tiny", dtype="float64")
    lengths = real.LENGTHS[:6]
    static = real.serve_once(model, Static(2), lengths)
    for scheduler, num_blocks in ((exercises.reserving(2), 64), (exercises.on_demand(6), 6)):
        served = real.serve_once(model, scheduler, lengths, num_blocks)
        assert served.tokens == static.tokens
        assert len(served.history.steps) < len(static.history.steps)
    assert sum(record.num_preemptions for record in served.records) > 0


def test_the_real_batch_takes_as_many_steps_as_the_longest_of_each_four() -> None:
    batches = [real.LENGTHS[i : i + 4] for i in (0, 4, 8)]
    assert sum(map(max, batches)) == 152
    assert 1 - sum(real.LENGTHS) / (4 * 152) == pytest.approx(0.62, abs=0.005)


def test_a_starved_request_is_framed_beside_the_reference() -> None:
    reserving = next(exercise for exercise in EXERCISES if exercise.name == "Reserving")
    small_first = next(mistake for mistake in reserving.mistakes if mistake.name == "small ones overtake")
    verdict = judge(reserving, small_first.text, seed=0)
    assert "came before it and waits" in verdict.message
    assert "the reference" in str(verdict.picture)
    assert 'stroke-width="3"' in str(verdict.picture)


def test_the_second_request_is_never_let_in_while_small_ones_come() -> None:
    stream = [(0, 1, 1, 1), (0, 1, 2, 2), (0, 6, 2, 2), *[(i, 1, 2, 2) for i in range(1, 9)]]
    run = serve_in_steps(exercises.on_demand(2), stream, 99)
    first_step = next(now for now, step in enumerate(run.steps) if 2 in step.ran)
    assert first_step == 1
    assert np.mean([len(step.ran) for step in run.steps]) > 1.8
