"""Matrix multiplication with what surrounds it, and pre-packed weights where they pay.

The layers of a small model are bound by the cost of calling operators, so a linear map takes
its neighbours in: adding to the residual stream, the SiLU of the gate, the product with it.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from course.model.norm import rms_norm


class LinearMap(Protocol):
    """y = x W^T + b for x [tokens, inputs], with W [outputs, inputs], b [outputs] or None."""

    def __call__(self, x: Tensor) -> Tensor:
        """Y, shape [tokens, outputs]."""
        ...

    def of_norm(self, x: Tensor, eps: float) -> Tensor:
        """The same of `rms_norm(x, eps)`."""
        ...

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """Residual + y; the residual may be overwritten."""
        ...


class GatedMap(Protocol):
    """The first half of a SwiGLU network (Shazeer 2020): two linear maps, one the gate of the other."""

    def of_norm(self, x: Tensor, eps: float) -> Tensor:
        """silu(gate(h)) * up(h) with h = `rms_norm(x, eps)`."""
        ...


class PlainLinear:
    """A linear map in public torch operators: every device and dtype."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        """See LinearMap."""
        return F.linear(x, self.weight, self.bias)

    def of_norm(self, x: Tensor, eps: float) -> Tensor:
        """See LinearMap."""
        return self(rms_norm(x, eps))

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """See LinearMap."""
        if self.bias is not None:
            residual = residual + self.bias
        return torch.addmm(residual, x, self.weight.t())

    def silu(self, x: Tensor) -> Tensor:
        """silu(y) = y * sigmoid(y)."""
        return F.silu(self(x), inplace=True)

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """y * other."""
        return self(x).mul_(other)


class PackedLinear:
    """The same in oneDNN operators, the weight laid out once as the kernel wants it.

    These operators are private to torch (its compiler uses them for frozen models), so
    `linear_map` is the only place that chooses them.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        self.bias = bias
        self._unary = torch.ops.mkldnn._linear_pointwise.default
        self._binary = torch.ops.mkldnn._linear_pointwise.binary

    def __call__(self, x: Tensor) -> Tensor:
        """See LinearMap."""
        return self._unary(x, self.weight, self.bias, "none", [], "")

    def of_norm(self, x: Tensor, eps: float) -> Tensor:
        """See LinearMap."""
        return self(rms_norm(x, eps))

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """See LinearMap."""
        return self._binary(x, residual, self.weight, self.bias, "add")

    def silu(self, x: Tensor) -> Tensor:
        """silu(y) = y * sigmoid(y)."""
        return self._unary(x, self.weight, self.bias, "swish", [], "")

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """y * other."""
        return self._binary(x, other, self.weight, self.bias, "mul")


class GatedPair:
    """See GatedMap: two maps, each of which takes its part of the gating in."""

    def __init__(self, gate: PlainLinear | PackedLinear, up: PlainLinear | PackedLinear) -> None:
        self.gate = gate
        self.up = up

    def of_norm(self, x: Tensor, eps: float) -> Tensor:
        """See GatedMap."""
        h = rms_norm(x, eps)
        return self.up.times(h, self.gate.silu(h))


def linear_map(weight: Tensor, bias: Tensor | None = None, *, packed: bool = False, kernels: bool = False) -> LinearMap:
    """A linear map for weight [outputs, inputs]; pre-packed, or with our own kernels, where asked for and possible."""
    if kernels:
        from course.model.kernels.linear import KernelLinear

        return KernelLinear(weight, bias)
    return torch_map(weight, bias, packed)


def gated_map(
    gate: tuple[Tensor, Tensor | None],
    up: tuple[Tensor, Tensor | None],
    *,
    packed: bool = False,
    kernels: bool = False,
) -> GatedMap:
    """A gated map of the weights and biases of its gate and of what is gated; options as in `linear_map`."""
    if kernels:
        from course.model.kernels.linear import KernelGated

        return KernelGated(gate[0], up[0], gate[1], up[1])
    return GatedPair(torch_map(*gate, packed), torch_map(*up, packed))


def torch_map(weight: Tensor, bias: Tensor | None, packed: bool) -> PlainLinear | PackedLinear:
    """A linear map in operators of torch, pre-packed where asked for and possible.

    Possible means: float32 or bfloat16 on a CPU whose torch has the oneDNN operators. Anything
    else, and any failure while packing, falls back to public operators without a word: the
    result is the same up to rounding.
    """
    if packed and weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16):
        try:
            candidate = PackedLinear(weight, bias)
            candidate(torch.zeros(1, weight.shape[1], dtype=weight.dtype))
            return candidate
        except (AttributeError, RuntimeError):  # NotImplementedError is a RuntimeError
            pass
    return PlainLinear(weight.contiguous(), bias)
