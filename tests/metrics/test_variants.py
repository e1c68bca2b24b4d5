import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.errors import UserError
from course.metrics import variants
from course.metrics.latency import gaps_s, tpot_s, ttft_s
from tests.metrics.helpers import answer, answers


def test_the_same_answer_under_every_name():
    record = answer(1.5, 1.75, 2.5, 2.75, arrival_s=1.0)
    assert tpot_s(record) == pytest.approx(1.25 / 3)
    assert variants.tpot_simdistserve_s(record) == pytest.approx(1.25 / 4)
    assert variants.tpot_etalon_s(record) == pytest.approx((0.25 + 0.75 + 0.25) / 3)
    assert variants.tpot_etalon_docs_s(record) == pytest.approx(1.75 / 4)
    assert variants.normalized_latency_s(record) == pytest.approx(1.75 / 4)
    assert variants.inter_token_latency_aiperf_s(record) == pytest.approx(1.25 / 3)
    assert variants.inter_chunk_latency_aiperf_s(record) == [0.25, 0.75, 0.25]
    assert variants.time_to_second_token_s(record) == 0.25
    assert variants.tbt_mooncake_s(record) == 0.75


def test_one_token():
    record = answer(1.5)
    assert variants.tpot_simdistserve_s(record) == 0
    assert variants.tpot_etalon_s(record) == 0, "0 where the others exclude the answer"
    assert variants.normalized_latency_s(record) == 1.5
    assert variants.inter_token_latency_aiperf_s(record) is None
    assert variants.time_to_second_token_s(record) is None
    assert variants.tbt_mooncake_s(record) is None


def test_no_token():
    record = answer()
    for name in ("tpot_simdistserve_s", "tpot_etalon_s", "normalized_latency_s", "tbt_mooncake_s"):
        assert getattr(variants, name)(record) is None
    assert variants.fluidity_index(record, 1, 1) is None


def test_simdistserve_divides_its_own_runs_by_the_number_of_gaps():
    """A request of output_len 3 has 3 decode steps after the prefill: 4 tokens in its record."""
    record = answer(1.0, 1.25, 1.5, 1.75)
    assert tpot_s(record) == 0.75 / 3


def test_mooncake_takes_the_worst_tenth():
    gaps = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    record = answer(*np.cumsum([1, *gaps]).tolist())
    assert variants.tbt_mooncake_s(record) == 10.5, "2 of 11 gaps: the tenth, rounded up"
    assert variants.tbt_mooncake_s(answer(*range(1, 12))) == 1.0


@given(answers(min_tokens=2))
def test_mooncake_is_at_least_the_mean_and_at_most_the_worst_gap(record):
    worst = variants.tbt_mooncake_s(record)
    assert tpot_s(record) <= worst * (1 + 1e-9)
    assert worst <= max(gaps_s(record))


def test_fluidity_by_hand():
    # Deadlines 1 s, then 0.5 s. Slack before each token: 0, 0.75, 1, 0.5, and 0 after the miss.
    # So the stall of 1 s before the third token is hidden; that of 1.25 s before the fourth is not.
    record = answer(0.25, 0.5, 1.5, 2.75, 3.25)
    assert variants.fluidity_index(record, 1.0, 0.5) == 4 / 5
    # Without a bank, two of the four gaps miss 0.5 s.
    assert [gap <= 0.5 for gap in gaps_s(record)] == [True, False, False, True]


def test_a_miss_empties_the_bank():
    # The second token misses by 0.5 s and forfeits the slack of 0.5 s that the first had banked.
    record = answer(0.5, 2.5, 3.25)
    assert variants.fluidity_index(record, 1.0, 0.5) == 1 / 3


def fluidity_by_deadlines(record, prefill_s, decode_s):
    """The definition with absolute deadlines: they run on from the last miss."""
    deadline = record.arrival_s + prefill_s
    num_met = 0
    for time_s in record.token_times_s:
        num_met += time_s <= deadline
        deadline = (deadline if time_s <= deadline else time_s) + decode_s
    return num_met / len(record.token_times_s)


@given(answers(min_tokens=1), st.integers(1, 4000), st.integers(1, 4000))
def test_fluidity_against_absolute_deadlines(record, prefill, decode):
    deadlines = prefill / 1024, decode / 1024
    assert variants.fluidity_index(record, *deadlines) == fluidity_by_deadlines(record, *deadlines)


@given(answers(min_tokens=1))
def test_fluidity_is_one_if_every_deadline_is_met_without_slack(record):
    slowest = max([ttft_s(record), *gaps_s(record)]) + 1 / 1024
    assert variants.fluidity_index(record, slowest, slowest) == 1
    assert variants.fluidity_index(record, math.inf, math.inf) == 1


def test_fluid_share_counts_what_failed_as_missed():
    records = [answer(0.5, 0.6), answer(5.0), answer(0.5, outcome="failed"), answer(outcome="refused")]
    assert variants.fluid_share(records, 1.0, 0.5) == 1 / 4
    assert variants.fluid_share([], 1.0, 0.5) == 0


def test_deadlines_must_be_positive():
    with pytest.raises(UserError, match="fluidity deadlines must be positive, got 0 s and 1 s"):
        variants.fluidity_index(answer(1.0), 0, 1)
