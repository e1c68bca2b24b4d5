"""Profiles on disk, the fit, and what it says of its own errors."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.errors import UserError
from course.simulator.costs.measured import MeasuredCost, fit, residuals
from course.simulator.costs.profile import ProfiledStep, load_profile
from tests.simulator.costs.helpers import TRUTH, batch, chunks, contexts, one_further, profile

coefficients = st.floats(0, 1e-2)
costs = st.builds(MeasuredCost, *[coefficients] * 7)


def test_the_fit_finds_the_form_behind_the_times():
    assert astuple(fit(profile())) == pytest.approx(astuple(TRUTH), rel=1e-6)


def test_noise_moves_the_fit_a_little_and_shows_in_the_residuals():
    recorded = profile(noise=0.05)
    cost = fit(recorded)
    rows = {row.kind: row for row in residuals(recorded, cost)}
    assert set(rows) == {"prompts", "decodes", "both", "all"}
    assert rows["all"].num_steps == len(recorded.steps)
    assert 0.003 < rows["all"].p50 <= rows["all"].p90 < 0.1
    assert abs(rows["all"].bias) < 0.02
    for step in profile().steps:
        assert cost.step_s(step) == pytest.approx(step.median_s, rel=0.15)


def test_terms_that_do_not_show_are_zero_and_none_is_negative():
    without = replace(TRUTH, pair_s=0.0, chunk_s=0.0)
    assert all(each >= 0 for seed in range(20) for each in astuple(fit(profile(without, 0.2, seed))))


@given(cost=costs, chunks=chunks, contexts=contexts)
def test_batches_and_profiled_steps_follow_one_formula(cost, chunks, contexts):
    step = ProfiledStep(tuple(chunks), tuple(contexts), (1.0,))
    assert cost.batch_s(batch(chunks, contexts)) == pytest.approx(cost.step_s(step), rel=1e-9)
    assert cost.batch_stage_s(batch(chunks, contexts)) == cost.batch_s(batch(chunks, contexts))


@given(cost=costs, contexts=contexts)
def test_successive_decode_steps_are_the_series(cost, contexts):
    step = batch(contexts=contexts)
    first_s, growth_s = cost.decode_series_s(step)
    for i in range(5):
        assert first_s + i * growth_s == pytest.approx(cost.batch_s(step), rel=1e-12)
        step = one_further(step)


def test_the_median_stands_for_a_step():
    assert ProfiledStep((), (1,), (3.0, 1.0, 90.0)).median_s == 3.0


def test_a_profile_comes_back_from_its_file(tmp_path: Path):
    file = tmp_path / "profile.json"
    recorded = profile(noise=0.1)
    recorded.save(file)
    again = load_profile(file)
    assert (again.model, again.machine, again.recorded) == (recorded.model, recorded.machine, recorded.recorded)
    assert again.conditions == {"threads": 1}
    assert astuple(fit(again)) == pytest.approx(astuple(fit(recorded)), rel=1e-3)
    assert file.read_text().count("\n") < len(recorded.steps) + 12  # a line a step: differences can be read


def test_files_that_are_no_profiles(tmp_path: Path):
    with pytest.raises(UserError, match="there is no profile"):
        load_profile(tmp_path / "absent.json")
    file = tmp_path / "other.json"
    for text in ("{}", "[]", "no"):
        file.write_text(text)
        with pytest.raises(UserError, match="is not a profile"):
            load_profile(file)
    profile().save(file)
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    with pytest.raises(UserError, match="profile format 99"):
        load_profile(file)


def test_too_few_steps_are_no_fit():
    few = profile()
    with pytest.raises(UserError, match="too few steps"):
        fit(replace(few, steps=few.steps[:10]))
    with pytest.raises(UserError, match="too few steps"):
        fit(replace(few, steps=tuple(s for s in few.steps if s.kind != "both") * 2))
