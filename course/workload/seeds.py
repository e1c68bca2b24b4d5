"""Random numbers that depend on a seed and a purpose, and on nothing else."""

from __future__ import annotations

import zlib

import numpy as np

from course.errors import UserError


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return a PCG64 generator for one purpose, such as ``"arrivals"`` or ``"prompt lengths"``.

    Streams of different purposes are independent even for the same seed: otherwise a long gap
    would always come with a long prompt. PCG64 is named because ``default_rng`` may change.

    Raises:
        UserError: when the seed is not a whole number from 0 on.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise UserError(f"a seed is a whole number from 0 on, got {seed!r}; choose one such as 0")
    stream = zlib.crc32(purpose.encode())
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(seed), stream])))
