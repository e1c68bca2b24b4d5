"""The name of a block covers everything before it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from course.serving.prefix import block_hashes, chained_hash

tokens = st.lists(st.integers(0, 2), max_size=24)
block_sizes = st.integers(1, 6)


@given(tokens, tokens, block_sizes)
def test_hashes_agree_exactly_as_far_as_the_tokens_do(first: list[int], second: list[int], block_size: int):
    ours, theirs = block_hashes(first, block_size), block_hashes(second, block_size)
    for index, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        end = (index + 1) * block_size
        assert (a == b) == (first[:end] == second[:end])


@given(tokens, block_sizes)
def test_only_full_blocks_have_a_hash(prompt: list[int], block_size: int):
    assert len(block_hashes(prompt, block_size)) == len(prompt) // block_size


def test_the_same_block_after_another_beginning_has_another_hash():
    assert block_hashes([1, 2, 5, 6], 2)[1] != block_hashes([3, 4, 5, 6], 2)[1]
    assert chained_hash(1, [5, 6]) != chained_hash(2, [5, 6])


def test_hashes_can_be_continued_one_block_at_a_time():
    first, second = block_hashes([1, 2, 3, 4], 2)
    assert chained_hash(0, [1, 2]) == first
    assert chained_hash(first, [3, 4]) == second


def test_hashes_are_the_same_in_every_process():
    assert block_hashes([1, 2, 3, 4], 4) == (chained_hash(0, [1, 2, 3, 4]),)
    assert chained_hash(0, []) == 1786884285633530058, "recorded runs name blocks by these numbers"
