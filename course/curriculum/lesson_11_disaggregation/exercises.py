"""Exercises of lesson 11: what a move costs, the handover, an answer written by two workers, layers sent early."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from course.curriculum.lesson_11_disaggregation.rules import HandoverLog, handover_fault, split_fault
from course.exercises import Cases, call, define, expect

# 1: transfer_s


@define("disaggregation.transfer_s", points=2)
def transfer_s(
    num_tokens: int,
    num_layers: int,
    num_kv_heads: int,
    head_dim: int,
    gbit_s: float,
    latency_s: float = 0.0,
    block_size: int = 16,
    element_bytes: int = 2,
) -> float:
    """Seconds until the keys and values of `num_tokens` tokens are at the other worker.

    Whole blocks of `block_size` tokens move, the last one too if it is half empty. A number of
    the cache has `element_bytes` bytes. The link has nothing else to do: it sends
    `gbit_s` * 10**9 bits per second, and each bit is under way for `latency_s`. About 4 lines.
    """
    num_blocks = math.ceil(num_tokens / block_size)
    token_bytes = 2 * num_layers * num_kv_heads * head_dim * element_bytes
    return 8 * num_blocks * block_size * token_bytes / (gbit_s * 10**9) + latency_s


Shape = tuple[int, int, int, int, int, int]
"""Tokens, layers, KV heads, numbers in a head, tokens in a block, bytes in a number."""


def counted_bits(tokens: int, layers: int, kv_heads: int, head_dim: int, block: int, element_bytes: int) -> int:
    """Open blocks as tokens come, and measure the arrays that one block has."""
    room = num_blocks = 0
    for _token in range(tokens):
        if room == 0:
            room, num_blocks = block, num_blocks + 1
        room -= 1
    parts = [np.zeros((kv_heads, block, head_dim)) for _layer in range(layers) for _part in ("keys", "values")]
    return num_blocks * sum(part.size for part in parts) * element_bytes * 8


def moved(shape: Shape, gbit_s: float, latency_s: float) -> Any:
    """The call for a shape, with what must come: the bits, one second of the link after the other."""
    tokens, layers, kv_heads, head_dim, block, element_bytes = shape
    bits = counted_bits(*shape)
    seconds = bits / (gbit_s * 1e9) + latency_s
    return call(tokens, layers, kv_heads, head_dim, gbit_s, latency_s, block, element_bytes).returns(seconds)


@transfer_s.check(hint="Blocks, times what a block holds, in bits; divided by bits per second.")
def full_blocks_on_a_link(rng: np.random.Generator) -> Cases:
    yield moved((10, 3, 7, 9, 5, 1), 1.0, 0.0)
    yield moved((16, 40, 40, 128, 16, 1), 25.0, 0.0)
    for _ in range(2):
        block = int(rng.integers(2, 9))
        tokens = block * int(rng.integers(2, 6))
        layers, heads, dim = (int(n) for n in rng.integers(3, 12, 3))
        yield moved((tokens, layers, heads, dim, block, 1), float(rng.integers(2, 50)), 0.0)


@transfer_s.check(hint="What is the width of one number of the cache? The tiny model's has four bytes.")
def numbers_of_other_widths(rng: np.random.Generator) -> Cases:
    layers, heads, dim = (int(n) for n in rng.integers(2, 9, 3))
    for element_bytes in (2, 4):
        yield moved((32, layers, heads, dim, 16, element_bytes), 10.0, 0.0)


@transfer_s.check(hint="A block moves as a whole, also if there is one token in it.")
def the_last_block_is_half_empty(rng: np.random.Generator) -> Cases:
    yield moved((1, 3, 1, 1, 16, 2), 1.0, 0.0)
    block = int(rng.integers(4, 17))
    yield moved((block * 3 + int(rng.integers(1, block)), 4, 2, 8, block, 2), 5.0, 0.0)


@transfer_s.check(hint="The last bit is sent when all others are; then it is under way for `latency_s`.")
def the_last_bit_is_under_way(rng: np.random.Generator) -> Cases:
    yield moved((80, 3, 1, 1, 16, 2), 1.0, 0.5)
    latency_s = float(rng.integers(1, 9)) / 1000
    yield moved((100, int(rng.integers(2, 9)), 4, 64, 16, 2), float(rng.integers(1, 400)), latency_s)


transfer_s.mistake(
    "bits against bytes",
    replace=[("return 8 * num_blocks", "return num_blocks")],
    caught_by=full_blocks_on_a_link,
    nudge="Eight times too fast. The cache is counted in bytes, and links are sold in bits.",
)
transfer_s.mistake(
    "divides by eight",
    replace=[("return 8 * num_blocks", "return num_blocks / 8")],
    caught_by=full_blocks_on_a_link,
    nudge="64 times too fast: a byte has eight bits, so there are more bits to send than bytes.",
)
transfer_s.mistake(
    "forgets K or V",
    replace=[("token_bytes = 2 * num_layers", "token_bytes = num_layers")],
    caught_by=full_blocks_on_a_link,
    nudge="Half of it stays behind. A token leaves a key and a value.",
)
transfer_s.mistake(
    "one layer",
    replace=[("2 * num_layers * num_kv_heads", "2 * num_kv_heads")],
    caught_by=full_blocks_on_a_link,
    nudge="Those are the keys and values of one layer. Each layer has its own.",
)
transfer_s.mistake(
    "one head",
    replace=[("num_layers * num_kv_heads * head_dim", "num_layers * head_dim")],
    caught_by=full_blocks_on_a_link,
    nudge="Those are the keys and values of one head. Each KV head has its own.",
)
transfer_s.mistake(
    "giga as 2**30",
    replace=[("(gbit_s * 10**9)", "(gbit_s * 2**30)")],
    caught_by=full_blocks_on_a_link,
    nudge="7% too fast. Memory is sold in powers of two, links in powers of ten: a Gbit/s is 10**9 bits per second.",
)
transfer_s.mistake(
    "gbit_s as bits per second",
    replace=[("/ (gbit_s * 10**9)", "/ gbit_s")],
    caught_by=full_blocks_on_a_link,
    nudge="`gbit_s` counts billions of bits per second. Yours takes it for single bits.",
)
transfer_s.mistake(
    "in milliseconds",
    replace=[("return 8 * num_blocks", "return 1000 * 8 * num_blocks")],
    caught_by=full_blocks_on_a_link,
    nudge="A thousand times too much: seconds are asked for.",
)
transfer_s.mistake(
    "times the bandwidth",
    replace=[("/ (gbit_s * 10**9)", "* gbit_s * 10**9")],
    caught_by=full_blocks_on_a_link,
    nudge="A faster link takes less time, not more: divide.",
)
transfer_s.mistake(
    "blocks for tokens",
    replace=[("8 * num_blocks * block_size * token_bytes", "8 * num_blocks * token_bytes")],
    caught_by=full_blocks_on_a_link,
    nudge="A block holds `block_size` tokens. Yours sends one token of each.",
)
transfer_s.mistake(
    "always two bytes",
    replace=[("head_dim * element_bytes", "head_dim * 2")],
    caught_by=full_blocks_on_a_link,
    nudge="A number does not always take 2 bytes: ask `element_bytes`.",
)
transfer_s.mistake(
    "numbers without a width",
    replace=[("head_dim * element_bytes", "head_dim")],
    caught_by=numbers_of_other_widths,
    nudge="You count the numbers of the cache. Each of them takes `element_bytes` bytes.",
)
transfer_s.mistake(
    "always blocks of 16",
    replace=[("num_tokens / block_size", "num_tokens / 16"), ("num_blocks * block_size", "num_blocks * 16")],
    caught_by=full_blocks_on_a_link,
    nudge="A block does not always hold 16 tokens: ask `block_size`.",
)
transfer_s.mistake(
    "only the tokens",
    replace=[("8 * num_blocks * block_size * token_bytes", "8 * num_tokens * token_bytes")],
    caught_by=the_last_block_is_half_empty,
    nudge="You send tokens. What moves is blocks, and the last one moves whole.",
)
transfer_s.mistake(
    "full blocks only",
    replace=[("math.ceil(num_tokens / block_size)", "num_tokens // block_size")],
    caught_by=the_last_block_is_half_empty,
    nudge="`//` rounds down: the tokens in the last block stay behind. Round up.",
)
transfer_s.mistake(
    "always one block more",
    replace=[("math.ceil(num_tokens / block_size)", "num_tokens // block_size + 1")],
    caught_by=full_blocks_on_a_link,
    nudge="Right where the last block is half empty. Where it is full, yours sends an empty one behind it.",
)
transfer_s.mistake(
    "no latency",
    replace=[(" + latency_s", "")],
    caught_by=the_last_bit_is_under_way,
    nudge="Yours ends when the last bit is sent. It is not there yet.",
)
transfer_s.mistake(
    "latency once per layer",
    replace=[(" + latency_s", " + latency_s * num_layers")],
    caught_by=the_last_bit_is_under_way,
    nudge="A link is a pipe: while one layer is under way, the next is sent. Only the last bit is waited for.",
)
transfer_s.mistake(
    "latency once per block",
    replace=[(" + latency_s", " + latency_s * num_blocks")],
    caught_by=the_last_bit_is_under_way,
    nudge="A link is a pipe: while one block is under way, the next is sent. Only the last bit is waited for.",
)
transfer_s.mistake(
    "there and back",
    replace=[(" + latency_s", " + 2 * latency_s")],
    caught_by=the_last_bit_is_under_way,
    nudge="The question ends when the blocks are there. Nobody waits for an answer.",
)
transfer_s.alternative(
    """
def transfer_s(num_tokens, num_layers, num_kv_heads, head_dim, gbit_s, latency_s=0.0, block_size=16, element_bytes=2):
    block_bytes = sum(num_kv_heads * block_size * head_dim * element_bytes for _ in range(num_layers) for _ in "kv")
    return latency_s + (num_tokens + block_size - 1) // block_size * block_bytes / (gbit_s / 8 * 1e9)
"""
)


# 2: break_even_gbit_s


@define("disaggregation.break_even_gbit_s", points=1)
def break_even_gbit_s(num_bytes: int, prefill_s: float) -> float:
    """The bandwidth at which a move takes as long as the prefill before it.

    A prefill of `prefill_s` seconds leaves `num_bytes` bytes of keys and values. Count the
    bandwidth in 10**9 bits per second. The link has no latency. 1 line.
    """
    return 8 * num_bytes / prefill_s / 10**9


@break_even_gbit_s.check(hint="How many bits must go in each second of the prefill? Then count in billions.")
def as_long_as_the_prefill(rng: np.random.Generator) -> Cases:
    yield call(250_000_000, 1.0).returns(2.0)
    yield call(250_000_000, 0.5).returns(4.0)
    for _ in range(3):
        gbit_s, prefill_s = float(rng.integers(1, 800)) / 8 + 0.0625, float(rng.integers(1, 100)) / 100
        yield call(round(gbit_s * prefill_s * 1e9 / 8), prefill_s).returns(gbit_s, rtol=1e-6)


break_even_gbit_s.mistake(
    "bytes per second",
    replace=[("return 8 * num_bytes", "return num_bytes")],
    caught_by=as_long_as_the_prefill,
    nudge="Those are gigabytes per second. Links are sold in bits.",
)
break_even_gbit_s.mistake(
    "divides by eight",
    replace=[("return 8 * num_bytes", "return num_bytes / 8")],
    caught_by=as_long_as_the_prefill,
    nudge="A byte has eight bits: there are more bits than bytes.",
)
break_even_gbit_s.mistake(
    "upside down",
    replace=[("return 8 * num_bytes / prefill_s / 10**9", "return prefill_s / (8 * num_bytes / 10**9)")],
    caught_by=as_long_as_the_prefill,
    nudge="Those are seconds per gigabit. Twice the time leaves half the bandwidth to be needed: divide by it.",
)
break_even_gbit_s.mistake(
    "giga as 2**30",
    replace=[("prefill_s / 10**9", "prefill_s / 2**30")],
    caught_by=as_long_as_the_prefill,
    nudge="A Gbit/s is 10**9 bits per second. Powers of two are for memory.",
)
break_even_gbit_s.mistake(
    "single bits",
    replace=[(" / 10**9", "")],
    caught_by=as_long_as_the_prefill,
    nudge="Those are bits per second. Count them in billions.",
)
break_even_gbit_s.mistake(
    "in millions",
    replace=[("/ 10**9", "/ 10**6")],
    caught_by=as_long_as_the_prefill,
    nudge="Those are megabits per second. Giga is 10**9.",
)
break_even_gbit_s.mistake(
    "times a billion",
    replace=[("/ 10**9", "* 10**9")],
    caught_by=as_long_as_the_prefill,
    nudge="To count in billions, divide by a billion.",
)
break_even_gbit_s.mistake(
    "rounded",
    replace=[("return 8 * num_bytes / prefill_s / 10**9", "return float(round(8 * num_bytes / prefill_s / 10**9))")],
    caught_by=as_long_as_the_prefill,
    nudge="You round. The tiny model's break-even would be 0.",
)
break_even_gbit_s.mistake(
    "times the prefill",
    replace=[("num_bytes / prefill_s", "num_bytes * prefill_s")],
    caught_by=as_long_as_the_prefill,
    nudge="A longer prefill leaves more time, so the link may be slower: divide by it.",
)
break_even_gbit_s.alternative(
    "def break_even_gbit_s(num_bytes, prefill_s):\n    return num_bytes / prefill_s / 125e6\n"
)


# 3: Handover


def in_two_pools(learner: Any, num_source_blocks: int, num_target_blocks: int, story: str) -> dict[str, Any]:
    """Replay events on a learner's handover; after each, what it said, what is free, and what stands in the blocks.

    "A=XYZ; reserve A; copy A; commit A; end A": A's prompt is computed and is XYZ, and so on. A block holds two
    letters. The pools number their blocks alike and give them out from opposite ends.
    """

    class PoolError(ValueError):
        pass

    class Pool:
        def __init__(self, name: str, num_blocks: int, place: int) -> None:
            self.name, self.place, self.all = name, place, range(num_blocks)
            self.free_blocks, self.letters = list(range(num_blocks)), ["  "] * num_blocks

        @property
        def num_free(self) -> int:
            return len(self.free_blocks)

        def allocate(self, count: int) -> list[int]:
            if count > len(self.free_blocks):
                raise PoolError(f"`{self.name}.allocate({count})`: only {len(self.free_blocks)} free")
            return [self.free_blocks.pop(self.place) for _ in range(count)]

        def free(self, blocks: Any) -> None:
            for block in list(blocks):
                if block not in self.all:
                    raise PoolError(f"`{self.name}.free({list(blocks)})`: there is no block {block}")
                if block in self.free_blocks:
                    raise PoolError(f"`{self.name}.free({list(blocks)})`: block {block} is free already")
                self.free_blocks.append(block)

    def are_pairs(answer: Any) -> bool:
        return isinstance(answer, list) and all(
            isinstance(pair, (tuple, list)) and len(pair) == 2 and pair[0] in source.all and pair[1] in target.all
            for pair in answer
        )

    def plain(answer: Any) -> Any:
        return answer if isinstance(answer, (list, tuple, int, str)) else None

    def written(pool: Pool, text: str) -> list[int]:
        table = pool.allocate(-(-len(text) // 2))
        for i, block in enumerate(table):
            pool.letters[block] = text[2 * i : 2 * i + 2].ljust(2)
        return table

    source, target = Pool("source", num_source_blocks, 0), Pool("target", num_target_blocks, -1)
    handover = learner(source, target)
    here: dict[str, list[int]] = {}
    there: dict[str, list[int]] = {}
    pairs: dict[str, list[Any]] = {}
    log: list[dict[str, Any]] = []
    events = []
    for part in story.split("; "):
        name, equals, text = part.partition("=")
        what, _, last = part.rpartition(" ")
        events.append(("prefill", name, text) if equals else (what, last, ""))
    for what, name, text in events:
        if (what in ("copy", "commit", "give up") and name not in pairs) or (what == "end" and name not in there):
            break
        answer: Any = None
        problem = ""
        try:
            if what == "prefill":
                here[name] = answer = written(source, text)
            elif what == "reserve":
                answer = handover.reserve(name, list(here[name]))
                if are_pairs(answer):
                    pairs[name] = answer
            elif what == "copy":
                for pair in pairs[name]:
                    target.letters[pair[1]] = source.letters[pair[0]]
            elif what == "commit":
                answer = handover.commit(name)
                if isinstance(answer, list) and all(block in target.all for block in answer):
                    there[name] = list(answer)
            elif what == "give up":
                answer = handover.give_up(name)
            elif what == "end":
                target.free(there.pop(name))
        except PoolError as error:
            problem = str(error)
        log.append(
            {
                "answer": plain(answer),
                "kind": type(answer).__name__,
                "problem": problem,
                "free": [list(source.free_blocks), list(target.free_blocks)],
                "letters": [list(source.letters), list(target.letters)],
            }
        )
        wrong_pairs = what == "reserve" and not (answer is None or are_pairs(answer))
        if problem or wrong_pairs or (what == "commit" and name not in there):
            break
    return {"pools": [num_source_blocks, num_target_blocks], "story": events, "log": log}


@define("disaggregation.Handover", points=3, through=in_two_pools)
class Handover:
    """Moves sequences from the worker that computes prompts to the one that writes answers.

    Each worker has a pool of blocks: `pool.num_free` says how many are free,
    `pool.allocate(count)` takes some and returns the list of their numbers, and
    `pool.free(blocks)` gives a list of them back.
    """

    def __init__(self, source, target):
        """The pools of the prefill worker and of the decode worker."""
        self.source, self.target = source, target
        self.moving = {}  # what is under way, by the name of its request

    def reserve(self, request: str, blocks: list[int]) -> list[tuple[int, int]] | None:
        """The prompt of `request` is computed; its keys and values are in `blocks` of the source.

        Set as many blocks aside at the target, and return what is to be copied: a list of pairs
        (source block, target block), in the order of `blocks`. If the target has too few: change
        nothing and return None. You will be asked again.
        """
        # yours: about 5 lines
        if len(blocks) > self.target.num_free:
            return None
        table = self.target.allocate(len(blocks))
        self.moving[request] = list(blocks), table
        return list(zip(blocks, table, strict=True))
        # end

    def commit(self, request: str) -> list[int]:
        """Everything has arrived: from now on the copy counts, and the source's is not needed.

        Return the sequence's block table at the target.
        """
        # yours: about 3 lines
        blocks, table = self.moving.pop(request)
        self.source.free(blocks)
        return table
        # end

    def give_up(self, request: str) -> None:
        """The copy broke off. The sequence stays at the source, and will be tried again later."""
        # yours: about 2 lines
        _, table = self.moving.pop(request)
        self.target.free(table)
        # end


handover: Any = Handover  # an Exercise; type checkers take a decorated class for the class itself

Story = list[tuple[str, str, str]]


def draw_pools(expected: Any, got: Any) -> Any:
    """Both pools when it went wrong."""
    from course.figures.two_pools import two_pools

    log = HandoverLog.of(got)
    fault = handover_fault(log)
    return two_pools(*fault.pools, title=f"After {fault.event}") if fault.pools else None


def as_text(story: Story) -> str:
    """A story as it is told to a learner."""
    return "; ".join(f"{name}={text}" if what == "prefill" else f"{what} {name}" for what, name, text in story)


def replayed(num_source: int, num_target: int, story: Story) -> Cases:
    """Replay events, and name the first thing that is wrong."""
    got = yield call(num_source, num_target, as_text(story))
    sentence = handover_fault(HandoverLog.of(got)).sentence
    expect(not sentence, sentence)


def text(rng: np.random.Generator, count: int) -> str:
    """Random capital letters, all different."""
    return "".join(chr(65 + int(n)) for n in rng.choice(26, count, replace=False))


def move_of(name: str) -> Story:
    """A move that succeeds."""
    return [(what, name, "") for what in ("reserve", "copy", "commit")]


@handover.check(
    hint="Follow one sequence: which blocks does it hold at either worker, after each call?", picture=draw_pools
)
def one_sequence_moves(rng: np.random.Generator) -> Cases:
    for length in (2, 3, int(rng.integers(5, 8))):
        yield from replayed(4, 6, [("prefill", "A", text(rng, length)), *move_of("A"), ("end", "A", "")])


@handover.check(hint="Two moves can be under way, and end in any order: keep them apart.", picture=draw_pools)
def two_moves_at_a_time(rng: np.random.Generator) -> Cases:
    both: Story = [("prefill", "A", text(rng, 2)), ("reserve", "A", ""), ("prefill", "B", text(rng, 3))]
    both += [("reserve", "B", ""), ("copy", "B", ""), ("copy", "A", "")]
    yield from replayed(6, 6, [*both, ("commit", "A", ""), ("commit", "B", "")])
    yield from replayed(6, 6, [*both, ("commit", "B", ""), ("commit", "A", ""), ("end", "A", ""), ("end", "B", "")])


@handover.check(hint="Ask before you take. If it does not fit, nothing at all has changed.", picture=draw_pools)
def the_target_is_full(rng: np.random.Generator) -> Cases:
    yield from replayed(4, 1, [("prefill", "A", text(rng, 4)), ("reserve", "A", "")])
    yield from replayed(4, 2, [("prefill", "A", text(rng, 4)), *move_of("A")])
    story: Story = [("prefill", "A", text(rng, 4)), ("prefill", "B", text(rng, 3)), *move_of("A"), ("reserve", "B", "")]
    yield from replayed(4, 3, [*story, ("end", "A", ""), *move_of("B"), ("end", "B", "")])


@handover.check(hint="What was set aside is free again, and what was to be moved is as it was.", picture=draw_pools)
def a_copy_breaks_off(rng: np.random.Generator) -> Cases:
    story: Story = [("prefill", "A", text(rng, 4)), ("reserve", "A", ""), ("give up", "A", "")]
    yield from replayed(3, 2, story)
    yield from replayed(3, 2, [*story, ("prefill", "B", text(rng, 2)), *move_of("A"), ("end", "A", "")])


ONLY_THE_NAMED = "You end every move that is under way. Only the copy of `request` has arrived."

handover.mistake(
    "frees at the source before the commit",
    replace=[
        (
            "        return list(zip(blocks, table, strict=True))",
            "        self.source.free(blocks)\n        return list(zip(blocks, table, strict=True))",
        ),
        ("        self.source.free(blocks)\n        return table", "        return table"),
    ],
    caught_by=one_sequence_moves,
    nudge="The source lets go before anything was copied. Whoever gets these blocks next writes over the sequence.",
)
handover.mistake(
    "never frees the source",
    replace=[("        self.source.free(blocks)\n", "")],
    caught_by=one_sequence_moves,
    nudge="The copy counts now, and the source still keeps the original: its memory leaks with each move.",
)
handover.mistake(
    "the source's block numbers at the target",
    replace=[("        return table\n", "        return blocks\n")],
    caught_by=one_sequence_moves,
    nudge="Those are the numbers at the source. At the target, the same numbers are somebody else's blocks.",
)
handover.mistake(
    "copies to the same numbers",
    replace=[("list(zip(blocks, table, strict=True))", "list(zip(blocks, blocks, strict=True))")],
    caught_by=one_sequence_moves,
    nudge="You copy to the source's numbers. At the target they are not set aside: use those that you allocated there.",
)
handover.mistake(
    "pairs the wrong way round",
    replace=[("list(zip(blocks, table, strict=True))", "list(zip(table, blocks, strict=True))")],
    caught_by=one_sequence_moves,
    nudge="(source block, target block): yours are the other way round, and empty blocks overwrite the sequence.",
)
handover.mistake(
    "says only where to",
    replace=[("return list(zip(blocks, table, strict=True))", "return table")],
    caught_by=one_sequence_moves,
    nudge="That says where to, not what. For each block a pair: (source block, target block).",
)
handover.mistake(
    "two lists for pairs",
    replace=[("return list(zip(blocks, table, strict=True))", "return [(blocks, table)]")],
    caught_by=one_sequence_moves,
    nudge="That is one pair of lists. A list of pairs of numbers is wanted: `zip` makes it.",
)
handover.mistake(
    "a dictionary of pairs",
    replace=[("return list(zip(blocks, table, strict=True))", "return dict(zip(blocks, table, strict=True))")],
    caught_by=one_sequence_moves,
    nudge="The blocks are the right ones. A list is asked for, of pairs: `list(zip(…))` makes it.",
)
handover.mistake(
    "frees block by block",
    replace=[
        (
            "        self.source.free(blocks)\n",
            "        for block in blocks:\n            self.source.free(block)\n",
        )
    ],
    caught_by=one_sequence_moves,
    nudge="`free` takes a list of blocks: give it all of them at once.",
)
handover.mistake(
    "an iterator of pairs",
    replace=[("return list(zip(blocks, table, strict=True))", "return zip(blocks, table, strict=True)")],
    caught_by=one_sequence_moves,
    nudge="`zip` alone is an iterator, which can be read once. Make it a list.",
)
handover.mistake(
    "no table",
    replace=[("        return table\n", "")],
    caught_by=one_sequence_moves,
    nudge="The decode worker must know where the copy is: return its blocks at the target.",
)
handover.mistake(
    "the table of a move, not of a sequence",
    replace=[("        return table\n", "        return list(zip(blocks, table, strict=True))\n")],
    caught_by=one_sequence_moves,
    nudge="A block table is a list of numbers, in the order of the text. Pairs are for the copy.",
)
handover.mistake(
    "notes nothing",
    replace=[("        self.moving[request] = list(blocks), table\n", "")],
    caught_by=one_sequence_moves,
    nudge="`commit` is told only the name of the request. Note in `reserve` which blocks belong to it.",
)
handover.mistake(
    "frees the copy",
    replace=[("self.source.free(blocks)", "self.target.free(table)")],
    caught_by=one_sequence_moves,
    nudge="You free the copy, and keep the original. It is the other way round: the copy is what counts now.",
)
handover.mistake(
    "takes blocks again at the commit",
    replace=[("        return table\n", "        return self.target.allocate(len(table))\n")],
    caught_by=one_sequence_moves,
    nudge="Those are new, empty blocks. The copy is in the ones that you set aside.",
)
handover.mistake(
    "in the order of the numbers",
    replace=[("        return table\n", "        return sorted(table)\n")],
    caught_by=one_sequence_moves,
    nudge="The blocks are the right ones, in the order of their numbers. A block table is in the order of the text.",
)
handover.mistake(
    "pairs in the order of the numbers",
    replace=[("list(zip(blocks, table, strict=True))", "list(zip(sorted(blocks), sorted(table), strict=True))")],
    caught_by=one_sequence_moves,
    nudge="You sort the blocks for the copy, and `commit` returns them unsorted: the text comes out in another order. "
    "Pair them as they come.",
)
handover.mistake(
    "pairs from the end",
    replace=[("list(zip(blocks, table, strict=True))", "list(zip(blocks, table, strict=True))[::-1]")],
    caught_by=one_sequence_moves,
    nudge="The right pairs, the last one first. They are wanted in the order of `blocks`.",
)
handover.mistake(
    "a set for a table",
    replace=[("        return table\n", "        return set(table)\n")],
    caught_by=one_sequence_moves,
    nudge="A set has no order, and a block table is nothing but an order: that of the text. Return a list.",
)
handover.mistake(
    "one block more",
    replace=[
        ("self.target.allocate(len(blocks))", "self.target.allocate(len(blocks) + 1)"),
        ("strict=True", "strict=False"),
    ],
    caught_by=one_sequence_moves,
    nudge="You set one block more aside than moves. The decode worker takes blocks for the answer itself, when it "
    "needs them.",
)
handover.mistake(
    "which blocks instead of how many",
    replace=[("self.target.allocate(len(blocks))", "self.target.allocate(blocks)")],
    caught_by=one_sequence_moves,
    nudge="`allocate` wants to know how many, not which: the target chooses its own numbers.",
)
handover.mistake(
    "counts the free blocks itself",
    replace=[
        (
            "        self.moving[request] =",
            "        self.target.num_free -= len(blocks)\n        self.moving[request] =",
        ),
    ],
    caught_by=one_sequence_moves,
    nudge="`num_free` follows by itself when you allocate and free. It is there to be read.",
)
handover.mistake(
    "frees both sides",
    replace=[("self.source.free(blocks)", "self.source.free(blocks)\n        self.target.free(table)")],
    caught_by=one_sequence_moves,
    nudge="You free the copy, too. The decode worker is about to read it: only the source's blocks are done with.",
)
handover.mistake(
    "forgets the others at each reserve",
    replace=[("self.moving[request] = list(blocks), table", "self.moving = {request: (list(blocks), table)}")],
    caught_by=two_moves_at_a_time,
    nudge="Each `reserve` makes a new dictionary, and the moves before it are forgotten. Put the new one into the old: "
    "`self.moving[request] = …`.",
)
handover.mistake(
    "commits all that is under way",
    replace=[
        (
            "        blocks, table = self.moving.pop(request)\n        self.source.free(blocks)\n",
            "        table = self.moving[request][1]\n        for blocks, _ in self.moving.values():\n"
            "            self.source.free(blocks)\n        self.moving.clear()\n",
        )
    ],
    caught_by=two_moves_at_a_time,
    nudge=ONLY_THE_NAMED,
)
handover.mistake(
    "one move after the other",
    replace=[("if len(blocks) > self.target.num_free:", "if self.moving or len(blocks) > self.target.num_free:")],
    caught_by=two_moves_at_a_time,
    nudge="You say no as long as something else is under way. There is room, and a slow move holds nobody up.",
)
handover.mistake(
    "one place for all moves",
    replace=[
        ("self.moving[request] = list(blocks), table", "self.moving = list(blocks), table"),
        ("        blocks, table = self.moving.pop(request)", "        blocks, table = self.moving"),
        ("        _, table = self.moving.pop(request)", "        _, table = self.moving"),
    ],
    caught_by=two_moves_at_a_time,
    nudge="The moves get mixed up. Note each under the name of its request, and end the one that is named.",
)
handover.mistake(
    "no answer when the target is full",
    replace=[("        if len(blocks) > self.target.num_free:\n            return None\n", "")],
    caught_by=the_target_is_full,
    nudge="The target has not so many, and `reserve` fails on it. Ask `num_free` first, and say None.",
)
handover.mistake(
    "endless wait for room",
    replace=[
        (
            "        if len(blocks) > self.target.num_free:\n            return None\n",
            "        while len(blocks) > self.target.num_free:\n            pass\n",
        )
    ],
    caught_by=the_target_is_full,
    nudge="Nobody else runs while you wait, so no room is ever made. Say None; you will be asked again.",
)
handover.mistake(
    "an error for an answer",
    replace=[("            return None\n", '            raise ValueError("the target is full")\n')],
    caught_by=the_target_is_full,
    nudge="That a worker is full is nothing unusual, and an error would stop everybody. Say None.",
)
handover.mistake(
    "False for no",
    replace=[("            return None\n", "            return False\n")],
    caught_by=the_target_is_full,
    nudge="It is a no, and the caller waits for None.",
)
handover.mistake(
    "takes what there is",
    replace=[
        ("        if len(blocks) > self.target.num_free:\n            return None\n", ""),
        ("self.target.allocate(len(blocks))", "self.target.allocate(min(len(blocks), self.target.num_free))"),
        ("strict=True", "strict=False"),
    ],
    caught_by=the_target_is_full,
    nudge="The target takes a part, and the rest of the sequence has no place. All of it or nothing.",
)
handover.mistake(
    "keeps what it took when it says no",
    replace=[
        (
            "        if len(blocks) > self.target.num_free:\n            return None\n",
            "        if len(blocks) > self.target.num_free:\n"
            "            self.target.allocate(self.target.num_free)\n            return None\n",
        )
    ],
    caught_by=the_target_is_full,
    nudge="You say no, and keep blocks of the target that nobody will ever give back. Ask first, then take.",
)
handover.mistake(
    "an empty list for no",
    replace=[("            return None\n", "            return []\n")],
    caught_by=the_target_is_full,
    nudge="An empty list means: nothing is to be copied, go on. A clear no is None.",
)
handover.mistake(
    "never takes the last block",
    replace=[("len(blocks) > self.target.num_free", "len(blocks) >= self.target.num_free")],
    caught_by=the_target_is_full,
    nudge="It fits exactly, and you say no. The last free block can be taken.",
)
handover.mistake(
    "asks the source for room",
    replace=[("len(blocks) > self.target.num_free", "len(blocks) > self.source.num_free")],
    caught_by=one_sequence_moves,
    nudge="You ask whether the source has room. It is the target that has to take the sequence.",
)
handover.mistake(
    "frees what it could not move",
    replace=[
        (
            "            return None\n",
            "            self.source.free(blocks)\n            return None\n",
        )
    ],
    caught_by=the_target_is_full,
    nudge="The target said no, so the source is all there is. It keeps the blocks until the move succeeds.",
)
handover.mistake(
    "gives up the original",
    replace=[("        self.target.free(table)\n", "        self.source.free(_)\n        self.target.free(table)\n")],
    caught_by=a_copy_breaks_off,
    nudge="The copy broke, and now you free the original, too: the sequence is lost. It stays at the source.",
)
handover.mistake(
    "keeps what was set aside",
    replace=[("        self.target.free(table)\n", "")],
    caught_by=a_copy_breaks_off,
    nudge="Nothing will ever come to these blocks of the target, and they are not free: its memory leaks.",
)
handover.mistake(
    "frees the wrong side",
    replace=[
        (
            "        _, table = self.moving.pop(request)\n        self.target.free(table)\n",
            "        blocks, _ = self.moving.pop(request)\n        self.source.free(blocks)\n",
        )
    ],
    caught_by=a_copy_breaks_off,
    nudge="The source has the only good copy, and you free that. What was set aside at the target is to be freed.",
)
handover.alternative(
    """
class Handover:
    def __init__(self, source, target):
        self.source, self.target = source, target
        self.moving = {}

    def reserve(self, request, blocks):
        try:
            table = self.target.allocate(len(blocks))
        except ValueError:
            return None
        self.moving[request] = [(here, there) for here, there in zip(blocks, table, strict=True)]
        return self.moving[request]

    def commit(self, request):
        pairs = self.moving.pop(request)
        self.source.free([here for here, _ in pairs])
        return [there for _, there in pairs]

    def give_up(self, request):
        self.target.free(there for _, there in self.moving.pop(request))
"""
)


# 4: serve_split


def with_two_workers(learner: Any, prompt: list[int], max_new_tokens: int) -> dict[str, Any]:
    """Serve one prompt on two workers whose model is a sum; the answer, and every call in order.

    A block holds two tokens. The workers number their blocks alike and give them out from opposite ends.
    """
    calls: list[list[Any]] = []

    class WorkerError(ValueError):
        pass

    class Worker:
        def __init__(self, name: str, place: int) -> None:
            self.name, self.place = name, place
            self.free_blocks, self.tokens = list(range(8)), [[0, 0] for _ in range(8)]

        def _next(self, table: list[int], count: int) -> int:
            seen = [self.tokens[table[i // 2]][i % 2] for i in range(count)]
            return 100 + sum((i + 1) * token for i, token in enumerate(seen)) % 800

        def _write(self, table: list[int], position: int, token: int) -> None:
            while position // 2 >= len(table):
                table.append(self.free_blocks.pop(self.place))
            self.tokens[table[position // 2]][position % 2] = token

        def prefill(self, prompt: list[int]) -> tuple[list[int], int]:
            table: list[int] = []
            for position, token in enumerate(prompt):
                self._write(table, position, token)
            calls.append([self.name, "prefill", list(prompt), list(table)])
            return table, self._next(table, len(prompt))

        def step(self, token: int, position: int, table: list[int]) -> int:
            calls.append([self.name, "step", token, position, list(table)])
            if len([call for call in calls if call[1] == "step"]) > 40:
                raise WorkerError("the answer never ends")
            if not isinstance(position, int) or not 0 <= position < 16:
                raise WorkerError(f"there is no position {position}")
            self._write(table, position, token)
            return self._next(table, position + 1)

        def free(self, table: list[int]) -> None:
            calls.append([self.name, "free", list(table)])
            self._free(table)

        def _free(self, table: list[int]) -> None:
            for block in table:
                if block in self.free_blocks:
                    raise WorkerError(f"block {block} of the {self.name} worker is free already")
                self.free_blocks.append(block)

    def move(table: list[int]) -> list[int]:
        calls.append(["", "move", list(table)])
        copy = [target.free_blocks.pop(target.place) for _ in table]
        for here, there in zip(table, copy, strict=True):
            target.tokens[there] = list(source.tokens[here])
        source._free(table)
        calls[-1].append(list(copy))
        return copy

    source, target = Worker("prefill", 0), Worker("decode", -1)
    own_prompt, answer, problem = list(prompt), None, ""
    try:
        answer = learner(own_prompt, max_new_tokens, source, target, move)
    except WorkerError as error:
        problem = str(error)
    return {
        "prompt": prompt,
        "prompt_after": own_prompt,
        "max_new_tokens": max_new_tokens,
        "answer": answer if isinstance(answer, (list, tuple, int)) else None,
        "kind": type(answer).__name__,
        "problem": problem,
        "calls": calls,
        "used": [8 - len(source.free_blocks), 8 - len(target.free_blocks)],
    }


@define("disaggregation.serve_split", points=2, through=with_two_workers)
def serve_split(
    prompt: list[int],
    max_new_tokens: int,
    prefill_worker,
    decode_worker,
    move,
) -> list[int]:
    """The `max_new_tokens` (1 or more) tokens of an answer that two workers write, in order.

    - `prefill_worker.prefill(prompt)` computes the prompt. It returns two things: the block table
      of the prompt, and the first token.
    - `move(table)` is a whole handover, the freeing at the prefill worker too. It returns the
      block table at the decode worker.
    - `decode_worker.step(token, position, table)` computes a token of the text, which stands at
      `position` (the prompt's first at 0), and returns the token that follows it.
    - `worker.free(table)` of either worker: these blocks are not needed any more.

    The first token is not in the cache yet: it was sampled and not computed. An answer of one
    token does not move. In the end no block is held. About 8 lines.
    """
    table, token = prefill_worker.prefill(prompt)
    answer = [token]
    if max_new_tokens == 1:
        prefill_worker.free(table)
        return answer
    table = move(table)
    for position in range(len(prompt), len(prompt) + max_new_tokens - 1):
        answer.append(decode_worker.step(answer[-1], position, table))
    decode_worker.free(table)
    return answer


split: Any = serve_split


def served(prompt: list[int], max_new_tokens: int) -> Cases:
    """Serve a prompt, and name the first thing that is wrong."""
    got = yield call(prompt, max_new_tokens)
    sentence = split_fault(got)
    expect(not sentence, sentence)


def tokens(rng: np.random.Generator, count: int) -> list[int]:
    """A prompt of different tokens."""
    return [int(n) for n in rng.choice(range(10, 99), count, replace=False)]


@split.check(hint="Which token is the newest, and where in the text does it stand? That one is computed next.")
def two_tokens(rng: np.random.Generator) -> Cases:
    yield from served(tokens(rng, 2), 2)
    yield from served(tokens(rng, 3), 2)


@split.check(hint="Each step computes the token before, and each stands one place further on.")
def a_longer_answer(rng: np.random.Generator) -> Cases:
    for _ in range(2):
        yield from served(tokens(rng, int(rng.integers(1, 6))), int(rng.integers(3, 8)))


@split.check(hint="The first token is the last one, too: nothing is left to do for the other worker.")
def an_answer_of_one_token(rng: np.random.Generator) -> Cases:
    yield from served(tokens(rng, int(rng.integers(1, 6))), 1)


split.mistake(
    "the first token is lost",
    text="""
def serve_split(prompt, max_new_tokens, prefill_worker, decode_worker, move):
    table, token = prefill_worker.prefill(prompt)
    table = move(table)
    answer = []
    for position in range(len(prompt), len(prompt) + max_new_tokens):
        token = decode_worker.step(token, position, table)
        answer.append(token)
    decode_worker.free(table)
    return answer
""",
    caught_by=two_tokens,
    nudge="The prefill worker has sampled the first token already, and its reader never gets it.",
)
split.mistake(
    "the first token twice",
    text="""
def serve_split(prompt, max_new_tokens, prefill_worker, decode_worker, move):
    table, token = prefill_worker.prefill(prompt)
    table = move(table)
    answer = [token]
    last = prompt[-1]
    for position in range(len(prompt) - 1, len(prompt) + max_new_tokens - 2):
        last = decode_worker.step(last, position, table)
        answer.append(last)
    decode_worker.free(table)
    return answer
""",
    caught_by=two_tokens,
    nudge="The prompt's last token is computed again, so the first token comes out again. Go on behind it.",
)
split.mistake(
    "one position too late",
    replace=[
        (
            "range(len(prompt), len(prompt) + max_new_tokens - 1)",
            "range(len(prompt) + 1, len(prompt) + max_new_tokens)",
        )
    ],
    caught_by=two_tokens,
    nudge="The prompt ends at position len(prompt) - 1. Yours leaves a hole behind it.",
)
split.mistake(
    "one position too early",
    replace=[
        (
            "range(len(prompt), len(prompt) + max_new_tokens - 1)",
            "range(len(prompt) - 1, len(prompt) + max_new_tokens - 2)",
        )
    ],
    caught_by=two_tokens,
    nudge="The first token overwrites the prompt's last one. The first free position is len(prompt).",
)
split.mistake(
    "positions of the answer",
    replace=[
        ("range(len(prompt), len(prompt) + max_new_tokens - 1)", "range(max_new_tokens - 1)"),
    ],
    caught_by=two_tokens,
    nudge="Those are positions in the answer. In the text, the prompt stands before it.",
)
split.mistake(
    "the source's block table at the decode worker",
    replace=[("    table = move(table)\n", "    move(table)\n")],
    caught_by=two_tokens,
    nudge="Those are the block numbers of the prefill worker. `move` returns those at the decode worker.",
)
split.mistake(
    "does not move",
    replace=[("    table = move(table)\n", "")],
    caught_by=two_tokens,
    nudge="The decode worker reads its own memory, and nothing of the prompt is there. Hand it over first.",
)
split.mistake(
    "goes on at the prefill worker",
    replace=[
        ("    table = move(table)\n", ""),
        ("append(decode_worker.step(", "append(prefill_worker.step("),
        ("    decode_worker.free(table)\n", "    prefill_worker.free(table)\n"),
    ],
    caught_by=two_tokens,
    nudge="The tokens are right, but the prefill worker writes them, and the next prompt waits. Hand the blocks over.",
)
split.mistake(
    "computes the prompt again",
    text="""
def serve_split(prompt, max_new_tokens, prefill_worker, decode_worker, move):
    table, token = prefill_worker.prefill(prompt)
    prefill_worker.free(table)
    answer = [token]
    table, token = decode_worker.prefill(prompt)
    for position in range(len(prompt), len(prompt) + max_new_tokens - 1):
        answer.append(decode_worker.step(answer[-1], position, table))
    decode_worker.free(table)
    return answer
""",
    caught_by=two_tokens,
    nudge="The decode worker computes the whole prompt once more. That is what the move is to save.",
)
split.mistake(
    "always computes the same token",
    replace=[("(decode_worker.step(answer[-1], position", "(decode_worker.step(token, position")],
    caught_by=a_longer_answer,
    nudge="Each step gets the first token again. It should get the one that came out last.",
)
split.mistake(
    "the position stands still",
    replace=[("decode_worker.step(answer[-1], position,", "decode_worker.step(answer[-1], len(prompt),")],
    caught_by=a_longer_answer,
    nudge="Every token is put at the same place, over the one before. Each stands one further on.",
)
split.mistake(
    "one token too many",
    replace=[("len(prompt) + max_new_tokens - 1)", "len(prompt) + max_new_tokens)")],
    caught_by=two_tokens,
    nudge="The first token counts, too: `max_new_tokens - 1` steps are left for the decode worker.",
)
split.mistake(
    "moves an answer that is over",
    replace=[("    if max_new_tokens == 1:\n        prefill_worker.free(table)\n        return answer\n", "")],
    caught_by=an_answer_of_one_token,
    nudge="The answer is complete with its first token. Moving its blocks is work for nobody.",
)
split.mistake(
    "keeps the blocks of an answer that is over",
    replace=[("        prefill_worker.free(table)\n", "")],
    caught_by=an_answer_of_one_token,
    nudge="Nothing moves, so nobody frees the blocks at the prefill worker. That is left to you.",
)
split.mistake(
    "keeps the blocks in the end",
    replace=[("    decode_worker.free(table)\n", "")],
    caught_by=two_tokens,
    nudge="The answer has ended, and its blocks at the decode worker are still held.",
)
split.mistake(
    "frees at the source, too",
    replace=[
        ("    table = move(table)\n", "    here = table\n    table = move(table)\n    prefill_worker.free(here)\n")
    ],
    caught_by=two_tokens,
    nudge="`move` is a whole handover: the source's blocks are free when it returns. You free them a second time.",
)
split.mistake(
    "position and token exchanged",
    replace=[("(decode_worker.step(answer[-1], position, table)", "(decode_worker.step(position, answer[-1], table)")],
    caught_by=two_tokens,
    nudge="`step(token, position, table)`: first the token, then where it stands.",
)
split.mistake(
    "a generator",
    text="""
def serve_split(prompt, max_new_tokens, prefill_worker, decode_worker, move):
    table, token = prefill_worker.prefill(prompt)
    yield token
    table = move(table)
    for position in range(len(prompt), len(prompt) + max_new_tokens - 1):
        token = decode_worker.step(token, position, table)
        yield token
    decode_worker.free(table)
""",
    caught_by=two_tokens,
    nudge="With `yield` nothing runs until somebody asks for the tokens. Put them into a list and return it.",
)
split.mistake(
    "the first token written twice",
    replace=[("    table = move(table)\n", "    table = move(table)\n    answer.append(token)\n")],
    caught_by=two_tokens,
    nudge="The first token stands in your answer twice: it comes from the prefill, and is not written again after the "
    "move.",
)
split.mistake(
    "begins with the prompt's last token",
    replace=[
        ("    table = move(table)\n", "    table = move(table)\n    token = prompt[-1]\n"),
        ("step(answer[-1], position, table))", "step(token, position, table))\n        token = answer[-1]"),
    ],
    caught_by=two_tokens,
    nudge="You hand the prompt's last token to the decode worker. It is computed already; the newest token is the "
    "first of the answer.",
)
split.mistake(
    "frees at the other worker",
    replace=[("    decode_worker.free(table)\n", "    prefill_worker.free(table)\n")],
    caught_by=two_tokens,
    nudge="After the move these numbers are blocks of the decode worker. At the prefill worker they are somebody "
    "else's.",
)
split.mistake(
    "frees after each token",
    replace=[
        (
            "        answer.append(decode_worker.step(answer[-1], position, table))\n    decode_worker.free(table)\n",
            "        answer.append(decode_worker.step(answer[-1], position, table))\n"
            "        decode_worker.free(table)\n",
        )
    ],
    caught_by=a_longer_answer,
    nudge="You free the blocks after each token. The next step still reads them: free once, at the end of the answer.",
)
split.mistake(
    "moves before each token",
    replace=[
        (
            "    table = move(table)\n    for position in range(len(prompt), len(prompt) + max_new_tokens - 1):\n",
            "    for position in range(len(prompt), len(prompt) + max_new_tokens - 1):\n        table = move(table)\n",
        )
    ],
    caught_by=a_longer_answer,
    nudge="You move before each token. A sequence moves once; then it stays at the decode worker.",
)
split.mistake(
    "token and table exchanged",
    replace=[("    table, token = prefill_worker", "    token, table = prefill_worker")],
    caught_by=two_tokens,
    nudge="`prefill` returns the block table first, then the token.",
)
split.mistake(
    "the answer is written into the prompt",
    replace=[("    decode_worker.free(table)\n", "    prompt += answer\n    decode_worker.free(table)\n")],
    caught_by=two_tokens,
    nudge="Whoever called you still has this list, and finds your tokens in it. Make one of your own: "
    "`text = [*prompt, token]`.",
)
split.mistake(
    "a tuple",
    replace=[
        ("    decode_worker.free(table)\n    return answer", "    decode_worker.free(table)\n    return tuple(answer)")
    ],
    caught_by=two_tokens,
    nudge="The tokens are right. Return them as a list.",
)
split.mistake(
    "prompt and answer",
    replace=[
        (
            "    decode_worker.free(table)\n    return answer",
            "    decode_worker.free(table)\n    return prompt + answer",
        )
    ],
    caught_by=two_tokens,
    nudge="The reader knows the prompt. Return what was written behind it.",
)
split.alternative(
    """
def serve_split(prompt, max_new_tokens, prefill_worker, decode_worker, move):
    blocks, first = prefill_worker.prefill(prompt)
    text = [*prompt, first]
    if max_new_tokens < 2:
        prefill_worker.free(blocks)
    else:
        table = move(blocks)
        while len(text) < len(prompt) + max_new_tokens:
            text.append(decode_worker.step(text[-1], len(text) - 1, table))
        decode_worker.free(table)
    return text[len(prompt) :]
"""
)


# 5: exposed_s


@define("disaggregation.exposed_s", points=2)
def exposed_s(
    sending_s: float,
    prefill_s: float,
    num_layers: int,
    latency_s: float = 0.0,
) -> float:
    """Seconds from the end of a prefill until its last layer is at the other worker.

    Each of the `num_layers` layers takes the same part of `prefill_s` to be computed, and the
    same part of `sending_s` to be sent. Sending a layer begins when it is computed and the one
    before it is sent; each bit is under way for `latency_s`. About 3 lines, as a formula or as
    a loop.
    """
    share = 1 / num_layers
    return max(share * sending_s, sending_s - (1 - share) * prefill_s) + latency_s


def layer_after_layer(sending_s: float, prefill_s: float, num_layers: int, latency_s: float) -> float:
    """One layer after the other: when is it computed, when is the link free, when is it sent?"""
    free_s = 0.0
    for layer in range(1, num_layers + 1):
        computed_s = layer * prefill_s / num_layers
        free_s = max(free_s, computed_s) + sending_s / num_layers
    return free_s + latency_s - prefill_s


def exposed(sending_s: float, prefill_s: float, num_layers: int, latency_s: float = 0.0) -> Any:
    """The call, with what must come."""
    arguments = (sending_s, prefill_s, num_layers, latency_s)
    return call(*arguments).returns(layer_after_layer(*arguments), atol=1e-9)


@exposed_s.check(hint="On a fast link every layer but one is sent before the next is computed. Which one is left?")
def a_fast_link(rng: np.random.Generator) -> Cases:
    yield exposed(2.0, 4.0, 4)
    yield exposed(3.0, 4.0, 4)
    layers, sending_s = int(rng.integers(5, 40)), float(rng.integers(1, 9)) / 100
    yield exposed(sending_s, sending_s * float(rng.integers(2, 9)), layers)


@exposed_s.check(hint="On a slow link the layers queue up. From when on is it busy without a pause?")
def a_slow_link(rng: np.random.Generator) -> Cases:
    yield exposed(6.0, 2.0, 2)
    yield exposed(10.0, 1.0, 5)
    layers, prefill_s = int(rng.integers(3, 40)), float(rng.integers(1, 9)) / 100
    yield exposed(prefill_s * float(rng.integers(2, 9)), prefill_s, layers)


@exposed_s.check(hint="With one layer there is nothing to overlap.")
def one_layer(rng: np.random.Generator) -> Cases:
    yield exposed(float(rng.integers(1, 9)), float(rng.integers(1, 99)), 1)


@exposed_s.check(hint="While one layer is under way, the next is sent. Who waits for the last bit?")
def bits_are_under_way(rng: np.random.Generator) -> Cases:
    yield exposed(1.0, 2.0, 2, 2.0)
    yield exposed(6.0, 2.0, 2, 2.0)
    yield exposed(float(rng.integers(1, 9)), 4.0, int(rng.integers(3, 9)), float(rng.integers(1, 9)) / 10)


TWICE = "The last layer is counted twice. Either it waits in the queue with the others or it is all that is left."

exposed_s.mistake(
    "no overlap",
    replace=[("return max(share * sending_s, sending_s - (1 - share) * prefill_s)", "return sending_s")],
    caught_by=a_fast_link,
    nudge="That is the whole transfer, behind the prefill. Most layers can be sent while later ones are computed.",
)
exposed_s.mistake(
    "all of it hidden",
    replace=[
        (
            "return max(share * sending_s, sending_s - (1 - share) * prefill_s)",
            "return max(0.0, sending_s - (1 - share) * prefill_s)",
        )
    ],
    caught_by=a_fast_link,
    nudge="Even on the fastest link, the last layer is computed last and sent after that.",
)
exposed_s.mistake(
    "sends before anything is computed",
    replace=[("sending_s - (1 - share) * prefill_s", "sending_s - prefill_s")],
    caught_by=a_slow_link,
    nudge="The link is idle until the first layer is computed: of the prefill, all but one layer's part can be used.",
)
exposed_s.mistake(
    "two layers' part lost",
    replace=[("sending_s - (1 - share) * prefill_s", "sending_s - (1 - 2 * share) * prefill_s")],
    caught_by=a_fast_link,
    nudge="Sending begins when one layer is computed, not two.",
)
exposed_s.mistake(
    "the last layer, always",
    replace=[("max(share * sending_s, sending_s - (1 - share) * prefill_s)", "share * sending_s")],
    caught_by=a_slow_link,
    nudge="Right on a fast link. On a slow one, earlier layers are still waiting when the prefill ends.",
)
exposed_s.mistake(
    "both added",
    replace=[
        (
            "max(share * sending_s, sending_s - (1 - share) * prefill_s)",
            "share * sending_s + max(0.0, sending_s - (1 - share) * prefill_s)",
        )
    ],
    caught_by=a_slow_link,
    nudge=TWICE,
)
exposed_s.mistake(
    "the last layer behind all the others",
    replace=[
        (
            "max(share * sending_s, sending_s - (1 - share) * prefill_s)",
            "share * sending_s + max(0.0, sending_s - prefill_s)",
        )
    ],
    caught_by=a_slow_link,
    nudge=TWICE,
)
exposed_s.mistake(
    "less than nothing",
    replace=[("max(share * sending_s, sending_s - (1 - share) * prefill_s)", "sending_s - prefill_s")],
    caught_by=a_fast_link,
    nudge="Less than no time is left? However fast the link, the last layer is computed last, and sent after that.",
)
exposed_s.mistake(
    "less than nothing, but for one layer",
    replace=[("max(share * sending_s, sending_s - (1 - share) * prefill_s)", "sending_s - (1 - share) * prefill_s")],
    caught_by=a_fast_link,
    nudge="Right on a slow link, where the layers queue up. On a fast one, the link waits for the last layer: at least "
    "its part of `sending_s` is left.",
)
exposed_s.mistake(
    "the first layer is there at the start",
    text="""
def exposed_s(sending_s, prefill_s, num_layers, latency_s=0.0):
    free_s = 0.0
    for layer in range(num_layers):
        free_s = max(free_s, layer * prefill_s / num_layers) + sending_s / num_layers
    return free_s - prefill_s + latency_s
""",
    caught_by=a_fast_link,
    nudge="Your first layer is sent at time 0, before it is computed. Layer i of 1, 2, 3 … is computed after i parts.",
)
exposed_s.mistake(
    "the next layer waits until the one before has arrived",
    text="""
def exposed_s(sending_s, prefill_s, num_layers, latency_s=0.0):
    free_s = 0.0
    for layer in range(1, num_layers + 1):
        free_s = max(free_s, layer * prefill_s / num_layers) + sending_s / num_layers + latency_s
    return free_s - prefill_s
""",
    caught_by=bits_are_under_way,
    nudge="Your link rests while a layer is under way. It is free for the next as soon as the last one is sent.",
)
exposed_s.mistake(
    "under way on a fast link only",
    replace=[
        (
            "max(share * sending_s, sending_s - (1 - share) * prefill_s) + latency_s",
            "max(share * sending_s + latency_s, sending_s - (1 - share) * prefill_s)",
        )
    ],
    caught_by=bits_are_under_way,
    nudge="On a slow link the last bit is under way, too: add `latency_s` to the larger of the two.",
)
exposed_s.mistake(
    "from the start of the prefill",
    replace=[("+ latency_s", "+ latency_s + prefill_s")],
    caught_by=a_fast_link,
    nudge="That counts from the start of the prefill. What is asked for begins at its end.",
)
exposed_s.mistake(
    "no latency",
    replace=[(" + latency_s", "")],
    caught_by=bits_are_under_way,
    nudge="Yours ends when the last bit is sent. It is not there yet.",
)
exposed_s.mistake(
    "latency once per layer",
    replace=[(" + latency_s", " + latency_s * num_layers")],
    caught_by=bits_are_under_way,
    nudge="The layers do not wait for one another to arrive: only the last one's latency is left.",
)
exposed_s.mistake(
    "under way while it is sent",
    replace=[("(1 - share) * prefill_s) + latency_s", "(1 - share) * prefill_s, latency_s)")],
    caught_by=bits_are_under_way,
    nudge="First everything is sent, then the last bit is under way: one after the other, so add.",
)
exposed_s.alternative(
    """
def exposed_s(sending_s, prefill_s, num_layers, latency_s=0.0):
    free = 0.0
    for layer in range(num_layers):
        free = max(free, (layer + 1) * prefill_s / num_layers) + sending_s / num_layers
    return free - prefill_s + latency_s
"""
)
