"""The sequences of one instance that decode, counted together.

Every decode step gives each of them one token. Instead of every sequence's counters one clock is moved, and what is
asked of the whole batch at each step (how much context it reads, how many new blocks it takes) is kept as a sum. So a
step costs the same for 2 sequences as for 200, and k steps cost no more than one.
"""

from __future__ import annotations

from collections.abc import Iterator

from course.serving.pool import BlockPool
from course.serving.sequence import ALONE, Clock, Sequence


class Decoding(Clock):
    """Members take one token each at every tick. Who joins while a step is under way counts from the next one on.

    ``covered`` is the clock up to which members have blocks: one step ahead while a step is under way. Blocks that
    they took since they joined are promised by the pool and get their numbers when somebody asks (`name_blocks`).
    """

    __slots__ = ("_block_size", "_num_offset_tokens", "_pool", "_taking", "covered", "fresh", "members", "newcomers")

    def __init__(self, pool: BlockPool) -> None:
        super().__init__()
        self._pool = pool
        self._block_size = pool.block_size
        self.members: dict[Sequence, None] = {}
        self.newcomers: dict[Sequence, None] = {}
        self.fresh: list[Sequence] = []  # members that no batch has shown yet
        self.covered = 0
        self._num_offset_tokens = 0  # tokens computed by all members, less one per member and step of the clock
        self._taking = [0] * pool.block_size  # how many members take a block when the clock stands at r modulo its size

    def __len__(self) -> int:
        return len(self.members) + len(self.newcomers)

    def __iter__(self) -> Iterator[Sequence]:
        yield from self.members
        yield from self.newcomers

    def __contains__(self, sequence: object) -> bool:
        return sequence in self.members or sequence in self.newcomers

    # who decodes

    def add(self, sequence: Sequence) -> None:
        """Let a sequence that decodes join. While a step is under way it belongs to ``newcomers`` instead."""
        steps = self.steps
        self.members[sequence] = None
        self.fresh.append(sequence)
        sequence._clock = self
        sequence._num_unnamed = 0  # from now on the clock counts them
        sequence._num_output -= steps
        sequence._num_computed = offset = sequence._num_computed - steps
        self._num_offset_tokens += offset
        self._taking[-offset % self._block_size] += 1

    def welcome(self) -> None:
        """No step is under way: newcomers become members."""
        newcomers, self.newcomers = self.newcomers, {}
        for sequence in newcomers:
            self.add(sequence)

    def remove(self, sequence: Sequence) -> bool:
        """Let a sequence go its own way, with counters of its own. Whether it was here."""
        if sequence._clock is not self:
            return self.newcomers.pop(sequence, self) is None
        sequence._num_unnamed = self.num_unnamed(sequence)
        sequence._pool = self._pool
        del self.members[sequence]
        if self.fresh and sequence in self.fresh:
            self.fresh.remove(sequence)
        offset = sequence._num_computed
        self._num_offset_tokens -= offset
        self._taking[-offset % self._block_size] -= 1
        sequence._clock = ALONE
        sequence._num_output += self.steps
        sequence._num_computed = offset + self.steps
        return True

    # steps

    def bump(self, sequence: Sequence) -> None:
        """One token for one member, beside the clock."""
        offset, size = sequence._num_computed, self._block_size
        self._taking[-offset % size] -= 1
        self._taking[(-offset - 1) % size] += 1
        sequence._num_output += 1
        sequence._num_computed = offset + 1
        self._num_offset_tokens += 1

    def cover(self, steps: int) -> None:
        """Take the blocks that members need until the clock stands at ``steps``."""
        size, taking = self._block_size, self._taking
        num_steps = steps - self.covered
        first = self.covered % size
        if num_steps == 1:
            needed = taking[first]
        else:
            rounds, rest = divmod(num_steps, size)
            needed = rounds * len(self.members) + sum(taking[first : first + rest])
            if first + rest > size:
                needed += sum(taking[: first + rest - size])
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
        return self._taking[self.covered % self._block_size]

    # blocks

    def num_unnamed(self, sequence: Sequence) -> int:
        """Blocks of a member that have no number yet."""
        unnamed = -(-(sequence._num_computed + self.covered) // self._block_size) - len(sequence._block_table)
        return unnamed if unnamed > 0 else 0  # one more has a number already while it takes a step alone

    def name_blocks(self, sequence: Sequence) -> None:
        """Bring the block table of a member up to date."""
        if (count := self.num_unnamed(sequence)) > 0:
            sequence._block_table += self._pool.redeem(count)

    def check_integrity(self) -> None:
        """Raise AssertionError unless the sums are those of the members."""
        takers = [0] * self._block_size
        for sequence in self.members:
            takers[-sequence._num_computed % self._block_size] += 1
        assert all(s._clock is self for s in self.members), "a member goes by another clock"
        assert all(s._clock is ALONE for s in self.newcomers), "a newcomer counts already"
        assert self.num_context_tokens == sum(s.num_computed_tokens for s in self.members), "the context is miscounted"
        assert self._taking == takers, "blocks to take are miscounted"
