"""Attention on a GPU: our kernel reads the paged cache where it lies.

Sequences with one query each run together, their keys split among as many programs as fill the GPU. Longer chunks are
cut into tiles of queries; the tiles of all chunks run together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache as remembered

import numpy as np
import torch
import triton
from torch import Tensor

from course.model.kernels.attention import Tiling, attend
from course.model.kv_cache import KVCache
from course.model.packing import Ints, Spans

# What a sweep on an H100 found best from 1 to 128 sequences of 512 and 2048 tokens (docs/benchmarks.md).
MAX_SPLITS = 16
PROGRAMS_PER_PROCESSOR = 2
TILE_BYTES = 2**14


@dataclass(frozen=True, slots=True)
class Launch:
    """Tiles that run together; see `course.model.kernels.attention.attend`."""

    rows: slice
    tables: Tensor
    tiles: tuple[Tensor, Tensor, Tensor, Tensor]
    tiling: Tiling


class FlashAttention:
    """See Attention. For float32 and bfloat16, where Triton is there (`course.model.kernels`)."""

    needs_clean_blocks = False

    def __init__(self, num_heads: int, num_kv_heads: int) -> None:
        self.num_kv_heads = num_kv_heads
        self.group = num_heads // num_kv_heads

    def plan(self, spans: Spans, cache: KVCache) -> list[Launch]:
        """Tiles of the decodes, tiles of everything else."""
        device = cache.blocks.device
        num_decodes = int(np.argmax(spans.lengths > 1)) if (spans.lengths > 1).any() else len(spans.lengths)
        num_rows = int(spans.lengths.sum())
        tables = torch.from_numpy(spans.block_tables.astype(np.int32)).to(device)
        launches = []
        if num_decodes:
            decodes = Spans(*(part[:num_decodes] for part in (spans.starts, spans.lengths, spans.block_tables)))
            tiling = self.decode_tiling(num_decodes, cache)
            tiles = _cut(decodes, 1, 0, 0, device)
            launches.append(Launch(slice(0, num_decodes), tables, tiles, tiling))
        if num_decodes < len(spans.lengths):
            rest = Spans(*(part[num_decodes:] for part in (spans.starts, spans.lengths, spans.block_tables)))
            tiling = self.prompt_tiling(int(rest.lengths.sum()), cache)
            tiles = _cut(rest, tiling.tile_queries, num_decodes, num_decodes, device)
            launches.append(Launch(slice(num_decodes, num_rows), tables, tiles, tiling))
        return launches

    def decode_plan(self, positions: Tensor, tables: Tensor, cache: KVCache) -> list[Launch]:
        """One query for each row: at ``positions`` [B] int32, with ``tables`` [B, blocks], both read when it runs."""
        size, device = len(positions), positions.device
        rows = torch.arange(size, dtype=torch.int32, device=device)
        tiles = (rows, rows, positions, torch.ones_like(rows))
        return [Launch(slice(0, size), tables, tiles, self.decode_tiling(size, cache))]

    def decode_tiling(self, num_queries: int, cache: KVCache) -> Tiling:
        """Splits that fill the GPU."""
        wanted = PROGRAMS_PER_PROCESSOR * _num_processors(cache.blocks.device)
        splits = _power_of_two(wanted / (num_queries * self.num_kv_heads))
        return Tiling(self.group, 16, min(128, _most_keys(cache)), splits, num_warps=4, stages=3)

    def prompt_tiling(self, num_queries: int, cache: KVCache) -> Tiling:
        """Large tiles; splits only where there are few of them, as for a short chunk of a long prompt."""
        tile_rows = 128 if _most_keys(cache) >= 64 else 64
        tiling = Tiling(self.group, tile_rows, min(64, _most_keys(cache)), 1, num_warps=8, stages=3)
        num_programs = -(-num_queries // tiling.tile_queries) * self.num_kv_heads
        tiling.num_splits = _power_of_two(_num_processors(cache.blocks.device) / num_programs)
        return tiling

    def __call__(self, queries: Tensor, cache: KVCache, layer: int, plan: list[Launch]) -> Tensor:
        """See Attention."""
        outputs = torch.empty(queries.shape, dtype=queries.dtype, device=queries.device)
        for launch in plan:
            attend(outputs, queries, cache.blocks[layer], launch.tables, launch.tiles, launch.rows, launch.tiling)
        return outputs.flatten(1)


def _cut(
    spans: Spans, tile_queries: int, first_sequence: int, first_row: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tiles of up to ``tile_queries`` queries: their sequences, first rows, first positions and numbers of queries."""
    counts = -(-spans.lengths // tile_queries)
    owner = np.repeat(np.arange(len(counts)), counts)
    offsets = (np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)) * tile_queries
    rows: Ints = first_row + (np.cumsum(spans.lengths) - spans.lengths)[owner] + offsets
    left = spans.lengths[owner] - offsets
    parts = (first_sequence + owner, rows, spans.starts[owner] + offsets, np.minimum(left, tile_queries))
    tiles = torch.from_numpy(np.stack(parts).astype(np.int32)).to(device)
    return tiles[0], tiles[1], tiles[2], tiles[3]


def _most_keys(cache: KVCache) -> int:
    """Keys of a tile that leave room in shared memory for three of them, and as many tiles of values."""
    return max(16, TILE_BYTES // (triton.next_power_of_2(cache.head_dim) * cache.blocks.element_size()))


def _power_of_two(wanted: float) -> int:
    """The nearest number of splits, of few: each is a kernel of its own to compile."""
    return int(2 ** round(math.log2(min(MAX_SPLITS, max(1.0, wanted)))))


@remembered
def _num_processors(device: torch.device) -> int:
    """Multiprocessors of the GPU; a processor that plays one has two."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2
