"""Steps of any shape on the real engine: what is timed is what was asked for."""

from __future__ import annotations

from itertools import count

import pytest

from course.engine.profiling import Recording, StepShape, StepTimer, default_steps, peak_rates, product_s
from tests.engine.conftest import make_model

STEPS = [
    StepShape(prompts=((0, 17),)),
    StepShape(prompts=((32, 9), (0, 5))),
    StepShape(contexts=(1, 40, 16)),
    StepShape(prompts=((20, 30),), contexts=(7, 33)),
]


@pytest.fixture(scope="module")
def timer() -> StepTimer:
    return StepTimer(make_model(), block_size=16)


@pytest.mark.parametrize("step", STEPS)
def test_the_step_that_runs_has_the_shape_asked_for(timer: StepTimer, step: StepShape, monkeypatch) -> None:
    run = type(timer.executor).run
    steps = []

    def note(executor, step):
        if not executor.declares:
            steps.append([(chunk.start, len(chunk.token_ids)) for chunk in step.chunks])
        return run(executor, step)

    monkeypatch.setattr(type(timer.executor), "run", note)
    assert timer.time_s(step) > 0
    [chunks] = steps
    assert sorted(chunks) == sorted([*step.prompts, *((context, 1) for context in step.contexts)])


def test_every_layer_calls_its_operators(timer: StepTimer) -> None:
    layers = timer.executor.network.config.num_layers
    per_step = [timer.num_calls(step) for step in STEPS]
    assert min(per_step) > 7 * layers  # its matrices alone
    assert per_step == [timer.num_calls(step) for step in STEPS]


def test_nothing_is_left_behind(timer: StepTimer) -> None:
    for step in STEPS:
        timer.time_s(step)
        timer.num_calls(step)
        assert timer.engine.num_unfinished == 0
        assert timer.engine.instance.memory.pool.num_used_blocks == 0
        assert not timer.engine.texts
        assert not timer.engine.answers


def test_the_clock_is_read_around_the_step_alone() -> None:
    ticks = count()
    recording = Recording(make_model(), STEPS, clock=lambda: float(next(ticks)))
    recording.run_round()
    recording.run_round()
    assert recording.seconds == [[1.0, 1.0]] * len(STEPS)


def test_the_default_steps_are_the_same_every_time_and_fit_the_context() -> None:
    steps = default_steps(4096)
    assert steps == default_steps(4096)
    assert steps != default_steps(4096, seed=1)
    assert {(bool(s.prompts), bool(s.contexts)) for s in steps} == {(True, False), (False, True), (True, True)}
    short = default_steps(256)
    assert 0 < len(short) < len(steps)
    for step in short:
        assert all(start + n <= 248 for start, n in step.prompts)
        assert all(context <= 248 for context in step.contexts)


def test_peak_rates_are_positive() -> None:
    assert min(peak_rates(seconds=0.05)) > 0


def test_products_of_all_sizes_are_timed() -> None:
    seconds = product_s((1, 3, 2), 8, 16, rounds=2)
    assert list(seconds) == [1, 3, 2]
    assert all(0 < each < float("inf") for each in seconds.values())
