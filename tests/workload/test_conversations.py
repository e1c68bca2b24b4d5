"""Who shares what with whom, and that the stand-in for Mooncake's trace has the trace's reuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.errors import UserError
from course.workload.build import build_workload
from course.workload.conversations import MOONCAKE, Conversations, ideal_reuse
from course.workload.lengths import Lognormal

CHAT = Conversations(opening_tokens=64, first=Lognormal(50, 0.5), answer=Lognormal(20, 0.5))


def common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Entries in which two rows agree from the beginning."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def test_all_share_the_opening_and_nothing_else() -> None:
    rows = CHAT.rows(20, 1.0)
    for row in rows[1:]:
        assert common(rows[0].prefix_hashes, row.prefix_hashes) == 4
        assert len(row.prefix_hashes) == row.num_prompt_tokens // 16


def test_there_are_as_many_openings_as_asked_for() -> None:
    rows = replace(CHAT, num_openings=3).rows(60, 1.0)
    assert len({row.prefix_hashes[:4] for row in rows}) == 3
    assert len({row.prefix_hashes[0] for row in rows}) == 3


def test_a_block_that_holds_the_end_of_the_opening_is_not_shared() -> None:
    rows = replace(CHAT, opening_tokens=63).rows(5, 1.0)
    assert {common(rows[0].prefix_hashes, row.prefix_hashes) for row in rows[1:]} == {3}


@given(seed=st.integers(0, 1000), goes_on=st.floats(0.1, 0.8), block_tokens=st.sampled_from([1, 16, 512]))
@settings(max_examples=30, deadline=None)
def test_a_turn_repeats_all_that_was_said(seed: int, goes_on: float, block_tokens: int) -> None:
    rows = replace(CHAT, opening_tokens=0, goes_on=goes_on, later=Lognormal(40, 1.0)).rows(30, 1.0, seed, block_tokens)
    assert rows == sorted(rows, key=lambda row: row.arrival_s)
    for number, row in enumerate(rows):
        assert len(row.prefix_hashes) == row.num_prompt_tokens // block_tokens
        for earlier in rows[:number]:
            agree = common(earlier.prefix_hashes, row.prefix_hashes)
            assert agree in (0, len(earlier.prefix_hashes))  # the same conversation, or another one
            if agree:
                assert row.num_prompt_tokens > earlier.num_prompt_tokens


def test_how_many_go_on() -> None:
    rows = replace(CHAT, opening_tokens=0, first=Lognormal(50, 0.5, low=16), goes_on=0.5).rows(4000, 1.0)
    later = len(rows) - len({row.prefix_hashes[0] for row in rows})
    assert later / len(rows) == pytest.approx(0.5, abs=0.05)
    assert rows[-1].arrival_s == pytest.approx(4000, rel=0.1)


def test_it_becomes_a_workload_whose_hashes_agree_as_the_rows_do() -> None:
    served = build_workload(CHAT.rows(5, 1.0), block_size=16)
    assert {common(served.requests[0].prefix_hashes, r.prefix_hashes) for r in served.requests[1:]} == {4}


def test_the_stand_in_has_the_reuse_that_was_counted_in_the_trace() -> None:
    """Of 6,017 requests: 34.6 % of the blocks had been there before (course.simulator.reproduce.mooncake)."""
    rows = MOONCAKE.rows(6_017, 3.2, block_tokens=512)
    assert ideal_reuse(rows) == pytest.approx(0.346, abs=0.02)
    prompts = [row.num_prompt_tokens for row in rows]
    assert np.mean(prompts) == pytest.approx(12_779, rel=0.05)
    assert np.median([row.num_output_tokens for row in rows]) == pytest.approx(356, rel=0.25)


def test_what_makes_no_conversation_is_said() -> None:
    with pytest.raises(UserError, match="0 openings of 64 tokens"):
        replace(CHAT, num_openings=0)
    with pytest.raises(UserError, match="from 0 to below 1, got 1"):
        replace(CHAT, goes_on=1.0)
    with pytest.raises(UserError, match="at least 1 token, got 0"):
        CHAT.rows(1, 1.0, block_tokens=0)
