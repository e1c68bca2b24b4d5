"""A matrix times few vectors, with what stands behind it: the work of a decode step, bound by reading the matrix.

Each program reads some rows of the matrix, once, for all vectors.
"""

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from course.model.kernels.pointwise import rms_norm, swiglu

FEW_ROWS = 32  # up to here our kernels are as fast as the library's products or faster (docs/benchmarks.md)


@triton.jit(do_not_specialize=["num_rows"])
def _few(
    y,
    x,
    weight,
    bias,
    residual,
    num_rows,
    num_outputs,
    num_inputs,
    eps,
    HAS_BIAS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    GATED: tl.constexpr,
    EVEN: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_OUTPUTS: tl.constexpr,
    TILE_INPUTS: tl.constexpr,
):
    row = tl.arange(0, TILE_ROWS)
    output = tl.program_id(0) * TILE_OUTPUTS + tl.arange(0, TILE_OUTPUTS)
    is_output = output < num_outputs
    sums = tl.zeros([TILE_ROWS, TILE_OUTPUTS], tl.float32)
    up_sums = tl.zeros([TILE_ROWS, TILE_OUTPUTS], tl.float32)
    squares = tl.zeros([TILE_ROWS], tl.float32)
    weight_rows = weight + output.to(tl.int64)[:, None] * num_inputs
    for first in range(0, num_inputs, TILE_INPUTS):
        column = first + tl.arange(0, TILE_INPUTS)
        is_column = (column < num_inputs) | EVEN
        vectors = tl.load(
            x + row[:, None] * num_inputs + column[None, :],
            mask=(row < num_rows)[:, None] & is_column[None, :],
            other=0.0,
        )
        is_weight = is_output[:, None] & is_column[None, :]
        rows = tl.load(weight_rows + column[None, :], mask=is_weight, other=0.0)
        sums = tl.dot(vectors, tl.trans(rows), sums, input_precision="ieee")
        if GATED:
            rows = tl.load(weight_rows + num_outputs.to(tl.int64) * num_inputs + column[None, :], is_weight, other=0.0)
            up_sums = tl.dot(vectors, tl.trans(rows), up_sums, input_precision="ieee")
            wide = vectors.to(tl.float32)
            squares += tl.sum(wide * wide, 1)
    if GATED:  # RMSNorm is one factor per vector, and may as well be applied to the result
        scale = tl.rsqrt(squares / num_inputs + eps)[:, None]
        sums *= scale
        up_sums *= scale
    if HAS_BIAS:
        sums += tl.load(bias + output, mask=is_output, other=0.0).to(tl.float32)[None, :]
        if GATED:
            up_sums += tl.load(bias + num_outputs + output, mask=is_output, other=0.0).to(tl.float32)[None, :]
    if GATED:
        sums = sums / (1.0 + tl.exp(-sums)) * up_sums
    place = row[:, None] * num_outputs + output[None, :]
    is_there = (row < num_rows)[:, None] & is_output[None, :]
    if HAS_RESIDUAL:
        sums += tl.load(residual + place, mask=is_there, other=0.0).to(tl.float32)
    tl.store(y + place, sums.to(y.dtype.element_ty), mask=is_there)


def few_added(residual: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Residual + x W^T + bias for x [rows, inputs] of at most FEW_ROWS rows, W [outputs, inputs], all contiguous."""
    tile = (16, 512, 4, 3) if x.shape[1] > 4096 else (16, 256, 2, 4)
    return _launch(x, weight, bias, residual, None, len(weight), tile)


def few_gated(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """silu(h G^T) * (h U^T) with h = RMSNorm(x), for as few rows; W [2 outputs, inputs] holds G, then U."""
    return _launch(x, weight, bias, None, eps, len(weight) // 2, (64, 128, 4, 4))


def _launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    eps: float | None,
    num_outputs: int,
    tile: tuple[int, int, int, int],
) -> Tensor:
    """``tile``: rows of the matrix per program, columns of bfloat16 per turn of its loop, warps, turns loaded ahead."""
    num_rows, num_inputs = x.shape
    tile_outputs, tile_inputs, num_warps, stages = tile
    tile_inputs = tile_inputs * 2 // x.element_size()  # as many bytes of shared memory for float32
    y = torch.empty((num_rows, num_outputs), dtype=x.dtype, device=x.device)
    _few[(triton.cdiv(num_outputs, tile_outputs),)](
        y,
        x,
        weight,
        weight if bias is None else bias,
        x if residual is None else residual,
        num_rows,
        num_outputs,
        num_inputs,
        eps or 0.0,
        HAS_BIAS=bias is not None,
        HAS_RESIDUAL=residual is not None,
        GATED=eps is not None,
        EVEN=num_inputs % tile_inputs == 0,
        TILE_ROWS=max(16, triton.next_power_of_2(num_rows)),
        TILE_OUTPUTS=tile_outputs,
        TILE_INPUTS=tile_inputs,
        num_warps=num_warps,
        num_stages=stages,
    )
    return y


class KernelLinear:
    """See `course.model.linear.LinearMap`: the library's matrix product, and ours for a sum of few rows."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight.contiguous()
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        """See LinearMap."""
        return F.linear(x, self.weight, self.bias)

    def of_norm(self, x: Tensor, eps: float) -> Tensor:
        """See LinearMap."""
        return self(rms_norm(x, eps))

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """See LinearMap."""
        if 0 < len(x) <= FEW_ROWS:
            return few_added(residual, x, self.weight, self.bias)
        if self.bias is not None:
            residual = residual + self.bias
        return residual.addmm_(x, self.weight.t())  # in place: a copy of the residual costs as much as a norm


class KernelGated:
    """See `course.model.linear.GatedMap`: both maps as one matrix."""

    def __init__(self, gate: Tensor, up: Tensor, gate_bias: Tensor | None, up_bias: Tensor | None) -> None:
        self.weight = torch.cat([gate, up])
        self.bias = None if gate_bias is None or up_bias is None else torch.cat([gate_bias, up_bias])

    def of_norm(self, x: Tensor, eps: float) -> Tensor:
        """See GatedMap."""
        if 0 < len(x) <= FEW_ROWS:
            return few_gated(x, self.weight, self.bias, eps)
        return swiglu(F.linear(rms_norm(x, eps), self.weight, self.bias))
