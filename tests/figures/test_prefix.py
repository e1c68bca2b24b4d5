"""The tree of cached blocks and the hits beside TTFT and TPOT: what is drawn is what is there."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from course.figures.palette import WRONG
from course.figures.prefix_reuse import PrefixUse, prefix_reuse, prefix_reuse_summary
from course.figures.prefix_tree import blocks_of, prefix_tree, prefix_tree_summary

TEXTS = {"A": [1, 2, 3], "B": [1, 2, 4], "C": [5]}
LABELS = {1: "system", 2: "more", 3: "A's end", 4: "B's end", 5: "C"}
USES = {
    "no cache": PrefixUse(0, 4000, 2.0, 6.0, 0.05),
    "cache": PrefixUse(3000, 1000, 0.1, 0.5, 0.04),
}


def test_blocks_hang_on_what_is_before_them() -> None:
    blocks = blocks_of(TEXTS, LABELS, held=["A"])
    assert [(block.key, block.parent) for block in blocks] == [(1, None), (2, 1), (3, 2), (4, 2), (5, None)]
    assert [block.num_holders for block in blocks] == [1, 1, 1, 0, 0]


def test_the_wrong_block_is_red_and_the_right_one_is_named() -> None:
    blocks = blocks_of(TEXTS, LABELS)
    picture = prefix_tree(blocks, wrong=[1], right=[3])
    assert picture.count(f'stroke="{WRONG}"') == 1
    assert ">evicted<" in picture
    assert ">this one<" in picture
    assert WRONG not in prefix_tree(blocks)
    assert prefix_tree_summary(blocks, wrong=[1], right=[3]) == (
        "5 blocks, 0 held, 3 ends; evicted: system; right: A's end."
    )


@given(st.dictionaries(st.text("ABC", min_size=1), st.lists(st.integers(0, 2), max_size=4), max_size=6))
def test_no_two_blocks_stand_in_the_same_place(contents: dict[str, list[int]]) -> None:
    texts = {name: [hash(tuple(tokens[: i + 1])) for i in range(len(tokens))] for name, tokens in contents.items()}
    blocks = blocks_of(texts, {})
    picture = prefix_tree(blocks)
    places = re.findall(r'<rect x="(\d+)" y="(\d+)" width="84"', picture)
    assert len(places) == len(set(places)) == len(blocks)


def test_hits_and_latencies_are_drawn_for_each_server() -> None:
    figure = prefix_reuse(USES)
    computed, cached, ttft, longest, tpot = figure.data
    assert list(computed.x) == [4000, 1000]
    assert list(cached.x) == [0, 3000]
    assert list(ttft.x) == [2.0, 0.1]
    assert list(ttft.text) == ["2.0 s", "100 ms"]
    assert list(longest.x) == [6.0, 0.5]
    assert list(tpot.x) == [50.0, 40.0]
    assert figure.layout.xaxis2.range == (-2, 1)
    assert computed.y[1] == "cache<br>75% hits"


def test_a_summary_has_the_same_numbers() -> None:
    assert prefix_reuse_summary(USES).endswith(
        "cache: 75% of the prompt tokens from the cache, 1,000 prefilled, TTFT median 100 ms, longest 500 ms, "
        "TPOT median 40 ms."
    )
