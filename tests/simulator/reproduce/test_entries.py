"""The parts that entries are made of, on cases small enough to count by hand."""

import pytest

from course.simulator.reproduce.mooncake import ideal_reuse
from course.simulator.reproduce.orca import power_of_two, set_aside
from course.simulator.reproduce.splitwise import TOKEN_S, second_token_overhead
from course.workload.hashing import chain_all
from course.workload.traces import TraceRow


def test_what_each_version_of_orca_sets_aside():
    assert set_aside("max", 100, 25) == 2048
    assert set_aside("pow2", 100, 25) == 132
    assert set_aside("oracle", 100, 25) == 125
    assert [power_of_two(n) for n in (1, 2, 3, 64, 65)] == [1, 2, 4, 64, 128]


def test_ideal_reuse_counts_blocks_that_an_earlier_prompt_had():
    def row(*ids):
        return TraceRow(0.0, 512 * len(ids), 1, chain_all(ids))

    assert ideal_reuse([row(1, 2), row(1, 2, 3), row(4, 2)]) == pytest.approx(2 / 7)  # 2 after 4 is another prefix
    assert ideal_reuse([]) == 0


def test_a_serialized_transfer_takes_bytes_over_bandwidth():
    num_bytes = 1500 * 2 * 70 * 14336 * 2
    assert second_token_overhead(layerwise=False) == pytest.approx(num_bytes / (8 * 25e9) / TOKEN_S, rel=0.01)
