import math

import pytest

from course.errors import UserError
from course.workload.slo import SLO


def test_defaults_and_no_limit():
    slo = SLO(0.2, math.inf)
    assert (slo.e2e_s, slo.attainment) == (None, 0.9)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"ttft_s": 0}, "slo: ttft_s must be a positive number of seconds, got 0"),
        ({"tpot_s": -0.1}, "slo: tpot_s must be a positive number of seconds, got -0.1"),
        ({"e2e_s": math.nan}, "slo: e2e_s must be a positive number of seconds, got nan"),
        ({"attainment": 90}, "slo: attainment must be a share above 0 and up to 1, got 90"),
        ({"attainment": 0}, "slo: attainment must be a share above 0 and up to 1, got 0"),
    ],
)
def test_refuses_limits_that_mean_nothing(arguments, sentence):
    with pytest.raises(UserError) as caught:
        SLO(**{"ttft_s": 0.2, "tpot_s": 0.1} | arguments)
    assert str(caught.value) == sentence
