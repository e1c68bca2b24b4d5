"""The KV memory of one instance: which blocks each sequence holds, on the device and in host memory.

`Memory` moves blocks between a sequence and the pools and says which copies the data plane must
make. It decides nothing; whether there is room is asked beforehand (`course.serving.draft`).
"""

from __future__ import annotations

from collections.abc import Sequence as List

from course.serving.batch import BlockCopy
from course.serving.decoding import Decoding
from course.serving.pool import BlockPool
from course.serving.sequence import ALONE, Sequence


class Memory:
    """A pool of device blocks, a pool of host blocks to swap to (may be absent), and the rules of both."""

    def __init__(self, pool: BlockPool, num_host_blocks: int = 0) -> None:
        self.pool = pool
        self.host = BlockPool(num_host_blocks, pool.block_size) if num_host_blocks else None
        self.decoding = Decoding(pool)  # running sequences whose last step sampled a token
        self.num_queried_tokens = 0  # known to sequences as they were admitted (vLLM: prefix_cache_queries)
        self.num_hit_tokens = 0  # those of them that came from the prefix cache (vLLM: prefix_cache_hits)
        self._host_blocks_being_read: list[int] = []
        self._forked: set[Sequence] = set()  # those whose last block may be shared

    @property
    def num_free_host_blocks(self) -> int:
        """Blocks of host memory that a sequence can be swapped out to."""
        return self.host.num_free_blocks if self.host else 0

    def cached_prefix(self, sequence: Sequence) -> list[int]:
        """Cached blocks that a sequence without any could start from. At least one token is left to compute."""
        if not self.pool.prefix_cache:
            return []
        return self.pool.match(sequence._block_hashes, sequence.num_known_tokens)

    def block_to_write(self, sequence: Sequence) -> int | None:
        """The block of the sequence that its next token goes into; None if that will be a new one."""
        index = sequence.num_computed_tokens // self.pool.block_size
        table = sequence._block_table
        return table[index] if index < len(table) else None

    # on the device

    def take_prefix(self, sequence: Sequence) -> None:
        """Start from the cached prefix. All admissions of a step do this before any `grow`, which may evict."""
        self.num_queried_tokens += sequence.num_known_tokens
        if not self.pool.prefix_cache:
            return
        hits = self.cached_prefix(sequence)
        self.pool.share(hits)
        self.num_hit_tokens += len(hits) * self.pool.block_size
        sequence._block_table = hits
        sequence._num_computed = len(hits) * self.pool.block_size
        sequence._num_published = len(hits)

    def grow(self, sequence: Sequence, num_tokens: int) -> list[BlockCopy]:
        """Blocks for ``num_tokens`` more tokens; the copies that make the last block the sequence's own."""
        pool = self.pool
        copies = self._own(sequence) if self._forked else []
        table, is_alone = sequence._block_table, sequence._clock is ALONE
        if not is_alone:  # it takes a step beside its clock, which does not count this one's blocks
            sequence._clock.name_blocks(sequence)
        missing = pool.blocks_for(sequence.num_computed_tokens + num_tokens) - len(table) - sequence._num_unnamed
        if missing > 0:
            if is_alone:
                pool.promise(missing)
                sequence._num_unnamed += missing
                sequence._pool = pool
                if pool.numbers_at_once:
                    sequence._clock.name_blocks(sequence)
            else:
                table += pool.allocate(missing)
        return copies

    def _own(self, sequence: Sequence) -> list[BlockCopy]:
        """Make the block that the next token goes into the sequence's own: a copy if others hold it, too."""
        if sequence not in self._forked:
            return []
        shared = self.block_to_write(sequence)
        if shared is None or self.pool.references(shared) == 1:
            return []
        (own,) = self.pool.allocate(1)
        sequence._block_table[sequence.num_computed_tokens // self.pool.block_size] = own
        self.pool.release([shared])
        return [BlockCopy(shared, own)]

    def blocks_for_decodes(self) -> int:
        """Free blocks that one more token of each sequence that decodes takes, at most.

        Of n that share a block all are counted as copying it; the last one need not.
        """
        needed = self.decoding.num_blocks_next
        if self._forked:
            blocks = [self.block_to_write(s) for s in self._forked if s in self.decoding]
            needed += sum(block is not None and self.pool.references(block) > 1 for block in blocks)
        return needed

    def grow_decodes(self) -> list[BlockCopy]:
        """Blocks for one more token of each sequence that decodes, and the copies that make them its own."""
        copies: list[BlockCopy] = []
        if self._forked:
            copies = [copy for sequence in self.decoding.members for copy in self._own(sequence)]
        self.decoding.cover(self.decoding.steps + 1)
        return copies

    def fork(self, parent: Sequence, sibling: Sequence) -> None:
        """Let ``sibling`` go on from what ``parent`` has computed, in the same blocks."""
        self._forked.update((parent, sibling))
        parent._clock.name_blocks(parent)
        self.pool.share(parent._block_table)
        sibling._block_table = list(parent._block_table)
        sibling._block_hashes = list(parent._block_hashes)
        sibling._num_computed = parent._num_computed
        sibling._num_published = parent._num_published

    def publish(self, sequence: Sequence) -> None:
        """Let the blocks that are full by now be found by later prompts: never before their last token is computed."""
        if not self.pool.prefix_cache:
            return
        full = min(sequence.num_computed_tokens // self.pool.block_size, len(sequence._block_hashes))
        if full > len(sequence._block_table):
            sequence._clock.name_blocks(sequence)
        for index in range(sequence._num_published, full):
            self.pool.publish(sequence._block_table[index], sequence._block_hashes[index])
        sequence._num_published = max(full, sequence._num_published)

    def drop(self, sequence: Sequence) -> None:
        """Give back everything that the sequence holds; what it computed is forgotten."""
        self.let_go(sequence)
        if self.host and sequence._host_blocks:
            self.host.release(sequence._host_blocks)
        sequence._forget_computed()

    def let_go(self, sequence: Sequence) -> None:
        """Give back the sequence's device blocks; its table is the caller's to replace."""
        if sequence._num_unnamed:
            self.pool.forgive(sequence._num_unnamed)
            sequence._num_unnamed = 0
        if sequence._block_table:
            self.pool.release(sequence._block_table)
            self._forked.discard(sequence)

    # between device and host

    def swap_out(self, sequence: Sequence) -> list[BlockCopy]:
        """Move a sequence's blocks to host memory."""
        assert self.host is not None
        sequence._clock.name_blocks(sequence)
        targets = self.host.allocate(len(sequence._block_table))
        copies = [BlockCopy(*pair) for pair in zip(sequence._block_table, targets, strict=True)]
        self.let_go(sequence)
        sequence._block_table, sequence._host_blocks = [], targets
        return copies

    def swap_in(self, sequence: Sequence) -> list[BlockCopy]:
        """Move a sequence's blocks back to the device.

        The host blocks are read while the batch runs, so they become free when it is done (`settle`).
        """
        targets = self.pool.allocate(len(sequence._host_blocks))
        copies = [BlockCopy(*pair) for pair in zip(sequence._host_blocks, targets, strict=True)]
        self._host_blocks_being_read += sequence._host_blocks
        sequence._block_table, sequence._host_blocks = targets, []
        return copies

    def settle(self) -> None:
        """The batch is done: host blocks that it read are free again."""
        if self.host and self._host_blocks_being_read:
            self.host.release(self._host_blocks_being_read)
            self._host_blocks_being_read = []

    def check_integrity(self, sequences: list[Sequence], reserved: List[Reservation]) -> None:
        """Raise AssertionError unless sequences and reservations account for every block."""
        self.decoding.check_integrity()
        unnamed = [s._clock.num_unnamed(s) for s in sequences] + [r.num_unnamed for r in reserved]
        tables = [*(s._block_table for s in sequences), *(r.named for r in reserved)]
        self.pool.check_integrity(tables, sum(unnamed))
        if self.host:
            self.host.check_integrity([*(s._host_blocks for s in sequences), self._host_blocks_being_read])


class Reservation:
    """Blocks set aside for keys and values that are on their way. They get numbers when somebody reads them."""

    __slots__ = ("_pool", "named", "num_unnamed")

    def __init__(self, pool: BlockPool, num_blocks: int) -> None:
        pool.promise(num_blocks)
        self._pool = pool
        self.named: list[int] = pool.redeem(num_blocks) if pool.numbers_at_once else []
        self.num_unnamed = num_blocks - len(self.named)

    def __len__(self) -> int:
        return len(self.named) + self.num_unnamed

    @property
    def blocks(self) -> list[int]:
        """All of them, by number."""
        if self.num_unnamed:
            self.named += self._pool.redeem(self.num_unnamed)
            self.num_unnamed = 0
        return self.named

    def extend(self, num_blocks: int) -> None:
        """So many more."""
        self._pool.promise(num_blocks)
        self.num_unnamed += num_blocks

    def cancel(self) -> None:
        """Give all of them back."""
        self._pool.forgive(self.num_unnamed)
        self._pool.release(self.named)
        self.num_unnamed, self.named = 0, []

    def hand_to(self, sequence: Sequence) -> None:
        """What was expected is there: the blocks are the sequence's from now on."""
        sequence._pool, sequence._num_unnamed, sequence._block_table = self._pool, self.num_unnamed, self.named
        self.num_unnamed, self.named = 0, []
