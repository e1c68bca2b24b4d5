"""What an attention reads and keeps is noted, whoever wrote it."""

from __future__ import annotations

import torch

from course.model.attention.watch import AttentionWatch, Read, rows_of


def test_pieces_of_keys_are_noted_with_the_queries_at_hand() -> None:
    queries, keys = torch.randn(6, 4), torch.randn(6, 4)
    with AttentionWatch(queries, keys) as watch:
        mine = queries[2:4] / 2
        for tile in (keys[:2], keys[2:4]):
            scores = mine @ tile.T
            tile.sum()  # the same piece again: it is there already
    assert scores.shape == (2, 2)
    assert watch.reads == [Read((2, 4), (0, 2)), Read((2, 4), (2, 4))]
    assert watch.most_at_once == {"queries": 2, "keys": 2}


def test_views_read_nothing() -> None:
    queries, keys = torch.randn(6, 4), torch.randn(6, 4)
    with AttentionWatch(queries, keys) as watch:
        parts = keys.T.reshape(2, 2, 6)[None].split(1, dim=1)
        assert parts[0].shape[-1] == len(keys) == 6
    assert watch.reads == []
    assert watch.peak_bytes == 0


def test_rows_of_a_view() -> None:
    whole = torch.randn(6, 4)
    assert rows_of(whole[2:5], whole) == (2, 5)
    assert rows_of(whole[5], whole) == (5, 6)
    assert rows_of(whole[1:3].T, whole) == (1, 3)
    assert rows_of(whole[1:3].clone(), whole) is None
    assert rows_of(whole[:0], whole) is None


def test_memory_that_is_given_back_is_not_counted_twice() -> None:
    with AttentionWatch() as watch:
        for _ in range(5):
            torch.zeros(1000)
        kept = [torch.zeros(1000) for _ in range(2)]
    assert len(kept) == 2
    assert 8_000 <= watch.peak_bytes <= 12_000
