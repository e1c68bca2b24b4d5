"""The sequences of one instance that decode, counted together.

Every decode step gives each of them one token. Instead of every sequence's counters one clock is moved, and what is
asked of the whole batch at each step (how much context it reads, how many new blocks it takes) is kept as a sum. So a
step costs the same for 2 sequences as for 200, and k steps cost no more than one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from course.serving.pool import BlockPool
from course.serving.sequence import ALONE, Clock, Sequence


class Decoding(Clock):
    """Members take one token each at every tick. Who joins while a step is under way counts from the next one on.

    ``covered`` is the clock up to which members have blocks: one step ahead while a step is under way. Blocks that
    they took since they joined are promised by the pool and get their numbers when somebody asks (`name_blocks`).
    """

    __slots__ = ("_num_offset_tokens", "_pool", "_taking", "covered", "fresh", "members", "newcomers")

    def __init__(self, pool: BlockPool) -> None:
        super().__init__()
        self._pool = pool
        self.members: dict[Sequence, None] = {}
        self.newcomers: dict[Sequence, None] = {}
        self.fresh: dict[Sequence, None] = {}  # members that no batch has shown yet
        self.covered = 0
        self._num_offset_tokens = 0  # tokens computed by all members, less one per member and step of the clock
        self._taking: dict[int, int] = {}  # how many members take a block when the clock stands at r modulo its size

    def __len__(self) -> int:
        return len(self.members) + len(self.newcomers)

    def __iter__(self) -> Iterator[Sequence]:
        yield from self.members
        yield from self.newcomers

    def __contains__(self, sequence: object) -> bool:
        return sequence in self.members or sequence in self.newcomers

    # who decodes

    def add(self, sequence: Sequence, under_way: bool) -> None:
        """Let a sequence that decodes join, or wait for the end of the step that is under way."""
        if under_way:
            self.newcomers[sequence] = None
            return
        self.members[sequence] = None
        self.fresh[sequence] = None
        sequence._clock = self
        sequence._num_output -= self.steps
        sequence._num_computed -= self.steps
        self._num_offset_tokens += sequence._num_computed
        self._note_taker(sequence, 1)

    def welcome(self) -> None:
        """No step is under way: newcomers become members."""
        newcomers, self.newcomers = self.newcomers, {}
        for sequence in newcomers:
            self.add(sequence, under_way=False)

    def remove(self, sequence: Sequence) -> None:
        """Let a sequence go its own way, its counters and its block table brought up to date."""
        if sequence in self.newcomers:
            del self.newcomers[sequence]
            return
        self.name_blocks(sequence)
        self._part(sequence)

    def remove_for_good(self, sequence: Sequence) -> None:
        """The same for one that gives its blocks back: those without a number never get one."""
        if sequence in self.newcomers:
            del self.newcomers[sequence]
            return
        self._pool.forgive(self.num_unnamed(sequence))
        self._part(sequence)

    def _part(self, sequence: Sequence) -> None:
        del self.members[sequence]
        self.fresh.pop(sequence, None)
        self._num_offset_tokens -= sequence._num_computed
        self._note_taker(sequence, -1)
        sequence._clock = ALONE
        sequence._num_output += self.steps
        sequence._num_computed += self.steps

    def _note_taker(self, sequence: Sequence, change: int) -> None:
        remainder = -sequence._num_computed % self._pool.block_size
        if count := self._taking.get(remainder, 0) + change:
            self._taking[remainder] = count
        else:
            del self._taking[remainder]

    # steps

    def bump(self, sequence: Sequence) -> None:
        """One token for one member, beside the clock."""
        self._note_taker(sequence, -1)
        sequence._num_output += 1
        sequence._num_computed += 1
        self._note_taker(sequence, 1)
        self._num_offset_tokens += 1

    def tick(self, num_steps: int) -> None:
        """``num_steps`` steps are done. For those after the first, blocks are still to be taken: see `cover`."""
        self.steps += num_steps

    def cover(self, steps: int) -> None:
        """Take the blocks that members need until the clock stands at ``steps``."""
        size = self._pool.block_size
        first = self.covered % size
        if steps == self.covered + 1:
            needed = self._taking.get(first, 0)
        else:
            rounds, rest = divmod(steps - self.covered, size)
            needed = rounds * len(self.members)
            needed += sum([count for r, count in self._taking.items() if (r - first) % size < rest])
        if needed:
            self._pool.promise(needed)
        self.covered = steps

    @property
    def num_context_tokens(self) -> int:
        """Tokens of all members that are computed."""
        return self._num_offset_tokens + len(self.members) * self.steps

    @property
    def num_blocks_next(self) -> int:
        """Blocks that the next step takes."""
        return self._taking.get(self.covered % self._pool.block_size, 0)

    # blocks

    def num_unnamed(self, sequence: Sequence) -> int:
        """Blocks of a member that have no number yet."""
        unnamed = self._pool.blocks_for(sequence._num_computed + self.covered) - len(sequence._block_table)
        return unnamed if unnamed > 0 else 0  # one more has a number already while it takes a step alone

    def name_blocks(self, sequence: Sequence) -> None:
        """Bring the block table of a member up to date."""
        if (count := self.num_unnamed(sequence)) > 0:
            sequence._block_table += self._pool.redeem(count)

    def check_integrity(self) -> int:
        """Raise AssertionError unless the sums are those of the members. Returns the blocks that are promised."""
        size = self._pool.block_size
        assert all(s._clock is self for s in self.members), "a member goes by another clock"
        assert all(s._clock is ALONE for s in self.newcomers), "a newcomer counts already"
        assert self.num_context_tokens == sum(s.num_computed_tokens for s in self.members), "the context is miscounted"
        assert self._taking == Counter(-s._num_computed % size for s in self.members), "blocks to take are miscounted"
        return sum(self.num_unnamed(s) for s in self.members)
