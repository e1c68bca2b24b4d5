"""Kernels for one CUDA GPU, written in Triton: what stands between large matrix products, in few passes over memory.

``attention``  queries over the paged cache, block by block, the keys split among programs
``rotary``     turn queries and keys, store keys and values
``linear``     matrices times few vectors: a decode step
``pointwise``  norms and gates of many tokens: a prefill

Triton comes with torch for CUDA. Nothing here is imported where `are_usable` says no.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch


def are_usable(device: str, dtype: torch.dtype) -> bool:
    """Whether kernels can be used there: Triton installed, float32 or bfloat16, and a CUDA device.

    With TRITON_INTERPRET=1 in the environment Triton runs its kernels in Python, slowly and on any device; the tests
    do that where there is no GPU.
    """
    if dtype not in (torch.float32, torch.bfloat16) or find_spec("triton") is None:
        return False
    return device.startswith("cuda") or os.environ.get("TRITON_INTERPRET") == "1"
