"""Matrix multiplication with what surrounds it, and pre-packed weights where they pay.

The layers of a small model are bound by the cost of calling operators, so a linear map takes
its neighbours in: adding to the residual stream, the SiLU of the gate, the product with it.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class LinearMap(Protocol):
    """y = x W^T + b for x [tokens, inputs], with W [outputs, inputs], b [outputs] or None."""

    def __call__(self, x: Tensor) -> Tensor:
        """Y, shape [tokens, outputs]."""
        ...

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """Residual + y."""
        ...

    def silu(self, x: Tensor) -> Tensor:
        """Silu(y) = y * sigmoid(y)."""
        ...

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """Y * other."""
        ...


class PlainLinear:
    """A linear map in public torch operators: every device and dtype."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        """See LinearMap."""
        return F.linear(x, self.weight, self.bias)

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """See LinearMap."""
        if self.bias is not None:
            residual = residual + self.bias
        return torch.addmm(residual, x, self.weight.t())

    def silu(self, x: Tensor) -> Tensor:
        """See LinearMap."""
        return F.silu(self(x), inplace=True)

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """See LinearMap."""
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

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """See LinearMap."""
        return self._binary(x, residual, self.weight, self.bias, "add")

    def silu(self, x: Tensor) -> Tensor:
        """See LinearMap."""
        return self._unary(x, self.weight, self.bias, "swish", [], "")

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """See LinearMap."""
        return self._binary(x, other, self.weight, self.bias, "mul")


def linear_map(weight: Tensor, bias: Tensor | None = None, *, packed: bool = False) -> LinearMap:
    """A linear map for weight [outputs, inputs]; pre-packed where asked for and possible.

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
