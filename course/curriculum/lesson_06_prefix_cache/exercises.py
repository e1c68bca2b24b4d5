"""Exercises of lesson 06: names for blocks, what is found again, what is forgotten, and whose turn it is."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from course.exercises import PLAIN, Case, Cases, call, define, expect, new
from course.serving.prefix import chained_hash

Weighing = Generator[Case, Any, Any]
"""Calls of a check that end in an answer to go on with."""

HASHES = (*PLAIN, "from course.serving.prefix import chained_hash")

# 1: block_hashes


@define("prefix_cache.block_hashes", points=1, grants=HASHES)
def block_hashes(tokens: list[int], block_size: int) -> list[int]:
    """One hash for each full block of `tokens`, in order.

    Equal hashes must mean: the same tokens in this block *and in all blocks before it*.
    `chained_hash(parent, block)` hashes the list of a block's tokens together with `parent`, the
    hash of the block before it (0 for the first one). A last block that is not full has no hash
    yet. About 5 lines.
    """
    hashes = []
    parent = 0
    for start in range(0, len(tokens) - block_size + 1, block_size):
        parent = chained_hash(parent, tokens[start : start + block_size])
        hashes.append(parent)
    return hashes


def some_tokens(rng: np.random.Generator, count: int) -> list[int]:
    """Small token ids."""
    return [int(token) for token in rng.integers(1, 99, count)]


def many(count: int, thing: str, things: str = "") -> str:
    """1 block, 2 blocks."""
    return f"{count} {thing if count == 1 else things or thing + 's'}"


def named(tokens: list[int], block_size: int) -> Weighing:
    """Ask for the hashes, and see that there are as many as full blocks."""
    got = yield call(tokens, block_size).satisfies(lambda _: True, "")
    full = len(tokens) // block_size
    expect(
        isinstance(got, (list, tuple)),
        f"It must return a list of hashes, one for each full block; it returned {got!r}"[:200],
    )
    expect(
        len(got) == full,
        f"{many(len(tokens), 'token')} in blocks of {block_size}: {many(full, 'full block')}, so "
        f"{many(full, 'hash', 'hashes')}; yours returns {len(got)}",
    )
    expect(all(type(each) is int for each in got), f"A hash is one whole number; the first of yours is {got[:1]}")
    return got


def in_blocks(tokens: list[int], block_size: int) -> str:
    """The tokens with a bar between blocks: 1 2 | 3 4."""
    starts = range(0, len(tokens), block_size)
    return " | ".join(" ".join(map(str, tokens[start : start + block_size])) for start in starts)


@block_hashes.check(hint="Only full blocks have a hash: as many as whole blocks fit into the tokens.")
def one_hash_for_each_full_block(rng: np.random.Generator) -> Cases:
    for num_tokens, block_size in ((2, 2), (1, 2), (3, 2), (4, 2), (0, 4), (int(rng.integers(9, 12)), 4)):
        yield from named(some_tokens(rng, num_tokens), block_size)


@block_hashes.check(hint="A block's hash covers the hash of the block before it, and so everything before it.")
def equal_as_far_as_the_texts_are(rng: np.random.Generator) -> Cases:
    for block_size, num_blocks, differs_in in ((1, 2, 0), (2, 2, 0), (2, 3, 2), (2, 3, 0), (4, 4, 1)):
        one = some_tokens(rng, block_size * num_blocks)
        other = list(one)
        other[differs_in * block_size + int(rng.integers(block_size))] += 100
        ours = yield from named(one, block_size)
        theirs = yield from named(other, block_size)
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            both = f"The texts are {in_blocks(one, block_size)} and {in_blocks(other, block_size)}"
            if index < differs_in:
                expect(a == b, f"{both}. Up to block {index} they are alike; your hashes of it differ")
            else:
                expect(
                    a != b,
                    f"{both}. They differ from block {differs_in} on; yours give block {index} the same hash in both, "
                    f"{a}, so one would read the other's keys",
                )


@block_hashes.check(hint="parent, hash, parent, hash: `chained_hash` of each block goes into the next.")
def the_names_that_the_engine_knows(rng: np.random.Generator) -> Cases:
    for block_size, num_tokens in ((2, 2), (2, 4), (4, int(rng.integers(12, 16)))):
        tokens = some_tokens(rng, num_tokens)

        def name(index: int, tokens: list[int] = tokens, size: int = block_size) -> int:
            before = name(index - 1) if index else 0
            return chained_hash(before, tokens[index * size : (index + 1) * size])

        yield call(tokens, block_size).returns([name(index) for index in range(num_tokens // block_size)])


block_hashes.mistake(
    "without the parent",
    replace=[("parent = chained_hash(parent, ", "parent = chained_hash(0, ")],
    caught_by=equal_as_far_as_the_texts_are,
    nudge="Keys depend on all tokens before. Hand the hash of the block before to `chained_hash`, not 0 each time.",
)
block_hashes.mistake(
    "the parent is never moved on",
    replace=[
        ("parent = chained_hash(", "block_hash = chained_hash("),
        ("hashes.append(parent)", "hashes.append(block_hash)"),
    ],
    caught_by=equal_as_far_as_the_texts_are,
    nudge="Keys depend on all tokens before. Hand the hash of the block before to `chained_hash`, not 0 each time.",
)
block_hashes.mistake(
    "its place for the block before",
    text="""
def block_hashes(tokens, block_size):
    starts = range(0, len(tokens) - block_size + 1, block_size)
    return [chained_hash(place, tokens[start : start + block_size]) for place, start in enumerate(starts)]
""",
    caught_by=equal_as_far_as_the_texts_are,
    nudge="The first argument is the hash of the block before. Where a block stands says nothing about what is there.",
)
block_hashes.mistake(
    "one block back, no further",
    text="""
def block_hashes(tokens, block_size):
    blocks = [tokens[start : start + block_size] for start in range(0, len(tokens) - block_size + 1, block_size)]
    return [chained_hash(chained_hash(0, blocks[i - 1]) if i else 0, block) for i, block in enumerate(blocks)]
""",
    caught_by=equal_as_far_as_the_texts_are,
    nudge="Your hash covers one block back. Take the hash that the block before got from you: it covers all before it.",
)
block_hashes.mistake(
    "the hash before for its own",
    replace=[
        (
            "        parent = chained_hash(parent, tokens[start : start + block_size])\n"
            "        hashes.append(parent)\n",
            "        hashes.append(parent)\n"
            "        parent = chained_hash(parent, tokens[start : start + block_size])\n",
        )
    ],
    caught_by=equal_as_far_as_the_texts_are,
    nudge="Each block gets the hash of the block before it, and the first one 0. Hash first, then append.",
)
block_hashes.mistake(
    "without its last token",
    replace=[("start + block_size])", "start + block_size - 1])")],
    caught_by=equal_as_far_as_the_texts_are,
    nudge="The last token of a block is not in its hash. A slice leaves its end out already.",
)
block_hashes.mistake(
    "the two arguments the wrong way round",
    replace=[
        (
            "chained_hash(parent, tokens[start : start + block_size])",
            "chained_hash(tokens[start : start + block_size], parent)",
        )
    ],
    caught_by=one_hash_for_each_full_block,
    nudge="First the hash of the block before, then the tokens: `chained_hash(parent, block)`.",
)
block_hashes.mistake(
    "a link for each token",
    text="""
def block_hashes(tokens, block_size):
    hashes, parent = [], 0
    for place, token in enumerate(tokens, 1):
        parent = chained_hash(parent, [token])
        if place % block_size == 0:
            hashes.append(parent)
    return hashes
""",
    caught_by=the_names_that_the_engine_knows,
    nudge="It tells prefixes apart, but hashes token by token. The engine hashes all tokens of a block at once.",
)
block_hashes.mistake(
    "a partial block, too",
    replace=[("len(tokens) - block_size + 1", "len(tokens)")],
    caught_by=one_hash_for_each_full_block,
    nudge="The last block is not full: the next token changes it, and its name would be wrong. Only full blocks.",
)
block_hashes.mistake(
    "loses the last full block",
    replace=[("len(tokens) - block_size + 1", "len(tokens) - block_size")],
    caught_by=one_hash_for_each_full_block,
    nudge="A last block that is exactly full has a hash. `range` leaves its end out: one more.",
)
block_hashes.mistake(
    "a block begins at each token",
    replace=[("len(tokens) - block_size + 1, block_size)", "len(tokens) - block_size + 1)")],
    caught_by=one_hash_for_each_full_block,
    nudge="Blocks do not overlap: the next one begins `block_size` tokens further on.",
)
block_hashes.mistake(
    "only the last hash",
    replace=[("return hashes", "return parent")],
    caught_by=one_hash_for_each_full_block,
    nudge="That is the hash of the last block. A shorter prompt may share only the first ones: return them all.",
)
block_hashes.mistake(
    "a number of a block for its first token",
    text="""
def block_hashes(tokens, block_size):
    hashes, parent = [], 0
    for number in range(len(tokens) // block_size):
        parent = chained_hash(parent, tokens[number : number + block_size])
        hashes.append(parent)
    return hashes
""",
    caught_by=equal_as_far_as_the_texts_are,
    nudge="Your blocks overlap: block number i begins at token i * block_size.",
)
block_hashes.mistake(
    "always the first for a parent",
    replace=[
        ("        parent = chained_hash(", "        block_hash = chained_hash("),
        ("hashes.append(parent)", "hashes.append(block_hash)\n        parent = hashes[0]"),
    ],
    caught_by=equal_as_far_as_the_texts_are,
    nudge="From the third block on, yours leaves out what stands between. The parent is the block just before.",
)
block_hashes.mistake(
    "the 0 before the first, too",
    replace=[("    hashes = []\n", "    hashes = [0]\n")],
    caught_by=one_hash_for_each_full_block,
    nudge="The 0 that stands before the first block is no block's hash: leave it out of the list.",
)
block_hashes.mistake(
    "None before the first",
    replace=[("    parent = 0\n", "    parent = None\n")],
    caught_by=one_hash_for_each_full_block,
    nudge="Nothing stands before the first block. `chained_hash` wants the number 0 for that.",
)
block_hashes.mistake(
    "the tokens for their hash",
    replace=[("hashes.append(parent)", "hashes.append(tokens[start : start + block_size])")],
    caught_by=one_hash_for_each_full_block,
    nudge="Those are the tokens. The cache wants one short number for each block, and the past in it: the hash.",
)
block_hashes.mistake(
    "all from the start, each time",
    replace=[
        ("chained_hash(parent, tokens[start : start + block_size])", "chained_hash(0, tokens[: start + block_size])")
    ],
    caught_by=the_names_that_the_engine_knows,
    nudge="It tells prefixes apart, but hashes the whole prefix anew for each block. Go on from the hash before.",
)
block_hashes.mistake(
    "a hash of one's own",
    replace=[
        (
            "chained_hash(parent, tokens[start : start + block_size])",
            "hash((parent, tuple(tokens[start : start + block_size])))",
        )
    ],
    caught_by=the_names_that_the_engine_knows,
    nudge="A good chain, with another hash. The engine names the blocks of answers by `chained_hash`; use the same.",
)
block_hashes.mistake(
    "the parent behind the tokens",
    replace=[
        (
            "chained_hash(parent, tokens[start : start + block_size])",
            "chained_hash(0, [*tokens[start : start + block_size], parent % 1000])",
        )
    ],
    caught_by=the_names_that_the_engine_knows,
    nudge="The hash of the block before is the first argument of `chained_hash`, not one of the tokens.",
)
block_hashes.alternative(
    """
def block_hashes(tokens, block_size):
    hashes = [0]
    for i in range(len(tokens) // block_size):
        hashes.append(chained_hash(hashes[-1], tokens[i * block_size : (i + 1) * block_size]))
    return hashes[1:]
"""
)


# 2: cached_prefix


@define("prefix_cache.cached_prefix", points=2)
def cached_prefix(
    hashes: list[int],
    block_of: dict[int, int],
    num_tokens: int,
    block_size: int,
) -> list[int]:
    """The cached blocks that a text of `num_tokens` tokens can start from, in order.

    `hashes` names the full blocks of the text, and `block_of[hash]` is the block in which the
    cache has it. Take blocks from the beginning up to the first that is missing. But at least one
    token of the text must be left to compute, or there is no query, and nothing to sample the
    next token from. About 5 lines.
    """
    blocks = []
    for block_hash in hashes[: (num_tokens - 1) // block_size]:
        if block_hash not in block_of:
            break
        blocks.append(block_of[block_hash])
    return blocks


def a_text(rng: np.random.Generator, num_blocks: int, cached: list[int]) -> tuple[list[int], dict[int, int]]:
    """Hashes of so many blocks, of which the cache has those named; other people's blocks are in it, too."""
    hashes = [int(each) for each in rng.permutation(np.arange(100, 200))[:num_blocks]]
    numbers = [int(each) for each in rng.permutation(np.arange(1, 20))]
    block_of = {hashes[index]: numbers.pop() for index in cached} | {777: numbers.pop()}
    return hashes, block_of


@cached_prefix.check(hint="From the beginning, block by block, until one is not in the cache.")
def up_to_the_first_that_is_missing(rng: np.random.Generator) -> Cases:
    for num_blocks, cached in ((3, [0, 1]), (2, [0]), (3, [0, 2]), (3, [1, 2]), (4, [0, 1, 3])):
        hashes, block_of = a_text(rng, num_blocks, cached)
        first_gap = next((i for i in range(num_blocks) if i not in cached), num_blocks)
        yield call(hashes, block_of, 4 * num_blocks + 1, 4).returns([block_of[each] for each in hashes[:first_gap]])


@cached_prefix.check(hint="Blocks are numbered from 0.")
def block_0_is_a_block(rng: np.random.Generator) -> Cases:
    hashes, block_of = a_text(rng, 2, [0])
    yield call(hashes, block_of | {hashes[0]: 0}, int(rng.integers(9, 12)), 4).returns([0])


@cached_prefix.check(
    hint="How many tokens are left to compute, if all of these blocks come from the cache? At least 1."
)
def at_least_one_token_is_left(rng: np.random.Generator) -> Cases:
    for num_blocks, block_size in ((2, 1), (1, 4), (2, 2), (3, int(rng.integers(2, 5)))):
        hashes, block_of = a_text(rng, num_blocks, list(range(num_blocks)))
        most = [block_of[each] for each in hashes[: num_blocks - 1]]
        got = yield call(hashes, block_of, num_blocks * block_size, block_size).satisfies(lambda _: True, "")
        count = len(got) if isinstance(got, (list, tuple)) else 0
        expect(
            count < num_blocks,
            f"All {num_blocks * block_size} tokens come from the cache, and none is left to compute: no query, so no "
            "next token",
        )
        yield call(hashes, block_of, num_blocks * block_size, block_size).returns(most)


@cached_prefix.check(hint="A block is missing, so its tokens are left to compute. What is before it may all be used.")
def a_gap_leaves_enough_to_compute(rng: np.random.Generator) -> Cases:
    for num_blocks, cached in ((2, [0]), (3, [0, 1]), (3, [0, 2])):
        hashes, block_of = a_text(rng, num_blocks, cached)
        first_gap = next(i for i in range(num_blocks) if i not in cached)
        yield call(hashes, block_of, 4 * num_blocks, 4).returns([block_of[each] for each in hashes[:first_gap]])


@cached_prefix.check(
    hint="What stands behind the last full block is left to compute anyway; then every full block may be used."
)
def with_a_tail_all_full_blocks_may_be_used(rng: np.random.Generator) -> Cases:
    for num_blocks, tail in ((1, 1), (2, 3), (3, int(rng.integers(1, 4)))):
        hashes, block_of = a_text(rng, num_blocks, list(range(num_blocks)))
        yield call(hashes, block_of, 4 * num_blocks + tail, 4).returns([block_of[each] for each in hashes])


@cached_prefix.check(hint="Nothing cached, or no full block: the list is empty.")
def nothing_to_find(rng: np.random.Generator) -> Cases:
    yield call([], {777: 3}, int(rng.integers(1, 4)), 4).returns([])
    yield call([101, 102], {}, 9, 4).returns([])


cached_prefix.mistake(
    "looks behind a gap",
    replace=[("            break\n", "            continue\n")],
    caught_by=up_to_the_first_that_is_missing,
    nudge="Behind the first missing block nothing helps: a sequence starts from one unbroken prefix. Stop there.",
)
cached_prefix.mistake(
    "counts on every block",
    replace=[("        if block_hash not in block_of:\n            break\n", "")],
    caught_by=up_to_the_first_that_is_missing,
    nudge="Not every hash is in the cache. Ask `in block_of` first, and stop at the first that is not.",
)
cached_prefix.mistake(
    "block 0 is no block",
    replace=[("if block_hash not in block_of:", "if not block_of.get(block_hash):")],
    caught_by=block_0_is_a_block,
    nudge="Block number 0 is a block like any other, and `not 0` is True. Ask `in block_of`, or compare with None.",
)
cached_prefix.mistake(
    "hashes for blocks",
    replace=[("blocks.append(block_of[block_hash])", "blocks.append(block_hash)")],
    caught_by=up_to_the_first_that_is_missing,
    nudge="Those are the hashes. The block table needs the blocks: `block_of[hash]`.",
)
cached_prefix.mistake(
    "how many",
    replace=[("return blocks", "return len(blocks)")],
    caught_by=up_to_the_first_that_is_missing,
    nudge="That is how many. The sequence needs to know which: return the block numbers.",
)
cached_prefix.mistake(
    "the missing one, too",
    text=(
        "def cached_prefix(hashes, block_of, num_tokens, block_size):\n    blocks = []\n"
        "    for block_hash in hashes[: (num_tokens - 1) // block_size]:\n"
        "        blocks.append(block_of.get(block_hash))\n        if block_hash not in block_of:\n            break\n"
        "    return blocks\n"
    ),
    caught_by=up_to_the_first_that_is_missing,
    nudge="The last entry is not a block: you append before you ask whether the cache has it.",
)
cached_prefix.mistake(
    "leaves nothing to compute",
    replace=[("hashes[: (num_tokens - 1) // block_size]", "hashes")],
    caught_by=at_least_one_token_is_left,
    nudge="A full hit leaves no query. Leave the last block out if it would be the end of the text.",
)
cached_prefix.mistake(
    "gives everything up at a full hit",
    replace=[
        ("hashes[: (num_tokens - 1) // block_size]", "hashes"),
        ("return blocks", "return blocks if len(blocks) * block_size < num_tokens else []"),
    ],
    caught_by=at_least_one_token_is_left,
    nudge="At a full hit yours computes the whole prompt again. The last block is enough.",
)
cached_prefix.mistake(
    "never the last block",
    replace=[("hashes[: (num_tokens - 1) // block_size]", "hashes[:-1]")],
    caught_by=with_a_tail_all_full_blocks_may_be_used,
    nudge="Here tokens stand behind the last full block, so they are left to compute. Leave it out only if none are.",
)
cached_prefix.mistake(
    "a block too few",
    replace=[("(num_tokens - 1) // block_size", "num_tokens // block_size - 1")],
    caught_by=with_a_tail_all_full_blocks_may_be_used,
    nudge="Here tokens stand behind the last full block, so they are left to compute. Leave it out only if none are.",
)
cached_prefix.mistake(
    "a token for a block",
    replace=[("hashes[: (num_tokens - 1) // block_size]", "hashes[: num_tokens - 1]")],
    caught_by=at_least_one_token_is_left,
    nudge="Blocks are taken whole. How many whole blocks fit into all tokens but the last one?",
)
cached_prefix.mistake(
    "drops one whenever no tail is left",
    replace=[
        ("hashes[: (num_tokens - 1) // block_size]", "hashes"),
        ("return blocks", "return blocks[:-1] if num_tokens % block_size == 0 else blocks"),
    ],
    caught_by=a_gap_leaves_enough_to_compute,
    nudge="Here a block is missing, so something is left to compute anyway. Drop a block only if all of them were "
    "found: compare `len(blocks) * block_size` with `num_tokens`.",
)
cached_prefix.mistake(
    "from the end",
    text="""
def cached_prefix(hashes, block_of, num_tokens, block_size):
    for count in range((num_tokens - 1) // block_size, 0, -1):
        if hashes[count - 1] in block_of:
            return [block_of[block_hash] for block_hash in hashes[:count]]
    return []
""",
    caught_by=up_to_the_first_that_is_missing,
    nudge="You look for the last block that is cached. One before it may have been evicted: ask from the beginning.",
)
FIRST_IS_CACHED = (
    "The first block is cached, and yours finds nothing. Do you want all or nothing? A part of the prefix helps, too. "
    "Or do you look for a hash among `values()`? Those are blocks; the hashes are the keys: `in block_of`."
)
cached_prefix.mistake(
    "all or nothing",
    replace=[
        (
            "    blocks = []\n",
            "    blocks = []\n    if not all(each in block_of for each in hashes):\n        return []\n",
        )
    ],
    caught_by=up_to_the_first_that_is_missing,
    nudge=FIRST_IS_CACHED,
)
cached_prefix.mistake(
    "hashes among the blocks",
    replace=[("not in block_of:", "not in block_of.values():")],
    caught_by=up_to_the_first_that_is_missing,
    nudge=FIRST_IS_CACHED,
)
cached_prefix.mistake(
    "no return at the end",
    text="""
def cached_prefix(hashes, block_of, num_tokens, block_size):
    blocks = []
    for block_hash in hashes[: (num_tokens - 1) // block_size]:
        if block_hash not in block_of:
            return blocks
        blocks.append(block_of[block_hash])
""",
    caught_by=at_least_one_token_is_left,
    nudge="You return where a block is missing. If none is, the loop ends, and nothing comes back.",
)
cached_prefix.mistake(
    "drops the last one that it found",
    replace=[("hashes[: (num_tokens - 1) // block_size]", "hashes"), ("return blocks", "return blocks[:-1]")],
    caught_by=up_to_the_first_that_is_missing,
    nudge="Every block that the cache has may be used, if something behind it is left to compute. Here it is.",
)
cached_prefix.alternative(
    """
def cached_prefix(hashes, block_of, num_tokens, block_size):
    found = 0
    while found < len(hashes) and hashes[found] in block_of and (found + 1) * block_size < num_tokens:
        found += 1
    return [block_of[block_hash] for block_hash in hashes[:found]]
"""
)


# 3: PrefixCache


@define("prefix_cache.PrefixCache", points=3)
class PrefixCache:
    """Blocks that can be found by hash, also when nobody holds them any more.

    Others read `block_of`, so keep it true: every hash that can be found, and the block that has
    it. The other two are yours: keep in them what you like.
    """

    def __init__(self) -> None:
        self.block_of: dict[int, int] = {}  # hash -> block
        self.holders: dict[int, int] = {}  # hash -> how many sequences hold its block
        self.idle: list[int] = []  # hashes whose block nobody holds; the first goes first

    def add(self, block_hash: int, block: int) -> None:
        """A block is full and computed. The sequence that computed it holds it."""
        self.block_of[block_hash] = block
        self.holders[block_hash] = 1

    def hold(self, hashes: list[int]) -> None:
        """One more sequence holds the blocks of these hashes, all of them cached.

        What is held must not be evicted.
        """
        # yours: about 4 lines
        for block_hash in hashes:
            if self.holders[block_hash] == 0:
                self.idle.remove(block_hash)
            self.holders[block_hash] += 1
        # end

    def release(self, hashes: list[int]) -> None:
        """A sequence lets go of its blocks, given in the order of its text.

        They stay cached until they are evicted.
        """
        # yours: about 4 lines
        for block_hash in reversed(hashes):
            self.holders[block_hash] -= 1
            if self.holders[block_hash] == 0:
                self.idle.append(block_hash)
        # end

    def evict(self) -> int:
        """Forget a block that nobody holds, and return its number.

        It must be the one that was let go longest ago; of one text, the end goes before the
        beginning. Raise ValueError if somebody holds every block.
        """
        # yours: about 5 lines
        if not self.idle:
            raise ValueError("every cached block is held")
        block_hash = self.idle.pop(0)
        del self.holders[block_hash]
        return self.block_of.pop(block_hash)
        # end


cache: Any = PrefixCache  # an Exercise; type checkers take a decorated class for the class itself


class Shadow:
    """What is cached, kept by brute force: blocks with their holders, and when each was let go."""

    def __init__(self) -> None:
        self.block: dict[int, int] = {}
        self.before: dict[int, int | None] = {}
        self.tables: list[list[int]] = []
        self.let_go: dict[int, int] = {}
        self.now = 0

    def num_holders(self, block_hash: int) -> int:
        """Tables that name it."""
        return sum(block_hash in table for table in self.tables)

    def next_to_go(self) -> int | None:
        """Of the blocks that nobody holds and nothing cached hangs on: the one that was let go first."""
        leaves = [h for h in self.block if not self.num_holders(h) and h not in self.before.values()]
        return min(leaves, key=lambda each: self.let_go[each], default=None)

    def forget(self, block_hash: int) -> int:
        """Its block is somebody else's now."""
        del self.before[block_hash]
        return self.block.pop(block_hash)


def computes(learner: Any, shadow: Shadow, hashes: list[int], blocks: list[int]) -> Cases:
    """A sequence begins: what is cached it holds, the rest it computes into these blocks."""
    found = [each for each in hashes if each in shadow.block]
    if found:
        yield learner.call("hold", list(found))
    fresh = iter(blocks)
    for before, each in zip([None, *hashes[:-1]], hashes, strict=True):
        if each not in found:
            shadow.block[each], shadow.before[each] = next(fresh), before
            yield learner.call("add", each, shadow.block[each])
    shadow.tables.append(list(hashes))


def leaves(learner: Any, shadow: Shadow, hashes: list[int]) -> Cases:
    """A sequence ends."""
    shadow.tables.remove(list(hashes))
    shadow.now += 1
    for each in hashes:
        if not shadow.num_holders(each):
            shadow.let_go[each] = shadow.now
    yield learner.call("release", list(hashes))


def evicts(learner: Any, shadow: Shadow) -> Cases:
    """The right one goes, or nothing can."""
    right = shadow.next_to_go()
    if right is None:
        yield learner.call("evict").raises(ValueError)
    else:
        yield learner.call("evict").returns(shadow.block[right])
        shadow.forget(right)


def audit(learner: Any, shadow: Shadow) -> Cases:
    """`block_of` says what is cached, no more and no less."""
    said = yield learner.get("block_of")
    expect(isinstance(said, dict), "`block_of` must stay a dict")
    stale = [each for each in said if each not in shadow.block]
    expect(
        not stale,
        f"Hash {stale and stale[0]} was evicted and is still in `block_of`: a prompt would start from block "
        f"{stale and said[stale[0]]}, which holds somebody else's keys by then",
    )
    lost = [each for each in shadow.block if each not in said]
    expect(not lost, f"Hash {lost and lost[0]} was not evicted, and `block_of` does not have it any more")
    expect(said == shadow.block, f"`block_of` should be {shadow.block}; it is {said}")


# Texts as hashes. A and B begin alike.
FIRST, A_END, B_END, OTHER = 10, 11, 12, 20
LABELS = {FIRST: "system", A_END: "A's end", B_END: "B's end", OTHER: "other"}
TREE = {"A": [FIRST, A_END], "B": [FIRST, B_END], "other": [OTHER]}
NUMBERS = {FIRST: 4, A_END: 7, B_END: 5, OTHER: 2}  # hash -> block


def draw_evicted(expected: Any, got: Any) -> Any:
    """The tree, with the block that was evicted in red and the one that should have been."""
    from course.figures.prefix_tree import blocks_of, prefix_tree

    hash_of = {block: each for each, block in NUMBERS.items()}
    if type(got) is not int or got not in hash_of:
        return None
    right = [hash_of[expected]] if type(expected) is int and expected in hash_of else []
    labels = {each: f"{LABELS[each]}: {block}" for each, block in NUMBERS.items()}
    return prefix_tree(blocks_of({name: TREE[name] for name in "AB"}, labels), wrong=[hash_of[got]], right=right)


def begins(learner: Any, shadow: Shadow, name: str) -> Cases:
    """One of the texts above."""
    fresh = [NUMBERS[each] for each in TREE[name] if each not in shadow.block]
    yield from computes(learner, shadow, TREE[name], fresh)


def ends(learner: Any, shadow: Shadow, name: str) -> Cases:
    """One of the texts above."""
    yield from leaves(learner, shadow, TREE[name])


@cache.check(hint="Nothing is cached, so nothing can go: raise ValueError.")
def nothing_to_evict(rng: np.random.Generator) -> Cases:
    yield from evicts(new(), Shadow())


@cache.check(hint="The sequence that computed a block holds it. Only what nobody holds may go.")
def what_is_held_stays(rng: np.random.Generator) -> Cases:
    learner, shadow = new(), Shadow()
    yield from begins(learner, shadow, "other")
    yield from evicts(learner, shadow)


@cache.check(hint="What is let go can be found, and held again; then it must not be evicted.")
def found_and_held_again(rng: np.random.Generator) -> Cases:
    learner, shadow = new(), Shadow()
    for _ in range(2):
        yield from begins(learner, shadow, "other")
        yield from evicts(learner, shadow)
        yield from ends(learner, shadow, "other")
        yield from audit(learner, shadow)
    yield from evicts(learner, shadow)


@cache.check(hint="Count who holds a block. Only at 0 holders may it go.")
def two_hold_the_same(rng: np.random.Generator) -> Cases:
    learner, shadow = new(), Shadow()
    yield from begins(learner, shadow, "other")
    yield from begins(learner, shadow, "other")
    yield from ends(learner, shadow, "other")
    yield from evicts(learner, shadow)
    yield from ends(learner, shadow, "other")
    yield from evicts(learner, shadow)


@cache.check(hint="Once evicted, a hash leads nowhere, until somebody computes it anew.")
def an_evicted_hash_is_forgotten(rng: np.random.Generator) -> Cases:
    learner, shadow = new(), Shadow()
    yield from begins(learner, shadow, "other")  # a sequence that is preempted, say
    yield from ends(learner, shadow, "other")
    yield from evicts(learner, shadow)
    yield from audit(learner, shadow)
    yield from computes(learner, shadow, [30], [NUMBERS[OTHER]])  # the same block, other keys
    yield from computes(learner, shadow, TREE["other"], [9])  # it comes back, and computes into another block
    yield from audit(learner, shadow)
    for name in ([30], TREE["other"]):
        yield from leaves(learner, shadow, name)
        yield from evicts(learner, shadow)
    yield from audit(learner, shadow)


@cache.check(hint="Who was let go first goes first. Being held again counts: it is let go anew.")
def least_recently_used_first(rng: np.random.Generator) -> Cases:
    one, two, three, four = (int(each) for each in rng.permutation(np.arange(40, 60))[:4])
    for again in ([], [two], [two, one]):
        learner, shadow = new(), Shadow()
        for name, number in ((one, 5), (two, 7), (three, 6), (four, 3)):
            yield from computes(learner, shadow, [name], [number])
        for name in (two, four, one, three):
            yield from leaves(learner, shadow, [name])
        for name in again:
            yield from computes(learner, shadow, [name], [])
            yield from leaves(learner, shadow, [name])
        for _ in range(4):
            yield from evicts(learner, shadow)


@cache.check(
    hint="Without its beginning, the end of a text is never found. So the end goes first.",
    picture=draw_evicted,
)
def the_end_goes_before_the_beginning(rng: np.random.Generator) -> Cases:
    learner, shadow = new(), Shadow()
    for step in (begins, ends):
        for name in ("A", "B"):
            yield from step(learner, shadow, name)
    for _ in range(3):
        yield from evicts(learner, shadow)


@cache.check(hint="A sequence holds, and lets go of, every block of its text.")
def a_whole_text_is_held_again(rng: np.random.Generator) -> Cases:
    for num_blocks in (2, int(rng.integers(3, 6))):
        learner, shadow = new(), Shadow()
        text = list(range(31, 31 + num_blocks))
        for _ in range(2):
            yield from computes(learner, shadow, text, list(range(num_blocks)))
            yield from evicts(learner, shadow)
            yield from leaves(learner, shadow, text)
            yield from audit(learner, shadow)
        for _ in range(num_blocks + 1):
            yield from evicts(learner, shadow)


@cache.check(hint="After any story: only what nobody holds goes, the longest unused first, ends before beginnings.")
def a_long_story(rng: np.random.Generator) -> Cases:
    texts = [[1], [1, 2], [1, 2, 3], [1, 4], [5], [5, 6]]
    learner, shadow = new(), Shadow()
    numbers = list(range(8))
    for _ in range(45):
        event = rng.random()
        if shadow.tables and event < 0.4:
            yield from leaves(learner, shadow, shadow.tables[int(rng.integers(len(shadow.tables)))])
        elif event < 0.75:
            free = [number for number in numbers if number not in shadow.block.values()]
            yield from computes(learner, shadow, texts[int(rng.integers(len(texts)))], free)
        else:
            yield from evicts(learner, shadow)
        yield from audit(learner, shadow)


NOT_ALL_HELD = (
    "A block was given away while the text that it belongs to is held. Does your loop end early? Or do you take "
    "entries out of `idle` while you go through `idle`? Then the next one is skipped: go through `hashes`."
)
HELD_NUDGE = "A block that somebody holds was given away: its reader would read somebody else's keys. "
cache.mistake(
    "stays idle while it is held again",
    replace=[("            if self.holders[block_hash] == 0:\n                self.idle.remove(block_hash)\n", "")],
    caught_by=found_and_held_again,
    nudge=HELD_NUDGE + "When `hold` finds a block idle, take it out of `idle`.",
)
cache.mistake(
    "touched, and still idle",
    replace=[
        (
            "                self.idle.remove(block_hash)\n",
            "                self.idle.remove(block_hash)\n                self.idle.append(block_hash)\n",
        )
    ],
    caught_by=found_and_held_again,
    nudge=HELD_NUDGE + "When `hold` finds a block idle, take it out of `idle`.",
)
cache.mistake(
    "forgets the other holders",
    replace=[("            self.holders[block_hash] -= 1\n", "            self.holders[block_hash] = 0\n")],
    caught_by=two_hold_the_same,
    nudge=HELD_NUDGE + "Two hold it and one leaves: one is left. Count down by one, and ask whether it is 0.",
)
cache.mistake(
    "a second holder is not counted",
    replace=[("            self.holders[block_hash] += 1\n", "            self.holders[block_hash] = 1\n")],
    caught_by=two_hold_the_same,
    nudge=HELD_NUDGE + "Two hold it and one leaves: one is left. Count down by one, and ask whether it is 0.",
)
cache.mistake(
    "whoever holds it",
    replace=[
        (
            '        if not self.idle:\n            raise ValueError("every cached block is held")\n'
            "        block_hash = self.idle.pop(0)\n",
            "        if not self.block_of:\n            raise ValueError\n"
            "        block_hash = next(iter(self.block_of))\n",
        )
    ],
    caught_by=what_is_held_stays,
    nudge=HELD_NUDGE + "Only blocks in `idle`, held by nobody, may go.",
)
cache.mistake(
    "counts itself twice",
    replace=[
        (
            "            if self.holders[block_hash] == 0:\n                self.idle.remove(block_hash)\n",
            "            self.idle.remove(block_hash)\n",
        )
    ],
    caught_by=two_hold_the_same,
    nudge="A block that somebody holds is not in `idle`, and `remove` fails. Take it out only if it is there.",
)
cache.mistake(
    "nothing is kept",
    replace=[
        (
            "                self.idle.append(block_hash)\n",
            "                self.idle.append(block_hash)\n                del self.block_of[block_hash]\n",
        )
    ],
    caught_by=found_and_held_again,
    nudge="Yours forgets a block as soon as nobody holds it. Keep it: the next prompt may begin alike.",
)
cache.mistake(
    "never idle",
    replace=[("                self.idle.append(block_hash)\n", "                pass\n")],
    caught_by=found_and_held_again,
    nudge="Nobody holds the block, and it can never go: after `release`, a block without holders belongs into `idle`.",
)
cache.mistake(
    "holders are not counted down",
    replace=[("            self.holders[block_hash] -= 1\n", "")],
    caught_by=found_and_held_again,
    nudge="Nobody holds the block, and it can never go: `release` has to count its holders down.",
)
cache.mistake(
    "idle and without a count",
    replace=[
        (
            "                self.idle.append(block_hash)\n",
            "                del self.holders[block_hash]\n                self.idle.append(block_hash)\n",
        ),
        ("        del self.holders[block_hash]\n        return", "        return"),
    ],
    caught_by=found_and_held_again,
    nudge="Nobody holds the block, and it is still cached. Leave 0 in `holders`, or let `hold` begin to count anew.",
)
cache.mistake(
    "only the last block is let go",
    text="""
class PrefixCache:
    def __init__(self):
        self.block_of, self.holders, self.idle = {}, {}, []

    def add(self, block_hash, block):
        self.block_of[block_hash] = block
        self.holders[block_hash] = 1

    def hold(self, hashes):
        for block_hash in hashes:
            if self.holders[block_hash] == 0:
                self.idle.remove(block_hash)
            self.holders[block_hash] += 1

    def release(self, hashes):
        self.holders[hashes[-1]] -= 1
        if self.holders[hashes[-1]] == 0:
            self.idle.append(hashes[-1])

    def evict(self):
        if not self.idle:
            raise ValueError
        block_hash = self.idle.pop(0)
        del self.holders[block_hash]
        return self.block_of.pop(block_hash)
""",
    caught_by=the_end_goes_before_the_beginning,
    nudge="The end goes first, but the sequence lets go of all its blocks. Go through all of `hashes`, from the end.",
)
cache.mistake(
    "only the first block is held",
    replace=[
        (
            "            self.holders[block_hash] += 1\n",
            "            self.holders[block_hash] += 1\n            return\n",
        )
    ],
    caught_by=a_whole_text_is_held_again,
    nudge=NOT_ALL_HELD,
)
cache.mistake(
    "takes out of a list that it goes through",
    replace=[
        (
            "        for block_hash in hashes:\n            if self.holders[block_hash] == 0:\n"
            "                self.idle.remove(block_hash)\n",
            "        for block_hash in self.idle:\n            if block_hash in hashes:\n"
            "                self.idle.remove(block_hash)\n        for block_hash in hashes:\n",
        )
    ],
    caught_by=a_whole_text_is_held_again,
    nudge=NOT_ALL_HELD,
)
cache.mistake(
    "forgets a block by its number",
    replace=[
        (
            "        return self.block_of.pop(block_hash)\n",
            "        block = self.block_of[block_hash]\n        del self.block_of[block]\n        return block\n",
        )
    ],
    caught_by=found_and_held_again,
    nudge="The keys of `block_of` are hashes. Take out the hash, and return the number of its block.",
)
cache.mistake(
    "a claim for an error",
    replace=[
        (
            '        if not self.idle:\n            raise ValueError("every cached block is held")\n',
            "        assert self.idle\n",
        )
    ],
    caught_by=nothing_to_evict,
    nudge="`assert` raises AssertionError. Whoever asks for room waits for ValueError: `if`, and `raise`.",
)
cache.mistake(
    "None when nothing can go",
    replace=[('            raise ValueError("every cached block is held")\n', "            return None\n")],
    caught_by=nothing_to_evict,
    nudge="There is no block to give, and yours returns something all the same. Raise ValueError.",
)
cache.mistake(
    "an index out of range",
    replace=[('        if not self.idle:\n            raise ValueError("every cached block is held")\n', "")],
    caught_by=nothing_to_evict,
    nudge="With nothing idle, `pop` raises IndexError. Ask first; raise ValueError.",
)
cache.mistake(
    "the hash for the block",
    replace=[
        (
            "        return self.block_of.pop(block_hash)\n",
            "        del self.block_of[block_hash]\n        return block_hash\n",
        )
    ],
    caught_by=found_and_held_again,
    nudge="That is the hash. Whoever wants room needs the number of the block.",
)
cache.mistake(
    "a stale hash",
    replace=[("self.block_of.pop(block_hash)", "self.block_of[block_hash]")],
    caught_by=an_evicted_hash_is_forgotten,
    nudge="A sequence that was preempted comes back, finds the old hash, and reads a block that is not its own "
    "any more. Take the hash out of `block_of`.",
)
cache.mistake(
    "None in its place",
    replace=[
        (
            "        return self.block_of.pop(block_hash)\n",
            "        block = self.block_of[block_hash]\n        self.block_of[block_hash] = None\n"
            "        return block\n",
        )
    ],
    caught_by=an_evicted_hash_is_forgotten,
    nudge="The hash is still a key of `block_of`, so `in block_of` finds it. Take it out: `pop`, or `del`.",
)
cache.mistake(
    "evicted, and still idle",
    replace=[("self.idle.pop(0)", "self.idle[0]")],
    caught_by=an_evicted_hash_is_forgotten,
    nudge="The block that you gave away is still in `idle`, and would be given away again. Take it out.",
)
cache.mistake(
    "everything at once",
    replace=[
        (
            "        return self.block_of.pop(block_hash)\n",
            "        block = self.block_of.pop(block_hash)\n        while self.idle:\n"
            "            self.block_of.pop(self.idle.pop())\n        return block\n",
        )
    ],
    caught_by=least_recently_used_first,
    nudge="Only one block is wanted, and yours forgets all that nobody holds. Keep what you can.",
)
NEWEST = "Yours evicts what was let go last, which is what will be asked for soonest. The longest unused goes first."
cache.mistake(
    "the newest goes",
    replace=[("self.idle.pop(0)", "self.idle.pop()")],
    caught_by=least_recently_used_first,
    nudge=NEWEST,
)
cache.mistake(
    "let go to the front",
    replace=[("self.idle.append(block_hash)", "self.idle.insert(0, block_hash)")],
    caught_by=least_recently_used_first,
    nudge=NEWEST,
)
cache.mistake(
    "first computed, first out",
    replace=[
        (
            "        block_hash = self.idle.pop(0)\n",
            "        block_hash = next(each for each in self.block_of if self.holders[each] == 0)\n"
            "        self.idle.remove(block_hash)\n",
        )
    ],
    caught_by=least_recently_used_first,
    nudge="Yours goes by when a block was computed. It was used again since: go by when it was let go.",
)
cache.mistake(
    "keeps its old place",
    replace=[
        (
            "            if self.holders[block_hash] == 0:\n                self.idle.remove(block_hash)\n",
            "",
        ),
        (
            "                self.idle.append(block_hash)\n",
            "                if block_hash not in self.idle:\n                    self.idle.append(block_hash)\n",
        ),
        (
            '        if not self.idle:\n            raise ValueError("every cached block is held")\n'
            "        block_hash = self.idle.pop(0)\n",
            "        free = [each for each in self.idle if self.holders[each] == 0]\n        if not free:\n"
            "            raise ValueError\n        block_hash = free[0]\n        self.idle.remove(block_hash)\n",
        ),
    ],
    caught_by=least_recently_used_first,
    nudge="Yours goes by when a block was first let go. It was held again since: go by the last time.",
)
cache.mistake(
    "the smallest number",
    replace=[
        (
            "        block_hash = self.idle.pop(0)\n",
            "        block_hash = min(self.idle, key=self.block_of.get)\n        self.idle.remove(block_hash)\n",
        )
    ],
    caught_by=least_recently_used_first,
    nudge="The number of a block says nothing about its use. The one that was let go longest ago goes first.",
)
cache.mistake(
    "the beginning goes first",
    replace=[("in reversed(hashes)", "in hashes")],
    caught_by=the_end_goes_before_the_beginning,
    nudge="The beginning of the text goes first, and what stands behind it can never be found again: dead memory. "
    "Let go of the end first.",
)
cache.mistake(
    "turns the caller's list round",
    replace=[
        (
            "        for block_hash in reversed(hashes):\n",
            "        hashes.reverse()\n        for block_hash in hashes:\n",
        )
    ],
    caught_by=the_end_goes_before_the_beginning,
    nudge="`hashes.reverse()` turns the list of whoever called. `reversed(hashes)` leaves it as it is.",
)
cache.mistake(
    "in the order of their hashes",
    replace=[("in reversed(hashes)", "in sorted(hashes)")],
    caught_by=the_end_goes_before_the_beginning,
    nudge="The beginning of the text goes first, and what stands behind it can never be found again: dead memory. "
    "Let go of the end first.",
)
cache.alternative(
    """
class PrefixCache:
    def __init__(self):
        self.block_of, self.parent, self.holders, self.last, self.now = {}, {}, {}, {}, 0

    def add(self, block_hash, block):
        self.block_of[block_hash] = block
        self.holders[block_hash] = 1

    def hold(self, hashes):
        for block_hash in hashes:
            self.holders[block_hash] += 1

    def release(self, hashes):
        self.now += 1
        for depth, block_hash in enumerate(hashes):
            self.holders[block_hash] -= 1
            if not self.holders[block_hash]:
                self.last[block_hash] = (self.now, -depth)

    def evict(self):
        free = [h for h in self.block_of if not self.holders[h]]
        if not free:
            raise ValueError
        block_hash = min(free, key=self.last.get)
        return self.block_of.pop(block_hash)
"""
)


# 4: queue_order


@define("prefix_cache.queue_order", points=1)
def queue_order(waiting: list[tuple[float, int]], now_s: float, patience_s: float) -> list[int]:
    """In which order those that wait are tried: their places in `waiting`.

    `waiting` has (arrival_s, cached_tokens) of each, in order of arrival. The longest cached
    prefix goes first, and of equal ones who came first. But whoever has waited longer than
    `patience_s` goes before all those, first come first served. [2, 0, 1] means: first the one at
    `waiting[2]`, then the one at `waiting[0]`. About 4 lines.
    """
    late = [place for place, (arrival_s, _) in enumerate(waiting) if now_s - arrival_s > patience_s]
    rest = [place for place in range(len(waiting)) if place not in late]
    return late + sorted(rest, key=lambda place: -waiting[place][1])


FOREVER = float("inf")


def tried(waiting: list[tuple[float, int]], now_s: float, patience_s: float) -> list[int]:
    """Take out the best again and again."""
    left, order = list(range(len(waiting))), []
    while left:
        late = [place for place in left if now_s - waiting[place][0] > patience_s]
        most = max(waiting[place][1] for place in left)
        order.append(late[0] if late else next(place for place in left if waiting[place][1] == most))
        left.remove(order[-1])
    return order


@queue_order.check(hint="The longest cached prefix first; of equal ones, who came first.")
def the_longest_prefix_first(rng: np.random.Generator) -> Cases:
    drawn = [(float(time), int(tokens)) for time, tokens in enumerate(rng.integers(0, 4, 7) * 16)]
    for waiting in (
        [(0.0, 0), (1.0, 32), (2.0, 16)],
        [(0.0, 16), (0.5, 0), (1.0, 32)],
        [(0.0, 16), (1.0, 0), (2.0, 16)],
        drawn,
    ):
        yield call(waiting, 10.0, FOREVER).returns(tried(waiting, 10.0, FOREVER))


@queue_order.check(hint="Who has waited longer than `patience_s` goes before all others, in order of arrival.")
def whoever_waited_too_long_goes_first(rng: np.random.Generator) -> Cases:
    waiting = [(0.0, 16), (1.0, 48), (6.0, 0), (7.0, 32)]
    yield call(waiting, 8.0, 4.0).returns(tried(waiting, 8.0, 4.0))
    waiting = [(0.0, 16), (6.0, 32), (6.0, 32)]
    yield call(waiting, 8.0, 4.0).returns([0, 1, 2])
    waiting = [(0.0, 32), (1.0, 0), (2.0, 16), (6.0, 0), (7.0, 48)]  # three are late
    yield call(waiting, 8.0, 4.0).returns([0, 1, 2, 4, 3])
    waiting = [(4.0, 0), (5.0, 16)]  # the first has waited for as long as it has patience, and no longer
    yield call(waiting, 8.0, 4.0).returns([1, 0])
    times = np.sort(rng.integers(0, 20, 8))
    waiting = [(float(time), int(tokens)) for time, tokens in zip(times, rng.integers(0, 5, 8) * 16, strict=True)]
    yield call(waiting, 20.5, 10.0).returns(tried(waiting, 20.5, 10.0))


@queue_order.check(hint="Nobody waits: nothing to order.")
def nobody_waits(rng: np.random.Generator) -> Cases:
    yield call([], float(rng.integers(1, 9)), 1.0).returns([])


queue_order.mistake(
    "first come, first served",
    text="def queue_order(waiting, now_s, patience_s):\n    return list(range(len(waiting)))\n",
    caught_by=the_longest_prefix_first,
    nudge="That is the order of arrival. Who finds most of its prompt in the cache goes first.",
)
queue_order.mistake(
    "the shortest prefix first",
    replace=[("-waiting[place][1]", "waiting[place][1]")],
    caught_by=the_longest_prefix_first,
    nudge="`sorted` puts small numbers first. The *longest* cached prefix comes first.",
)
queue_order.mistake(
    "the latest of equals",
    replace=[("key=lambda place: -waiting[place][1])", "key=lambda place: (waiting[place][1], place))[::-1]")],
    caught_by=the_longest_prefix_first,
    nudge="Of equals yours takes who came last. `sorted` keeps the order of equals, if you do not turn it round.",
)
queue_order.mistake(
    "requests for places",
    replace=[
        (
            "return late + sorted(rest, key=lambda place: -waiting[place][1])",
            "return [waiting[p] for p in late + sorted(rest, key=lambda place: -waiting[place][1])]",
        )
    ],
    caught_by=the_longest_prefix_first,
    nudge="Return the places in `waiting`, not what stands there.",
)
queue_order.mistake(
    "who is where, for who goes when",
    replace=[
        (
            "    return late + sorted(rest, key=lambda place: -waiting[place][1])",
            "    order = late + sorted(rest, key=lambda place: -waiting[place][1])\n"
            "    return [order.index(place) for place in range(len(waiting))]",
        )
    ],
    caught_by=the_longest_prefix_first,
    nudge="Yours says of each when its turn is. Turn it round: first the place of who goes first, then of the next.",
)
queue_order.mistake(
    "places from 1",
    replace=[
        (
            "return late + sorted(rest, key=lambda place: -waiting[place][1])",
            "return [p + 1 for p in late + sorted(rest, key=lambda place: -waiting[place][1])]",
        )
    ],
    caught_by=the_longest_prefix_first,
    nudge="Your places begin at 1. `waiting[0]` is at place 0.",
)
queue_order.mistake(
    "who goes first, and nobody else",
    replace=[
        (
            "return late + sorted(rest, key=lambda place: -waiting[place][1])",
            "return (late + sorted(rest, key=lambda place: -waiting[place][1]))[:1]",
        )
    ],
    caught_by=the_longest_prefix_first,
    nudge="Whoever goes first may find no room, and then the next is tried. Put all of them in order.",
)
queue_order.mistake(
    "arrival for prefix",
    text="""
def queue_order(waiting, now_s, patience_s):
    late = [place for place, (_, arrival_s) in enumerate(waiting) if now_s - arrival_s > patience_s]
    rest = [place for place in range(len(waiting)) if place not in late]
    return late + sorted(rest, key=lambda place: -waiting[place][0])
""",
    caught_by=the_longest_prefix_first,
    nudge="Each entry is (arrival_s, cached_tokens), in this order. Yours takes one for the other.",
)
queue_order.mistake(
    "only the first of the late ones",
    text="""
def queue_order(waiting, now_s, patience_s):
    order = sorted(range(len(waiting)), key=lambda place: -waiting[place][1])
    if waiting and now_s - waiting[0][0] > patience_s:
        order.remove(0)
        order.insert(0, 0)
    return order
""",
    caught_by=whoever_waited_too_long_goes_first,
    nudge="You let one go first who is late. There are more: all of them go before the others.",
)
queue_order.mistake(
    "late on time",
    replace=[("now_s - arrival_s > patience_s", "now_s - arrival_s >= patience_s")],
    caught_by=whoever_waited_too_long_goes_first,
    nudge="Late is who has waited for *longer* than `patience_s`: at exactly that time, patience is not over yet.",
)
queue_order.mistake(
    "endless patience",
    text=(
        "def queue_order(waiting, now_s, patience_s):\n"
        "    return sorted(range(len(waiting)), key=lambda place: -waiting[place][1])\n"
    ),
    caught_by=whoever_waited_too_long_goes_first,
    nudge="While prompts with a cached prefix keep coming, the one without never runs: it starves. Who has waited for "
    "longer than `patience_s`, `now_s - arrival_s`, goes first.",
)
queue_order.mistake(
    "finds the first of two equals twice",
    text="""
def queue_order(waiting, now_s, patience_s):
    late = [one for one in waiting if now_s - one[0] > patience_s]
    rest = [one for one in waiting if one not in late]
    return [waiting.index(one) for one in late + sorted(rest, key=lambda one: -one[1])]
""",
    caught_by=whoever_waited_too_long_goes_first,
    nudge="Two that came together with the same prefix are equal, and `index` finds the first of them twice. "
    "Work with places.",
)
queue_order.mistake(
    "nobody else, while somebody is late",
    replace=[("return late + sorted(", "return late or sorted(")],
    caught_by=whoever_waited_too_long_goes_first,
    nudge="The others are missing. They come behind the late ones, by prefix.",
)
queue_order.mistake(
    "twice in the queue",
    replace=[(" if place not in late", "")],
    caught_by=whoever_waited_too_long_goes_first,
    nudge="The late ones are in your list twice. Leave them out of the rest.",
)
queue_order.mistake(
    "the late ones by prefix, too",
    replace=[("return late + sorted(", "late.sort(key=lambda place: -waiting[place][1])\n    return late + sorted(")],
    caught_by=whoever_waited_too_long_goes_first,
    nudge="Of the late ones, the one that came first goes first; else it may wait for ever among them.",
)
queue_order.mistake(
    "the late ones last",
    replace=[
        (
            "return late + sorted(rest, key=lambda place: -waiting[place][1])",
            "return sorted(rest, key=lambda place: -waiting[place][1]) + late",
        )
    ],
    caught_by=whoever_waited_too_long_goes_first,
    nudge="Who has waited too long comes *before* the others.",
)
queue_order.mistake(
    "patience by the clock",
    replace=[("now_s - arrival_s > patience_s", "arrival_s > patience_s")],
    caught_by=whoever_waited_too_long_goes_first,
    nudge="How long one has waited is `now_s - arrival_s`. Yours looks at when it came.",
)
queue_order.mistake(
    "all in order of arrival, once somebody is late",
    replace=[("    rest = ", "    if late:\n        return list(range(len(waiting)))\n    rest = ")],
    caught_by=whoever_waited_too_long_goes_first,
    nudge="One is late, and yours puts all in order of arrival. The others still go by prefix.",
)
queue_order.alternative(
    """
def queue_order(waiting, now_s, patience_s):
    def key(place):
        arrival_s, cached = waiting[place]
        return (0, place) if now_s - arrival_s > patience_s else (1, -cached, place)
    return sorted(range(len(waiting)), key=key)
"""
)
