"""Memory that several processes share, with no name in any folder: it is gone when the last of them is."""

from __future__ import annotations

import mmap
import os
import tempfile

import torch
from torch import Tensor


def anonymous_file(num_bytes: int) -> int:
    """A file descriptor of ``num_bytes`` zero bytes that no path leads to."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("kv-cache")
    else:
        with tempfile.TemporaryFile() as file:  # elsewhere than on Linux: removed before anybody sees it
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, num_bytes)
    return descriptor


def mapped(descriptor: int, num_bytes: int) -> Tensor:
    """Those bytes as a tensor [num_bytes]. The descriptor is closed; the memory lives as long as the tensor."""
    # Pages are there from the start: a copy that meets each of them for the first time takes several times as long.
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
    memory = mmap.mmap(descriptor, num_bytes, flags)
    os.close(descriptor)
    return torch.frombuffer(memory, dtype=torch.uint8)
