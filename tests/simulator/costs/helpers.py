"""Batches for cost models, without a cluster around them."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st

from course.serving.batch import Batch, ScheduledChunk
from course.serving.sequence import Sequence
from course.workload.request import Request


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
