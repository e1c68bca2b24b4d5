"""Requests that begin alike: system prompts that many share, and conversations whose every turn repeats what was said.

No trace with block hashes is needed for it: the shape is given in a few numbers, and the hashes follow from who shares
what with whom.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from course.errors import UserError
from course.workload.arrivals import poisson_arrivals
from course.workload.hashing import chain
from course.workload.lengths import Lognormal
from course.workload.seeds import generator
from course.workload.traces.row import TraceRow

_BLOCKS = 1 << 24  # more than a prompt has
_OPENING, _OWN = 1, 2
_MESSAGE, _PAUSE = Lognormal(100, 1.0), Lognormal(60, 1.0)


@dataclass(frozen=True)
class Conversations:
    """What requests have in common. Lengths in tokens, pauses in seconds.

    Each conversation begins with one of ``num_openings`` system prompts (all equally likely) of ``opening_tokens``
    tokens, goes on with a message of the user's, and is answered. With the share ``goes_on`` a further turn follows
    after a pause: its prompt is all that was said, and a new message. A conversation ends where a prompt would get
    longer than ``most_tokens``.
    """

    opening_tokens: int
    first: Lognormal
    answer: Lognormal
    num_openings: int = 1
    goes_on: float = 0.0
    later: Lognormal = _MESSAGE
    pause_s: Lognormal = _PAUSE
    most_tokens: int = 131_072

    def __post_init__(self) -> None:
        if self.num_openings < 1 or self.opening_tokens < 0:
            raise UserError(
                f"{self.num_openings} openings of {self.opening_tokens} tokens make no conversation; "
                "give at least 1 opening (of 0 tokens, if nothing is shared)"
            )
        if not 0 <= self.goes_on < 1:
            raise UserError(f"goes_on is a share, from 0 to below 1, got {self.goes_on}: or no conversation would end")

    def rows(self, num: int, rate: float, seed: int = 0, block_tokens: int = 16) -> list[TraceRow]:
        """The first ``num`` requests in order of arrival, ``rate`` a second in the long run, as a trace has them.

        One hash stands for ``block_tokens`` tokens. Conversations begin as a Poisson process; another seed, other ones.
        Raises UserError for arguments out of range.
        """
        if block_tokens < 1:
            raise UserError(f"a hash stands for at least 1 token, got {block_tokens}; 16 is usual")
        begins_s = poisson_arrivals(num, rate * (1 - self.goes_on), seed).tolist()
        rng = generator(seed, "conversations")
        rows = [row for number, time_s in enumerate(begins_s) for row in self._one(number, time_s, rng, block_tokens)]
        return sorted(rows, key=lambda row: row.arrival_s)[:num]

    def _one(self, number: int, time_s: float, rng: np.random.Generator, block_tokens: int) -> Iterator[TraceRow]:
        """The turns of one conversation."""
        opening = int(rng.integers(self.num_openings))
        prompt = self.opening_tokens + int(self.first.draw(1, rng)[0])
        hashes: list[int] = []
        while prompt <= self.most_tokens:
            for block in range(len(hashes), prompt // block_tokens):
                is_shared = (block + 1) * block_tokens <= self.opening_tokens
                whose = (_OPENING, opening) if is_shared else (_OWN, number)
                hashes.append(chain(hashes[-1] if hashes else 0, (whose[0] + 4 * whose[1]) * _BLOCKS + block))
            answer = int(self.answer.draw(1, rng)[0])
            yield TraceRow(round(time_s, 9), prompt, answer, tuple(hashes), hash_block_tokens=block_tokens)
            if rng.random() >= self.goes_on:
                return
            time_s += float(self.pause_s.draw(1, rng)[0])
            prompt += answer + int(self.later.draw(1, rng)[0])


MOONCAKE = Conversations(
    opening_tokens=512,
    first=Lognormal(5_350, 1.16, low=16),
    answer=Lognormal(300, 0.6, low=1, high=2_000),
    goes_on=0.36,
    later=Lognormal(1_500, 1.5, low=16),
    pause_s=Lognormal(120, 0.9),
)
"""A stand-in for the conversation trace of Mooncake (FAST'25; kvcache-ai/Mooncake, FAST25-release, Apache-2.0).

Counted in the first half of the released file (6,017 requests, 3.2 a second): all share their first block of 512
tokens; 36 % go on from an earlier prompt, half of them within 120 s, by 1,024 tokens in the median and 10,752 at the
90th percentile; the others have 5,859 tokens in the median and 11,458 in the mean; answers have 356 in the median.
"""


def ideal_reuse(rows: Iterable[TraceRow]) -> float:
    """Share (0 to 1) of all prompt blocks that an earlier prompt had already, as a cache that forgets nothing finds."""
    seen: set[int] = set()
    num_blocks = num_hits = 0
    for row in rows:
        # Hashes are chained: a block counts as known only where all before it are the same.
        num_blocks += len(row.prefix_hashes)
        num_hits += sum(hash in seen for hash in row.prefix_hashes)
        seen.update(row.prefix_hashes)
    return num_hits / num_blocks if num_blocks else 0.0
