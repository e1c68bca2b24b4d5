"""Tiles of attention: counted by formula as one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.simulator.tiles import Order, on_chip, tiled, tiles_in_order, whole_matrix

sizes = st.integers(1, 40)
orders = st.sampled_from(["queries stay", "keys stay"])


@given(sizes, sizes, orders)
def test_each_score_that_may_be_seen_is_in_exactly_one_tile(num_tokens: int, tile: int, order: Order) -> None:
    seen = [
        (query, key)
        for part in tiles_in_order(num_tokens, tile, order)
        for query in range(*part.queries)
        for key in range(*part.keys)
        if key <= query
    ]
    assert sorted(seen) == [(query, key) for query in range(num_tokens) for key in range(query + 1)]


@given(sizes, st.integers(1, 9), sizes, orders)
def test_work_is_what_the_tiles_do_one_after_the_other(num_tokens: int, head_dim: int, tile: int, order: Order) -> None:
    moved = matmul = other = 0
    held = None
    for part in tiles_in_order(num_tokens, tile, order):
        rows, columns = part.queries[1] - part.queries[0], part.keys[1] - part.keys[0]
        new = held != (part.queries if order == "queries stay" else part.keys)
        held = part.queries if order == "queries stay" else part.keys
        matmul += 2 * (2 * rows * columns * head_dim)
        other += 5 * rows * columns + rows * head_dim
        if order == "queries stay":
            moved += 2 * columns * head_dim + new * 2 * rows * head_dim
            other += new * rows * head_dim
        else:
            moved += 3 * rows * head_dim + 4 * rows + new * 2 * columns * head_dim
            other += rows * head_dim
    assert tiled(num_tokens, head_dim, tile, order) == (moved, matmul, other)


def test_large_tiles_save_and_the_chip_is_small() -> None:
    whole = whole_matrix(8192, 128)
    assert tiled(8192, 128, 128).moved < whole.moved / 3
    assert tiled(8192, 128, 16).moved > whole.moved
    assert 2 * on_chip(128, 128) <= 192 * 1024 < 2 * on_chip(256, 128)


@pytest.mark.parametrize("tile", [32, 128])
def test_letting_queries_stay_moves_less_and_divides_less(tile: int) -> None:
    first, second = tiled(4096, 128, tile, "keys stay"), tiled(4096, 128, tile)
    assert second.moved < first.moved
    assert second.other_flops < first.other_flops
    assert second.matmul_flops == first.matmul_flops
