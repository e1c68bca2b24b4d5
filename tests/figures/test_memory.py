"""The block map and the shares of memory: what is drawn is what is held, and what is lost is red."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from course.figures.block_map import Held, block_map, block_map_summary, kinds_of
from course.figures.memory_shares import MemoryShares, memory_shares, memory_shares_summary
from course.figures.palette import SERIES, WRONG

HELD = {"A": Held([5, 2, 0], 10), "B": Held([5, 3], 7)}


def test_blocks_are_sorted() -> None:
    kinds = kinds_of(8, HELD, free=[1, 4, 3])
    assert kinds.own == [0, 2]
    assert kinds.shared == [5]
    assert kinds.free == [1, 4]
    assert kinds.lost == [6, 7]
    assert kinds.doubled == [3]
    assert kinds_of(8, HELD).lost == []


def test_lost_blocks_are_red_and_say_so() -> None:
    figure = block_map(8, 4, HELD, free=[1, 4, 3])
    red = [s for s in figure.layout.shapes if s.line.color == WRONG]
    assert {(s.x0, s.y0) for s in red} == {(3, 0), (6, 0), (7, 0)}
    assert figure.data[0].text[6] == "6<br><b>lost</b>"
    assert figure.data[0].text[5] == "5<br><b>A B</b>"
    assert next(s for s in figure.layout.shapes if s.line.color == SERIES[1]).x0 == 5
    summary = block_map_summary(8, 4, HELD, free=[1, 4, 3])
    assert summary == (
        "4 of 8 blocks held by 2 sequences, 1 of them shared; 3 of 16 slots in them empty; LOST: 6, 7; GIVEN TWICE: 3."
    )


def test_a_square_is_filled_as_far_as_tokens_stand_in_it() -> None:
    figure = block_map(4, 4, {"A": Held([1, 2], 5)})
    inside = [s for s in figure.layout.shapes if s.line.width == 0]
    assert [(s.x0, round((s.x1 - s.x0) / 0.88, 3)) for s in inside] == [(1, 1.0), (2, 0.25)]


@given(
    num_blocks=st.integers(1, 30),
    tables=st.dictionaries(st.sampled_from("ABC"), st.sets(st.integers(0, 29))),
    free=st.sets(st.integers(0, 29)),
)
def test_each_block_is_of_one_kind(num_blocks: int, tables: dict[str, set[int]], free: set[int]) -> None:
    held = {name: Held([b for b in table if b < num_blocks], 3) for name, table in tables.items()}
    kinds = kinds_of(num_blocks, held, [b for b in free if b < num_blocks])
    assert sorted(block for kind in kinds for block in kind) == list(range(num_blocks))


def test_shares_stack_to_the_whole_memory() -> None:
    ways = {"max": MemoryShares(0.2, 0.1, 0.6, 7.0, 20.0, 0.028), "paged": MemoryShares(0.9, 0, 0.02, 30, 0.06, 0.04)}
    figure = memory_shares(ways)
    stacks = [sum(trace.x[i] for trace in figure.data[:4]) for i in range(2)]
    assert [round(total, 6) for total in stacks] == [1, 1]
    assert figure.data[0].y[0] == "max<br>7 run"
    assert list(figure.data[4].x) == [20.0, 0.06]
    assert memory_shares_summary(ways).startswith(
        "max: 20% of the memory holds tokens, 7.0 sequences run, TTFT median 20.0 s, TPOT median 28 ms."
    )
