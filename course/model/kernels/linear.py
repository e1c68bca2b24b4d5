"""A matrix times few vectors, with what surrounds it: the work of a decode step, bound by reading the matrix.

Each program reads some rows of the matrix, once, for all vectors. RMSNorm costs nothing here: it is one factor per
vector, found on the way through it, and a factor may as well be applied to the result.
"""

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from course.model.kernels.pointwise import rms_norm, swiglu

FEW_ROWS = 32


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
    NORM: tl.constexpr,
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
        if NORM:
            wide = vectors.to(tl.float32)
            squares += tl.sum(wide * wide, 1)
    if NORM:
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


def best_tile(num_outputs: int, num_inputs: int) -> tuple[int, int, int, int]:
    """Rows of the matrix per program, columns per turn of its loop, warps, and turns that are loaded ahead."""
    return 16, 256, 4, 4


def is_few(num_rows: int, weight: Tensor) -> bool:
    """Whether our kernel is faster than the library's for so many rows of x."""
    return 0 < num_rows <= FEW_ROWS


def few(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    eps: float | None = None,
    gated: bool = False,
    tile: tuple[int, int, int, int] | None = None,
) -> Tensor:
    """x W^T + bias + residual for at most a few dozen rows x [rows, inputs], W [outputs, inputs], all contiguous.

    With ``eps`` the rows go through RMSNorm first. With ``gated`` W and bias hold gates, then ups, and the result is
    silu(gate) * up, [rows, outputs / 2].
    """
    num_rows, num_inputs = x.shape
    num_outputs = len(weight) // (2 if gated else 1)
    tile_outputs, tile_inputs, num_warps, stages = tile or best_tile(num_outputs, num_inputs)
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
        NORM=eps is not None,
        GATED=gated,
        EVEN=num_inputs % tile_inputs == 0,
        TILE_ROWS=max(16, triton.next_power_of_2(num_rows)),
        TILE_OUTPUTS=tile_outputs,
        TILE_INPUTS=tile_inputs,
        num_warps=num_warps,
        num_stages=stages,
    )
    return y


class KernelLinear:
    """See `course.model.linear.LinearMap`: our kernel for few rows, the library's matrix product for many."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight.contiguous()
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        """See LinearMap."""
        if is_few(len(x), self.weight):
            return few(x, self.weight, self.bias)
        return F.linear(x, self.weight, self.bias)

    def of_norm(self, x: Tensor, eps: float) -> Tensor:
        """See LinearMap."""
        if is_few(len(x), self.weight):
            return few(x, self.weight, self.bias, eps=eps)
        return F.linear(rms_norm(x, eps), self.weight, self.bias)

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """See LinearMap."""
        if is_few(len(x), self.weight):
            return few(x, self.weight, self.bias, residual)
        if self.bias is not None:
            residual = residual + self.bias
        return torch.addmm(residual, x, self.weight.t())


class KernelGated:
    """See `course.model.linear.GatedMap`: both maps as one matrix."""

    def __init__(self, gate: Tensor, up: Tensor, gate_bias: Tensor | None, up_bias: Tensor | None) -> None:
        self.weight = torch.cat([gate, up])
        self.bias = None if gate_bias is None or up_bias is None else torch.cat([gate_bias, up_bias])

    def of_norm(self, x: Tensor, eps: float) -> Tensor:
        """See GatedMap."""
        if is_few(len(x), self.weight):
            return few(x, self.weight, self.bias, eps=eps, gated=True)
        return swiglu(F.linear(rms_norm(x, eps), self.weight, self.bias))
