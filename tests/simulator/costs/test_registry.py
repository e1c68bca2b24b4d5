"""Every cost model by its name."""

from __future__ import annotations

import pytest

from course.errors import UserError
from course.simulator.costs.registry import COSTS, make_cost
from course.simulator.hardware import load_hardware
from course.simulator.shapes import load_shape
from tests.simulator.costs.helpers import batch

A100, OPT = load_hardware("a100-80gb"), load_shape("opt-13b")


@pytest.mark.parametrize("name", COSTS)
def test_every_name_makes_a_model_that_answers(name: str):
    cost = make_cost(name, OPT, A100, tp=1)
    assert 0 < cost.batch_s(batch(contexts=[100])) < cost.batch_s(batch([(0, 2000)], [100]))


def test_mistakes_are_answered_in_a_sentence():
    with pytest.raises(UserError, match="unknown cost 'distserve': the nearest is 'distserve-a100'"):
        make_cost("distserve", OPT, A100)
    with pytest.raises(UserError, match="fitted on hardware 'a100-80gb', not on 'h100'"):
        make_cost("vllm-a100", OPT, load_hardware("h100"))
    with pytest.raises(UserError, match="not fitted for llama-2-7b"):
        make_cost("vllm-a100", load_shape("llama-2-7b"), A100)
