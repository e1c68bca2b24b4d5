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
    dim = tl.arange(0, 2 * TILE_PAIRS)  # two neighbours are a pair; they are loaded and stored side by side
    is_dim = (dim < HEAD_DIM)[None, :]
    is_there = (head < NUM_HEADS + 2 * NUM_KV_HEADS)[:, None] & is_dim
    place = token * ((NUM_HEADS + 2 * NUM_KV_HEADS) * HEAD_DIM) + head[:, None] * HEAD_DIM + dim[None, :]
    values = tl.load(qkv + place, mask=is_there, other=0.0).to(tl.float32)

    is_turned = (head < NUM_HEADS + NUM_KV_HEADS)[:, None]
    if HAS_GAIN:  # Qwen3 normalises each query and key
        scale = tl.rsqrt(tl.sum(values * values, 1) / HEAD_DIM + eps)[:, None]
        gain_place = gains + head[:, None] * HEAD_DIM + dim[None, :]
        gain = tl.load(gain_place, mask=is_dim & is_turned, other=1.0).to(tl.float32)
        values = values * tl.where(is_turned, scale, 1.0) * gain
    position = tl.maximum(tl.load(positions + token), 0).to(tl.int64)
    angle = tl.load(angles + position * HEAD_DIM + dim, mask=dim < HEAD_DIM, other=0.0)
    cosine, sine = tl.split(tl.reshape(angle, [TILE_PAIRS, 2]))
    even, odd = tl.split(tl.reshape(values, [TILE_HEADS, TILE_PAIRS, 2]))
    turned_even = even * cosine[None, :] - odd * sine[None, :]
    turned_odd = even * sine[None, :] + odd * cosine[None, :]
    turned = tl.reshape(tl.join(turned_even, turned_odd), [TILE_HEADS, 2 * TILE_PAIRS])
    values = tl.where(is_turned, turned, values).to(qkv.dtype.element_ty)

    tl.store(qkv + place, values, mask=is_there & (head < NUM_HEADS)[:, None])
    write_row = tl.load(write_rows + token * write_stride).to(tl.int64)  # of the first key head
    rows = write_row + (head - NUM_HEADS) * BLOCK_SIZE
    is_stored = is_there & (head >= NUM_HEADS)[:, None] & (write_row >= 0)
    tl.store(cache + rows[:, None] * HEAD_DIM + dim[None, :], values, mask=is_stored)


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
