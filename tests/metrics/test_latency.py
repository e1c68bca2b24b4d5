import pytest
from hypothesis import given

from course.metrics.latency import e2e_s, gaps_s, tpot_s, ttft_s
from tests.metrics.helpers import answer, answers


def test_by_hand():
    record = answer(1.5, 1.75, 2.5, 2.75, arrival_s=1.0)
    assert ttft_s(record) == 0.5
    assert gaps_s(record) == [0.25, 0.75, 0.25]
    assert tpot_s(record) == pytest.approx(1.25 / 3), "three gaps between four tokens"
    assert e2e_s(record) == 1.75


def test_one_token_has_no_tpot():
    record = answer(1.5)
    assert (ttft_s(record), tpot_s(record), gaps_s(record), e2e_s(record)) == (1.5, None, [], 1.5)


def test_no_token_has_nothing():
    record = answer()
    assert (ttft_s(record), tpot_s(record), gaps_s(record), e2e_s(record)) == (None, None, [], None)


@given(answers(min_tokens=2))
def test_the_pieces_add_up(record):
    assert ttft_s(record) + sum(gaps_s(record)) == e2e_s(record)
    assert tpot_s(record) * (record.num_output_tokens - 1) == pytest.approx(sum(gaps_s(record)))
    assert min(gaps_s(record)) <= tpot_s(record) * (1 + 1e-12)
    assert tpot_s(record) <= max(gaps_s(record)) * (1 + 1e-12)
