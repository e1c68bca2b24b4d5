"""Lesson 04: its exercises are sound, its pieces serve the real model, its prose says what its explorers show."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from course.curriculum.lesson_04_flash_attention import exercises, explorer, real
from course.curriculum.lesson_04_flash_attention.drawing import two_grids
from course.exercises import load, prove
from course.exercises.judge import judge
from course.simulator.tiles import tiled, whole_matrix

EXERCISES = load("flash_attention")


@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_it_is_sound(exercise) -> None:
    prove(exercise)


@given(st.integers(1, 40), st.integers(1, 45), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_tiles_of_any_size_give_the_attention_of_torch(num_tokens: int, tile: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    parts = [5 * torch.randn(num_tokens, 8, generator=generator) for _ in "qkv"]
    wanted = scaled_dot_product_attention(*(part[None, None] for part in parts), is_causal=True)[0, 0]
    assert torch.allclose(exercises.tiled_attention(*parts, tile), wanted, atol=1e-4)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_parts_of_any_size_merge_to_the_whole(sizes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores, values = (
        9 * torch.randn(3, sum(sizes), generator=generator),
        torch.randn(sum(sizes), 2, generator=generator),
    )
    parts = [
        (part.softmax(1) @ of, part.logsumexp(1))
        for part, of in zip(scores.split(sizes, 1), values.split(sizes), strict=True)
    ]
    output, lse = parts[0]
    for more in parts[1:]:
        output, lse = exercises.merge(output, lse, *more)
    assert torch.allclose(output, scores.softmax(1) @ values, atol=1e-5)
    assert torch.allclose(lse, scores.logsumexp(1), atol=1e-4)


@pytest.mark.parametrize(("num_tokens", "head_dim", "tile"), [(1, 4, 3), (100, 64, 7), (256, 128, 64)])
def test_the_learners_counts_are_the_packages(num_tokens: int, head_dim: int, tile: int) -> None:
    assert exercises.naive_bytes(num_tokens, head_dim) == 2 * whole_matrix(num_tokens, head_dim).moved
    assert exercises.tiled_bytes(num_tokens, head_dim, tile) == 2 * tiled(num_tokens, head_dim, tile).moved


@pytest.mark.parametrize("num_parts", [1, 2, 3])
def test_the_real_model_says_the_same_in_pieces(num_parts: int) -> None:
    text = real.tiny().encode("A list holds values in order.")
    pieces = real.InPieces(exercises.tiled_attention, exercises.merge, tile=3, num_parts=num_parts)
    assert torch.allclose(real.next_logits(text, pieces), real.next_logits(text), atol=1e-9)
    assert pieces.num_tiled > 0
    assert (pieces.num_merged > 0) == (num_parts > 1)


def test_the_engine_writes_the_same_in_pieces_and_gets_its_own_attention_back() -> None:
    own = real.tiny().network.attention
    pieces = real.InPieces(exercises.tiled_attention, exercises.merge)
    assert real.write("The function returns", 12, pieces) == real.write("The function returns", 12)
    assert real.tiny().network.attention is own


def test_the_explorers_are_driven_by_what_they_are_given() -> None:
    def all_at_once(queries, keys, values, tile):
        return exercises.tiled_attention(queries, keys, values, len(keys))

    assert "Tile 14 of 36" in explorer.tiles_explorer().draw()[1]
    assert "of 1:" in explorer.tiles_explorer(all_at_once).draw()[1]
    assert "moves 0 GB" in explorer.ways_explorer(lambda n, d, b: 0, exercises.tiled_bytes).draw()[1]


def share_of_attention(num_tokens: int, way: int) -> float:
    shown = list(explorer.ways(num_tokens, 128, 192, 1).values())[way]
    return shown.attention_s / shown.ttft_s


def test_the_answers_to_the_things_to_try() -> None:
    assert share_of_attention(8192, 0) < 0.5 < share_of_attention(16384, 0)
    assert share_of_attention(32768, 1) < 0.5 < share_of_attention(65536, 1)
    matrix, small = explorer.ways(32768, 16, 192, 1).values()
    assert small.ttft_s > matrix.ttft_s
    assert explorer.largest_tile(48) == 32
    matrix, tiles = explorer.ways(32768, 128, 48, 1).values()
    assert tiles.ttft_s > 0.95 * matrix.ttft_s
    assert "do NOT fit into 48 KiB" in explorer.ways_summary(32768, 128, 48, 1)
    tpot_ms = [round(1e3 * list(explorer.ways(32768, 128, 192, n).values())[1].tpot_s) for n in (1, 16, 64)]
    assert tpot_ms == [36, 10, 10]
    assert explorer.largest_tile(explorer.SM_KIB) == 128
    assert explorer.walk(512, 512).moved(1) == {"queries": 65536, "keys and values": 131072, "outputs": 65536}


def test_a_wrong_weight_is_framed_in_its_tile() -> None:
    attention = next(exercise for exercise in EXERCISES if exercise.name == "tiled_attention")
    wrong = next(mistake for mistake in attention.mistakes if mistake.name == "a mask for each tile by itself")
    verdict = judge(attention, wrong.text, seed=0)
    assert verdict.nudge == wrong.nudge
    assert 'stroke-width="2.5"' in str(verdict.picture)
    assert 'stroke-width="2.5"' not in two_grids([[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [0.5, 0.5]], 1)
