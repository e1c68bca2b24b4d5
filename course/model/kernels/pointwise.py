"""Norms and gates of many tokens, one pass each."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _rms_norm(y, x, num_columns, eps, TILE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, TILE)
    values = tl.load(x + row * num_columns + column, mask=column < num_columns, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(values * values, 0) / num_columns + eps)
    tl.store(y + row * num_columns + column, (values * scale).to(y.dtype.element_ty), mask=column < num_columns)


@triton.jit
def _swiglu(y, x, num_columns, TILE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * TILE + tl.arange(0, TILE)
    place = x + row * 2 * num_columns + column
    gate = tl.load(place, mask=column < num_columns, other=0.0).to(tl.float32)
    up = tl.load(place + num_columns, mask=column < num_columns, other=0.0).to(tl.float32)
    result = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(y + row * num_columns + column, result.to(y.dtype.element_ty), mask=column < num_columns)


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """RMSNorm without gain over the rows of contiguous x [tokens, columns]; as `course.model.norm.rms_norm`."""
    y = torch.empty_like(x)
    if len(x):
        _rms_norm[(len(x),)](y, x, x.shape[1], eps, TILE=triton.next_power_of_2(x.shape[1]), num_warps=4)
    return y


def swiglu(x: Tensor) -> Tensor:
    """silu(gate) * up for x [tokens, gate and up] contiguous: shape [tokens, half as many]."""
    num_rows, num_columns = len(x), x.shape[1] // 2
    y = torch.empty((num_rows, num_columns), dtype=x.dtype, device=x.device)
    tile = min(1024, triton.next_power_of_2(num_columns))
    if num_rows:
        _swiglu[num_rows, triton.cdiv(num_columns, tile)](y, x, num_columns, TILE=tile, num_warps=4)
    return y
