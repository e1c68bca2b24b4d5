"""Predicted answer lengths."""

from __future__ import annotations

import pytest

from course.errors import UserError
from course.serving.predictor import Buckets, Declared
from course.workload.request import Request


def asked(id: int, most: int = 1000) -> Request:
    return Request(id, 0.0, 8, most)


def test_the_lower_end_of_the_right_bucket():
    predictor = Buckets({0: 1, 1: 199, 2: 200, 3: 399, 4: 999}, accuracy=1.0)
    assert [predictor.predict(asked(k)) for k in range(5)] == [0, 0, 200, 200, 800]


def test_as_often_right_as_stated_and_wrong_in_any_other_bucket():
    predictor = Buckets(dict.fromkeys(range(20000), 450), accuracy=0.749, seed=3)
    predicted = [predictor.predict(asked(k, 999)) for k in range(20_000)]
    shares = {value: predicted.count(value) / 20_000 for value in set(predicted)}
    assert shares[400] == pytest.approx(0.749, abs=0.02)
    assert {value: pytest.approx((1 - 0.749) / 4, abs=0.02) for value in (0, 200, 600, 800)} == {
        value: share for value, share in shares.items() if value != 400
    }
    assert predicted == [predictor.predict(asked(k, 999)) for k in range(20_000)]


def test_nothing_to_confuse_in_a_single_bucket():
    assert Buckets({0: 5}, accuracy=0.0).predict(asked(0, 20)) == 0


def test_declared_believes_the_client():
    assert Declared().predict(asked(0, 77)) == 77


@pytest.mark.parametrize(("field", "value"), [("width", 0), ("accuracy", 1.5)])
def test_parameters_out_of_range_are_named(field: str, value: float):
    with pytest.raises(UserError, match=field):
        Buckets({}, **{field: value})
