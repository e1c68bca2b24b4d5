import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.errors import UserError
from course.metrics.statistics import Samples, Statistics, percentile, run_duration_s
from tests.metrics.helpers import answer, answers

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50)


def by_hand(numbers, percent):
    """Linear interpolation between order statistics, written out."""
    ordered = sorted(numbers)
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


@given(values, st.floats(0, 100))
def test_percentile_interpolates_linearly(numbers, percent):
    assert percentile(numbers, percent) == pytest.approx(by_hand(numbers, percent), rel=1e-9, abs=1e-6)


@given(values, st.floats(0, 100), st.floats(0, 100))
def test_percentiles_rise_and_stay_within_the_values(numbers, one, other):
    low, high = sorted((one, other))
    assert percentile(numbers, low) <= percentile(numbers, high) + 1e-9
    assert percentile(numbers, 0) == min(numbers)
    assert percentile(numbers, 100) == max(numbers)
    assert percentile(numbers, low) == percentile(numbers[::-1], low)


def test_percentile_examples_and_errors():
    assert percentile([1, 2, 3, 4], 90) == pytest.approx(3.7)
    assert math.isnan(percentile([], 50))
    with pytest.raises(UserError, match="a percentile lies between 0 and 100, got 101"):
        percentile([1], 101)


def test_statistics():
    stats = Statistics.of([1.0, 2.0, 6.0], (50, 100))
    assert stats == (3.0, 2.0, pytest.approx(math.sqrt(14 / 3)), {50: 2.0, 100: 6.0})
    assert all(math.isnan(value) for value in Statistics.of([])[:3])


def test_tpot_weighs_answers_and_itl_weighs_tokens():
    """The trap of mixing them: a short fast answer and a long slow one."""
    fast = answer(1.0, 1.1)
    slow = answer(*np.arange(1.0, 10.5, 1.0).tolist())
    samples = Samples.of([fast, slow])
    assert samples.tpot == pytest.approx([0.1, 1.0])
    assert np.mean(samples.tpot) == pytest.approx(0.55)
    assert samples.itl.mean == pytest.approx(0.91)


def test_one_token_answers_have_a_ttft_and_no_tpot():
    samples = Samples.of([answer(2.0)])
    assert [len(s) for s in (samples.ttft, samples.tpot, samples.itl, samples.e2el)] == [1, 0, 0, 1]
    assert (samples.ttft[0], samples.e2el[0]) == (2.0, 2.0)


@pytest.mark.parametrize("outcome", ["failed", "refused", "cancelled", "unfinished"])
def test_only_finished_answers_enter(outcome):
    samples = Samples.of([answer(2.0, 3.0, outcome=outcome)])
    assert [len(s) for s in (samples.ttft, samples.tpot, samples.itl, samples.e2el)] == [0, 0, 0, 0]


@given(st.lists(answers(), max_size=8))
def test_counts_of_samples(records):
    samples = Samples.of(records)
    finished = [record for record in records if record.finished and record.num_output_tokens]
    assert len(samples.ttft) == len(samples.e2el) == len(finished)
    assert len(samples.itl) == sum(record.num_output_tokens - 1 for record in finished)
    assert len(samples.tpot) == sum(record.num_output_tokens > 1 for record in finished)


def test_duration_runs_from_the_first_arrival_to_the_last_event():
    assert run_duration_s([answer(3.0, 7.5, arrival_s=2.0), answer(4.0, arrival_s=1.0)]) == 6.5
    late = answer(arrival_s=9.0, outcome="refused")
    assert run_duration_s([answer(3.0, arrival_s=1.0), late]) == 8.0
    assert run_duration_s([]) == 0
