"""A constant, plus so much per token."""

from __future__ import annotations

from course.serving.batch import Batch, ScheduledChunk
from course.serving.sequence import Sequence
from course.simulator.linear import LinearCost
from course.workload.request import Request

COST = LinearCost(step_s=1.0, token_s=0.25, context_token_s=1 / 64)


def batch(*chunks: tuple[int, int]) -> Batch:
    """A batch of chunks, each (tokens in the cache, tokens to compute)."""
    sequence = Sequence(Request(0, 0.0, 100, 1), rank=0)
    return Batch(0, 0, [ScheduledChunk(sequence, start, tokens, [], ()) for start, tokens in chunks])


def test_a_step_costs_its_constant_its_tokens_and_the_cache_it_reads():
    assert COST.batch_s(batch()) == 1.0
    assert COST.batch_s(batch((0, 4))) == 2.0
    assert COST.batch_s(batch((64, 1))) == 1.0 + 0.25 + 1.0
    assert COST.batch_s(batch((0, 4), (64, 1), (32, 2))) == 1.0 + 7 * 0.25 + 96 / 64
    assert COST.batch_stage_s(batch((0, 4))) == 2.0


def test_the_defaults_favour_batches_and_charge_for_context():
    cost = LinearCost()
    alone, together = cost.batch_s(batch((50, 1))), cost.batch_s(batch(*[(50, 1)] * 8))
    assert alone < together < 8 * alone
    assert cost.batch_s(batch((1000, 1))) > alone
