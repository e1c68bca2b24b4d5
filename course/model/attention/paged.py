"""Fast attention over the paged cache: gather the blocks, then torch's fused attention.

Sequences with one query each (decode steps) run together as a padded batch. Padding costs time
where lengths differ, so the batch is cut into groups of similar length; a longer chunk is a
group of its own. All indices and masks are made once per step and serve every layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course.model.kv_cache import KVCache
from course.model.packing import Ints, Spans

# Starting another group costs about as much as attending to this many padded tokens
# (docs/benchmarks.md says how that was measured).
GROUP_COST_TOKENS = 384


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences that attend together: ``rows`` of the batch, ``size`` sequences.

    ``pieces`` gathers keys and values of shape [2, size, num_kv_heads, padded, head_dim], of
    which the first ``context`` tokens count. ``mask`` is added to the scores; None means causal
    from the first token where there are several queries, and nothing to hide where there is one.
    """

    rows: slice
    size: int
    context: int
    pieces: Tensor
    mask: Tensor | None


class PagedAttention:
    """Attention by gathering blocks and calling ``scaled_dot_product_attention`` per group."""

    def plan(self, spans: Spans, cache: KVCache) -> list[Group]:
        """Cut the batch into groups; indices and masks on the cache's device."""
        groups = []
        row = 0
        for first, last in _cut(spans):
            num_rows = int(spans.lengths[first:last].sum())
            chosen = Spans(*(part[first:last] for part in (spans.starts, spans.lengths, spans.block_tables)))
            groups.append(_group(chosen, slice(row, row + num_rows), cache))
            row += num_rows
        return groups

    def __call__(self, queries: Tensor, cache: KVCache, layer: int, plan: list[Group]) -> Tensor:
        """See Attention."""
        if len(plan) == 1:
            return _attend(queries, cache, layer, plan[0])
        outputs = torch.empty(queries.shape, dtype=queries.dtype, device=queries.device).flatten(1)
        for group in plan:
            outputs[group.rows] = _attend(queries[group.rows], cache, layer, group)
        return outputs


def _attend(queries: Tensor, cache: KVCache, layer: int, group: Group) -> Tensor:
    num_rows, num_heads, head_dim = queries.shape
    gathered = cache.read(layer, group.pieces)
    gathered = gathered.view(2, group.size, cache.num_kv_heads, -1, head_dim)[:, :, :, : group.context]
    keys, values = gathered.unbind()
    if num_rows == group.size:
        # One query each: the heads that share keys take the place of several queries.
        queries = queries.reshape(group.size, cache.num_kv_heads, -1, head_dim)
        outputs = F.scaled_dot_product_attention(queries, keys, values, attn_mask=group.mask)
        return outputs.reshape(num_rows, num_heads * head_dim)
    outputs = F.scaled_dot_product_attention(
        queries.transpose(0, 1)[None],
        keys,
        values,
        attn_mask=group.mask,
        is_causal=group.mask is None,
        enable_gqa=True,
    )
    return outputs[0].transpose(0, 1).reshape(num_rows, num_heads * head_dim)


def _cut(spans: Spans) -> Iterator[tuple[int, int]]:
    """Consecutive sequences [first, last) that attend together."""
    lengths = spans.lengths.tolist()
    first = 0
    while first < len(lengths):
        last = first + 1
        if lengths[first] == 1:
            while last < len(lengths) and lengths[last] == 1:
                last += 1
            yield from _cut_by_context(spans.contexts, first, last)
        else:
            yield first, last
        first = last


def _cut_by_context(contexts: Ints, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Split where that saves the most padding, as long as it saves more than a group costs."""
    longest = np.maximum.accumulate(contexts[first:last])
    saved = np.arange(1, last - first) * (longest[-1] - longest[:-1])
    if len(saved) and saved.max() > GROUP_COST_TOKENS:
        middle = first + 1 + int(saved.argmax())
        yield from _cut_by_context(contexts, first, middle)
        yield from _cut_by_context(contexts, middle, last)
    else:
        yield first, last


def _group(spans: Spans, rows: slice, cache: KVCache) -> Group:
    device = cache.blocks.device
    context = int(spans.contexts.max())
    num_blocks = -(-context // cache.block_size)
    tables = spans.block_tables[:, None, :num_blocks] * (2 * cache.num_kv_heads)
    heads = np.arange(2 * cache.num_kv_heads).reshape(2, 1, cache.num_kv_heads, 1)
    pieces = torch.from_numpy((tables + heads).reshape(-1)).to(device)
    return Group(rows, len(spans.starts), context, pieces, _mask(spans, context, cache))


def _mask(spans: Spans, context: int, cache: KVCache) -> Tensor | None:
    """What to add to the scores [size, heads, queries, context]: 0, or -inf where it is hidden."""
    size, length, start = len(spans.starts), int(spans.lengths[0]), int(spans.starts[0])
    if start == 0 and size == 1:
        return None
    last_seen = spans.starts[:, None] + np.arange(length)
    if length == 1 and int(spans.contexts.min()) == context:
        return None
    hidden = np.arange(context) > last_seen[:, :, None]
    mask = torch.zeros(hidden.shape, dtype=cache.blocks.dtype)
    mask.masked_fill_(torch.from_numpy(hidden), -torch.inf)
    return mask[:, None].to(cache.blocks.device)
