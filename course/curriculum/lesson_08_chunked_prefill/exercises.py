"""Exercises of lesson 08: cutting a prompt, the mask of a chunk, filling a token budget, choosing it, and its price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from course.curriculum.lesson_08_chunked_prefill.rules import World, chunked_fault
from course.exercises import PLAIN, TORCH, Cases, call, define, expect
from course.figures.masks import mask_grid
from course.figures.steps import steps_grid
from course.simulator.lockstep import LockstepRun, serve_in_steps

if TYPE_CHECKING:  # cells are granted it; listing exercises should not import it
    import torch
    from torch import Tensor

# 1: chunks


@define("chunked_prefill.chunks", points=1)
def chunks(num_tokens: int, chunk_size: int) -> list[tuple[int, int, bool]]:
    """Cut a prompt into chunks of `chunk_size` tokens; the last one has what is left.

    For each chunk, in order: how many tokens of the prompt come before it, how many it has, and
    whether a token of the answer is sampled after it. About 4 lines.
    """
    cut = []
    for start in range(0, num_tokens, chunk_size):
        end = min(start + chunk_size, num_tokens)
        cut.append((start, end - start, end == num_tokens))
    return cut


def cut_by_hand(num_tokens: int, chunk_size: int) -> list[tuple[int, int, bool]]:
    """Deal the tokens out one by one."""
    piles: list[list[int]] = []
    for token in range(num_tokens):
        if not piles or len(piles[-1]) == chunk_size:
            piles.append([])
        piles[-1].append(token)
    return [(pile[0], len(pile), pile is piles[-1]) for pile in piles]


@chunks.check(hint="Deal the tokens out by hand: which are in the last chunk, and after which is the prompt complete?")
def the_last_chunk_has_what_is_left(rng: np.random.Generator) -> Cases:
    yield call(7, 3).returns([(0, 3, False), (3, 3, False), (6, 1, True)])
    for most in (4, 9):
        size = int(rng.integers(most, most + 4))
        num_tokens = size * int(rng.integers(2, 5)) + int(rng.integers(1, size))
        yield call(num_tokens, size).returns(cut_by_hand(num_tokens, size))


@chunks.check(hint="Here the prompt divides evenly. No chunk is empty, and exactly one is the last.")
def an_even_prompt_is_sampled_once(rng: np.random.Generator) -> Cases:
    yield call(4, 2).returns([(0, 2, False), (2, 2, True)])
    size, num = int(rng.integers(3, 9)), int(rng.integers(2, 6))
    yield call(size * num, size).returns(cut_by_hand(size * num, size))


@chunks.check(hint="A prompt that is not longer than a chunk is one chunk.")
def a_short_prompt_is_one_chunk(rng: np.random.Generator) -> Cases:
    yield call(1, 1).returns([(0, 1, True)])
    num_tokens = int(rng.integers(2, 9))
    yield call(num_tokens, num_tokens + int(rng.integers(0, 5))).returns([(0, num_tokens, True)])


chunks.mistake(
    "loses the last, partial chunk",
    replace=[("range(0, num_tokens, chunk_size)", "range(0, num_tokens - chunk_size + 1, chunk_size)")],
    caught_by=the_last_chunk_has_what_is_left,
    nudge="The end of the prompt is lost: what does not fill a chunk is a chunk as well.",
)
chunks.mistake(
    "overruns the prompt",
    text="""
def chunks(num_tokens, chunk_size):
    return [(start, chunk_size, start + chunk_size >= num_tokens) for start in range(0, num_tokens, chunk_size)]
""",
    caught_by=the_last_chunk_has_what_is_left,
    nudge="Your last chunk goes beyond the end of the prompt. It has only what is left.",
)
chunks.mistake(
    "overruns the prompt, and never samples",
    replace=[("min(start + chunk_size, num_tokens)", "start + chunk_size")],
    caught_by=the_last_chunk_has_what_is_left,
    nudge="Your last chunk goes beyond the end of the prompt, so nothing ever ends there, and no token is sampled.",
)
chunks.mistake(
    "samples after every chunk",
    replace=[("end == num_tokens", "True")],
    caught_by=the_last_chunk_has_what_is_left,
    nudge="You sample after every chunk. Inside a prompt the next token is known already: the user wrote it.",
)
chunks.mistake(
    "never samples",
    replace=[("end == num_tokens", "False")],
    caught_by=the_last_chunk_has_what_is_left,
    nudge="No chunk is sampled, so the answer never begins. After which one is the whole prompt computed?",
)
chunks.mistake(
    "samples too early, and again",
    replace=[("end == num_tokens", "end + chunk_size > num_tokens")],
    caught_by=the_last_chunk_has_what_is_left,
    nudge="The last full chunk is not the last chunk. You sample after it, too early, and then a second time.",
)
chunks.mistake(
    "samples after the last full chunk",
    replace=[("end == num_tokens", "end == num_tokens // chunk_size * chunk_size")],
    caught_by=the_last_chunk_has_what_is_left,
    nudge="You sample after the last full chunk. A partial one still follows: the model has not read the end yet.",
)
chunks.mistake(
    "samples after the first chunk",
    replace=[("end == num_tokens", "start == 0")],
    caught_by=the_last_chunk_has_what_is_left,
    nudge="You sample after the first chunk. By then the model has read only the beginning of the prompt.",
)
chunks.mistake(
    "an empty chunk at the end",
    replace=[("range(0, num_tokens, chunk_size)", "range(0, num_tokens + 1, chunk_size)")],
    caught_by=an_even_prompt_is_sampled_once,
    nudge="An empty chunk stands at the end, so a token is sampled twice. `range` stops before its second argument.",
)
chunks.mistake(
    "a remainder of nothing",
    text="""
def chunks(num_tokens, chunk_size):
    number = num_tokens // chunk_size
    cut = [(i * chunk_size, chunk_size, False) for i in range(number)]
    return cut + [(number * chunk_size, num_tokens % chunk_size, True)]
""",
    caught_by=an_even_prompt_is_sampled_once,
    nudge="When a prompt divides evenly nothing is left over, and yours ends with a chunk of 0 tokens. Then the last "
    "full chunk is the one after which to sample.",
)
chunks.mistake(
    "only a short chunk is the last",
    replace=[("end == num_tokens", "end - start < chunk_size")],
    caught_by=an_even_prompt_is_sampled_once,
    nudge="You take a short chunk for the last one. When the prompt divides evenly none is short: ask where it ends.",
)
chunks.mistake(
    "where it ends, not how many",
    replace=[("end - start, end", "end, end")],
    caught_by=the_last_chunk_has_what_is_left,
    nudge="The second number is how many tokens the chunk has, not where it ends.",
)
chunks.mistake(
    "counts what is computed after it",
    replace=[("cut.append((start,", "cut.append((end,")],
    caught_by=the_last_chunk_has_what_is_left,
    nudge="The first number is what comes before the chunk. Before the first there is nothing: 0.",
)
chunks.mistake(
    "chunks of equal size",
    text="""
def chunks(num_tokens, chunk_size):
    number = math.ceil(num_tokens / chunk_size)
    pieces = np.array_split(range(num_tokens), number)
    return [(int(piece[0]), len(piece), i == number - 1) for i, piece in enumerate(pieces)]
""",
    caught_by=the_last_chunk_has_what_is_left,
    nudge="You share the tokens out evenly. Each chunk takes all that it may; only the last has fewer.",
)
chunks.mistake(
    "the short one first",
    text="""
def chunks(num_tokens, chunk_size):
    cut, start = [], 0
    while start < num_tokens:
        size = (num_tokens - start - 1) % chunk_size + 1
        cut.append((start, size, start + size == num_tokens))
        start += size
    return cut
""",
    caught_by=the_last_chunk_has_what_is_left,
    nudge="Your short chunk is the first. Fill each as far as it goes, so that the last is the short one.",
)
chunks.mistake(
    "numbers of the chunks",
    text="""
def chunks(num_tokens, chunk_size):
    number = math.ceil(num_tokens / chunk_size)
    left = num_tokens - (number - 1) * chunk_size
    return [(i, left if i == number - 1 else chunk_size, i == number - 1) for i in range(number)]
""",
    caught_by=the_last_chunk_has_what_is_left,
    nudge="The first number counts tokens before the chunk, not chunks.",
)
chunks.mistake(
    "leaves out whether to sample",
    replace=[(", end == num_tokens))", "))")],
    caught_by=the_last_chunk_has_what_is_left,
    nudge="Three things for each chunk: tokens before it, tokens in it, and whether a token is sampled after it.",
)
chunks.mistake(
    "the last full chunk is the last",
    text="""
def chunks(num_tokens, chunk_size):
    number = num_tokens // chunk_size
    return [(i * chunk_size, chunk_size, i == number - 1) for i in range(number)]
""",
    caught_by=the_last_chunk_has_what_is_left,
    nudge="`//` counts full chunks. What is left over is a chunk as well, and only after it is the prompt complete.",
)
chunks.mistake(
    "the two numbers swapped",
    replace=[("(start, end - start, end", "(end - start, start, end")],
    caught_by=the_last_chunk_has_what_is_left,
    nudge="The right numbers in the wrong order: first the tokens before the chunk, then the tokens in it.",
)
chunks.mistake(
    "counts from 1",
    replace=[("cut.append((start,", "cut.append((start + 1,")],
    caught_by=the_last_chunk_has_what_is_left,
    nudge="You say which token is the first of the chunk, counted from 1. How many come before it is one less.",
)
chunks.mistake(
    "only the first chunk",
    replace=[("    return cut\n", "        return cut\n")],
    caught_by=the_last_chunk_has_what_is_left,
    nudge="Only the first chunk comes back. Does `return` stand inside the loop?",
)
chunks.mistake(
    "one after the other, not a list",
    text="""
def chunks(num_tokens, chunk_size):
    for start in range(0, num_tokens, chunk_size):
        end = min(start + chunk_size, num_tokens)
        yield start, end - start, end == num_tokens
""",
    caught_by=the_last_chunk_has_what_is_left,
    nudge="`yield` hands the chunks out one by one. Collect them in a list, and return it.",
)
chunks.mistake(
    "endless: never moves on",
    text="""
def chunks(num_tokens, chunk_size):
    cut, start = [], 0
    while start < num_tokens:
        end = min(start + chunk_size, num_tokens)
        cut.append((start, end - start, end == num_tokens))
    return cut
""",
    caught_by=the_last_chunk_has_what_is_left,
    nudge="After each chunk the next one begins further on. What is changed in the loop, so that it comes to an end?",
)
chunks.alternative("""
def chunks(num_tokens, chunk_size):
    starts = list(range(0, num_tokens, chunk_size))
    return [(start, min(chunk_size, num_tokens - start), start == starts[-1]) for start in starts]
""")


# 2: chunk_mask


def draw_mask(expected: Any, got: Any) -> str | None:
    """The mask that came beside the one that should have come; wrong cells framed."""
    shape = getattr(got, "shape", None)
    if expected is None or shape is None or len(shape) != 2:
        return None
    start = int(expected[0].sum()) - 1
    return mask_grid({"yours": (got > 0).tolist(), "expected": expected.tolist()}, start)


@define("chunked_prefill.chunk_mask", points=2, grants=TORCH)
def chunk_mask(start: int, num_tokens: int, num_keys: int) -> Tensor:
    """Which keys each token of a chunk may look at: True and False, [num_tokens, num_keys].

    The chunk has `num_tokens` tokens, and `start` tokens of its prompt came before it. The cache
    has room for `num_keys` keys, one for each position from 0. Those behind the chunk are not
    there yet: what is in their place means nothing. About 2 lines.
    """
    positions = start + torch.arange(num_tokens)
    return torch.arange(num_keys) <= positions[:, None]


def mask_by_hand(start: int, num_tokens: int, num_keys: int) -> Tensor:
    """Pair by pair."""
    import torch

    mask = torch.zeros(num_tokens, num_keys, dtype=torch.bool)
    for row in range(num_tokens):
        for key in range(num_keys):
            mask[row, key] = key in range(start + row + 1)
    return mask


@chunk_mask.check(hint="The first chunk: a token looks at itself and at those before it.", picture=draw_mask)
def the_first_chunk_is_causal(rng: np.random.Generator) -> Cases:
    yield call(0, 2, 4).returns(mask_by_hand(0, 2, 4))
    num = int(rng.integers(3, 6))
    yield call(0, num, num).returns(mask_by_hand(0, num, num))


@chunk_mask.check(
    hint="A later chunk: its first token stands at position `start`. Whom may it look at?", picture=draw_mask
)
def earlier_chunks_are_seen(rng: np.random.Generator) -> Cases:
    yield call(2, 2, 4).returns(mask_by_hand(2, 2, 4))
    start, num = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    yield call(start, num, start + num).returns(mask_by_hand(start, num, start + num))


@chunk_mask.check(hint="What stands behind the chunk in the cache is not computed yet.", picture=draw_mask)
def nothing_behind_the_chunk_is_seen(rng: np.random.Generator) -> Cases:
    yield call(1, 2, 5).returns(mask_by_hand(1, 2, 5))
    start, num, more = (int(n) for n in rng.integers(2, 6, 3))
    yield call(start, num, start + num + more).returns(mask_by_hand(start, num, start + num + more))


chunk_mask.mistake(
    "as if it were the first chunk",
    replace=[("start + torch.arange", "torch.arange")],
    caught_by=earlier_chunks_are_seen,
    nudge="This is the mask of a first chunk. `start` tokens came before, and every token may look at them.",
)
chunk_mask.mistake(
    "ends where its length says",
    replace=[("start + torch.arange(num_tokens)", "torch.arange(start, num_tokens)")],
    caught_by=earlier_chunks_are_seen,
    nudge="`torch.arange(start, num_tokens)` ends at position `num_tokens`. The chunk ends at `start + num_tokens`.",
)
chunk_mask.mistake(
    "lists",
    text="""
def chunk_mask(start, num_tokens, num_keys):
    return [[key <= start + row for key in range(num_keys)] for row in range(num_tokens)]
""",
    caught_by=the_first_chunk_is_causal,
    nudge="The right cells, as lists. `torch.tensor(...)` makes a tensor of them.",
)
chunk_mask.mistake(
    "forgets the earlier chunks",
    text="""
def chunk_mask(start, num_tokens, num_keys):
    keys, positions = torch.arange(num_keys), start + torch.arange(num_tokens)
    return (keys >= start) & (keys <= positions[:, None])
""",
    caught_by=earlier_chunks_are_seen,
    nudge="The chunk looks only at itself. The prompt falls into pieces that know nothing of each other.",
)
chunk_mask.mistake(
    "earlier chunks only",
    text="""
def chunk_mask(start, num_tokens, num_keys):
    if start:
        return torch.arange(num_keys).expand(num_tokens, num_keys) < start
    return torch.arange(num_keys) <= torch.arange(num_tokens)[:, None]
""",
    caught_by=earlier_chunks_are_seen,
    nudge="Only what came before the chunk is seen. Its own tokens also see themselves and one another, backwards.",
)
chunk_mask.mistake(
    "everybody sees the whole chunk",
    text="""
def chunk_mask(start, num_tokens, num_keys):
    return (torch.arange(num_keys) < start + num_tokens).expand(num_tokens, num_keys)
""",
    caught_by=the_first_chunk_is_causal,
    nudge="Inside of the chunk a token sees those after it. They are computed at once, but they are its future.",
)
chunk_mask.mistake(
    "attention over the whole prompt",
    text="""
def chunk_mask(start, num_tokens, num_keys):
    return torch.ones(num_tokens, num_keys, dtype=torch.bool)
""",
    caught_by=the_first_chunk_is_causal,
    nudge="All places of the cache are seen, even those behind the chunk, where nothing has been computed yet.",
)
chunk_mask.mistake(
    "causal inside, open behind",
    text="""
def chunk_mask(start, num_tokens, num_keys):
    mask = torch.ones(num_tokens, num_keys, dtype=torch.bool)
    mask[:, start : start + num_tokens] = torch.ones(num_tokens, num_tokens).tril() > 0
    return mask
""",
    caught_by=the_first_chunk_is_causal,
    nudge="Inside of the chunk it is right. Behind it, the cache is empty, and you let tokens look there.",
)
chunk_mask.mistake(
    "aligned to the end of the cache",
    replace=[("positions = start +", "positions = num_keys - num_tokens +")],
    caught_by=the_first_chunk_is_causal,
    nudge="You place the chunk at the end of the keys. It stands at `start`; there may be room behind it.",
)
chunk_mask.mistake(
    "upside down",
    replace=[("<= positions", "> positions")],
    caught_by=the_first_chunk_is_causal,
    nudge="Upside down: True means that a token may look, and yours is True for the future.",
)
chunk_mask.mistake(
    "hides itself",
    replace=[("<= positions", "< positions")],
    caught_by=the_first_chunk_is_causal,
    nudge="A token also looks at itself: its own key is in the cache when it asks.",
)
chunk_mask.mistake(
    "one too many",
    replace=[("positions = start +", "positions = start + 1 +")],
    caught_by=the_first_chunk_is_causal,
    nudge="Each token sees one that comes after it. The chunk's first token stands at position `start`, not behind it.",
)
chunk_mask.mistake(
    "only as wide as what is there",
    replace=[("torch.arange(num_keys)", "torch.arange(start + num_tokens)")],
    caught_by=the_first_chunk_is_causal,
    nudge="The mask has a column for every key that the cache has room for, `num_keys`, even behind the chunk.",
)
chunk_mask.mistake(
    "transposed",
    text="""
def chunk_mask(start, num_tokens, num_keys):
    return torch.arange(num_keys)[:, None] <= start + torch.arange(num_tokens)
""",
    caught_by=the_first_chunk_is_causal,
    nudge="Rows and columns are exchanged: a row for each token that looks, a column for each key.",
)
chunk_mask.mistake(
    "numbers for the scores",
    text="""
def chunk_mask(start, num_tokens, num_keys):
    hidden = torch.arange(num_keys) > start + torch.arange(num_tokens)[:, None]
    return torch.zeros(num_tokens, num_keys).masked_fill(hidden, -math.inf)
""",
    caught_by=the_first_chunk_is_causal,
    nudge="That is what one adds to scores. Wanted is who may look: True or False.",
)
chunk_mask.mistake(
    "ones and zeros",
    text="""
def chunk_mask(start, num_tokens, num_keys):
    return torch.ones(num_tokens, num_keys).tril(start)
""",
    caught_by=the_first_chunk_is_causal,
    nudge="The right cells, as numbers. True and False are wanted: compare, or `.bool()`.",
)
chunk_mask.mistake(
    "whole ones and zeros",
    text="""
def chunk_mask(start, num_tokens, num_keys):
    return torch.ones(num_tokens, num_keys, dtype=torch.int32).tril(start)
""",
    caught_by=the_first_chunk_is_causal,
    nudge="The right cells, as numbers. True and False are wanted: compare, or `.bool()`.",
)
chunk_mask.mistake(
    "an array of numpy",
    text="""
def chunk_mask(start, num_tokens, num_keys):
    return np.arange(num_keys) <= start + np.arange(num_tokens)[:, None]
""",
    caught_by=the_first_chunk_is_causal,
    nudge="The right cells, as an array of numpy. `torch.from_numpy(...)` makes a tensor of it.",
)
chunk_mask.mistake(
    "two rows of numbers",
    replace=[("positions[:, None]", "positions")],
    caught_by=the_first_chunk_is_causal,
    nudge="Keys and tokens are both a row of numbers, so they are compared one to one. Make the tokens a column, "
    "`[:, None]`: then each of them is compared with every key.",
)
chunk_mask.mistake(
    "nothing of its own chunk",
    text="""
def chunk_mask(start, num_tokens, num_keys):
    return (torch.arange(num_keys) < start).expand(num_tokens, num_keys)
""",
    caught_by=the_first_chunk_is_causal,
    nudge="Only what came before the chunk is seen, and before a first chunk there is nothing. A token also sees "
    "itself, and the tokens of its own chunk that stand before it.",
)
chunk_mask.mistake(
    "every row that of its first token",
    text="""
def chunk_mask(start, num_tokens, num_keys):
    return (torch.arange(num_keys) <= start).expand(num_tokens, num_keys)
""",
    caught_by=the_first_chunk_is_causal,
    nudge="All rows are alike: that of the first token. Each token stands one position further on, and sees one more.",
)
chunk_mask.alternative("""
def chunk_mask(start, num_tokens, num_keys):
    return torch.ones(num_tokens, num_keys).tril(start).bool()
""")
chunk_mask.alternative("""
def chunk_mask(start, num_tokens, num_keys):
    mask = torch.zeros(num_tokens, num_keys, dtype=torch.bool)
    for row in range(num_tokens):
        mask[row, : start + row + 1] = True
    return mask
""")


# 3: Chunked


def in_steps(learner: Any, requests: list[tuple[int, int, int, int]], token_budget: int) -> Any:
    """Serve (arrives, prompt, answer, declared) with a learner's scheduler; what happened, and what was asked."""
    from course.simulator.lockstep import serve_in_steps

    run = serve_in_steps(learner(token_budget), requests, 9999)
    return run, (requests, token_budget)


SERVE = (*PLAIN, "from course.simulator.lockstep import serve_in_steps")
"""Loads the control plane in the judge's process: there the learner's scheduler serves requests."""


class Chunked:
    """At most `token_budget` tokens a step: decodes first, then prompts (Sarathi-Serve, OSDI'24)."""

    def __init__(self, token_budget: int = 256):
        """A step computes at most `token_budget` tokens, of answers and prompts together."""
        self.token_budget = token_budget

    def schedule(self, view):
        """Everybody who decodes gets a token. What is left of the budget goes to prompts.

        First to the prompt that is under way, then to those that wait, in order of arrival. Each
        takes as much as it can: all that is left of it, or all that is left of the budget.
        """
        draft = view.draft()
        # yours: about 7 lines
        for sequence in view.decoding:
            draft.add(sequence, 1)
        for sequence in [*view.prefilling, *view.waiting]:
            num_tokens = min(draft.tokens_left(sequence), self.token_budget - draft.num_tokens)
            if num_tokens < 1:
                break
            draft.add(sequence, num_tokens)
        # end
        return draft.plan


chunked = define("chunked_prefill.Chunked", points=3, grants=SERVE, through=in_steps, seconds=4)(Chunked)


def draw_run(expected: Any, got: Any) -> str:
    """Who computed how many tokens when, with the request that is wronged framed, and beside it the reference."""
    run, world = LockstepRun.of(got[0]), World(*got[1])
    wronged = chunked_fault(run, world)[1]
    reference = serve_in_steps(chunked.reference(world.token_budget), world.jobs, 9999)
    starved = () if wronged is None else (wronged,)
    return steps_grid({"yours": run, "the reference": reference}, starved, world.token_budget)


def watched(*worlds: World) -> Cases:
    """Serve the requests of each world, the small ones first, and name the first fault."""
    for world in worlds:
        got = yield call(*world)
        sentence, _ = chunked_fault(LockstepRun.of(got[0]), world)
        expect(not sentence, sentence)


Jobs = list[tuple[int, int, int, int]]


def some_jobs(rng: np.random.Generator, num: int, apart: int, prompt: int, answer: int) -> Jobs:
    """Requests that arrive at most so many steps apart."""
    now, jobs = 0, []
    for number in range(num):
        now += int(rng.integers(0, apart + 1)) if number else 0
        length = int(rng.integers(1, answer + 1))
        jobs.append((now, int(rng.integers(1, prompt + 1)), length, length))
    return jobs


@chunked.check(hint="One prompt alone: a step takes the budget or what is left of it.", picture=draw_run)
def one_prompt_is_cut(rng: np.random.Generator) -> Cases:
    prompt = int(rng.integers(9, 13))
    yield from watched(
        World([(0, 3, 1, 1)], 3),
        World([(0, 2, 3, 3)], 3),
        World([(0, 2, 2, 2)], 2),
        World([(0, 3, 1, 1)], 2),
        World([(0, prompt, 2, 2)], 4),
    )


@chunked.check(hint="Whoever is writing an answer gets a token in every step, whatever else runs.", picture=draw_run)
def no_answer_ever_stalls(rng: np.random.Generator) -> Cases:
    prompt = int(rng.integers(3, 6))
    yield from watched(
        World([(0, 1, 6, 6), (2, 3, 1, 1)], 8),
        World([(0, 1, 9, 9), (1, 1, 9, 9), (3, prompt, 2, 2)], 9),
    )


@chunked.check(
    hint="Decodes take their tokens first, and they count. What they leave of the budget is for prompts.",
    picture=draw_run,
)
def decodes_come_first_and_count(rng: np.random.Generator) -> Cases:
    yield from watched(
        World([(0, 1, 5, 5), (1, 4, 1, 1)], 3),
        World([(0, 1, 7, 7), (1, 1, 7, 7), (2, int(rng.integers(5, 9)), 1, 1)], 4),
    )


@chunked.check(
    hint="What a prompt leaves of the budget is for the next one, and who came first goes first.", picture=draw_run
)
def prompts_share_a_step_in_order(rng: np.random.Generator) -> Cases:
    yield from watched(
        World([(0, 2, 1, 1), (0, 2, 1, 1)], 4),
        World([(0, 2, 1, 1), (0, 5, 1, 1)], 3),
        World([(0, 5, 1, 1), (0, 4, 1, 1)], 3),
        World([(0, 5, 1, 1), (0, 2, 1, 1)], 3),
        World([(0, 3, 1, 1), (1, 1, 1, 1)], 2),
        World([(0, 1, 3, 3), (0, 5, 1, 1), (0, 2, 2, 2)], 4),
        World(some_jobs(rng, 7, 1, 8, 3), 5),
    )


@chunked.check(hint="Decodes may leave nothing of the budget. Then no prompt runs in this step.", picture=draw_run)
def decodes_may_take_it_all(rng: np.random.Generator) -> Cases:
    yield from watched(
        World([(0, 1, 3, 3), (1, 2, 1, 1)], 1),
        World([(0, 1, 4, 4), (0, 1, 3, 3), (1, 3, 2, 2)], 2),
        World(some_jobs(rng, 8, 1, 5, 7), 3),
        World(some_jobs(rng, 12, 2, 9, 9), int(rng.integers(4, 9))),
    )


_FILL = """        for sequence in [*view.prefilling, *view.waiting]:
            num_tokens = min(draft.tokens_left(sequence), self.token_budget - draft.num_tokens)
            if num_tokens < 1:
                break
            draft.add(sequence, num_tokens)
"""
_DECODES = """        for sequence in view.decoding:
            draft.add(sequence, 1)
"""


def scheduling(body: str) -> str:
    """The class with another body of `schedule`, which ends by returning the plan."""
    head = "class Chunked:\n    def __init__(self, token_budget=256):\n        self.token_budget = token_budget\n\n"
    return head + "    def schedule(self, view):\n        draft = view.draft()\n" + body + "        return draft.plan\n"


chunked.mistake(
    "whole prompts",
    replace=[("min(draft.tokens_left(sequence), self.token_budget - draft.num_tokens)", "draft.tokens_left(sequence)")],
    caught_by=one_prompt_is_cut,
    nudge="A prompt runs whole, however long it is. Cut it to what is left of the budget.",
)
chunked.mistake(
    "waits until the whole prompt fits",
    replace=[("            if num_tokens < 1:\n", "            if num_tokens < draft.tokens_left(sequence):\n")],
    caught_by=one_prompt_is_cut,
    nudge="A prompt longer than the budget is never let in. It need not fit: give it a chunk of what is left.",
)
chunked.mistake(
    "overruns the prompt",
    replace=[
        (
            "min(draft.tokens_left(sequence), self.token_budget - draft.num_tokens)",
            "self.token_budget - draft.num_tokens",
        )
    ],
    caught_by=one_prompt_is_cut,
    nudge="Your chunk runs over the end of the prompt: the last one has fewer tokens than the budget allows.",
)
chunked.mistake(
    "the length of the prompt, not what is left of it",
    replace=[("draft.tokens_left(sequence)", "sequence.num_prompt_tokens")],
    caught_by=one_prompt_is_cut,
    nudge="You look at the length of the prompt. Some of it is computed: `draft.tokens_left` says what is left.",
)
chunked.mistake(
    "never goes on with a prompt",
    replace=[("[*view.prefilling, *view.waiting]", "view.waiting")],
    caught_by=one_prompt_is_cut,
    nudge="After its first chunk a prompt does not wait any more: it is in `view.prefilling`, and you forget it there.",
)
chunked.mistake(
    "lets nobody in",
    replace=[("[*view.prefilling, *view.waiting]", "view.prefilling")],
    caught_by=one_prompt_is_cut,
    nudge="Nobody is ever let in. Prompts that wait get their first chunk by `draft.add`, too.",
)
chunked.mistake(
    "drops the last, partial chunk",
    replace=[
        ("            if num_tokens < 1:\n", "            if num_tokens < self.token_budget - draft.num_tokens:\n")
    ],
    caught_by=one_prompt_is_cut,
    nudge="The last piece of a prompt does not fill the budget, and you wait for ever for one that does.",
)
chunked.mistake(
    "all that run get one token",
    replace=[("for sequence in view.decoding:", "for sequence in view.running:"), ("*view.prefilling, *", "*")],
    caught_by=one_prompt_is_cut,
    nudge="Who runs need not decode. A prompt that is under way takes a chunk, not one token: see `view.prefilling`.",
)
chunked.mistake(
    "runs all that is left of whoever runs",
    text=scheduling(
        "        for sequence in view.running:\n"
        "            draft.add(sequence, draft.tokens_left(sequence))\n"
        "        for sequence in view.waiting:\n"
        "            num_tokens = min(draft.tokens_left(sequence), self.token_budget - draft.num_tokens)\n"
        "            if num_tokens > 0:\n"
        "                draft.add(sequence, num_tokens)\n"
    ),
    caught_by=one_prompt_is_cut,
    nudge="The first chunk is cut, the second is all the rest. Who runs may be in the middle of its prompt: cut again.",
)
chunked.mistake(
    "adds a sequence twice",
    replace=[("[*view.prefilling, *view.waiting]", "[*view.running, *view.waiting]")],
    caught_by=one_prompt_is_cut,
    nudge="Those who decode are in `view.running` as well, and each may appear once. Prompts under way: "
    "`view.prefilling`.",
)
chunked.mistake(
    "waits for the view to change",
    text=scheduling(
        _DECODES + "        left = self.token_budget - draft.num_tokens\n"
        "        while left > 0 and (view.prefilling or view.waiting):\n"
        "            sequence = view.prefilling[0] if view.prefilling else view.waiting[0]\n"
        "            num_tokens = min(left, draft.tokens_left(sequence))\n"
        "            draft.add(sequence, num_tokens)\n"
        "            left -= num_tokens\n"
    ),
    caught_by=one_prompt_is_cut,
    nudge="`view` stays as it is until your plan runs: the prompt that you have added is still the first. Go through "
    "the queues with `for`.",
)
chunked.mistake(
    "only prompts",
    replace=[(_DECODES, "")],
    caught_by=one_prompt_is_cut,
    nudge="Answers never go on: `view.decoding` has those who need their next token, one each.",
)
chunked.mistake(
    "returns nothing",
    replace=[("        return draft.plan\n", "")],
    caught_by=one_prompt_is_cut,
    nudge="The plan is drafted and then lost: `return draft.plan`.",
)
chunked.mistake(
    "returns the draft",
    replace=[("        return draft.plan\n", "        return draft\n")],
    caught_by=one_prompt_is_cut,
    nudge="A draft holds a plan and is none: `return draft.plan`.",
)
chunked.mistake(
    "queues as lists",
    replace=[("[*view.prefilling, *view.waiting]", "view.prefilling + view.waiting")],
    caught_by=one_prompt_is_cut,
    nudge="Queues can be read, cut and counted, not added: `[*view.prefilling, *view.waiting]` is a list of both.",
)
chunked.mistake(
    "all queues as lists",
    text=scheduling(
        "        for sequence in view.decoding + view.prefilling + view.waiting:\n"
        "            num_tokens = min(draft.tokens_left(sequence), self.token_budget - draft.num_tokens)\n"
        "            if num_tokens > 0:\n"
        "                draft.add(sequence, num_tokens)\n"
    ),
    caught_by=one_prompt_is_cut,
    nudge="Queues can be read, cut and counted, not added: `[*view.decoding, *view.prefilling, *view.waiting]`.",
)
chunked.mistake(
    "takes them out of the queue",
    replace=[
        (
            "        for sequence in [*view.prefilling, *view.waiting]:\n",
            "        while view.waiting and draft.num_tokens < self.token_budget:\n"
            "            sequence = view.waiting.pop(0)\n",
        )
    ],
    caught_by=one_prompt_is_cut,
    nudge="The queue can be read, not changed: go through it with `for`. Who gets a chunk leaves it without your help.",
)
chunked.mistake(
    "asks the sequence what is left",
    replace=[("draft.tokens_left(sequence)", "sequence.tokens_left")],
    caught_by=one_prompt_is_cut,
    nudge="The draft knows it, because it keeps count: `draft.tokens_left(sequence)`.",
)
chunked.mistake(
    "calls a number",
    replace=[("draft.num_tokens)", "draft.num_tokens())")],
    caught_by=one_prompt_is_cut,
    nudge="`draft.num_tokens` is a number, no method: without parentheses.",
)
chunked.mistake(
    "the budget is gone after the first steps",
    text=scheduling(
        "        for sequence in [*view.decoding, *view.prefilling, *view.waiting]:\n"
        "            num_tokens = min(draft.tokens_left(sequence), self.token_budget)\n"
        "            if num_tokens > 0:\n"
        "                draft.add(sequence, num_tokens)\n"
        "                self.token_budget -= num_tokens\n"
    ),
    caught_by=one_prompt_is_cut,
    nudge="`self.token_budget` outlives the step: once it is used up, nothing runs any more. Count what is left in a "
    "variable of your own, or ask `draft.num_tokens`.",
)
chunked.mistake(
    "one token of a prompt at a time",
    text=scheduling(
        "        for sequence in [*view.decoding, *view.prefilling, *view.waiting]:\n"
        "            if draft.num_tokens < self.token_budget:\n"
        "                draft.add(sequence, 1)\n"
    ),
    caught_by=one_prompt_is_cut,
    nudge="A prompt gets one token a step, like a decode. It may take all that is left of the budget at once.",
)
chunked.mistake(
    "somebody always waits",
    text=scheduling(
        _DECODES + "        sequence = view.prefilling[0] if view.prefilling else view.waiting[0]\n"
        "        draft.add(sequence, min(draft.tokens_left(sequence), self.token_budget - draft.num_tokens))\n"
    ),
    caught_by=one_prompt_is_cut,
    nudge="There is not always a prompt. While answers are being written, nobody may wait: a loop copes with none.",
)
chunked.mistake(
    "a token fewer than the budget",
    replace=[("self.token_budget - draft.num_tokens", "self.token_budget - draft.num_tokens - 1")],
    caught_by=one_prompt_is_cut,
    nudge="One token of the budget is never used. A step may compute exactly `token_budget` tokens.",
)
chunked.mistake(
    "answers pause while a prompt is computed",
    replace=[
        (_DECODES, "        if not view.prefilling and not view.waiting:\n" + _DECODES.replace("    " * 2, "    " * 3))
    ],
    caught_by=no_answer_ever_stalls,
    nudge="While a prompt is computed, the answers stand still: that is the stall. A step can hold both.",
)
chunked.mistake(
    "one answer a step",
    replace=[(_DECODES, "        for sequence in view.decoding[:1]:\n            draft.add(sequence, 1)\n")],
    caught_by=no_answer_ever_stalls,
    nudge="One answer gets its token, and all others stall. Everybody in `view.decoding` gets one in every step.",
)
chunked.mistake(
    "answers pause for a prompt under way",
    replace=[(_DECODES, "        if not view.prefilling:\n" + _DECODES.replace("    " * 2, "    " * 3))],
    caught_by=decodes_come_first_and_count,
    nudge="While a prompt is under way the answers stand still: that is the stall. A step can hold both.",
)
chunked.mistake(
    "prompts first, answers with the rest",
    text=scheduling(
        _FILL
        + "        for sequence in view.decoding:\n"
        + "            if draft.num_tokens < self.token_budget:\n"
        + "                draft.add(sequence, 1)\n"
    ),
    caught_by=decodes_come_first_and_count,
    nudge="Prompts take the budget first, and answers get what is left: nothing, as long as the prompt is long. Turn "
    "it around.",
)
chunked.mistake(
    "prompts wait until nobody decodes",
    replace=[
        ("[*view.prefilling, *view.waiting]", "([] if len(view.decoding) else [*view.prefilling, *view.waiting])")
    ],
    caught_by=no_answer_ever_stalls,
    nudge="No answer stalls, but prompts wait until all answers have ended. What decodes leave is theirs.",
)
chunked.mistake(
    "decodes outside of the budget",
    text=scheduling(
        _DECODES + "        left = self.token_budget\n"
        "        for sequence in [*view.prefilling, *view.waiting]:\n"
        "            num_tokens = min(draft.tokens_left(sequence), left)\n"
        "            if num_tokens < 1:\n"
        "                break\n"
        "            draft.add(sequence, num_tokens)\n"
        "            left -= num_tokens\n"
    ),
    caught_by=decodes_come_first_and_count,
    nudge="The budget is for all tokens of a step, and decodes are tokens. Subtract them before you fill in prompts.",
)
chunked.mistake(
    "a prompt under way takes the whole budget",
    text=scheduling(
        "        for sequence in view.running:\n"
        "            draft.add(sequence, min(self.token_budget, draft.tokens_left(sequence)))\n"
        "        for sequence in view.waiting:\n"
        "            num_tokens = min(draft.tokens_left(sequence), self.token_budget - draft.num_tokens)\n"
        "            if num_tokens > 0:\n"
        "                draft.add(sequence, num_tokens)\n"
    ),
    caught_by=decodes_come_first_and_count,
    nudge="A prompt under way may take the whole budget in yours, though decodes have used some of it. Subtract first.",
)
chunked.mistake(
    "all decodes count as one",
    text=scheduling(
        _DECODES + "        left = self.token_budget - (len(view.decoding) > 0)\n"
        "        for sequence in [*view.prefilling, *view.waiting]:\n"
        "            num_tokens = min(draft.tokens_left(sequence), left)\n"
        "            if num_tokens < 1:\n"
        "                break\n"
        "            draft.add(sequence, num_tokens)\n"
        "            left -= num_tokens\n"
    ),
    caught_by=decodes_come_first_and_count,
    nudge="Each sequence that decodes is a token of its own: `len(view.decoding)` of them, not one.",
)
chunked.mistake(
    "waits for a full chunk",
    replace=[
        (
            "            if num_tokens < 1:\n",
            "            if num_tokens < min(self.token_budget, draft.tokens_left(sequence)):\n",
        )
    ],
    caught_by=decodes_come_first_and_count,
    nudge="Your chunk waits until the whole budget is free. While anybody decodes it never is, and the prompt starves.",
)
chunked.mistake(
    "the whole budget for each prompt",
    text=scheduling(
        _DECODES + "        left = self.token_budget - len(view.decoding)\n"
        "        for sequence in [*view.prefilling, *view.waiting]:\n"
        "            if left > 0:\n"
        "                draft.add(sequence, min(draft.tokens_left(sequence), left))\n"
    ),
    caught_by=prompts_share_a_step_in_order,
    nudge="Each prompt gets the whole rest of the budget. What one takes is gone for the next.",
)
chunked.mistake(
    "one prompt a step",
    replace=[
        (
            "            draft.add(sequence, num_tokens)\n",
            "            draft.add(sequence, num_tokens)\n            break\n",
        )
    ],
    caught_by=prompts_share_a_step_in_order,
    nudge="One prompt a step, and the rest of the budget is wasted. The next prompt can use it.",
)
chunked.mistake(
    "nobody joins while a prompt is under way",
    replace=[("[*view.prefilling, *view.waiting]", "view.prefilling or view.waiting")],
    caught_by=prompts_share_a_step_in_order,
    nudge="While a prompt is under way nobody joins. The last chunk of it leaves some of the budget: that is for the "
    "next one, in the same step.",
)
chunked.mistake(
    "the last come first",
    replace=[("[*view.prefilling, *view.waiting]", "[*view.prefilling, *reversed(view.waiting)]")],
    caught_by=prompts_share_a_step_in_order,
    nudge="You begin at the end of the queue: the last come are served first. `view.waiting` begins with the first.",
)
chunked.mistake(
    "new prompts before the one under way",
    replace=[("[*view.prefilling, *view.waiting]", "[*view.waiting, *view.prefilling]")],
    caught_by=prompts_share_a_step_in_order,
    nudge="Newcomers go ahead of a prompt that is half done. While they keep coming, it never gets finished.",
)
chunked.mistake(
    "the shortest first",
    replace=[
        (
            "[*view.prefilling, *view.waiting]",
            "sorted([*view.prefilling, *view.waiting], key=draft.tokens_left)",
        )
    ],
    caught_by=prompts_share_a_step_in_order,
    nudge="Short prompts overtake a long one. While short ones keep coming, it starves.",
)
chunked.mistake(
    "whole ones overtake",
    text=scheduling(
        _DECODES + "        for sequence in [*view.prefilling, *view.waiting]:\n"
        "            if draft.tokens_left(sequence) <= self.token_budget - draft.num_tokens:\n"
        "                draft.add(sequence, draft.tokens_left(sequence))\n"
        "        for sequence in [*view.prefilling, *view.waiting]:\n"
        "            left = self.token_budget - draft.num_tokens\n"
        "            if left > 0 and all(chunk.sequence is not sequence for chunk in draft.plan.chunks):\n"
        "                draft.add(sequence, min(draft.tokens_left(sequence), left))\n"
    ),
    caught_by=prompts_share_a_step_in_order,
    nudge="Prompts that fit whole overtake one that must be cut. First come, first served.",
)
chunked.mistake(
    "shares the budget evenly",
    text=scheduling(
        _DECODES + "        prompts = [*view.prefilling, *view.waiting]\n"
        "        share = (self.token_budget - draft.num_tokens) // max(1, len(prompts))\n"
        "        for sequence in prompts:\n"
        "            num_tokens = min(draft.tokens_left(sequence), max(1, share), "
        "self.token_budget - draft.num_tokens)\n"
        "            if num_tokens > 0:\n"
        "                draft.add(sequence, num_tokens)\n"
    ),
    caught_by=prompts_share_a_step_in_order,
    nudge="All prompts move on a little, and the first is done as late as the last. Finish one, then begin the next.",
)
chunked.mistake(
    "a chunk of nothing",
    replace=[("            if num_tokens < 1:\n                break\n", "")],
    caught_by=prompts_share_a_step_in_order,
    nudge="Nothing is left of the budget, and you still add a chunk, of 0 tokens. A chunk has at least one: stop "
    "before that.",
)
chunked.mistake(
    "at least one token for a prompt",
    replace=[
        ("            if num_tokens < 1:\n                break\n", ""),
        (
            "min(draft.tokens_left(sequence), self.token_budget - draft.num_tokens)",
            "max(1, min(draft.tokens_left(sequence), self.token_budget - draft.num_tokens))",
        ),
    ],
    caught_by=prompts_share_a_step_in_order,
    nudge="Every prompt gets a token, even if the budget is used up. Then a step is as long as the queue.",
)
chunked.mistake(
    "decodes make room for prompts",
    text=scheduling(
        "        prompts = [*view.prefilling, *view.waiting]\n"
        "        for sequence in view.decoding[: self.token_budget - (1 if prompts else 0)]:\n"
        "            draft.add(sequence, 1)\n"
        "        for sequence in prompts:\n"
        "            num_tokens = min(draft.tokens_left(sequence), self.token_budget - draft.num_tokens)\n"
        "            if num_tokens < 1:\n"
        "                break\n"
        "            draft.add(sequence, num_tokens)\n"
    ),
    caught_by=decodes_may_take_it_all,
    nudge="When decodes take the whole budget you leave one of them out, so that a prompt may move. Its reader sees a "
    "stall. Prompts wait until an answer ends.",
)
chunked.mistake(
    "looks at the rest too late",
    text=scheduling(
        _DECODES + "        left = self.token_budget - len(view.decoding)\n"
        "        for sequence in [*view.prefilling, *view.waiting]:\n"
        "            num_tokens = min(draft.tokens_left(sequence), left)\n"
        "            draft.add(sequence, num_tokens)\n"
        "            left -= num_tokens\n"
        "            if left == 0:\n"
        "                break\n"
    ),
    caught_by=decodes_may_take_it_all,
    nudge="Decodes have taken the whole budget, and you add a chunk of 0 tokens. Look what is left before you add.",
)
chunked.mistake(
    "at least one token for prompts",
    text=scheduling(
        _DECODES + "        left = max(1, self.token_budget - len(view.decoding))\n"
        "        for sequence in [*view.prefilling, *view.waiting]:\n"
        "            num_tokens = min(draft.tokens_left(sequence), left)\n"
        "            if num_tokens < 1:\n"
        "                break\n"
        "            draft.add(sequence, num_tokens)\n"
        "            left -= num_tokens\n"
    ),
    caught_by=decodes_may_take_it_all,
    nudge="You keep one token for prompts even when decodes take the whole budget. Then it is exceeded: prompts wait "
    "until an answer ends.",
)
chunked.alternative("""
class Chunked:
    def __init__(self, token_budget=256):
        self.token_budget = token_budget

    def schedule(self, view):
        draft = view.draft()
        draft.decode_all()
        left = self.token_budget - len(view.decoding)
        queue = sorted([*view.prefilling, *view.waiting], key=lambda sequence: sequence.rank)
        while queue and left > 0:
            sequence = queue.pop(0)
            num_tokens = min(left, view.tokens_left(sequence))
            draft.add(sequence, num_tokens)
            left -= num_tokens
        return draft.plan
""")


# 4: largest_budget


@define("chunked_prefill.largest_budget", points=1)
def largest_budget(gaps_s: dict[int, list[float]], limit_s: float) -> int | None:
    """The largest token budget with which no gap is longer than `limit_s`; None if there is none.

    `gaps_s` has for each budget that was tried, in any order, all gaps between two tokens of an
    answer (seconds). 1-3 lines.
    """
    return max((budget for budget, gaps in gaps_s.items() if max(gaps) <= limit_s), default=None)


def largest_by_hand(gaps_s: dict[int, list[float]], limit_s: float) -> int | None:
    """From the largest down: the first that breaks nothing."""
    for budget in sorted(gaps_s)[::-1]:
        if not [gap for gap in gaps_s[budget] if gap > limit_s]:
            return budget
    return None


def tried(rng: np.random.Generator, *longest: float) -> dict[int, list[float]]:
    """For budgets 32, 64 and so on: short gaps, and one of that length."""
    gaps = {}
    for power, long in enumerate(longest):
        short = [round(float(gap), 3) for gap in rng.uniform(0.01, 0.02, int(rng.integers(4, 9)))]
        short.insert(int(rng.integers(0, len(short) + 1)), long)
        gaps[32 << power] = short
    return gaps


@largest_budget.check(hint="One gap that is too long is too much, however short the others are.")
def one_stall_is_too_much(rng: np.random.Generator) -> Cases:
    gaps = {128: [1.0, 1.0, 9.0], 64: [2.0, 4.0], 32: [2.0, 2.0], 8: [1.0, 1.0], 16: [1.0, 1.0]}
    gaps |= {256: [1.0, 1.0, 30.0], 512: [9.0, 9.0, 4.0], 1024: [9.0, 4.0, 9.0], 2048: [9.0]}
    yield call(gaps, 5.0).returns(64)
    gaps = tried(rng, 0.03, 0.05, 0.07, 0.13)
    yield call(gaps, 0.08).returns(largest_by_hand(gaps, 0.08))


@largest_budget.check(hint="A single gap among hundreds is somebody's stall.")
def not_one_in_hundreds(rng: np.random.Generator) -> Cases:
    rare = [0.01] * 300
    rare[int(rng.integers(0, 300))] = 0.4
    yield call({32: [0.01, 0.02], 64: rare}, 0.05).returns(32)


@largest_budget.check(hint="The largest of all budgets that keep the limit: they may stand in any order.")
def in_any_order(rng: np.random.Generator) -> Cases:
    gaps = tried(rng, 0.045, 0.02, 0.03, 0.09, 0.04, 0.12)
    for order in ((512, 1024, 32, 256, 128, 64), (64, 256, 512, 32, 1024, 128)):
        mixed = {budget: gaps[budget] for budget in order}
        yield call(mixed, 0.05).returns(largest_by_hand(mixed, 0.05))


@largest_budget.check(hint="A gap as long as the limit keeps it.")
def exactly_the_limit(rng: np.random.Generator) -> Cases:
    yield call({32: [0.01, 0.02], 64: [0.02, 0.05]}, 0.05).returns(64)


@largest_budget.check(hint="It may be that no budget keeps the limit.")
def none_is_good_enough(rng: np.random.Generator) -> Cases:
    gaps = tried(rng, 0.03, 0.05)
    yield call(gaps, 0.025).returns(None)


largest_budget.mistake(
    "by TPOT",
    replace=[("max(gaps) <=", "sum(gaps) / len(gaps) <=")],
    caught_by=one_stall_is_too_much,
    nudge="The mean of the gaps is TPOT, and a mean hides a stall. The limit is for every gap: look at the longest.",
)
largest_budget.mistake(
    "by the median",
    replace=[("max(gaps) <=", "np.median(gaps) <=")],
    caught_by=one_stall_is_too_much,
    nudge="Half of the gaps are longer than the median. The limit is for every gap: look at the longest.",
)
largest_budget.mistake(
    "any gap within the limit will do",
    replace=[("max(gaps) <=", "min(gaps) <=")],
    caught_by=one_stall_is_too_much,
    nudge="One short gap is not enough: all have to keep the limit.",
)
largest_budget.mistake(
    "the smallest",
    replace=[("return max((", "return min((")],
    caught_by=one_stall_is_too_much,
    nudge="That is the smallest budget that keeps the limit. It keeps it too well: prompts take longer than they need.",
)
largest_budget.mistake(
    "the largest of all",
    replace=[(" if max(gaps) <= limit_s", "")],
    caught_by=one_stall_is_too_much,
    nudge="The largest budget that was tried, whatever its gaps are. Leave out those that break the limit.",
)
largest_budget.mistake(
    "the gap, not the budget",
    replace=[("max((budget for", "max((max(gaps) for")],
    caught_by=one_stall_is_too_much,
    nudge="That is a gap, in seconds. Which budget does it belong to?",
)
largest_budget.mistake(
    "how many budgets",
    text="def largest_budget(gaps_s, limit_s):\n    return sum(max(gaps) <= limit_s for gaps in gaps_s.values())\n",
    caught_by=one_stall_is_too_much,
    nudge="That is how many budgets keep the limit. Which of them is the largest?",
)
largest_budget.mistake(
    "all that keep it",
    text="""
def largest_budget(gaps_s, limit_s):
    return [budget for budget, gaps in gaps_s.items() if max(gaps) <= limit_s]
""",
    caught_by=one_stall_is_too_much,
    nudge="These are all the budgets that keep the limit. Which of them is the largest?",
)
largest_budget.mistake(
    "the budget with its gaps",
    replace=[("max((budget for", "max(((budget, gaps) for")],
    caught_by=one_stall_is_too_much,
    nudge="That is the budget together with its gaps. Only the budget is wanted.",
)
largest_budget.mistake(
    "the last gap of each",
    replace=[("max(gaps) <=", "gaps[-1] <=")],
    caught_by=one_stall_is_too_much,
    nudge="You look at the last gap of each budget. The long one may be anywhere: look at the longest.",
)
largest_budget.mistake(
    "all gaps together",
    replace=[("max(gaps) <=", "sum(gaps) <=")],
    caught_by=one_stall_is_too_much,
    nudge="You add the gaps up. The limit is for each gap by itself: look at the longest.",
)
largest_budget.mistake(
    "milliseconds against seconds",
    replace=[("max(gaps) <=", "1000 * max(gaps) <=")],
    caught_by=one_stall_is_too_much,
    nudge="No budget is good enough for yours. Gaps and limit are both in seconds: compare them as they are.",
)
largest_budget.mistake(
    "budgets without their gaps",
    replace=[("in gaps_s.items()", "in gaps_s")],
    caught_by=one_stall_is_too_much,
    nudge="Going through a dict gives its keys, the budgets. `gaps_s.items()` gives each with its gaps.",
)
largest_budget.mistake(
    "the first that keeps it",
    text="""
def largest_budget(gaps_s, limit_s):
    for budget, gaps in gaps_s.items():
        if max(gaps) <= limit_s:
            return budget
""",
    caught_by=one_stall_is_too_much,
    nudge="That is the first one that keeps the limit, in the order in which they were tried. Which is the largest?",
)
largest_budget.mistake(
    "minus one where none is good enough",
    replace=[("default=None", "default=-1")],
    caught_by=none_is_good_enough,
    nudge="No budget is -1 tokens. Say that there is none: `None`.",
)
largest_budget.mistake(
    "stops at the first that breaks it",
    text="""
def largest_budget(gaps_s, limit_s):
    best = None
    for budget in sorted(gaps_s):
        if max(gaps_s[budget]) > limit_s:
            break
        best = budget
    return best
""",
    caught_by=in_any_order,
    nudge="You stop at the first that breaks the limit. Larger ones may keep it: look at all.",
)
largest_budget.mistake(
    "the 99th percentile",
    replace=[("max(gaps) <=", "np.percentile(gaps, 99) <=")],
    caught_by=not_one_in_hundreds,
    nudge="The 99th percentile lets one gap in a hundred through, however long it is. Here no gap may break the limit.",
)
largest_budget.mistake(
    "the last that was tried",
    text="""
def largest_budget(gaps_s, limit_s):
    best = None
    for budget, gaps in gaps_s.items():
        if max(gaps) <= limit_s:
            best = budget
    return best
""",
    caught_by=one_stall_is_too_much,
    nudge="That is the last one that keeps the limit, in the order in which they were tried. Which is the largest?",
)
largest_budget.mistake(
    "the longest gap within the limit",
    replace=[
        (
            "max((budget for budget, gaps in gaps_s.items() if max(gaps) <= limit_s), default=None)",
            "max((budget for budget, gaps in gaps_s.items() if max(gaps) <= limit_s), "
            "key=lambda budget: max(gaps_s[budget]), default=None)",
        )
    ],
    caught_by=in_any_order,
    nudge="You take the budget whose longest gap is nearest to the limit. A larger budget may have shorter gaps.",
)
largest_budget.mistake(
    "not the limit itself",
    replace=[("<= limit_s", "< limit_s")],
    caught_by=exactly_the_limit,
    nudge="A gap exactly as long as the limit keeps it.",
)
largest_budget.mistake(
    "fails where none is good enough",
    replace=[
        (
            "max((budget for budget, gaps in gaps_s.items() if max(gaps) <= limit_s), default=None)",
            "max(budget for budget, gaps in gaps_s.items() if max(gaps) <= limit_s)",
        )
    ],
    caught_by=none_is_good_enough,
    nudge="No budget may be good enough, and `max` of nothing fails: `max(..., default=None)`.",
)
largest_budget.mistake(
    "the last of an empty list",
    text="""
def largest_budget(gaps_s, limit_s):
    return sorted(budget for budget, gaps in gaps_s.items() if max(gaps) <= limit_s)[-1]
""",
    caught_by=none_is_good_enough,
    nudge="No budget may be good enough, and an empty list has no last entry. Say that there is none: `None`.",
)
largest_budget.mistake(
    "zero where none is good enough",
    replace=[("default=None", "default=0")],
    caught_by=none_is_good_enough,
    nudge="A budget of 0 tokens would be a server that does nothing. Say that there is none: `None`.",
)
largest_budget.alternative("""
def largest_budget(gaps_s, limit_s):
    for budget in sorted(gaps_s, reverse=True):
        if all(gap <= limit_s for gap in gaps_s[budget]):
            return budget
""")


# 5: keys_read


@define("chunked_prefill.keys_read", points=1, builds_on=(chunks,))
def keys_read(num_tokens: int, chunk_size: int) -> int:
    """Keys that attention reads (in one layer and head) while a prompt is computed in chunks.

    A chunk reads the keys of all tokens before it and its own, each once. `chunks` is at hand.
    1-2 lines.
    """
    return sum(start + num_new for start, num_new, _ in chunks(num_tokens, chunk_size))


def keys_by_hand(num_tokens: int, chunk_size: int) -> int:
    """Read the cache again and again as it grows."""
    cached: list[int] = []
    num_read = 0
    while len(cached) < num_tokens:
        cached += range(len(cached), min(num_tokens, len(cached) + chunk_size))
        num_read += len([*cached])
    return num_read


@keys_read.check(hint="Go through the chunks: what is in the cache when each of them asks?")
def every_chunk_reads_all_before_it(rng: np.random.Generator) -> Cases:
    yield call(12, 3).returns(30)
    size, num = int(rng.integers(3, 9)), int(rng.integers(4, 9))
    yield call(size * num, size).returns(keys_by_hand(size * num, size))


@keys_read.check(hint="The last chunk may be shorter, and reads only what is there.")
def the_last_may_be_short(rng: np.random.Generator) -> Cases:
    yield call(7, 3).returns(16)
    size = int(rng.integers(4, 9))
    num_tokens = size * int(rng.integers(2, 6)) + int(rng.integers(1, size))
    yield call(num_tokens, size).returns(keys_by_hand(num_tokens, size))


@keys_read.check(hint="A prompt in one chunk reads each key once.")
def one_chunk_reads_once(rng: np.random.Generator) -> Cases:
    num_tokens = int(rng.integers(2, 30))
    yield call(num_tokens, num_tokens + int(rng.integers(0, 9))).returns(num_tokens)


keys_read.mistake(
    "each key once",
    replace=[("sum(start + num_new", "sum(num_new")],
    caught_by=every_chunk_reads_all_before_it,
    nudge="That is each key once, as if the prompt were computed whole. A later chunk reads the earlier ones again.",
)
keys_read.mistake(
    "not its own",
    replace=[("sum(start + num_new", "sum(start")],
    caught_by=every_chunk_reads_all_before_it,
    nudge="You count what came before each chunk. A chunk also reads its own keys.",
)
keys_read.mistake(
    "the whole prompt for each chunk",
    replace=[("sum(start + num_new", "sum(num_tokens")],
    caught_by=every_chunk_reads_all_before_it,
    nudge="You let every chunk read the whole prompt. What stands behind a chunk is not in the cache yet.",
)
keys_read.mistake(
    "keys and values",
    replace=[("sum(start + num_new", "sum(2 * (start + num_new)")],
    caught_by=every_chunk_reads_all_before_it,
    nudge="Twice as many: values are read as well, but the question is for keys.",
)
keys_read.mistake(
    "two of three",
    replace=[("for start, num_new, _ in", "for start, num_new in")],
    caught_by=every_chunk_reads_all_before_it,
    nudge="`chunks` says three things of each chunk, and you unpack two: `for start, num_new, _ in chunks(...)`.",
)
keys_read.mistake(
    "pairs instead of keys",
    replace=[("sum(start + num_new", "sum(num_new * (start + num_new)")],
    caught_by=every_chunk_reads_all_before_it,
    nudge="Those are pairs of a query and a key: arithmetic. A key is read once for all tokens of the chunk.",
)
keys_read.mistake(
    "pairs of the whole prompt",
    text="def keys_read(num_tokens, chunk_size):\n    return num_tokens * (num_tokens + 1) // 2\n",
    caught_by=every_chunk_reads_all_before_it,
    nudge="Those are pairs of a query and a key, which chunks do not change. How many keys does each chunk read?",
)
keys_read.mistake(
    "chunks instead of keys",
    text="""
def keys_read(num_tokens, chunk_size):
    number = math.ceil(num_tokens / chunk_size)
    return number * (number + 1) // 2
""",
    caught_by=every_chunk_reads_all_before_it,
    nudge="That counts chunks that are read. Each has several keys.",
)
keys_read.mistake(
    "a number with a point",
    replace=[("return sum(start + num_new", "return sum(1.0 * start + num_new")],
    caught_by=every_chunk_reads_all_before_it,
    nudge="The right number here, as a float. Keys are counted: a whole number. `//` divides to one.",
)
keys_read.mistake(
    "one chunk back",
    text="""
def keys_read(num_tokens, chunk_size):
    sizes = [num_new for _, num_new, _ in chunks(num_tokens, chunk_size)]
    return sum(sizes) + sum(sizes[:-1])
""",
    caught_by=every_chunk_reads_all_before_it,
    nudge="Your chunks look one chunk back. Each of them looks back to the beginning of the prompt.",
)
keys_read.mistake(
    "True is counted",
    text="""
def keys_read(num_tokens, chunk_size):
    return sum(sum(chunk) for chunk in chunks(num_tokens, chunk_size))
""",
    caught_by=every_chunk_reads_all_before_it,
    nudge="One too many: the third thing that `chunks` says is True for the last one, and True counts as 1 in a sum.",
)
keys_read.mistake(
    "the square of the prompt",
    text="def keys_read(num_tokens, chunk_size):\n    return num_tokens**2\n",
    caught_by=every_chunk_reads_all_before_it,
    nudge="That is every token with every token. A key is read once for all tokens of a chunk, and nothing behind it.",
)
keys_read.mistake(
    "as if the last were full",
    text="""
def keys_read(num_tokens, chunk_size):
    number = math.ceil(num_tokens / chunk_size)
    return number * (number + 1) // 2 * chunk_size
""",
    caught_by=the_last_may_be_short,
    nudge="You count the last chunk as a full one. It reads only what is there.",
)
keys_read.mistake(
    "without the last",
    text="""
def keys_read(num_tokens, chunk_size):
    number = num_tokens // chunk_size
    return number * (number + 1) // 2 * chunk_size
""",
    caught_by=the_last_may_be_short,
    nudge="The partial chunk at the end is missing, and it reads most of all.",
)
keys_read.alternative("""
def keys_read(num_tokens, chunk_size):
    ends = [*range(chunk_size, num_tokens, chunk_size), num_tokens]
    return sum(ends)
""")
