"""Attention over the paged cache without gathering it: split-KV flash decoding, and prefill with the same kernel.

A program holds a tile of queries of one sequence, with all query heads that share a key-value head, so every key is
read once for all of them. It walks through its share of the keys, looks each block up in the block table, and keeps a
running maximum, sum and weighted mean (online softmax; Dao et al. 2022, FlashAttention, algorithm 1). A single query
has too few programs to fill a GPU; so its keys are split among several, whose results `merge` joins by their
log-sum-exp (Dao et al. 2023, Flash-Decoding).

Exponents are to base 2: that is what the hardware computes.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Triton compiles a kernel anew for numbers that are 1 or multiples of 16, and for aligned addresses. These vary from
# step to step and gain nothing by it.
COUNTS = ["num_rows", "table_row_stride", "table_stride"]
VECTORS = ["tables", "tile_sequences", "tile_rows", "tile_positions", "tile_counts"]


@triton.jit
def _walk(
    mean,
    best,
    total,
    query,
    last_seen,
    pieces,
    table,
    begin,
    end,
    context,
    block_stride,
    table_stride,
    value_offset,
    scale,
    BLOCK_SIZE: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    TILE_KEYS: tl.constexpr,
    TILE_DIM: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Take the keys [begin, end) in; where MASKED, a query sees those up to ``last_seen`` [rows] only.

    Where not, all of them are seen by all, and end is a whole number of tiles away from begin.
    """
    dim = tl.arange(0, TILE_DIM)
    for first_key in range(begin, end, TILE_KEYS):
        key = first_key + tl.arange(0, TILE_KEYS)
        is_key = (key < context) | (not MASKED)
        block = tl.load(table + key // BLOCK_SIZE * table_stride, mask=is_key, other=0).to(tl.int64)
        place = block * block_stride + key % BLOCK_SIZE * HEAD_DIM
        is_there = is_key[:, None] & (dim < HEAD_DIM)[None, :]
        keys = tl.load(pieces + place[:, None] + dim[None, :], mask=is_there, other=0.0)
        scores = tl.dot(query, tl.trans(keys), input_precision="ieee") * scale
        if MASKED:
            scores = tl.where(key[None, :] <= last_seen[:, None], scores, float("-inf"))
        new_best = tl.maximum(best, tl.max(scores, 1))
        # A row that has seen no key yet has the maximum -inf, and -inf - -inf is no number.
        base = tl.where(new_best == float("-inf"), 0.0, new_best)
        weights = tl.exp2(scores - base[:, None])
        shrink = tl.exp2(best - base)
        total = total * shrink + tl.sum(weights, 1)
        values = tl.load(pieces + value_offset + place[:, None] + dim[None, :], mask=is_there, other=0.0)
        mean = tl.dot(weights.to(values.dtype), values, mean * shrink[:, None], input_precision="ieee")
        best = new_best
    return mean, best, total


@triton.jit(do_not_specialize=COUNTS, do_not_specialize_on_alignment=VECTORS)
def _attend(
    outputs,
    partial_means,
    partial_logs,
    queries,
    cache,
    tables,
    tile_sequences,
    tile_rows,
    tile_positions,
    tile_counts,
    num_rows,
    query_stride,
    table_row_stride,
    table_stride,
    scale,
    NUM_KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    NUM_SPLITS: tl.constexpr,
    TILE_QUERIES: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_KEYS: tl.constexpr,
    TILE_DIM: tl.constexpr,
):
    tile, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    position = tl.load(tile_positions + tile)  # of the tile's first query
    count = tl.load(tile_counts + tile)  # queries of the tile
    first_row = tl.load(tile_rows + tile)
    context = position + count

    # Row r of the tile is query r // GROUP with head r % GROUP of those that share the keys.
    row = tl.arange(0, TILE_ROWS)
    dim = tl.arange(0, TILE_DIM)
    number = row // GROUP
    is_query = (number < count) & (row < TILE_QUERIES * GROUP)
    head = kv_head * GROUP + row % GROUP
    is_there = is_query[:, None] & (dim < HEAD_DIM)[None, :]
    token = (first_row + number).to(tl.int64)
    query_place = queries + token * query_stride + head * HEAD_DIM
    query = tl.load(query_place[:, None] + dim[None, :], mask=is_there, other=0.0)

    # Splits take whole tiles of keys. Before ``first_hidden`` every query sees every key.
    share = tl.cdiv(tl.cdiv(context, TILE_KEYS), NUM_SPLITS) * TILE_KEYS
    begin = split * share
    end = tl.minimum(begin + share, context)
    first_hidden = tl.minimum((position + 1) // TILE_KEYS * TILE_KEYS, end)

    block_stride = 2 * NUM_KV_HEADS * BLOCK_SIZE * HEAD_DIM
    value_offset = NUM_KV_HEADS * BLOCK_SIZE * HEAD_DIM
    pieces = cache + kv_head * BLOCK_SIZE * HEAD_DIM
    table = tables + tl.load(tile_sequences + tile) * table_row_stride
    last_seen = position + number
    mean = tl.zeros([TILE_ROWS, TILE_DIM], tl.float32)
    best = tl.full([TILE_ROWS], float("-inf"), tl.float32)
    total = tl.zeros([TILE_ROWS], tl.float32)
    mean, best, total = _walk(
        mean, best, total, query, last_seen, pieces, table, begin, first_hidden, context, block_stride, table_stride,
        value_offset, scale, BLOCK_SIZE, HEAD_DIM, TILE_KEYS, TILE_DIM, MASKED=False,
    )  # fmt: skip
    mean, best, total = _walk(
        mean, best, total, query, last_seen, pieces, table, tl.maximum(begin, first_hidden), end, context, block_stride,
        table_stride, value_offset, scale, BLOCK_SIZE, HEAD_DIM, TILE_KEYS, TILE_DIM, MASKED=True,
    )  # fmt: skip

    mean = mean / tl.where(total > 0, total, 1.0)[:, None]
    place = token * (NUM_KV_HEADS * GROUP) + head
    if NUM_SPLITS == 1:
        out = outputs + place[:, None] * HEAD_DIM + dim[None, :]
        tl.store(out, mean.to(outputs.dtype.element_ty), mask=is_there)
    else:
        place = split.to(tl.int64) * num_rows * NUM_KV_HEADS * GROUP + place
        tl.store(partial_means + place[:, None] * HEAD_DIM + dim[None, :], mean, mask=is_there)
        tl.store(partial_logs + place, tl.where(total > 0, best + tl.log2(total), float("-inf")), mask=is_query)


@triton.jit(do_not_specialize=["first_row", "num_rows"])
def _merge(
    outputs,
    partial_means,
    partial_logs,
    first_row,
    num_rows,
    NUM_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    NUM_SPLITS: tl.constexpr,
    TILE_SPLITS: tl.constexpr,
    TILE_DIM: tl.constexpr,
):
    """One query and head: the mean of the splits' means, each weighted by its sum of exponentials."""
    place = (first_row + tl.program_id(0)).to(tl.int64) * NUM_HEADS + tl.program_id(1)
    split = tl.arange(0, TILE_SPLITS)
    dim = tl.arange(0, TILE_DIM)
    parts = split.to(tl.int64) * num_rows * NUM_HEADS + place
    logs = tl.load(partial_logs + parts, mask=split < NUM_SPLITS, other=float("-inf"))
    best = tl.max(logs, 0)
    weights = tl.exp2(logs - tl.where(best == float("-inf"), 0.0, best))
    is_there = (split < NUM_SPLITS)[:, None] & (dim < HEAD_DIM)[None, :]
    means = tl.load(partial_means + parts[:, None] * HEAD_DIM + dim[None, :], mask=is_there, other=0.0)
    total = tl.sum(weights, 0)
    mean = tl.sum(means * weights[:, None], 0) / tl.where(total > 0, total, 1.0)
    tl.store(outputs + place * HEAD_DIM + dim, mean.to(outputs.dtype.element_ty), mask=dim < HEAD_DIM)


class Tiling:
    """How programs share the work: queries per tile, keys per turn of the loop, and how many splits of the keys."""

    def __init__(self, group: int, tile_rows: int, tile_keys: int, num_splits: int, num_warps: int, stages: int):
        self.tile_rows = max(tile_rows, triton.next_power_of_2(group))
        self.tile_queries = self.tile_rows // group
        self.tile_keys = tile_keys
        self.num_splits = num_splits
        self.num_warps = num_warps
        self.stages = stages


def attend(
    outputs: Tensor,
    queries: Tensor,
    blocks: Tensor,
    tables: Tensor,
    tiles: tuple[Tensor, Tensor, Tensor, Tensor],
    rows: slice,
    tiling: Tiling,
) -> None:
    """Attend with the queries of ``tiles`` and write ``rows`` of ``outputs`` [T, num_heads, head_dim].

    ``queries`` [T, num_heads, head_dim] may be a view whose tokens lie apart. ``blocks`` [num_blocks, 2, num_kv_heads,
    block_size, head_dim] is one layer of the cache, ``tables`` [sequences, blocks] int32 with any strides. ``tiles``
    are four int32 vectors: which sequence, first row, position of the first query, number of queries. Position -1 with
    one query stands for a row that is none: it sees nothing and its output is 0.
    """
    _, num_heads, head_dim = queries.shape
    _, _, num_kv_heads, block_size, _ = blocks.shape
    num_rows, num_splits = len(outputs), tiling.num_splits
    means = logs = outputs
    if num_splits > 1:
        means = torch.empty((num_splits, num_rows, num_heads, head_dim), dtype=torch.float32, device=queries.device)
        logs = torch.empty((num_splits, num_rows, num_heads), dtype=torch.float32, device=queries.device)
    tile_dim = max(16, triton.next_power_of_2(head_dim))
    _attend[len(tiles[0]), num_kv_heads, num_splits](
        outputs,
        means,
        logs,
        queries,
        blocks,
        tables,
        *tiles,
        num_rows,
        queries.stride(0),
        tables.stride(0),
        tables.stride(1),
        1.4426950408889634 * head_dim**-0.5,  # log2(e) / sqrt(D): exponents to base 2
        NUM_KV_HEADS=num_kv_heads,
        GROUP=num_heads // num_kv_heads,
        HEAD_DIM=head_dim,
        BLOCK_SIZE=block_size,
        NUM_SPLITS=num_splits,
        TILE_QUERIES=tiling.tile_queries,
        TILE_ROWS=tiling.tile_rows,
        TILE_KEYS=tiling.tile_keys,
        TILE_DIM=tile_dim,
        num_warps=tiling.num_warps,
        num_stages=tiling.stages,
    )
    if num_splits > 1:
        _merge[rows.stop - rows.start, num_heads](
            outputs,
            means,
            logs,
            rows.start,
            num_rows,
            NUM_HEADS=num_heads,
            HEAD_DIM=head_dim,
            NUM_SPLITS=num_splits,
            TILE_SPLITS=triton.next_power_of_2(num_splits),
            TILE_DIM=tile_dim,
            num_warps=1,
        )
