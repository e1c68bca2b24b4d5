"""A lesson to test the machinery with: a function, one on tensors, a class, one through an adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from course.exercises import TORCH, Cases, call, define, expect, new, tensor

if TYPE_CHECKING:  # cells are granted it; listing exercises should not import it
    import torch
    from torch import Tensor


@define("bytes_and_blocks.kv_bytes", points=2)
def kv_bytes(layers: int, kv_heads: int, head_dim: int, tokens: int, bytes_per_value: int = 2) -> int:
    """Bytes of KV cache that `tokens` tokens leave behind.

    About 1 line. With 2 layers, 4 KV heads of 8 and 2 bytes per value, one token leaves 256 bytes.
    """
    return 2 * layers * kv_heads * head_dim * tokens * bytes_per_value


@kv_bytes.check(hint="What does one token leave behind in one layer? Multiply from there.")
def counts_every_value(rng: np.random.Generator) -> Cases:
    for most in (1, 3, 6):
        layers, heads, dim, tokens = (int(n) for n in rng.integers(most, most + 2, 4))
        kept = [np.zeros(dim) for _layer in range(layers) for _head in range(heads) for _kv in "kv"]
        yield call(layers, heads, dim, tokens, 8).returns(sum(8 * one.size for one in kept) * tokens)


@kv_bytes.check(hint="`bytes_per_value` has a default.")
def two_bytes_unless_told(rng: np.random.Generator) -> Cases:
    tokens = int(rng.integers(1, 9))
    yield call(1, 1, 1, tokens=tokens).returns(len("kv") * tokens * 2)


kv_bytes.mistake(
    "forgets V",
    replace=[("return 2 * layers", "return layers")],
    caught_by=counts_every_value,
    nudge="Each token leaves a key and a value.",
)
kv_bytes.mistake(
    "never looks at the number of bytes",
    replace=[("* bytes_per_value", "* 2")],
    caught_by=counts_every_value,
    nudge="A value is not always 2 bytes.",
)
kv_bytes.alternative(
    """
def kv_bytes(layers, kv_heads, head_dim, tokens, bytes_per_value=2):
    per_layer = sum(kv_heads * head_dim for _ in ("k", "v"))
    return math.prod([per_layer, layers, tokens, bytes_per_value])
"""
)


@define("bytes_and_blocks.softmax", grants=TORCH)
def softmax(scores: Tensor) -> Tensor:
    """Softmax over the last axis, for scores of any size. About 2 lines."""
    # yours: about 2 lines
    weights = torch.exp(scores - scores.max(dim=-1, keepdim=True).values)
    # end
    return weights / weights.sum(dim=-1, keepdim=True)


@softmax.check(hint="Every row sums to one.")
def each_row_on_its_own(rng: np.random.Generator) -> Cases:
    for rows in (1, 3):
        scores = tensor(rng, rows, 4)
        powers = np.exp(scores.double().numpy())
        yield call(scores).returns(tensor_like(powers / powers.sum(-1, keepdims=True)))


@softmax.check(hint="exp(1000) is infinite: subtract the largest first.")
def large_scores(rng: np.random.Generator) -> Cases:
    scores = tensor(rng, 1, 3) + 1000
    yield call(scores).satisfies(lambda got: bool(got.isfinite().all()), "Large scores must not overflow")


def tensor_like(array: np.ndarray) -> object:
    """An expected answer in single precision."""
    import torch

    return torch.tensor(array, dtype=torch.float32)


@softmax.mistake("sums over everything", caught_by=each_row_on_its_own, nudge="Which axis does a row lie along?")
def over_everything(scores):
    return scores.exp() / scores.exp().sum()


@softmax.mistake("overflows", caught_by=large_scores, nudge="Softmax does not change when all scores drop by the same.")
def overflows(scores):
    return scores.exp() / scores.exp().sum(-1, keepdim=True)


@define("bytes_and_blocks.BlockPool", points=3)
class BlockPool:
    """A pool of numbered blocks."""

    def __init__(self, num_blocks: int) -> None:
        """All blocks are free at first."""
        self.free_ids = list(range(num_blocks))

    def allocate(self, count: int) -> list[int]:
        """Take `count` free blocks, or raise ValueError and take none."""
        if count > len(self.free_ids):
            raise ValueError("not enough blocks")
        taken, self.free_ids = self.free_ids[:count], self.free_ids[count:]
        return taken

    def free(self, ids: list[int]) -> None:
        """Give blocks back."""
        self.free_ids += ids


@BlockPool.check(hint="A block that is in use must not be given again.")
def gives_no_block_twice(rng: np.random.Generator) -> Cases:
    pool, used = new(4), []
    for _ in range(30):
        if used and rng.random() < 0.5:
            back = [used.pop(int(rng.integers(len(used))))]
            yield pool.call("free", back).returns(None)
            continue
        count = int(rng.integers(1, 4))
        if len(used) + count > 4:
            yield pool.call("allocate", count).raises(ValueError)
            continue
        got = yield pool.call("allocate", count).satisfies(lambda ids: len(ids) >= 0, "`allocate` returns a list")
        expect(len(got) == count, f"`allocate({count})` must give {count} blocks")
        expect(not set(got) & set(used), "A block in use was given away again")
        used += got


BlockPool.mistake(
    "keeps what it gave away",
    replace=[("taken, self.free_ids = self.free_ids[:count], self.free_ids[count:]", "taken = self.free_ids[:count]")],
    caught_by=gives_no_block_twice,
    nudge="A block given away is not free any more.",
)


def in_turns(learner: object, lengths: list[int]) -> list[int]:
    """Feed a learner's generator function with objects that are no plain data."""
    from collections import deque

    return [int(n) for n in learner(deque(lengths))]


@define("bytes_and_blocks.drain", through=in_turns)
def drain(queue):
    """Yield what is in the queue, first in first out, and leave it empty."""
    while queue:
        yield queue.popleft()


@drain.check()
def first_in_first_out(rng: np.random.Generator) -> Cases:
    for size in (0, 2, 5):
        lengths = [int(n) for n in rng.integers(0, 99, size)]
        yield call(lengths).returns(list(lengths))


@define("bytes_and_blocks.count_down", seconds=0.5)
def count_down(start: int) -> int:
    """Count from `start` down to 0 and return the number of steps."""
    steps = 0
    while start:
        start -= 1
        steps += 1
    return steps


@count_down.check()
def counts_steps(rng: np.random.Generator) -> Cases:
    for most in (1, 9):
        start = int(rng.integers(1, most + 1))
        yield call(start).returns(len(range(start)))


count_down.mistake(
    "endless: never gets nearer",
    replace=[("start -= 1", "start -= 0")],
    caught_by=counts_steps,
    nudge="Something must come nearer to zero in each round.",
)
