"""Which tile is read when, by the learner's own attention; and what tiles and parts do to TTFT and TPOT."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import plotly.graph_objects as go

from course.curriculum.lesson_04_flash_attention import exercises
from course.figures import (
    AttentionWay,
    TileWalk,
    attention_ways,
    attention_ways_summary,
    tile_walk,
    tile_walk_summary,
)
from course.simulator.hardware import load_hardware
from course.simulator.operators import step_operators
from course.simulator.parallel import Split
from course.simulator.shapes import load_shape
from course.simulator.tiles import on_chip, tiled, whole_matrix
from course.widgets import Explorer, LogSlider, Slider

TiledAttention = Callable[[Any, Any, Any, int], Any]
NaiveBytes = Callable[[int, int, int], int]
TiledBytes = Callable[[int, int, int, int], int]

HEAD_DIM = 64
LLAMA = load_shape("llama-3.1-8b")
A100 = load_hardware("a100-80gb")
NUM_SMS = 108  # streaming multiprocessors of an A100: NVIDIA's A100 whitepaper
SM_KIB = 192  # fast memory of each, shared memory and L1 together: the same
FP16_BYTES = 2

WALK_CONTROLS = (
    Slider("progress", "how far (%)", 0, 100, 1, 40, help="Move it to see the tiles come one after the other"),
    LogSlider("num_tokens", "prompt (tokens)", 128, 512, 512, help="Tokens of the prompt, one head"),
    LogSlider("tile", "tile (tokens)", 32, 512, 64, help="Queries, and keys, in a tile"),
)
WAYS_CONTROLS = (
    LogSlider("num_tokens", "prompt (tokens)", 1024, 131072, 32768, help="Llama-3.1-8B reads up to 131,072"),
    LogSlider("tile", "tile (tokens)", 16, 512, 128, help="Queries, and keys, in a tile"),
    LogSlider("chip_kib", "fast memory (KiB)", 24, 384, SM_KIB, help="Of each SM: an A100 has 192"),
    LogSlider("parts", "parts of each cache", 1, 64, 1, help="Pieces of a cache that are read at the same time"),
)


@lru_cache(maxsize=32)
def walk(num_tokens: int, tile: int, attention: TiledAttention = exercises.tiled_attention) -> TileWalk:
    """Run an attention on random vectors and note which keys it reads for which queries."""
    import torch

    from course.model.attention.watch import AttentionWatch

    generator = torch.Generator().manual_seed(0)
    queries, keys, values = (torch.randn(num_tokens, HEAD_DIM, generator=generator) for _ in "qkv")
    with AttentionWatch(queries, keys) as watch:
        attention(queries, keys, values, tile)
    return TileWalk(tuple(watch.reads), num_tokens, tile, HEAD_DIM)


def step_of(seen: TileWalk, progress: float) -> int:
    """Tiles after that share, in percent, of all."""
    return round(len(seen.reads) * progress / 100)


def walk_figure(
    num_tokens: int, tile: int, progress: float, *, attention: TiledAttention = exercises.tiled_attention
) -> go.Figure:
    """The tiles of a run, so far."""
    seen = walk(num_tokens, tile, attention)
    return tile_walk(seen, step_of(seen, progress), f"{num_tokens} tokens in tiles of {tile}, {progress:g}% done")


def walk_summary(
    num_tokens: int, tile: int, progress: float, *, attention: TiledAttention = exercises.tiled_attention
) -> str:
    """The same in words."""
    seen = walk(num_tokens, tile, attention)
    return tile_walk_summary(seen, step_of(seen, progress))


def tiles_explorer(attention: TiledAttention = exercises.tiled_attention) -> Explorer:
    """With sliders; the attention may be the learner's own."""
    return Explorer(
        partial(walk_figure, attention=attention), WALK_CONTROLS, partial(walk_summary, attention=attention)
    )


def largest_tile(chip_kib: int) -> int:
    """The largest power of two that fits with all that has to be on the chip."""
    tile = 1
    while on_chip(2 * tile, LLAMA.head_dim) * FP16_BYTES <= chip_kib * 1024:
        tile *= 2
    return tile


def decode_cache_s(num_tokens: int, parts: int) -> float:
    """Seconds to read one sequence's cache, by as many SMs as there are KV heads and parts.

    Each SM is given its share of the bandwidth and no more: a simple picture of a GPU, which says when it idles.
    """
    cache_bytes = LLAMA.kv_bytes_per_token * num_tokens
    busy = min(NUM_SMS, LLAMA.num_kv_heads * parts)
    return cache_bytes / (A100.memory_bandwidth_bytes_s * busy / NUM_SMS)


def ways(
    num_tokens: int,
    tile: int,
    chip_kib: int,
    parts: int,
    *,
    naive_bytes: NaiveBytes = exercises.naive_bytes,
    tiled_bytes: TiledBytes = exercises.tiled_bytes,
) -> dict[str, AttentionWay]:
    """Llama-3.1-8B on one A100, at best: with the whole matrix, and in tiles that fit; caches in one part, and in many.

    The longer of arithmetic and bytes decides, as in lesson 03; each query head is counted by itself.
    """
    tile = min(tile, largest_tile(chip_kib), num_tokens)
    heads = LLAMA.num_heads * LLAMA.num_layers
    matrices_s = sum(
        max(operator.flops / A100.flops_s, operator.bytes / A100.memory_bandwidth_bytes_s)
        for operator in step_operators(Split(LLAMA), [(0, num_tokens)])
        if not operator.name.startswith("attention of")
    )

    def way(num_bytes: int, flops: int, parts: int) -> AttentionWay:
        attention_s = heads * max(flops / A100.flops_s, num_bytes / A100.memory_bandwidth_bytes_s)
        weights_s = LLAMA.weight_bytes / A100.memory_bandwidth_bytes_s
        caches_s = decode_cache_s(num_tokens, parts)
        return AttentionWay(heads * num_bytes, matrices_s, attention_s, weights_s, caches_s, parts)

    dim = LLAMA.head_dim
    whole, tiles = whole_matrix(num_tokens, dim), tiled(num_tokens, dim, tile)
    return {
        "big matrix": way(naive_bytes(num_tokens, dim, FP16_BYTES), whole.matmul_flops, 1),
        f"tiles of {tile}": way(tiled_bytes(num_tokens, dim, tile, FP16_BYTES), tiles.matmul_flops, parts),
    }


def ways_figure(num_tokens: int, tile: int, chip_kib: int, parts: int, **counts: Any) -> go.Figure:
    """What attention moves, TTFT and TPOT."""
    shown = ways(num_tokens, tile, chip_kib, parts, **counts)
    title = f"Llama-3.1-8B, one A100: {num_tokens:,} tokens, tiles of {tile}, {chip_kib} KiB"
    return attention_ways(shown, title)


def ways_summary(num_tokens: int, tile: int, chip_kib: int, parts: int, **counts: Any) -> str:
    """The same in words, and what does not fit."""
    said = attention_ways_summary(ways(num_tokens, tile, chip_kib, parts, **counts))
    if tile > largest_tile(chip_kib):
        said += f" Tiles of {tile} do NOT fit into {chip_kib} KiB: the largest are {largest_tile(chip_kib)}."
    size = 2 * scores_bytes(num_tokens)
    verdict = "fit" if size < A100.memory_bytes - LLAMA.weight_bytes else "do NOT fit"
    return f"{said} Scores and weights of one layer, {size / 2**30:,.4g} GiB, {verdict} beside the model."


def scores_bytes(num_tokens: int) -> int:
    """The whole matrix of one layer, all heads."""
    return LLAMA.num_heads * num_tokens**2 * FP16_BYTES


def ways_explorer(
    naive_bytes: NaiveBytes = exercises.naive_bytes, tiled_bytes: TiledBytes = exercises.tiled_bytes
) -> Explorer:
    """With sliders; both counts may be the learner's own."""
    counts: dict[str, Any] = {"naive_bytes": naive_bytes, "tiled_bytes": tiled_bytes}
    return Explorer(partial(ways_figure, **counts), WAYS_CONTROLS, partial(ways_summary, **counts))
