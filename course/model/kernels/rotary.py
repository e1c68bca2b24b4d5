"""Rotary embedding and the write to the cache in one pass over queries, keys and values."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from course.model.config import ModelConfig
from course.model.kv_cache import KVCache
from course.model.packing import PackedBatch

HEADS_PER_PROGRAM = 16


@triton.jit(do_not_specialize=["write_stride"], do_not_specialize_on_alignment=["positions", "write_rows"])
def _place(
    qkv,
    gains,
    cache,
    angles,
    positions,
    write_rows,
    write_stride,
    eps,
    NUM_HEADS: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    HAS_GAIN: tl.constexpr,
    TILE_HEADS: tl.constexpr,
    TILE_PAIRS: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * TILE_HEADS + tl.arange(0, TILE_HEADS)
    pair = tl.arange(0, TILE_PAIRS)
    is_pair = pair < HEAD_DIM // 2
    is_there = (head < NUM_HEADS + 2 * NUM_KV_HEADS)[:, None] & is_pair[None, :]
    place = token * ((NUM_HEADS + 2 * NUM_KV_HEADS) * HEAD_DIM) + head[:, None] * HEAD_DIM + 2 * pair[None, :]
    even = tl.load(qkv + place, mask=is_there, other=0.0).to(tl.float32)
    odd = tl.load(qkv + place + 1, mask=is_there, other=0.0).to(tl.float32)

    is_turned = (head < NUM_HEADS + NUM_KV_HEADS)[:, None]
    if HAS_GAIN:  # Qwen3 normalises each query and key
        size = tl.sum(even * even + odd * odd, 1) / HEAD_DIM + eps
        gain_place = gains + head[:, None] * HEAD_DIM + 2 * pair[None, :]
        even_gain = tl.load(gain_place, mask=is_there & is_turned, other=1.0).to(tl.float32)
        odd_gain = tl.load(gain_place + 1, mask=is_there & is_turned, other=1.0).to(tl.float32)
        norm = tl.where(is_turned, tl.rsqrt(size)[:, None], 1.0)
        even, odd = even * norm * even_gain, odd * norm * odd_gain
    position = tl.maximum(tl.load(positions + token), 0).to(tl.int64)
    angle = angles + (position * (HEAD_DIM // 2) + pair) * 2
    cosine = tl.load(angle, mask=is_pair, other=1.0)[None, :]
    sine = tl.load(angle + 1, mask=is_pair, other=0.0)[None, :]
    turned_even = tl.where(is_turned, even * cosine - odd * sine, even).to(qkv.dtype.element_ty)
    turned_odd = tl.where(is_turned, even * sine + odd * cosine, odd).to(qkv.dtype.element_ty)

    is_query = (head < NUM_HEADS)[:, None]
    tl.store(qkv + place, turned_even, mask=is_there & is_query)
    tl.store(qkv + place + 1, turned_odd, mask=is_there & is_query)
    write_row = tl.load(write_rows + token * write_stride).to(tl.int64)  # of the first key head
    rows = write_row + (head - NUM_HEADS) * BLOCK_SIZE
    target = cache + rows[:, None] * HEAD_DIM + 2 * pair[None, :]
    is_stored = is_there & (head >= NUM_HEADS)[:, None] & (write_row >= 0)
    tl.store(target, turned_even, mask=is_stored)
    tl.store(target + 1, turned_odd, mask=is_stored)


class RotaryPlan(NamedTuple):
    """Positions [T], and where each token's first key goes: [T] with any stride."""

    positions: Tensor
    write_rows: Tensor


class KernelRotary:
    """See `course.model.rotary.Rotary`. Cosines and sines of all positions are computed once, in float32."""

    def __init__(self, config: ModelConfig, device: str) -> None:
        self.eps = config.rms_norm_eps
        self.num_heads = config.num_heads
        positions = torch.arange(config.max_context, dtype=torch.float32, device=device)
        frequencies = torch.tensor(config.rope_inverse_frequencies, dtype=torch.float32, device=device)
        angles = torch.outer(positions, frequencies)
        rotation = torch.polar(torch.full_like(angles, config.rope_scale), angles)
        self.angles = torch.view_as_real(rotation).contiguous()

    def plan(self, batch: PackedBatch) -> RotaryPlan:
        """A row that is none has the position and the write row -1."""
        return RotaryPlan(batch.positions, batch.write_rows[:, 0])

    def __call__(self, qkv: Tensor, gain: Tensor | None, cache: KVCache, layer: int, plan: RotaryPlan) -> None:
        """See Rotary."""
        num_tokens, num_all_heads, head_dim = qkv.shape
        _place[num_tokens, triton.cdiv(num_all_heads, HEADS_PER_PROGRAM)](
            qkv,
            qkv if gain is None else gain,
            cache.blocks[layer],
            self.angles,
            plan.positions,
            plan.write_rows,
            plan.write_rows.stride(0),
            self.eps,
            NUM_HEADS=self.num_heads,
            NUM_KV_HEADS=cache.num_kv_heads,
            HEAD_DIM=head_dim,
            BLOCK_SIZE=cache.block_size,
            HAS_GAIN=gain is not None,
            TILE_HEADS=HEADS_PER_PROGRAM,
            TILE_PAIRS=triton.next_power_of_2(head_dim // 2),
            num_warps=4,
        )
