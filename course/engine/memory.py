"""Keep freed memory in the process instead of giving it back to the system after every layer."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc, malloc.h
_MMAP_THRESHOLD_BYTES = 32 << 20  # the most that glibc accepts
_TRIM_THRESHOLD_BYTES = 256 << 20


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to reuse freed memory up to 256 MB; returns whether it will.

    A forward pass allocates megabytes per layer and frees them at once. By default glibc maps such
    pieces afresh each time, and the system zeroes every page again: with prompts of some hundred
    tokens that costs more than the activation function. Elsewhere than on Linux with glibc
    nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES) and mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES))
