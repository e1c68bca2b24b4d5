"""Exercises of lesson 05: blocks, block tables, and who holds what."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from course.exercises import TORCH, Case, Cases, call, define, expect, new
from course.exercises.show import many

if TYPE_CHECKING:  # cells are granted it; listing exercises should not import it
    from torch import Tensor

Weighing = Generator[Case, Any, Any]
"""Calls of a check that end in an answer to go on with."""

# 1: blocks_needed


@define("paged_kv.blocks_needed", points=1)
def blocks_needed(num_tokens: int, block_size: int) -> int:
    """How many blocks of `block_size` tokens hold `num_tokens` tokens (0 or more). 1 line."""
    return (num_tokens + block_size - 1) // block_size


def counted(num_tokens: int, block_size: int) -> int:
    """Lay the tokens out one by one, and open a block whenever there is no room."""
    blocks, room = 0, 0
    for _token in range(num_tokens):
        if room == 0:
            blocks, room = blocks + 1, block_size
        room -= 1
    return blocks


@blocks_needed.check(hint="The last block may be half empty; it is a block all the same.")
def the_last_block_may_be_half_empty(rng: np.random.Generator) -> Cases:
    for num_tokens, block_size in ((3, 4), (5, 4), (int(rng.integers(33, 48)), 16)):
        yield call(num_tokens, block_size).returns(counted(num_tokens, block_size))


@blocks_needed.check(hint="A block that is exactly full needs no other one behind it, and no tokens need no block.")
def exactly_full_blocks(rng: np.random.Generator) -> Cases:
    yield call(2, 2).returns(1)
    blocks, block_size = (int(n) for n in rng.integers(2, 9, 2))
    yield call(blocks * block_size, block_size).returns(blocks)
    yield call(0, 4).returns(0)


blocks_needed.mistake(
    "leaves out the last, half empty block",
    replace=[("(num_tokens + block_size - 1) // block_size", "num_tokens // block_size")],
    caught_by=the_last_block_may_be_half_empty,
    nudge="`//` rounds down: the tokens behind the last full block have no place. Round up.",
)
blocks_needed.mistake(
    "always one more",
    replace=[("(num_tokens + block_size - 1) // block_size", "num_tokens // block_size + 1")],
    caught_by=exactly_full_blocks,
    nudge="Right for a half empty last block. Where the last block is exactly full, yours opens one more.",
)
blocks_needed.mistake(
    "a fraction of a block",
    replace=[("(num_tokens + block_size - 1) // block_size", "num_tokens / block_size")],
    caught_by=the_last_block_may_be_half_empty,
    nudge="Blocks are whole: round up.",
)
blocks_needed.mistake(
    "rounds to the nearest",
    replace=[("(num_tokens + block_size - 1) // block_size", "round(num_tokens / block_size)")],
    caught_by=the_last_block_may_be_half_empty,
    nudge="`round` goes to the nearest whole number, which may be the one below. Always up.",
)
blocks_needed.mistake(
    "at least one",
    replace=[("(num_tokens + block_size - 1) // block_size", "max(1, math.ceil(num_tokens / block_size))")],
    caught_by=exactly_full_blocks,
    nudge="No tokens, no block: 0 of them need 0.",
)
blocks_needed.mistake(
    "slots, not blocks",
    replace=[("(num_tokens + block_size - 1) // block_size", "math.ceil(num_tokens / block_size) * block_size")],
    caught_by=the_last_block_may_be_half_empty,
    nudge="Those are the slots of all the blocks together. How many blocks are they?",
)
blocks_needed.mistake(
    "a block for each token left over",
    replace=[("(num_tokens + block_size - 1) // block_size", "num_tokens // block_size + num_tokens % block_size")],
    caught_by=the_last_block_may_be_half_empty,
    nudge="The tokens behind the last full block share one block. Yours gives each of them its own.",
)
blocks_needed.mistake(
    "rounded up, and still no int",
    replace=[("(num_tokens + block_size - 1) // block_size", "np.ceil(num_tokens / block_size)")],
    caught_by=the_last_block_may_be_half_empty,
    nudge="The right number, as a float: `np.ceil` keeps the type. `math.ceil` gives an int.",
)
blocks_needed.mistake(
    "upside down",
    replace=[("(num_tokens + block_size - 1) // block_size", "math.ceil(block_size / num_tokens)")],
    caught_by=the_last_block_may_be_half_empty,
    nudge="Upside down: the tokens are divided into blocks.",
)
blocks_needed.alternative(
    "def blocks_needed(num_tokens, block_size):\n    return math.ceil(num_tokens / block_size)\n",
)


# 2: gather


@define("paged_kv.gather", points=1, grants=TORCH)
def gather(memory: Tensor, table: list[int], num_tokens: int) -> Tensor:
    """The keys of one sequence, in the order of its tokens.

    `memory` holds the keys of all blocks: [num_blocks, block_size, head_dim]. The first
    block_size tokens stand in block `table[0]`, the next ones in `table[1]`, and so on.
    Return [num_tokens, head_dim].
    About 1 line.
    """
    return memory[table].flatten(0, 1)[:num_tokens]


def as_tensor(array: Any) -> Any:
    """A torch tensor of single precision."""
    import torch

    return torch.tensor(np.asarray(array), dtype=torch.float32)


def scattered(rng: np.random.Generator, num_tokens: int, block_size: int) -> tuple[Any, list[int], Any]:
    """A memory, the table of a sequence in it, and its keys in order. The hundreds of a number are its block, the tens
    its place there."""
    num_held = counted(num_tokens, block_size)
    place = 100 * np.arange(num_held + 2)[:, None] + 10 * np.arange(block_size)
    memory = (place[:, :, None] + rng.integers(0, 10, (*place.shape, 2))).astype(np.float32)
    table = [int(block) for block in rng.permutation(num_held + 2)[:num_held]]
    if len(table) > 1 and table == sorted(table):
        table.reverse()
    keys = [memory[table[position // block_size], position % block_size] for position in range(num_tokens)]
    return as_tensor(memory), table, as_tensor(np.array(keys))


@gather.check(hint="Block by block in the order of the table, and the tokens of a block one after the other.")
def blocks_in_the_order_of_the_table(rng: np.random.Generator) -> Cases:
    for num_blocks, block_size in ((1, 2), (2, 2), (int(rng.integers(3, 5)), 4)):
        num_tokens = num_blocks * block_size
        memory, table, keys = scattered(rng, num_tokens, block_size)
        yield call(memory, table, num_tokens).returns(keys)


@gather.check(hint="What stands behind the last token is left over from somebody else.")
def nothing_behind_the_last_token(rng: np.random.Generator) -> Cases:
    for num_tokens, block_size in ((1, 2), (5, 4), (int(rng.integers(9, 12)), 4)):
        memory, table, keys = scattered(rng, num_tokens, block_size)
        yield call(memory, table, num_tokens).returns(keys)


gather.mistake(
    "the first blocks of the memory",
    replace=[("memory[table]", "memory[: len(table)]")],
    caught_by=blocks_in_the_order_of_the_table,
    nudge="Those are the first blocks of the memory. The sequence's own are those that its table names.",
)
gather.mistake(
    "blocks in the order of the memory",
    replace=[("memory[table]", "memory[sorted(table)]")],
    caught_by=blocks_in_the_order_of_the_table,
    nudge="The blocks are the right ones, in the order of their numbers. The text goes in the order of the table.",
)
gather.mistake(
    "the table along the wrong axis",
    replace=[("memory[table]", "memory[:, table]")],
    caught_by=blocks_in_the_order_of_the_table,
    nudge="`memory[:, table]` looks up along axis 1, the tokens of a block. Axis 0 counts the blocks: `memory[table]`.",
)
gather.mistake(
    "the number of a block for its first row",
    text=(
        "def gather(memory, table, num_tokens):\n"
        "    rows = memory.flatten(0, 1)\n"
        "    return torch.cat([rows[block : block + memory.shape[1]] for block in table])[:num_tokens]\n"
    ),
    caught_by=blocks_in_the_order_of_the_table,
    nudge="Of the keys in one row after the other, block b begins at row b * block_size, not at row b.",
)
gather.mistake(
    "all that stands in the blocks",
    replace=[("[:num_tokens]", "")],
    caught_by=nothing_behind_the_last_token,
    nudge="The last block is not full. What stands behind the last token is old, and not this sequence's.",
)
gather.mistake(
    "full blocks only",
    replace=[("memory[table]", "memory[table[: num_tokens // memory.shape[1]]]")],
    caught_by=nothing_behind_the_last_token,
    nudge="The tokens in the last, half empty block are missing.",
)
gather.mistake(
    "still in blocks",
    replace=[(".flatten(0, 1)", "")],
    caught_by=blocks_in_the_order_of_the_table,
    nudge="`memory[table]` is [blocks, block_size, head_dim]. Make one axis of tokens out of the first two.",
)
gather.mistake(
    "tokens strided over the blocks",
    replace=[("memory[table].flatten(0, 1)", "memory[table].transpose(0, 1).flatten(0, 1)")],
    caught_by=blocks_in_the_order_of_the_table,
    nudge="Yours takes the first token of each block, then the second of each. A block is read to its end first.",
)
gather.mistake(
    "a token for a block",
    text="def gather(memory, table, num_tokens):\n    return memory.flatten(0, 1)[table][:num_tokens]\n",
    caught_by=blocks_in_the_order_of_the_table,
    nudge="The table names blocks, and each of them holds `block_size` tokens.",
)
gather.mistake(
    "all in one row",
    replace=[(".flatten(0, 1)", ".flatten()")],
    caught_by=blocks_in_the_order_of_the_table,
    nudge="That flattens the keys, too. Only the first two axes become one: [num_tokens, head_dim].",
)
gather.mistake(
    "cuts every block",
    replace=[("memory[table].flatten(0, 1)[:num_tokens]", "memory[table][:, :num_tokens].flatten(0, 1)")],
    caught_by=nothing_behind_the_last_token,
    nudge="You cut inside of each block. Lay all blocks behind each other first, then cut once.",
)
gather.mistake(
    "the last tokens",
    replace=[("[:num_tokens]", "[-num_tokens:]")],
    caught_by=nothing_behind_the_last_token,
    nudge="You keep the end of the last block, which is empty or old. The sequence's tokens stand at the beginning.",
)
gather.mistake(
    "the number of blocks for their size",
    text=(
        "def gather(memory, table, num_tokens):\n    size = len(memory)\n"
        "    return torch.stack([memory[table[i // size], i % size] for i in range(num_tokens)])\n"
    ),
    caught_by=blocks_in_the_order_of_the_table,
    nudge="Axis 0 of `memory` counts the blocks. How many tokens a block has, says axis 1.",
)
gather.alternative(
    """
def gather(memory, table, num_tokens):
    size = memory.shape[1]
    return torch.stack([memory[table[i // size], i % size] for i in range(num_tokens)])
"""
)


# 3: BlockAllocator


@define("paged_kv.BlockAllocator", points=3)
class BlockAllocator:
    """The blocks of a memory, and how many block tables hold each of them.

    `free_blocks` lists those that nobody holds, and `references[block]` says how many hold a
    block. Others read both, so keep them true.
    """

    def __init__(self, num_blocks: int) -> None:
        self.free_blocks = list(range(num_blocks))
        self.references = [0] * num_blocks

    def allocate(self, count: int) -> list[int]:
        """Take `count` free blocks, one reference each, and return their numbers.

        Raise ValueError if there are not so many, and then take none.
        """
        # yours: about 6 lines
        if count > len(self.free_blocks):
            raise ValueError(f"{count} blocks wanted, {len(self.free_blocks)} free")
        taken = [self.free_blocks.pop() for _ in range(count)]
        for block in taken:
            self.references[block] += 1
        return taken
        # end

    def fork(self, table: list[int]) -> list[int]:
        """A second table, a new list, of the same blocks, for a sequence that begins alike.

        No block is copied.
        """
        # yours: about 3 lines
        for block in table:
            self.references[block] += 1
        return list(table)
        # end

    def free(self, table: list[int]) -> None:
        """The holder of this table is done. A block that nobody holds any more is free again."""
        # yours: about 4 lines
        for block in table:
            self.references[block] -= 1
            if self.references[block] == 0:
                self.free_blocks.append(block)
        # end


owner: Any = BlockAllocator  # an Exercise; type checkers take a decorated class for the class itself


def truth_about(tables: list[list[int]], num_blocks: int) -> tuple[list[int], list[int]]:
    """Of the tables that are held: how many name each block, and the blocks that none names."""
    references = [sum(block in table for table in tables) for block in range(num_blocks)]
    return references, [block for block in range(num_blocks) if references[block] == 0]


def are_numbers(blocks: Any) -> bool:
    """Whether this is a list of whole numbers."""
    return isinstance(blocks, list) and all(isinstance(block, int) for block in blocks)


def audit(allocator: Any, tables: list[list[int]], num_blocks: int) -> Cases:
    """Compare what the allocator says of itself with the tables that it gave out."""
    references, free = truth_about(tables, num_blocks)
    counts = yield allocator.get("references")
    expect(counts == references, f"`references` should be {references}; it is {counts}")
    listed = yield allocator.get("free_blocks")
    expect(are_numbers(listed), f"`free_blocks` must stay a list of block numbers; it is {listed!r}"[:200])
    held = [block for block in listed if block not in free]
    expect(not held, f"Block {held and held[0]} is listed as free; tables that hold it: {held and references[held[0]]}")
    twice = [block for block in set(listed) if listed.count(block) > 1]
    expect(not twice, f"Block {twice and twice[0]} is in `free_blocks` twice: it would be given to two sequences")
    lost = [block for block in free if block not in listed]
    expect(not lost, f"Nobody holds block {lost and lost[0]}, and it is not in `free_blocks`: it is lost")


def taken(allocator: Any, count: int, tables: list[list[int]]) -> Weighing:
    """Allocate, and see that the blocks are good ones; returns the table."""
    table = yield allocator.call("allocate", count)
    fine = are_numbers(table) and len(table) == count
    expect(fine, f"`allocate({count})` must return a list of {count} block numbers; it returned {table!r}"[:200])
    expect(len(set(table)) == count, f"`allocate({count})` gave one block twice: {table}")
    used = {block for other in tables for block in other}
    expect(not used & set(table), f"Block {min(used & set(table), default='')} is held, and was given away again")
    return table


def draw_lost(expected: Any, got: Any) -> Any:
    """The block map of an allocator of six blocks to which everything was given back: what is missing is lost."""
    from course.figures.block_map import block_map

    if not isinstance(got, list) or len(got) == 6:  # of that length are the references, which are no blocks
        return None
    return block_map(6, 1, {}, got, "Six blocks, and everything was given back")


@owner.check(hint="Take blocks out of `free_blocks` and count a reference for each of them.")
def allocate_gives_free_blocks(rng: np.random.Generator) -> Cases:
    for num_blocks, counts in ((1, [1]), (3, [1, 2]), (8, [3, 1, 2])):
        allocator = new(num_blocks)
        tables: list[list[int]] = []
        for count in counts:
            tables.append((yield from taken(allocator, count, tables)))
        yield from audit(allocator, tables, num_blocks)


@owner.check(hint="Ask first, then take: a call that raises must leave everything as it was.")
def out_of_blocks(rng: np.random.Generator) -> Cases:
    num_blocks = int(rng.integers(3, 6))
    allocator = new(num_blocks)
    tables: list[list[int]] = []
    tables.append((yield from taken(allocator, num_blocks - 1, tables)))
    yield allocator.call("allocate", 2).raises(ValueError)
    yield from audit(allocator, tables, num_blocks)
    tables.append((yield from taken(allocator, 1, tables)))
    yield allocator.call("allocate", 1).raises(ValueError)
    yield from audit(allocator, tables, num_blocks)


@owner.check(hint="What nobody holds is free again, each block once.", picture=draw_lost)
def freed_blocks_come_back(rng: np.random.Generator) -> Cases:
    allocator = new(6)
    tables: list[list[int]] = []
    for count in (int(rng.integers(1, 3)), int(rng.integers(1, 4))):
        tables.append((yield from taken(allocator, count, tables)))
    while tables:
        yield allocator.call("free", list(tables.pop(0)))
    yield from audit(allocator, tables, 6)
    tables.append((yield from taken(allocator, 6, tables)))
    yield from audit(allocator, tables, 6)


@owner.check(hint="A block has as many references as tables hold it. It is free when the last one has gone.")
def shared_blocks(rng: np.random.Generator) -> Cases:
    allocator = new(6)
    table = yield from taken(allocator, 2, [])
    tables = [table]
    for _ in range(2):
        twin = yield allocator.call("fork", list(table)).gives_a_new_list()
        expect(twin == table, f"`fork` must return a table of the same blocks, {table}; it returned {twin!r}"[:200])
        tables.append(twin)
        yield from audit(allocator, tables, 6)
    own = yield from taken(allocator, 1, tables)
    tables.append(own)
    for place in rng.permutation(4):
        yield allocator.call("free", list(tables[place]))
        tables[place] = []
        yield from audit(allocator, tables, 6)


@owner.check(hint="After any story: what no table holds is in `free_blocks`, once.")
def a_long_story(rng: np.random.Generator) -> Cases:
    num_blocks = 7
    allocator = new(num_blocks)
    tables: list[list[int]] = []
    for _ in range(40):
        num_free = len(truth_about(tables, num_blocks)[1])
        event, place = rng.random(), int(rng.integers(max(1, len(tables))))
        if tables and event < 0.3:
            yield allocator.call("free", tables.pop(place))
        elif tables and event < 0.4:  # one block of a table, as `append_slot` will do
            yield allocator.call("free", [tables[place].pop()])
            tables = [table for table in tables if table]
        elif tables and event < 0.6:
            tables.append((yield allocator.call("fork", list(tables[place]))))
        elif tables and num_free and event < 0.75:  # a table grows: it was not allocated in one piece
            tables[place] += yield from taken(allocator, 1, tables)
        elif (count := int(rng.integers(1, 4))) <= num_free:
            tables.append((yield from taken(allocator, count, tables)))
        else:
            yield allocator.call("allocate", count).raises(ValueError)
        yield from audit(allocator, tables, num_blocks)


owner.mistake(
    "the blocks stay in the list",
    replace=[("[self.free_blocks.pop() for _ in range(count)]", "self.free_blocks[:count]")],
    caught_by=allocate_gives_free_blocks,
    nudge="A slice reads the list and leaves it as it was: what you gave away is still listed as free. Take it out.",
)
owner.mistake(
    "no reference for a new block",
    replace=[
        (
            "        for block in taken:\n            self.references[block] += 1\n        return taken",
            "        return taken",
        )
    ],
    caught_by=allocate_gives_free_blocks,
    nudge="A block that was just taken has one holder: count its reference.",
)
owner.mistake(
    "takes what there is",
    replace=[
        (
            '        if count > len(self.free_blocks):\n            raise ValueError(f"{count} blocks wanted, '
            '{len(self.free_blocks)} free")\n        taken = [self.free_blocks.pop() for _ in range(count)]',
            "        taken = self.free_blocks[:count]\n        del self.free_blocks[:count]",
        )
    ],
    caught_by=out_of_blocks,
    nudge="There are not so many blocks, and yours returns something all the same. Nobody notices: raise ValueError.",
)
owner.mistake(
    "takes some before it raises",
    replace=[
        (
            '        if count > len(self.free_blocks):\n            raise ValueError(f"{count} blocks wanted, '
            '{len(self.free_blocks)} free")\n        taken = [self.free_blocks.pop() for _ in range(count)]',
            "        taken = []\n        for _ in range(count):\n            if not self.free_blocks:\n"
            '                raise ValueError("out of blocks")\n            taken.append(self.free_blocks.pop())',
        )
    ],
    caught_by=out_of_blocks,
    nudge="Your call raises with some blocks already taken, and they are lost. Ask first whether there are enough.",
)
owner.mistake(
    "lets the list run empty",
    replace=[
        (
            '        if count > len(self.free_blocks):\n            raise ValueError(f"{count} blocks wanted, '
            '{len(self.free_blocks)} free")\n',
            "",
        )
    ],
    caught_by=out_of_blocks,
    nudge="`pop` from an empty list raises IndexError, with blocks already taken. Ask first; raise ValueError.",
)
owner.mistake(
    "keeps the last block back",
    replace=[("if count > len(self.free_blocks):", "if count >= len(self.free_blocks):")],
    caught_by=allocate_gives_free_blocks,
    nudge="Asked for as many blocks as there are, yours refuses. That is not too many.",
)
owner.mistake(
    "frees a shared block",
    replace=[
        (
            "            self.references[block] -= 1\n            if self.references[block] == 0:\n"
            "                self.free_blocks.append(block)",
            "            self.references[block] -= 1\n            self.free_blocks.append(block)",
        )
    ],
    caught_by=shared_blocks,
    nudge="You free a block that another table holds: its keys would be overwritten by somebody else's.",
)
owner.mistake(
    "forgets the other holders",
    replace=[
        (
            "            self.references[block] -= 1\n            if self.references[block] == 0:\n"
            "                self.free_blocks.append(block)",
            "            self.references[block] = 0\n            self.free_blocks.append(block)",
        )
    ],
    caught_by=shared_blocks,
    nudge="One holder goes, and yours sets the count to 0 for all of them. Drop one reference.",
)
owner.mistake(
    "leaks what was freed",
    replace=[("            if self.references[block] == 0:\n                self.free_blocks.append(block)\n", "")],
    caught_by=freed_blocks_come_back,
    nudge="No block goes back to `free_blocks`. Drop the reference first, and then ask whether the count is 0.",
)
owner.mistake(
    "frees without counting down",
    replace=[
        (
            "            self.references[block] -= 1\n            if self.references[block] == 0:\n"
            "                self.free_blocks.append(block)",
            "            self.free_blocks.append(block)",
        )
    ],
    caught_by=freed_blocks_come_back,
    nudge="The block is free again, and its reference is still counted.",
)
owner.mistake(
    "a fork that nobody counts",
    replace=[
        (
            "        for block in table:\n            self.references[block] += 1\n        return list(table)",
            "        return list(table)",
        )
    ],
    caught_by=shared_blocks,
    nudge="Two tables name these blocks now, and the count says one. The first to leave frees them under the other.",
)
owner.mistake(
    "a fork that counts the last block only",
    replace=[
        (
            "        for block in table:\n            self.references[block] += 1\n        return list",
            "        self.references[table[-1]] += 1\n        return list",
        )
    ],
    caught_by=shared_blocks,
    nudge="The twin holds every block of the table, not the last one alone: one reference more for each.",
)
owner.mistake(
    "as many references as blocks",
    replace=[
        (
            "            self.references[block] += 1\n        return taken",
            "            self.references[block] = count\n        return taken",
        )
    ],
    caught_by=allocate_gives_free_blocks,
    nudge="`count` is how many blocks are taken. Each of them has one holder.",
)
owner.mistake(
    "a fork that gives the same list",
    replace=[("        return list(table)\n", "        return table\n")],
    caught_by=shared_blocks,
    nudge="Both sequences would have one list as their table: a block that one adds, the other has, too.",
)
owner.mistake(
    "raises another error",
    replace=[("raise ValueError(", "raise MemoryError(")],
    caught_by=out_of_blocks,
    nudge="To ask first and then raise is right. Whoever calls expects a ValueError.",
)
owner.mistake(
    "a fork that returns nothing",
    replace=[("        return list(table)\n", "")],
    caught_by=shared_blocks,
    nudge="The second sequence needs a table, too: return one with the same numbers.",
)
owner.mistake(
    "a fork that copies",
    replace=[
        (
            "        for block in table:\n            self.references[block] += 1\n        return list(table)",
            "        return self.allocate(len(table))",
        )
    ],
    caught_by=shared_blocks,
    nudge="Those are new blocks. What begins alike needs its keys once: the same numbers, one reference more each.",
)
owner.mistake(
    "a fork that counts up by two",
    replace=[
        (
            "        for block in table:\n            self.references[block] += 1\n        return list(table)",
            "        for block in table:\n            self.references[block] = 2\n        return list(table)",
        )
    ],
    caught_by=shared_blocks,
    nudge="There may be more than two holders: add one, whatever the count was.",
)
owner.mistake(
    "never forgets a holder",
    replace=[("if self.references[block] == 0:", "if self.references[block] <= 1:")],
    caught_by=shared_blocks,
    nudge="With one reference left, somebody still reads the block. It is free at 0.",
)
owner.alternative(
    """
class BlockAllocator:
    def __init__(self, num_blocks):
        self.free_blocks = list(range(num_blocks))
        self.references = [0] * num_blocks

    def allocate(self, count):
        if len(self.free_blocks) < count:
            raise ValueError("no room")
        taken, self.free_blocks = self.free_blocks[:count], self.free_blocks[count:]
        return self.fork(taken)

    def fork(self, table):
        self.references = [count + (block in table) for block, count in enumerate(self.references)]
        return table[:]

    def free(self, table):
        self.references = [count - (block in table) for block, count in enumerate(self.references)]
        self.free_blocks = [block for block, count in enumerate(self.references) if count == 0]
"""
)


# 4: append_slot


def in_a_memory(learner: Any, num_blocks: int, block_size: int, story: list[str]) -> dict[str, Any]:
    """Tell a story of sequences in a memory of letters; what everybody reads in the end, and who holds what.

    Its events: "new A XYZ" (A begins with these tokens), "fork B A" (B goes on from A), "append A Q", "free A".
    """

    class Blocks:
        def __init__(self) -> None:
            self.free_blocks, self.references = list(range(num_blocks)), [0] * num_blocks

        def allocate(self, count: int) -> list[int]:
            if count > len(self.free_blocks):
                raise ValueError("out of blocks")
            return self.fork([self.free_blocks.pop(0) for _ in range(count)])

        def fork(self, table: list[int]) -> list[int]:
            for block in table:
                self.references[block] += 1
            return list(table)

        def free(self, table: list[int]) -> None:
            for block in table:
                self.references[block] -= 1
                if not self.references[block]:
                    self.free_blocks.append(block)

    allocator, letters = Blocks(), [["?"] * block_size for _ in range(num_blocks)]
    tables: dict[str, list[int]] = {}
    lengths: dict[str, int] = {}
    copies, problem = [], ""

    def write(name: str, letter: str) -> None:
        place = lengths[name]
        letters[tables[name][place // block_size]][place % block_size] = letter
        lengths[name] += 1

    for event in story:
        what, name, value = [*event.split(), ""][:3]
        if what == "new":
            tables[name], lengths[name] = allocator.allocate(-(-len(value) // block_size)), 0
            for letter in value:
                write(name, letter)
        elif what == "fork":
            tables[name], lengths[name] = allocator.fork(tables[value]), lengths[value]
        elif what == "free":
            allocator.free(tables.pop(name))
            del lengths[name]
        else:
            copy = learner(allocator, tables[name], lengths[name], block_size)
            if copy is not None:
                source, target = copy
                letters[target] = list(letters[source])
                copies.append([source, target])
            if lengths[name] // block_size >= len(tables[name]):
                plural = "s" * (len(tables[name]) != 1)
                problem = f"{name} has {lengths[name]} tokens in {len(tables[name])} block{plural} of {block_size}"
                break
            write(name, value)
    text = {
        name: "".join(letters[table[i // block_size]][i % block_size] for i in range(lengths[name]))
        for name, table in tables.items()
    }
    return {"problem": problem, "text": text, "copies": copies, "tables": tables, "lengths": lengths} | {
        "free": allocator.free_blocks,
        "references": allocator.references,
        "block_size": block_size,
    }


@define("paged_kv.append_slot", points=3, through=in_a_memory)
def append_slot(
    allocator,
    table: list[int],
    num_tokens: int,
    block_size: int,
) -> tuple[int, int] | None:
    """Make room for one more token behind the `num_tokens` (1 or more) that `table` holds.

    `table` is changed in place. If the last block is full, add a new one. If it is not, and
    another sequence holds it too (`allocator.references[block]`), put a block of your own in its
    place and return (source, target), the copy to be made. In all other cases return None.
    `allocator` has `allocate` and `free`, as above. About 8 lines.
    """
    if num_tokens % block_size == 0:
        table += allocator.allocate(1)
        return None
    last = table[-1]
    if allocator.references[last] == 1:
        return None
    [own] = allocator.allocate(1)
    table[-1] = own
    allocator.free([last])
    return last, own


def told(num_blocks: int, block_size: int, story: list[str]) -> tuple[dict[str, str], dict[str, list[int]]]:
    """What everybody should read, and for each sequence the blocks it should hold: a new number for each new block."""
    text: dict[str, str] = {}
    tables: dict[str, list[int]] = {}
    fresh = iter(range(1000))
    for event in story:
        what, name, value = [*event.split(), ""][:3]
        if what == "new":
            text[name] = value
            tables[name] = [next(fresh) for _ in range(counted(len(value), block_size))]
        elif what == "fork":
            text[name], tables[name] = text[value], list(tables[value])
        elif what == "free":
            del text[name], tables[name]
        else:
            others = {block for other, table in tables.items() if other != name for block in table}
            if counted(len(text[name]) + 1, block_size) > len(tables[name]):
                tables[name].append(next(fresh))
            elif tables[name][-1] in others:
                tables[name][-1] = next(fresh)
            text[name] += value
    return text, tables


def weigh(num_blocks: int, block_size: int, story: list[str]) -> Weighing:
    """Tell it, and compare what is read and what is held."""
    text, tables = told(num_blocks, block_size, story)
    got = yield call(num_blocks, block_size, story).satisfies(lambda _: True, "")
    expect(not got["problem"], f"{got['problem']}; no place for the next one, and free are {got['free']}")
    for name, table in tables.items():
        has = got["tables"][name]
        places = many(len(table), "block")
        expect(len(has) == len(table), f"{name} has {len(text[name])} tokens in {places}; its table is {has}")
    held = {block for table in got["tables"].values() for block in table}
    both = sorted(held & set(got["free"]))
    expect(not both, f"Block {both and both[0]} is in a table and free at the same time: {got['tables']}")
    lost = sorted(set(range(num_blocks)) - held - set(got["free"]))
    expect(not lost, f"Block {lost and lost[0]} is in no table and not free: it is lost")
    expect(got["text"] == text, f"They should read {text}; they read {got['text']}")
    used = len({block for table in tables.values() for block in table})
    expect(len(held) == used, f"Together they take {used} blocks; yours take {len(held)}: {got['tables']}")
    references, _ = truth_about(list(got["tables"].values()), num_blocks)
    expect(got["references"] == references, f"`references` should be {references}; it is {got['references']}")
    return got


def draw_memory(expected: Any, got: Any) -> Any:
    """The block map as the learner's function left it."""
    from course.figures.block_map import Held, block_map

    if not isinstance(got, dict) or "tables" not in got:
        return None
    held = {name: Held(table, got["lengths"][name]) for name, table in got["tables"].items()}
    return block_map(len(got["references"]), got["block_size"], held, got["free"], "How your function left the memory")


def letters(rng: np.random.Generator, count: int) -> str:
    """Random capital letters."""
    return "".join(chr(65 + int(n)) for n in rng.integers(0, 26, count))


def written(rng: np.random.Generator, name: str, count: int) -> list[str]:
    """So many letters more for a sequence."""
    return [f"append {name} {letter}" for letter in letters(rng, count)]


@append_slot.check(hint="A new block when the last one is full, and only then.", picture=draw_memory)
def one_sequence_grows(rng: np.random.Generator) -> Cases:
    for length, more in ((2, 1), (3, 1), (4, 1), (3, int(rng.integers(6, 10)))):
        got = yield from weigh(8, 4, [f"new A {letters(rng, length)}", *written(rng, "A", more)])
        expect(not got["copies"], f"A is alone with its blocks; yours copied {got['copies']}")


@append_slot.check(
    hint="Two sequences hold the last block: the one that writes needs its own, and the other keeps what it had.",
    picture=draw_memory,
)
def the_last_block_is_shared(rng: np.random.Generator) -> Cases:
    story = [f"new A {letters(rng, 1)}", "fork B A", *written(rng, "A", 1)]
    yield from weigh(4, 2, [*story, *written(rng, "B", 1)])
    yield from weigh(4, 2, story)
    story = [f"new A {letters(rng, 6)}", "fork B A", "fork C B"]
    for name in rng.permutation(["A", "B", "C"]):
        story += written(rng, str(name), int(rng.integers(1, 5)))
    yield from weigh(12, 4, story)


@append_slot.check(hint="A shared block that is full is never written again: it stays shared.", picture=draw_memory)
def full_blocks_stay_shared(rng: np.random.Generator) -> Cases:
    for block_size, blocks in ((2, 1), (4, int(rng.integers(2, 4)))):
        story = [f"new A {letters(rng, blocks * block_size)}", "fork B A"]
        got = yield from weigh(8, block_size, [*story, *written(rng, "A", 1), *written(rng, "B", 2)])
        expect(not got["copies"], f"No block had to be copied here; yours copied {got['copies']}")


@append_slot.check(hint="When the others have gone, the block is your own: write into it.", picture=draw_memory)
def the_last_holder_copies_nothing(rng: np.random.Generator) -> Cases:
    story = [f"new A {letters(rng, 3)}", "fork B A", "free A", *written(rng, "B", 3)]
    got = yield from weigh(3, 4, story)
    expect(not got["copies"], f"B is alone with its block; yours copied {got['copies']}")


append_slot.mistake(
    "a block too late",
    replace=[("num_tokens % block_size == 0", "num_tokens % block_size == 1")],
    caught_by=one_sequence_grows,
    nudge="With a full last block yours adds none, and the token has no place. Full is when the rest is 0.",
)
append_slot.mistake(
    "a block too early",
    replace=[("num_tokens % block_size == 0", "(num_tokens + 1) % block_size == 0")],
    caught_by=one_sequence_grows,
    nudge="Yours adds a block while the last one has a free slot. The new token still fits there.",
)
append_slot.mistake(
    "a block for every token",
    text="def append_slot(allocator, table, num_tokens, block_size):\n    table += allocator.allocate(1)\n",
    caught_by=one_sequence_grows,
    nudge="Yours takes a block for every token. A block holds `block_size` of them.",
)
append_slot.mistake(
    "writes into the shared block",
    text=(
        "def append_slot(allocator, table, num_tokens, block_size):\n"
        "    if num_tokens % block_size == 0:\n        table += allocator.allocate(1)\n"
    ),
    caught_by=the_last_block_is_shared,
    nudge="Both sequences write into the same slot, and one of them reads the other's token. The writer needs a copy.",
)
append_slot.mistake(
    "copies all blocks",
    text=(
        "def append_slot(allocator, table, num_tokens, block_size):\n"
        "    if num_tokens % block_size == 0:\n        table += allocator.allocate(1)\n        return None\n"
        "    last = table[-1]\n    if allocator.references[last] == 1:\n        return None\n"
        "    own = allocator.allocate(len(table))\n    allocator.free(table)\n    table[:] = own\n"
        "    return last, own[-1]\n"
    ),
    caught_by=the_last_block_is_shared,
    nudge="You replace the whole table. Only the last block is written to: the others are full and stay shared.",
)
append_slot.mistake(
    "does not let go of the shared block",
    replace=[("    allocator.free([last])\n", "")],
    caught_by=the_last_block_is_shared,
    nudge="The table does not name the old block any more, and its reference is still counted. Free it.",
)
append_slot.mistake(
    "frees its own block",
    replace=[("allocator.free([last])", "allocator.free([own])")],
    caught_by=the_last_block_is_shared,
    nudge="You free the block that you have just put into the table. Let go of the shared one.",
)
append_slot.mistake(
    "frees the whole table",
    replace=[("allocator.free([last])", "allocator.free([*table[:-1], last])")],
    caught_by=the_last_block_is_shared,
    nudge="You let go of all blocks, and the table still names them. Only the last one is replaced: free that one.",
)
append_slot.mistake(
    "frees a number",
    replace=[("allocator.free([last])", "allocator.free(last)")],
    caught_by=the_last_block_is_shared,
    nudge="`free` takes a table, which is a list, also of one block: `[last]`.",
)
append_slot.mistake(
    "a list for a number",
    replace=[("[own] = allocator", "own = allocator")],
    caught_by=the_last_block_is_shared,
    nudge="`allocate` returns a list, also of one block. Take the number out of it.",
)
append_slot.mistake(
    "as many blocks as a block has slots",
    replace=[("table += allocator.allocate(1)", "table += allocator.allocate(block_size)")],
    caught_by=one_sequence_grows,
    nudge="`allocate` counts blocks, not tokens. One more token needs one block.",
)
append_slot.mistake(
    "returns the table",
    replace=[("return last, own", "return table")],
    caught_by=the_last_block_is_shared,
    nudge="Whoever copies the keys needs two numbers, from where and to where: (source, target).",
)
append_slot.mistake(
    "copies nothing",
    replace=[("return last, own", "return None")],
    caught_by=the_last_block_is_shared,
    nudge="A new block is empty: the tokens that stood in the shared one have to be copied. Return (source, target).",
)
append_slot.mistake(
    "copies the wrong way",
    replace=[("return last, own", "return own, last")],
    caught_by=the_last_block_is_shared,
    nudge="(source, target): from the shared block to your own. Yours overwrites the shared one.",
)
append_slot.mistake(
    "the copy is not in the table",
    replace=[("    table[-1] = own\n", "")],
    caught_by=the_last_block_is_shared,
    nudge="You took a block and had it copied, and the table still names the shared one.",
)
append_slot.mistake(
    "adds the copy behind the shared block",
    replace=[("    table[-1] = own\n", "    table.append(own)\n")],
    caught_by=the_last_block_is_shared,
    nudge="The copy takes the shared block's place. Behind it, it stands for the next tokens of the text.",
)
append_slot.mistake(
    "replaces the first block",
    replace=[("table[-1] = own", "table[0] = own")],
    caught_by=the_last_block_is_shared,
    nudge="The new token goes into the last block. That one is replaced, not the first.",
)
append_slot.mistake(
    "always copies",
    replace=[("    if allocator.references[last] == 1:\n        return None\n", "")],
    caught_by=one_sequence_grows,
    nudge="Nothing is shared here, and yours copies the last block for each token. Copy only if others hold it.",
)
append_slot.mistake(
    "copies a full block, too",
    text=(
        "def append_slot(allocator, table, num_tokens, block_size):\n"
        "    last, copy = table[-1], None\n"
        "    if allocator.references[last] > 1:\n        [own] = allocator.allocate(1)\n"
        "        allocator.free([last])\n        table[-1] = own\n        copy = (last, own)\n"
        "    if num_tokens % block_size == 0:\n        table += allocator.allocate(1)\n    return copy\n"
    ),
    caught_by=full_blocks_stay_shared,
    nudge="The shared block is full, so nobody writes to it again. Copying it gives away what sharing saved.",
)
append_slot.mistake(
    "gives a new list",
    replace=[("table += allocator.allocate(1)", "table = table + allocator.allocate(1)")],
    caught_by=one_sequence_grows,
    nudge="`table = table + …` makes a new list that nobody else sees. Change the one that you got: `append` or `+=`.",
)
append_slot.mistake(
    "appends a list",
    replace=[("table += allocator.allocate(1)", "table.append(allocator.allocate(1))")],
    caught_by=one_sequence_grows,
    nudge="`allocate` returns a list, also of one block; your table now has a list in it. Take the number out.",
)
append_slot.alternative(
    """
def append_slot(allocator, table, num_tokens, block_size):
    place, offset = divmod(num_tokens, block_size)
    if offset == 0:
        table.append(allocator.allocate(1)[0])
    elif allocator.references[table[place]] > 1:
        shared, table[place] = table[place], allocator.allocate(1)[0]
        allocator.free([shared])
        return (shared, table[place])
"""
)
