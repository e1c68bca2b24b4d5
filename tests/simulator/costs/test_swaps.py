"""Swapped blocks take time; everything else is the other model's business."""

from __future__ import annotations

import pytest

from course.serving.batch import BlockCopy
from course.simulator.costs.fitted import FittedCost
from course.simulator.costs.swaps import WithSwaps, swap_block_s
from course.simulator.links import load_link
from course.simulator.parallel import Split
from course.simulator.shapes import load_shape
from tests.simulator.costs.helpers import batch

COST = FittedCost("distserve-a100", "opt-13b")


def test_each_block_out_and_in_is_paid():
    step = batch([(0, 100)], [50])
    plain_s = COST.batch_s(step)
    step.swap_out = [BlockCopy(0, 0), BlockCopy(1, 1)]
    step.swap_in = [BlockCopy(2, 2)]
    assert WithSwaps(COST, 0.5).batch_s(step) == plain_s + 1.5
    assert WithSwaps(COST, 0.5).batch_stage_s(step) == COST.batch_stage_s(step) + 1.5


def test_without_swaps_nothing_changes():
    step = batch(contexts=[50, 60])
    assert WithSwaps(COST, 0.5).batch_s(step) == COST.batch_s(step)
    assert WithSwaps(COST, 0.5).decode_series_s(step) == COST.decode_series_s(step)


def test_a_block_of_opt_13b_crosses_pcie_4_in_416_microseconds():
    shape, link = load_shape("opt-13b"), load_link("pcie-4")
    assert swap_block_s(Split(shape), link, 16) == pytest.approx(16 * 819_200 / 31.508e9)
    assert swap_block_s(Split(shape, tp=2, pp=2), link, 16) == pytest.approx(16 * 819_200 / 4 / 31.508e9)
