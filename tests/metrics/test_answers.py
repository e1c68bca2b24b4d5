"""First and last tokens as arrays say what the records say one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.metrics.answers import Answers
from course.metrics.attainment import attainment, judge
from course.metrics.latency import e2e_s, tpot_s, ttft_s
from course.metrics.record import Outcome, RequestRecord
from course.metrics.times import TokenTimes
from course.workload.slo import SLO
from tests.metrics.helpers import answers
from tests.metrics.test_times import answers as pairs

records = st.lists(answers(), max_size=8)


@given(records)
def test_latencies_of_each_record(recorded):
    arrays = Answers.of(recorded)
    for record, first, per_token, whole in zip(recorded, arrays.ttft_s, arrays.tpot_s, arrays.e2e_s, strict=True):
        for got, wanted in ((first, ttft_s(record)), (per_token, tpot_s(record)), (whole, e2e_s(record))):
            assert got == wanted or (math.isnan(got) and wanted is None)


@given(pairs())
def test_token_times_are_looked_up_together(lazy_and_plain):
    lazy = Answers.of([RequestRecord(1.0, 1, times, Outcome.FINISHED) for times, _ in lazy_and_plain])
    plain = Answers.of([RequestRecord(1.0, 1, times, Outcome.FINISHED) for _, times in lazy_and_plain])
    for name in ("arrival_s", "first_s", "last_s", "num_tokens", "is_finished"):
        np.testing.assert_array_equal(getattr(lazy, name), getattr(plain, name))


@given(records, st.floats(0.01, 20), st.floats(0.01, 20), st.none() | st.floats(0.01, 20))
def test_attainment_is_the_verdict_on_each(recorded, ttft, tpot, e2e):
    slo = SLO(ttft, tpot, e2e)
    verdicts = [judge(record, slo) for record in recorded]
    met = attainment(recorded, slo)
    assert met.num_good == sum(verdict.good for verdict in verdicts)
    total = max(1, len(verdicts))
    assert met.ttft == pytest.approx(sum(verdict.ttft for verdict in verdicts) / total)
    assert met.tpot == pytest.approx(sum(verdict.tpot for verdict in verdicts) / total)


def test_nothing():
    assert len(Answers.of([]).ttft_s) == 0
    assert math.isnan(Answers.of([RequestRecord(0.0, 1, TokenTimes())]).ttft_s[0])
