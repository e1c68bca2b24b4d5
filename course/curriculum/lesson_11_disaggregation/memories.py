"""Two workers in one process, each with a memory of its own: what moves between them can be looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from course.figures.two_pools import PoolState, two_pools
from course.model.loading import Model
from course.model.packing import Chunk, pack


class Pool:
    """The numbers of a worker's free blocks."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.free_blocks = list(range(num_blocks))

    @property
    def num_free(self) -> int:
        """Blocks that can be had now."""
        return len(self.free_blocks)

    def allocate(self, count: int) -> list[int]:
        """Take blocks. Raises ValueError if there are not so many."""
        if count > self.num_free:
            raise ValueError(f"{count} blocks wanted, {self.num_free} free")
        return [self.free_blocks.pop() for _ in range(count)]

    def free(self, blocks: Any) -> None:
        """Give blocks back."""
        self.free_blocks += blocks


def draw_pools(
    source: Pool, target: Pool, here: Mapping[str, Sequence[int]], there: Mapping[str, Sequence[int]]
) -> str:
    """SVG text: who holds which blocks at either worker; what is held by nobody and not free is red."""
    states = []
    for name, pool, tables in (("source", source, here), ("target", target, there)):
        owners = {block: holder for holder, table in tables.items() for block in table}
        lost = set(range(pool.num_blocks)) - owners.keys() - set(pool.free_blocks)
        wrong = dict.fromkeys(lost, "lost") | dict.fromkeys(owners.keys() & set(pool.free_blocks), "free")
        states.append(PoolState(name, [""] * pool.num_blocks, owners, wrong))
    return two_pools(states[0], states[1])


class Worker:
    """The model with a paged cache; greedy. Block tables are lists of block numbers of this worker."""

    def __init__(self, model: Model, num_blocks: int = 64, block_size: int = 16, first: int = 0) -> None:
        """``first`` blocks are taken by somebody else, so that two workers do not number alike."""
        self.model = model
        self.cache = model.network.new_cache(num_blocks, block_size)
        self.pool = Pool(num_blocks)
        self.pool.allocate(first)
        self.num_computed: list[int] = []  # tokens of each step

    def prefill(self, prompt: list[int]) -> tuple[list[int], int]:
        """Compute a prompt; its block table, and the token that follows."""
        table: list[int] = []
        return table, self._compute(prompt, 0, table)

    def step(self, token: int, position: int, table: list[int]) -> int:
        """Compute one token of a text, at its position (0 is the first); the token that follows it."""
        return self._compute([token], position, table)

    def free(self, table: list[int]) -> None:
        """Nobody needs these blocks any more."""
        self.pool.free(table)

    def _compute(self, tokens: list[int], start: int, table: list[int]) -> int:
        size = self.cache.block_size
        table += self.pool.allocate(-(-(start + len(tokens)) // size) - len(table))
        batch = pack([Chunk(tokens, start, table)], size, self.cache.num_kv_heads)
        self.num_computed.append(len(tokens))
        return int(self.model.network.forward(batch, self.cache)[0].argmax())


class Mover(Protocol):
    """What the lesson's `Handover` is: from the name of a request and its blocks to the table of the copy."""

    def reserve(self, request: str, blocks: list[int]) -> list[tuple[int, int]] | None:
        """Pairs to copy, or None."""
        ...

    def commit(self, request: str) -> list[int]:
        """The table of the copy."""
        ...


class Copied(NamedTuple):
    """One block that went from one memory to the other."""

    source: int
    target: int
    num_bytes: int
    seconds: float


def move_between(
    source: Worker, target: Worker, handover: Mover, log: list[Copied] | None = None
) -> Callable[[list[int]], list[int]]:
    """A handover of one sequence: reserve, copy block by block, commit."""

    def move(table: list[int]) -> list[int]:
        pairs = handover.reserve("it", table)
        if pairs is None:
            raise ValueError("the target has no room")
        for here, there in pairs:
            began_s = time.perf_counter()
            target.cache.copy_from(source.cache, [here], [there])
            took_s = time.perf_counter() - began_s
            if log is not None:
                log.append(Copied(here, there, source.cache.num_bytes // source.cache.num_blocks, took_s))
        return handover.commit("it")

    return move
