"""Lesson 08: its exercises are sound, its scheduler serves both clocks, its prose says what its runs show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course.curriculum.lesson_08_chunked_prefill import exercises, explorer, mixed_steps, prices, real
from course.curriculum.lesson_08_chunked_prefill.rules import World, chunked_fault
from course.exercises import load, prove
from course.exercises.judge import judge
from course.figures import WatchedCluster
from course.model.loading import load_model
from course.serving.instance import Instance
from course.serving.schedulers import ChunkedPrefill, Orca
from course.simulator.lockstep import serve_in_steps
from course.simulator.virtual import VirtualDriver

EXERCISES = load("chunked_prefill")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_exercises_are_sound(exercise) -> None:
    prove(exercise, seeds=2)


WORLDS = st.builds(
    World,
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 12), st.integers(1, 9)), min_size=1, max_size=9)
    .map(sorted)
    .map(lambda jobs: [(a, p, o, o) for a, p, o in jobs]),
    st.integers(1, 12),
)


@given(world=WORLDS)
@settings(max_examples=60)
def test_the_reference_and_the_courses_own_scheduler_keep_the_rules(world: World) -> None:
    own = ChunkedPrefill(max_num_sequences=None, token_budget=world.token_budget)
    for scheduler in (exercises.chunked(world.token_budget), own):
        assert chunked_fault(serve_in_steps(scheduler, world.jobs, 999), world) == ("", None)


@given(world=WORLDS)
@settings(max_examples=30)
def test_decodes_never_become_more_than_the_budget(world: World) -> None:
    run = serve_in_steps(exercises.chunked(world.token_budget), world.jobs, 999)
    assert max(sum(step.ran.values()) for step in run.steps) <= world.token_budget


@given(num_tokens=st.integers(1, 60), chunk_size=st.integers(1, 70))
@settings(max_examples=40)
def test_chunks_lose_no_pair_of_a_token_and_a_key(num_tokens: int, chunk_size: int) -> None:
    mask = exercises.chunk_mask.reference
    masks = [mask(start, n, num_tokens) for start, n, _ in exercises.chunks(num_tokens, chunk_size)]
    assert torch.equal(torch.cat(masks), torch.ones(num_tokens, num_tokens).tril().bool())


@pytest.mark.parametrize("machine", explorer.MACHINES)
@pytest.mark.parametrize("budget", [64, 512])
def test_saying_plans_briefly_changes_no_token(machine: str, budget: int) -> None:
    def token_times(scheduler) -> list[list[float]]:
        cluster = WatchedCluster([Instance(scheduler, explorer.NUM_BLOCKS)])
        records = VirtualDriver(cluster, explorer.cost_of(machine)).run(explorer.workload(1024, 8)).records
        return [list(record.token_times_s) for record in records]

    brief, long = token_times(explorer.Steady(exercises.chunked(budget))), token_times(exercises.chunked(budget))
    assert len(brief) == len(long) == explorer.NUM_REQUESTS
    for one, other in zip(brief, long, strict=True):
        assert one == pytest.approx(other, abs=1e-9)  # sums in another order differ in the last bit


def test_the_explorer_is_driven_by_what_it_is_given() -> None:
    mine = explorer.explorer(lambda budget: ChunkedPrefill(token_budget=16), lambda gaps, limit: 77)
    assert "longest gap" in mine.draw()[1]
    assert mine.draw()[1].endswith("the largest that keeps it: 77.")
    assert mine.draw()[1] != explorer.explorer().draw()[1]


def column(machine: str, rate: float, place: int) -> dict[int, float]:
    """One figure of every budget, in ms: 1 TTFT of long prompts, 2 of short ones, 3 TPOT, 4 the longest gap."""
    return {point[0]: 1e3 * point[place] for point in explorer.tried(2048, rate, machine)[0]}


def test_the_knee_of_the_a100() -> None:
    long, short, tpot, gap = (column(explorer.A100, 4, place) for place in (1, 2, 3, 4))
    assert long[128] / long[4096] == pytest.approx(1.2, abs=0.05)
    assert short[128] <= 1.02 * short[4096]
    assert tpot[128] < 0.85 * tpot[4096]
    assert long[64] > 2 * long[128]
    assert short[64] > 2 * short[128]
    assert gap[64] > 0.9 * gap[128]
    for budget in (256, 512, 1024):
        assert gap[2 * budget] == pytest.approx(2 * gap[budget], rel=0.15)


def test_the_tiny_model_has_none() -> None:
    for place in (1, 2):
        times = column(explorer.TINY, 4, place)
        assert times[128] > 1.5 * times[4096]
    long = list(column(explorer.TINY, 4, 1).values())
    assert long == sorted(long, reverse=True)


def test_the_answers_to_the_things_to_try() -> None:
    assert column(explorer.A100, 4, 4)[512] < 100 < column(explorer.A100, 4, 4)[1024]
    fits = column(explorer.ADDED, 4, 1)
    assert column(explorer.ADDED, 4, 4)[512] < 100 < column(explorer.ADDED, 4, 4)[1024]
    assert fits[512] / fits[4096] == pytest.approx(1.4, abs=0.05)
    assert fits[128] > 2 * fits[4096]
    h100 = column(explorer.H100, 4, 1)
    assert h100[128] > 1.5 * h100[256]
    assert h100[256] < 1.1 * h100[512]
    short = column(explorer.A100, 8, 2)
    assert short[64] == pytest.approx(660, abs=20)
    assert min(short, key=lambda budget: short[budget]) == 1024


def test_the_budgets_that_the_limits_give() -> None:
    gaps_s = explorer.tried(2048, 4, explorer.A100)[1]
    decode_s = prices.step_s(explorer.A100, 32, 512, 0, 0)
    assert [exercises.largest_budget(gaps_s, factor * decode_s) for factor in (2, 5, 25)] == [256, 512, 4096]
    assert np.mean(gaps_s[4096]) < 2 * decode_s  # so a mean never objects


def test_what_a_chunk_adds() -> None:
    times = {name: dict(zip(prices.SIZES, values, strict=True)) for name, values in prices.beside_decodes().items()}
    assert [round(times[m][128], 2) for m in (explorer.H100, prices.MEASURED, explorer.ADDED)] == [1.05, 1.18, 1.50]
    tiny = prices.step_s(explorer.TINY, 0, 0, 0, 0)
    assert tiny == pytest.approx(0.0047, abs=0.0003)  # the 5 ms of calling operators
    assert prices.step_s(explorer.TINY, 0, 0, 0, 200) - prices.step_s(explorer.TINY, 0, 0, 0, 100) == pytest.approx(
        0.0104, abs=0.003
    )


def test_the_roofline_is_near_what_was_measured() -> None:
    _, measured = mixed_steps.load()
    assert set(measured) == set(mixed_steps.default_steps())
    errors = [prices.step_s(explorer.H100, *s) / t - 1 for s, t in measured.items()]
    assert np.median(np.abs(errors)) == pytest.approx(0.05, abs=0.01)
    worst = min(measured, key=lambda s: prices.step_s(explorer.H100, *s) / measured[s])
    assert worst == mixed_steps.MixedStep(64, 512, 0, 768)


def test_what_chunks_cost_a_prompt_alone() -> None:
    def more(machine: str, size: int) -> float:
        return prices.prompt_s(machine, exercises.chunks(2048, size)) / prices.prompt_s(machine, [(0, 2048, True)]) - 1

    assert more(explorer.ADDED, 512) == pytest.approx(0.24, abs=0.01)
    assert more(prices.MEASURED, 512) == pytest.approx(0.15, abs=0.01)
    assert min(more(machine, 128) for machine in (explorer.ADDED, prices.MEASURED)) > 1


@torch.inference_mode()
def test_the_network_that_was_timed_computes_in_chunks_what_it_computes_at_once() -> None:
    network = mixed_steps.Network(2, 4, 12, num_layers=1, device="cpu")
    x = torch.randn(12, mixed_steps.HIDDEN, dtype=torch.bfloat16)
    whole = network.forward(mixed_steps.MixedStep(0, 4, 0, 12), x)
    network.forward(mixed_steps.MixedStep(0, 4, 0, 5), x[:5])
    rest = network.forward(mixed_steps.MixedStep(0, 4, 5, 7), x[5:])
    assert whole.shape == rest.shape == (1, mixed_steps.VOCABULARY)
    beside = network.forward(mixed_steps.MixedStep(2, 4, 0, 3), x[:5])
    assert beside.shape == (3, mixed_steps.VOCABULARY)


def test_on_the_real_model_chunks_change_no_token() -> None:
    model = load_model("tiny", dtype="float64")
    prompt = model.encode(real.NOTE)[:150]
    whole = real.sampled(model, prompt, [(0, len(prompt), True)])
    cut = exercises.chunks(len(prompt), 64)
    assert real.sampled(model, prompt, cut, exercises.chunk_mask.reference) == whole
    assert real.sampled(model, prompt, cut) == whole
    letter = model.decode(prompt)
    served = [real.serve_once(model, scheduler, letter) for scheduler in (Orca(8), exercises.chunked(32))]
    assert served[0].tokens == served[1].tokens
    assert max(sum(chunk.num_tokens for chunk in step.chunks) for step in served[1].history.steps) == 32


def test_a_wrong_mask_gives_another_token() -> None:
    model = load_model("tiny", dtype="float64")
    prompt, mask = model.encode(real.NOTE), exercises.chunk_mask.reference
    cut = exercises.chunks(len(prompt), 64)
    as_the_first = real.sampled(model, prompt, cut, lambda start, num_tokens, room: mask(0, num_tokens, room))
    assert as_the_first != real.sampled(model, prompt, cut, mask)


def mistake_of(exercise: str, name: str) -> str:
    found = next(one for one in EXERCISES if one.name == exercise)
    return next(mistake.text for mistake in found.mistakes if mistake.name == name)


def test_wrong_cells_of_a_mask_are_framed() -> None:
    exercise = next(one for one in EXERCISES if one.name == "chunk_mask")
    verdict = judge(exercise, mistake_of("chunk_mask", "as if it were the first chunk"), seed=0)
    assert str(verdict.picture).count('stroke-width="3"') == 4


def test_a_starved_prompt_is_framed_beside_the_reference() -> None:
    exercise = next(one for one in EXERCISES if one.name == "Chunked")
    verdict = judge(exercise, mistake_of("Chunked", "new prompts before the one under way"), seed=0)
    assert "which came later" in verdict.message
    assert "the reference" in str(verdict.picture)
    assert 'stroke-width="3"' in str(verdict.picture)
