import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.metrics.attainment import Attainment, attainment, judge, request_goodput
from course.metrics.latency import tpot_s, ttft_s
from course.workload.slo import SLO
from tests.metrics.helpers import answer, answers

SLO_HALF = SLO(ttft_s=0.5, tpot_s=0.25)


def test_limits_are_inclusive():
    assert judge(answer(0.5, 0.75, 1.0), SLO_HALF) == (True, True, True)
    assert judge(answer(0.5 + 1e-9, 0.75), SLO_HALF) == (False, True, False)
    assert judge(answer(0.5, 0.76), SLO_HALF) == (True, False, False)


def test_one_token_counts_as_a_tpot_of_zero():
    assert judge(answer(0.5), SLO_HALF) == (True, True, True)


def test_the_end_to_end_limit_counts_only_for_all():
    slo = SLO(0.5, 0.25, e2e_s=0.9)
    assert judge(answer(0.5, 0.75, 1.0), slo) == (True, True, False)
    assert judge(answer(0.4, 0.65, 0.9), slo) == (True, True, True)


@pytest.mark.parametrize("outcome", ["failed", "refused", "cancelled", "unfinished"])
def test_what_did_not_finish_kept_no_limit(outcome):
    assert judge(answer(0.1, 0.2, outcome=outcome), SLO(math.inf, math.inf)) == (False, False, False)


def test_joint_attainment_is_not_the_smaller_of_the_two():
    late_but_smooth = answer(0.9, 1.0)
    early_but_slow = answer(0.1, 0.9)
    good = answer(0.1, 0.2)
    refused = answer(outcome="refused")
    met = attainment([late_but_smooth, early_but_slow, good, refused], SLO_HALF)
    assert met == Attainment(ttft=2 / 4, tpot=2 / 4, both=1 / 4, num_good=1, num_requests=4)


def test_goodput_is_a_rate_of_this_run():
    records = [answer(0.1, 0.2), answer(0.9), answer(0.1)]
    assert request_goodput(records, SLO_HALF, duration_s=4.0) == 0.5
    assert request_goodput(records, SLO_HALF, duration_s=0.0) == 0


def test_no_requests():
    assert attainment([], SLO_HALF) == (0, 0, 0, 0, 0)


limits = st.floats(0.01, 5)


@given(st.lists(answers(), min_size=1, max_size=10), limits, limits)
def test_shares_against_counting(records, ttft_limit, tpot_limit):
    met = attainment(records, SLO(ttft_limit, tpot_limit))
    finished = [r for r in records if r.finished and r.num_output_tokens]
    first = {id(r) for r in finished if ttft_s(r) <= ttft_limit}
    each = {id(r) for r in finished if (tpot_s(r) or 0) <= tpot_limit}
    assert met.ttft * len(records) == pytest.approx(len(first))
    assert met.tpot * len(records) == pytest.approx(len(each))
    assert met.num_good == len(first & each)
    assert met.both <= min(met.ttft, met.tpot)


@given(st.lists(answers(), min_size=1, max_size=10), limits, limits, st.floats(1, 3))
def test_looser_limits_never_lose(records, ttft_limit, tpot_limit, factor):
    tight = attainment(records, SLO(ttft_limit, tpot_limit))
    loose = attainment(records, SLO(ttft_limit * factor, tpot_limit * factor))
    assert tight.both <= loose.both
