"""The parts that entries are made of, on cases small enough to count by hand."""

import pytest

from course.simulator.reproduce.mooncake import ideal_reuse
from course.simulator.reproduce.splitwise import TOKEN_S, second_token_overhead
from course.workload.hashing import chain_all
from course.workload.traces import TraceRow


def test_ideal_reuse_counts_blocks_that_an_earlier_prompt_had():
    def row(*ids):
        return TraceRow(0.0, 512 * len(ids), 1, chain_all(ids))

    assert ideal_reuse([row(1, 2), row(1, 2, 3), row(4, 2)]) == pytest.approx(2 / 7)  # 2 after 4 is another prefix
    assert ideal_reuse([]) == 0


def test_a_serialized_transfer_takes_bytes_over_bandwidth():
    num_bytes = 1500 * 2 * 70 * 14336 * 2
    assert second_token_overhead(layerwise=False) == pytest.approx(num_bytes / (8 * 25e9) / TOKEN_S, rel=0.01)
