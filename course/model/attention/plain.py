"""Attention as the textbook states it: one sequence, one position, one head at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from course.model.kv_cache import KVCache
from course.model.packing import Spans


class PlainAttention:
    """The specification: slow, obvious, and what the fast back end is tested against."""

    def plan(self, spans: Spans, cache: KVCache) -> Spans:
        """Nothing to prepare."""
        return spans

    def __call__(self, queries: Tensor, cache: KVCache, layer: int, plan: Spans) -> Tensor:
        """See Attention."""
        num_heads = queries.shape[1]
        group_size = num_heads // cache.num_kv_heads
        outputs = []
        row = 0
        for start, length, table in zip(plan.starts, plan.lengths, plan.block_tables, strict=True):
            for position in range(start, start + length):
                for head in range(num_heads):
                    keys, values = _head_history(cache, layer, table, head // group_size, position + 1)
                    outputs.append(attend(queries[row, head], keys, values))
                row += 1
        return torch.stack(outputs).view(row, -1) if outputs else queries.flatten(1)


def attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One query [head_dim] over keys and values [context, head_dim]: the weighted mean of values."""
    scores = keys @ query / query.shape[0] ** 0.5
    return torch.softmax(scores, dim=0) @ values


def _head_history(cache: KVCache, layer: int, table: list[int], head: int, num_tokens: int) -> tuple[Tensor, Tensor]:
    """Keys and values [num_tokens, head_dim] of one head, collected block by block."""
    num_blocks = -(-num_tokens // cache.block_size)
    blocks = [cache.blocks[layer, block, :, head] for block in table[:num_blocks]]
    keys, values = torch.cat(blocks, dim=1)[:, :num_tokens]
    return keys, values
