"""Batches for cost models without a cluster around them, and profiles that no machine recorded."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from hypothesis import strategies as st

from course.serving.batch import Batch, ScheduledChunk
from course.serving.sequence import Sequence
from course.simulator.costs.measured import MeasuredCost
from course.simulator.costs.profile import Profile, ProfiledStep
from course.simulator.hardware import Hardware
from course.simulator.shapes import load_shape
from course.workload.request import Request

TRUTH = MeasuredCost(4e-3, 1e-4, 1e-7, 2e-6, 2e-4, 2e-4, 2e-6)
MACHINE = Hardware(name="this-machine", memory_bytes=2**33, flops_s=1e11, memory_bandwidth_bytes_s=4e10)


def sequence(num_computed: int, id: int = 0) -> Sequence:
    """A sequence that decodes with so many tokens in its cache."""
    decoding = Sequence(Request(id, 0.0, num_computed, 10_000), rank=id)
    decoding._num_computed = num_computed
    return decoding


def batch(prompts: Iterable[tuple[int, int]] = (), contexts: Iterable[int] = ()) -> Batch:
    """A step with chunks (tokens in the cache, tokens to compute) and decodes with so many tokens in the cache."""
    chunks = []
    for start, num_tokens in prompts:
        prompt = Sequence(Request(0, 0.0, start + num_tokens, 1), rank=0)
        chunks.append(ScheduledChunk(prompt, start, num_tokens, [], (prompt,)))
    contexts = list(contexts)
    decodes = tuple(sequence(n, i) for i, n in enumerate(contexts))
    return Batch(0, 0, chunks, decodes, num_decode_context_tokens=sum(contexts))


def one_further(before: Batch) -> Batch:
    """The next step of a batch that only decodes: every cache one token longer."""
    return batch(contexts=[s._num_computed + 1 for s in before.decodes])


contexts = st.lists(st.integers(1, 3000), min_size=1, max_size=130)
chunks = st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 2048)), min_size=1, max_size=5)


def profile(cost: MeasuredCost = TRUTH, noise: float = 0.0, seed: int = 0) -> Profile:
    """What a machine would record that follows ``cost`` up to ``noise`` (relative)."""
    rng = random.Random(seed)
    shapes = [(((0, n),), ()) for n in (16, 64, 256, 1024)] + [(((s, 128),), ()) for s in (128, 512, 2048)]
    shapes += [(((0, 64),) * m, ()) for m in (2, 4, 8)]
    shapes += [((), (c,) * b) for b in (1, 4, 16, 64) for c in (16, 256, 1024)]
    shapes += [(((0, n),), (c,) * b) for n in (32, 256) for b in (4, 32) for c in (64, 512)]
    steps = [ProfiledStep(p, c, ()) for p, c in shapes]
    timed = [replace(s, seconds=tuple(cost.step_s(s) * (1 + noise * rng.gauss(0, 1)) for _ in range(5))) for s in steps]
    return Profile(load_shape("tiny"), MACHINE, tuple(timed), "2026-01-01", {"threads": 1})
