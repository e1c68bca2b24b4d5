"""The picture of tiles counts what has moved, and says so."""

from __future__ import annotations

import pytest

from course.figures import (
    AttentionWay,
    TileWalk,
    attention_ways,
    attention_ways_summary,
    tile_walk,
    tile_walk_summary,
)
from course.simulator.tiles import tiled, tiles_in_order


def walk(num_tokens: int = 10, tile: int = 4) -> TileWalk:
    return TileWalk(list(tiles_in_order(num_tokens, tile)), num_tokens, tile, head_dim=8)


def test_in_the_end_it_has_moved_what_the_simulator_counts() -> None:
    whole = walk()
    assert sum(whole.moved(len(whole.reads)).values()) == 2 * tiled(10, 8, 4).moved
    assert sum(whole.moved(0).values()) == 0


def test_outputs_are_written_when_their_queries_have_met_all_keys() -> None:
    written = [walk().moved(step)["outputs"] // 16 for step in range(7)]
    assert written == [0, 4, 4, 8, 8, 8, 10]


def test_tiles_are_to_come_now_or_done() -> None:
    figure = tile_walk(walk(), step=2)
    assert [list(row) for row in figure.data[0].z] == [[2, None, None], [3, 1, None], [1, 1, 1]]
    said = tile_walk_summary(walk(), 2)
    assert said.startswith("Tile 2 of 6: queries 4 to 7 meet keys 0 to 3. ")
    assert tile_walk_summary(walk(), 0).startswith("Tile 0 of 6: before the first tile. ")


def test_each_part_of_a_way_stands_once_in_the_legend() -> None:
    figure = attention_ways({"tiles": AttentionWay(5e9, 0.2, 0.1, 0.008, 0.004)})
    assert [trace.name for trace in figure.data if trace.showlegend] == ["weights", "attention", "caches"]


def test_ways_are_stacked_to_ttft_and_tpot() -> None:
    way = AttentionWay(5e9, 0.1, 0.2, 0.01, 0.002)
    figure = attention_ways({"tiles": way})
    assert [bar.y[0] for bar in figure.data] == [5.0, 100.0, 200.0, 10.0, 2.0]
    assert list(figure.layout.xaxis3.ticktext) == ["1 part"]
    assert way.ttft_s == pytest.approx(0.3)
    assert attention_ways_summary({"tiles": way}) == "Tiles: attention moves 5 GB, TTFT 300 ms, TPOT 12 ms."
