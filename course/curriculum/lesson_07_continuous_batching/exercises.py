"""Exercises of lesson 07: what static batching wastes, who may join, and two schedulers that serve a real model."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from course.curriculum.lesson_07_continuous_batching.rules import World, on_demand_fault, reserving_fault
from course.exercises import PLAIN, Cases, call, define, expect
from course.exercises.definition import Exercise
from course.figures.steps import steps_grid
from course.simulator.lockstep import LockstepRun, serve_in_steps

# 1: empty_share


@define("continuous_batching.empty_share", points=1)
def empty_share(answer_lengths: list[int]) -> float:
    """The share of places that stand empty while a static batch runs, 0 to 1.

    One sequence for each entry of `answer_lengths`, one token for each sequence in each step. The
    batch ends with its longest answer. Whoever is done leaves its place empty until then.
    1-2 lines.
    """
    return 1 - sum(answer_lengths) / (len(answer_lengths) * max(answer_lengths))


def counted_empty(lengths: list[int]) -> float:
    """Step by step, place by place."""
    places = [step < length for step in range(max(lengths)) for length in lengths]
    return places.count(False) / len(places)


@empty_share.check(hint="A row for each answer, a column for each step: how many cells are there, and how many used?")
def a_row_for_each_answer(rng: np.random.Generator) -> Cases:
    yield call([1, 2, 4]).returns(counted_empty([1, 2, 4]))
    for most in (3, 6):
        lengths = [int(n) for n in rng.integers(1, 20, most)]
        yield call(lengths).returns(counted_empty(lengths))


@empty_share.check(hint="Answers of one length leave nothing empty.")
def equal_answers_waste_nothing(rng: np.random.Generator) -> Cases:
    yield call([int(rng.integers(1, 9))] * int(rng.integers(1, 5))).returns(0.0)


empty_share.mistake(
    "the share in use",
    replace=[("return 1 - ", "return ")],
    caught_by=a_row_for_each_answer,
    nudge="That is the share in use. The question is for the rest.",
)
empty_share.mistake(
    "places, not a share",
    text=(
        "def empty_share(answer_lengths):\n    return len(answer_lengths) * max(answer_lengths) - sum(answer_lengths)\n"
    ),
    caught_by=a_row_for_each_answer,
    nudge="That counts the empty places. A share is a part of all places.",
)
empty_share.mistake(
    "divides by what is used",
    text=(
        "def empty_share(answer_lengths):\n"
        "    places = len(answer_lengths) * max(answer_lengths)\n"
        "    return (places - sum(answer_lengths)) / sum(answer_lengths)\n"
    ),
    caught_by=a_row_for_each_answer,
    nudge="Empty places, as a part of all places: used ones and empty ones together.",
)
empty_share.mistake(
    "as long as an average answer",
    replace=[("max(answer_lengths)", "(sum(answer_lengths) / len(answer_lengths))")],
    caught_by=a_row_for_each_answer,
    nudge="The batch does not end with an average answer. It runs to its last token.",
)
empty_share.mistake(
    "the shortest against the longest",
    text="def empty_share(answer_lengths):\n    return 1 - min(answer_lengths) / max(answer_lengths)\n",
    caught_by=a_row_for_each_answer,
    nudge="That is the row of the shortest answer alone. All rows count.",
)
empty_share.mistake(
    "in percent",
    replace=[
        (
            "return 1 - sum(answer_lengths) / (len(answer_lengths) * max(answer_lengths))",
            "return 100 - 100 * sum(answer_lengths) / (len(answer_lengths) * max(answer_lengths))",
        )
    ],
    caught_by=a_row_for_each_answer,
    nudge="A hundred times too much: a share goes from 0 to 1.",
)
empty_share.mistake(
    "one place",
    replace=[("(len(answer_lengths) * max(answer_lengths))", "max(answer_lengths)")],
    caught_by=a_row_for_each_answer,
    nudge="That is the length of the batch in steps. In each step there is a place for every sequence.",
)
empty_share.mistake(
    "divides by the steps",
    text=(
        "def empty_share(answer_lengths):\n"
        "    longest = max(answer_lengths)\n"
        "    return sum(longest - length for length in answer_lengths) / longest\n"
    ),
    caught_by=a_row_for_each_answer,
    nudge="Empty places, divided by the steps. In each step there is a place for every sequence.",
)
empty_share.mistake(
    "four places always",
    replace=[("len(answer_lengths) *", "4 *")],
    caught_by=a_row_for_each_answer,
    nudge="Not every batch has four places: there is one for each entry of `answer_lengths`.",
)
empty_share.mistake(
    "rounded",
    text=(
        "def empty_share(answer_lengths):\n"
        "    return round(1 - sum(answer_lengths) / (len(answer_lengths) * max(answer_lengths)), 2)\n"
    ),
    caught_by=a_row_for_each_answer,
    nudge="Right, and then rounded. Give the share as it is; rounding is for the one who prints it.",
)
empty_share.alternative(
    """
def empty_share(answer_lengths):
    longest = max(answer_lengths)
    return float(np.mean([(longest - length) / longest for length in answer_lengths]))
"""
)


# 2: joining


@define("continuous_batching.joining", points=1)
def joining(needs: list[int], num_free_blocks: int, num_places: int) -> int:
    """How many of those who wait may join the batch now.

    `needs` has the blocks that each of them needs, in order of arrival; together those who join
    may need `num_free_blocks` at most. There are `num_places` free places (0 or fewer: none).
    First come, first served: if one does not fit, nobody behind it may join. About 5 lines.
    """
    count = 0
    for need in needs:
        if count >= num_places or need > num_free_blocks:
            break
        num_free_blocks -= need
        count += 1
    return count


def most_that_fit(needs: list[int], free: int, places: int) -> int:
    """Try every number, the largest first: the first so many must fit together."""
    return next(n for n in range(len(needs), -1, -1) if n == 0 or (sum(needs[:n]) <= free and n <= places))


@joining.check(hint="Go through the queue from the front; each who joins takes its blocks and a place.")
def blocks_and_places_run_out(rng: np.random.Generator) -> Cases:
    yield call([2], 1, 1).returns(0)
    yield call([2], 3, 1).returns(1)
    yield call([2], 2, 1).returns(1)
    yield call([2, 3], 4, 2).returns(1)
    yield call([1, 1, 1, 1], 9, 2).returns(2)
    for most in (4, 8):
        needs = sorted(int(n) for n in rng.integers(1, 6, most))
        free, places = int(rng.integers(0, sum(needs))), int(rng.integers(1, most + 2))
        yield call(needs, free, places).returns(most_that_fit(needs, free, places))


@joining.check(hint="The first that does not fit closes the door for all behind it.")
def nobody_overtakes(rng: np.random.Generator) -> Cases:
    yield call([3, 1], 2, 2).returns(0)
    small = [int(n) for n in rng.integers(1, 3, 3)]
    needs = [small[0], 50, *small[1:]]
    yield call(needs, sum(small) + 3, 9).returns(1)


@joining.check(hint="Nobody waits, or there is no place: nobody joins, and nothing fails.")
def nobody_or_nowhere(rng: np.random.Generator) -> Cases:
    yield call([], int(rng.integers(0, 9)), 3).returns(0)
    yield call([1, 1], 9, 0).returns(0)
    yield call([1, 1], 9, -int(rng.integers(1, 4))).returns(0)
    yield call([1, 1, 1, 1, 1], 9, -int(rng.integers(1, 4))).returns(0)


joining.mistake(
    "small ones overtake",
    text="""
def joining(needs, num_free_blocks, num_places):
    count = 0
    for need in needs:
        if count < num_places and need <= num_free_blocks:
            num_free_blocks -= need
            count += 1
    return count
""",
    caught_by=nobody_overtakes,
    nudge="Yours lets a small one past a large one. While small ones keep coming, the large one starves.",
)
joining.mistake(
    "each alone, not together",
    replace=[("        num_free_blocks -= need\n", "")],
    caught_by=blocks_and_places_run_out,
    nudge="Each of them fits alone. Together they take more than there is: who joins takes its blocks away.",
)
joining.mistake(
    "forgets the places",
    replace=[("count >= num_places or ", "")],
    caught_by=blocks_and_places_run_out,
    nudge="There are blocks, but no place left: `num_places` counts too.",
)
joining.mistake(
    "forgets the blocks",
    text="def joining(needs, num_free_blocks, num_places):\n    return max(0, min(len(needs), num_places))\n",
    caught_by=blocks_and_places_run_out,
    nudge="There are places, but not enough blocks.",
)
joining.mistake(
    "leaves the last block",
    replace=[("need > num_free_blocks", "need >= num_free_blocks")],
    caught_by=blocks_and_places_run_out,
    nudge="One that takes the very last blocks fits.",
)
joining.mistake(
    "the index of the last one",
    text=(
        "def joining(needs, num_free_blocks, num_places):\n"
        "    last = 0\n"
        "    for i, need in enumerate(needs[: max(0, num_places)]):\n"
        "        num_free_blocks -= need\n"
        "        if num_free_blocks < 0:\n"
        "            break\n"
        "        last = i\n"
        "    return last\n"
    ),
    caught_by=blocks_and_places_run_out,
    nudge="That is the index of the last one that joins. Indices begin at 0: there is one more of them.",
)
joining.mistake(
    "one place too many",
    replace=[("count >= num_places", "count > num_places")],
    caught_by=blocks_and_places_run_out,
    nudge="When `num_places` have joined, all places are taken.",
)
joining.mistake(
    "at least one always",
    replace=[("if count >= num_places", "if count and count >= num_places")],
    caught_by=nobody_or_nowhere,
    nudge="With no free place nobody joins, not even one.",
)
joining.mistake(
    "blocks instead of how many",
    replace=[("return count", "return sum(needs[:count])")],
    caught_by=blocks_and_places_run_out,
    nudge="That is how many blocks they take. How many sequences join?",
)
joining.mistake(
    "all or nobody",
    text="""
def joining(needs, num_free_blocks, num_places):
    count = max(0, min(len(needs), num_places))
    return count if sum(needs[:count]) <= num_free_blocks else 0
""",
    caught_by=blocks_and_places_run_out,
    nudge="They need not join together: those in front join as long as their blocks are free.",
)
joining.mistake(
    "a slice to a negative place",
    replace=[
        ("    for need in needs:", "    for need in needs[:num_places]:"),
        ("count >= num_places or need", "need"),
    ],
    caught_by=nobody_or_nowhere,
    nudge="`needs[:-1]` is all but the last. Places can be fewer than 0: `max(0, num_places)`.",
)
joining.mistake(
    "places fewer than none",
    replace=[("count >= num_places", "count == num_places")],
    caught_by=nobody_or_nowhere,
    nudge="Places can be fewer than 0, and then a count up from 0 never meets them: compare with `>=`.",
)
joining.mistake(
    "runs past the end of the queue",
    text="""
def joining(needs, num_free_blocks, num_places):
    count = 0
    while count < num_places and needs[count] <= num_free_blocks:
        num_free_blocks -= needs[count]
        count += 1
    return count
""",
    caught_by=nobody_or_nowhere,
    nudge="With places to spare, yours asks for somebody behind the last in the queue. Stop at its end.",
)
joining.mistake(
    "all may join, and nothing is returned",
    text="""
def joining(needs, num_free_blocks, num_places):
    for count, need in enumerate(needs):
        if count >= num_places or need > num_free_blocks:
            return count
        num_free_blocks -= need
""",
    caught_by=blocks_and_places_run_out,
    nudge="If nobody has to wait, the loop ends without a `return`. Then all of them join.",
)
joining.mistake(
    "the sequences themselves",
    replace=[("return count", "return needs[:count]")],
    caught_by=blocks_and_places_run_out,
    nudge="Those are the needs of the ones that join. Their number is asked for: `len`.",
)
joining.alternative(
    """
def joining(needs, num_free_blocks, num_places):
    fits = np.cumsum(needs) <= num_free_blocks if needs else np.array([], dtype=bool)
    return int(min(fits.argmin() if not fits.all() else len(needs), max(num_places, 0)))
"""
)


# 3 and 4: schedulers


def in_steps(
    learner: Any,
    requests: list[tuple[int, int, int, int]],
    max_num_sequences: int,
    num_blocks: int,
    block_size: int,
) -> Any:
    """Serve (arrives, prompt, answer, declared) with a learner's scheduler; what happened, and what was asked."""
    from course.simulator.lockstep import serve_in_steps

    run = serve_in_steps(learner(max_num_sequences), requests, num_blocks, block_size)
    return run, (requests, max_num_sequences, num_blocks, block_size)


SERVE = (*PLAIN, "from course.simulator.lockstep import serve_in_steps")
"""Loads the control plane in the judge's process: there the learner's scheduler serves requests."""


def scheduler_exercise(scheduler: type) -> Exercise:
    """An exercise of a class that serves requests in the judge's process (no decorator: what it makes is no class)."""
    exercise_id = f"continuous_batching.{scheduler.__name__}"
    return define(exercise_id, points=3, grants=SERVE, through=in_steps, builds_on=(joining,), seconds=4)(scheduler)


class Reserving:
    """Iteration-level scheduling: who runs is decided anew in every step (Orca, OSDI'22)."""

    def __init__(self, max_num_sequences: int = 8):
        """At most `max_num_sequences` run at the same time."""
        self.max_num_sequences = max_num_sequences

    def schedule(self, view):
        """Everybody who runs goes on. Whoever may join does, with the whole prompt at once.

        For whoever runs, memory for all that it may come to need is set aside, from its first
        step to its last. So one may join only if its own need fits into what is not set aside
        yet. Nobody is ever preempted.
        """
        draft = view.draft()
        # yours: about 8 lines. Who runs goes on; what is set aside; who joins? (`joining`!)
        num_set_aside = 0
        for sequence in view.running:
            draft.add(sequence, draft.tokens_left(sequence))
            num_set_aside += view.blocks_for(sequence.num_tokens_at_most)
        needs = [view.blocks_for(sequence.num_tokens_at_most) for sequence in view.waiting]
        num_places = self.max_num_sequences - len(view.running)
        count = joining(needs, view.num_blocks - num_set_aside, num_places)
        for sequence in view.waiting[:count]:
            draft.add(sequence, draft.tokens_left(sequence))
        # end
        return draft.plan


reserving = scheduler_exercise(Reserving)


class OnDemand:
    """Memory on demand: answers take blocks as they grow; the latest yields (vLLM, SOSP'23)."""

    def __init__(self, max_num_sequences: int = 8):
        """At most `max_num_sequences` run at the same time."""
        self.max_num_sequences = max_num_sequences

    def schedule(self, view):
        """Everybody who runs goes on. While blocks are short, the latest of them is preempted.

        Whoever waits joins if there are blocks for all its known tokens now, beyond what those
        who run take in this step. Nobody joins in a step that preempts.
        """
        draft = view.draft()
        # yours: about 10 lines. Preempt while blocks are short; who goes on; who joins?
        batch = list(view.running)
        while sum(draft.blocks_needed(sequence, 1) for sequence in batch) > draft.num_free_blocks:
            draft.preempt(batch.pop())
        for sequence in batch:
            draft.add(sequence, 1)
        if len(batch) == len(view.running):
            needs = [view.blocks_for(sequence.num_known_tokens) for sequence in view.waiting]
            count = joining(needs, draft.num_free_blocks, self.max_num_sequences - len(batch))
            for sequence in view.waiting[:count]:
                draft.add(sequence, draft.tokens_left(sequence))
        # end
        return draft.plan


on_demand = scheduler_exercise(OnDemand)


def draw(exercise: Any, find_fault: Any, expected: Any, got: Any) -> str:
    """Who ran when, with the request that is wronged framed, and beside it the reference."""
    run, world = LockstepRun.of(got[0]), World(*got[1])
    wronged = find_fault(run, world)[1]
    reference = serve_in_steps(exercise.reference(world.max_num_sequences), world.jobs, *world[2:])
    return steps_grid({"yours": run, "the reference": reference}, () if wronged is None else (wronged,))


draw_reserving = partial(draw, reserving, reserving_fault)
draw_on_demand = partial(draw, on_demand, on_demand_fault)


def watched(find_fault: Any, *worlds: World) -> Cases:
    """Serve the requests of each world, the small ones first, and name the first fault."""
    for world in worlds:
        got = yield call(*world)
        sentence, _ = find_fault(LockstepRun.of(got[0]), world)
        expect(not sentence, sentence)


Jobs = list[tuple[int, int, int, int]]


def some_jobs(rng: np.random.Generator, num: int, apart: int, prompt: int, answer: int) -> Jobs:
    """Requests that arrive at most so many steps apart; each declares somewhat more than its answer."""
    now, jobs = 0, []
    for number in range(num):
        now += int(rng.integers(0, apart + 1)) if number else 0
        length = int(rng.integers(1, answer + 1))
        jobs.append((now, int(rng.integers(1, prompt + 1)), length, length + int(rng.integers(0, 4))))
    return jobs


# 3: what Reserving must do


@reserving.check(hint="First the whole prompt, then a token a step: `draft.tokens_left` knows.", picture=draw_reserving)
def one_request_is_served(rng: np.random.Generator) -> Cases:
    yield from watched(reserving_fault, World([(0, 2, 1, 1)], 1, 8, 1), World([(0, 3, 3, 3)], 2, 8, 1))


@reserving.check(hint="Look at who is in the batch already: nothing takes its step away.", picture=draw_reserving)
def who_comes_later_joins_those_who_run(rng: np.random.Generator) -> Cases:
    stream = [(i, int(rng.integers(1, 5)), 2, 2) for i in range(1, 6)]
    yield from watched(
        reserving_fault,
        World([(0, 1, 4, 4), (1, 2, 2, 2)], 2, 99, 1),
        World([(0, 2, 7, 7), *stream], 4, 99, 1),
    )


@reserving.check(hint="Who has ended is not in `view.running` any more, and its place is free.", picture=draw_reserving)
def a_place_is_filled_at_once(rng: np.random.Generator) -> Cases:
    longer = int(rng.integers(4, 7))
    yield from watched(
        reserving_fault,
        World([(0, 1, 1, 1), (0, 1, 3, 3), (0, 1, 2, 2)], 2, 99, 1),
        World([(0, 2, longer, longer), (0, 2, 2, 2), (0, 3, 3, 3), (0, 1, 2, 2)], 2, 99, 1),
        World(some_jobs(rng, 7, 0, 4, 8), 3, 200, 2),
    )


@reserving.check(hint="What may all that run come to need? Only the rest can be given.", picture=draw_reserving)
def memory_is_set_aside(rng: np.random.Generator) -> Cases:
    yield from watched(
        reserving_fault,
        World([(0, 2, 3, 3), (0, 2, 3, 3)], 2, 5, 1),
        World([(0, 2, 3, 3), (0, 2, 3, 3)], 2, 6, 1),
        World([(0, 2, 3, 3), (1, 1, 2, 2)], 2, 5, 1),
        World([(0, 2, 3, 3), (0, 2, 3, 3)], 2, 8, 1),
        World([(0, 2, 4, 4), (0, 3, 4, 4), (1, 1, 1, 1)], 3, 8, 1),
        World([(0, 3, 2, 6), (0, 3, 2, 6)], 2, 4, 4),
        World([(0, 3, 3, 3), (0, 3, 3, 3), (1, 1, 2, 2)], 3, 4, 4),
        World(some_jobs(rng, 6, 2, 5, 6), 4, 8, 2),
        World(some_jobs(rng, 10, 1, 9, 9), 4, 14, 2),
    )


reserving.mistake(
    "static batching",
    replace=[
        (
            "num_places = self.max_num_sequences - len(view.running)",
            "num_places = 0 if len(view.running) else self.max_num_sequences",
        )
    ],
    caught_by=who_comes_later_joins_those_who_run,
    nudge="Yours waits for the whole batch. A place that one leaves can be filled in the very next step.",
)
reserving.mistake(
    "prompts run alone",
    replace=[
        (
            "            draft.add(sequence, draft.tokens_left(sequence))\n            num_set_aside",
            "            num_set_aside",
        ),
        (
            "        for sequence in view.waiting[:count]:",
            "        if not count:\n"
            "            for sequence in view.running:\n"
            "                draft.add(sequence, draft.tokens_left(sequence))\n"
            "        for sequence in view.waiting[:count]:",
        ),
    ],
    caught_by=who_comes_later_joins_those_who_run,
    nudge="In yours a step with prompts is no step for the answers. While prompts keep coming, answers stand still.",
)
reserving.mistake(
    "only new ones",
    replace=[
        (
            "            draft.add(sequence, draft.tokens_left(sequence))\n            num_set_aside",
            "            num_set_aside",
        )
    ],
    caught_by=one_request_is_served,
    nudge="Yours lets requests join and forgets them: those that run need their next token, in every step.",
)
reserving.mistake(
    "nobody joins",
    replace=[
        (
            "        for sequence in view.waiting[:count]:\n"
            "            draft.add(sequence, draft.tokens_left(sequence))\n",
            "",
        )
    ],
    caught_by=one_request_is_served,
    nudge="Nobody is ever let in. Who joins is added to the plan, too: `draft.add(sequence, ...)`.",
)
reserving.mistake(
    "a prompt token by token",
    text="""
class Reserving:
    def __init__(self, max_num_sequences=8):
        self.max_num_sequences = max_num_sequences

    def schedule(self, view):
        draft = view.draft()
        num_set_aside = 0
        for sequence in view.running:
            draft.add(sequence, 1)
            num_set_aside += view.blocks_for(sequence.num_tokens_at_most)
        needs = [view.blocks_for(sequence.num_tokens_at_most) for sequence in view.waiting]
        count = joining(needs, view.num_blocks - num_set_aside, self.max_num_sequences - len(view.running))
        for sequence in view.waiting[:count]:
            draft.add(sequence, 1)
        return draft.plan
""",
    caught_by=one_request_is_served,
    nudge="One token is right for an answer. A prompt has several left, and all run at once: `draft.tokens_left`.",
)
reserving.mistake(
    "the whole text again",
    text="""
class Reserving:
    def __init__(self, max_num_sequences=8):
        self.max_num_sequences = max_num_sequences

    def schedule(self, view):
        draft = view.draft()
        for sequence in view.running:
            draft.add(sequence, sequence.num_known_tokens)
        for sequence in view.waiting:
            draft.add(sequence, sequence.num_known_tokens)
        return draft.plan
""",
    caught_by=one_request_is_served,
    nudge="The cache has most of these tokens (lesson 02). What is left to compute, `draft.tokens_left` says.",
)
reserving.mistake(
    "forgets the limit",
    replace=[("num_places = self.max_num_sequences - len(view.running)", "num_places = len(view.waiting)")],
    caught_by=a_place_is_filled_at_once,
    nudge="More run than `self.max_num_sequences`. How many places do those who run leave?",
)
reserving.mistake(
    "the limit counts newcomers only",
    replace=[("num_places = self.max_num_sequences - len(view.running)", "num_places = self.max_num_sequences")],
    caught_by=a_place_is_filled_at_once,
    nudge="The limit is for all that run, not for those who join in one step. (The first steps look right.)",
)
reserving.mistake(
    "one newcomer a step",
    replace=[
        (
            "num_places = self.max_num_sequences - len(view.running)",
            "num_places = min(1, self.max_num_sequences - len(view.running))",
        )
    ],
    caught_by=a_place_is_filled_at_once,
    nudge="Only one joins in each step. All for whom there is a place and memory may.",
)
reserving.mistake(
    "admits what cannot finish",
    replace=[
        ("num_set_aside += view.blocks_for(sequence.num_tokens_at_most)", "num_set_aside += len(sequence.block_table)"),
        (
            "needs = [view.blocks_for(sequence.num_tokens_at_most) for",
            "needs = [view.blocks_for(sequence.num_known_tokens) for",
        ),
    ],
    caught_by=memory_is_set_aside,
    nudge="The prompts fit, their answers do not: blocks run out on the way. Set aside what each may come to need.",
)
reserving.mistake(
    "what is free now",
    replace=[("view.num_blocks - num_set_aside", "draft.num_free_blocks")],
    caught_by=memory_is_set_aside,
    nudge="Blocks that are free now are promised already, to answers that are still short. What is not set aside?",
)
reserving.mistake(
    "those who run set nothing aside",
    replace=[("            num_set_aside += view.blocks_for(sequence.num_tokens_at_most)\n", "")],
    caught_by=memory_is_set_aside,
    nudge="Those who run keep what was set aside for them until they end. You give it away again.",
)
reserving.mistake(
    "sets aside for the prompt only",
    replace=[
        (
            "num_set_aside += view.blocks_for(sequence.num_tokens_at_most)",
            "num_set_aside += view.blocks_for(sequence.num_prompt_tokens)",
        )
    ],
    caught_by=memory_is_set_aside,
    nudge="For those who run you count the prompts. Their answers grow: `num_tokens_at_most` has both.",
)
reserving.mistake(
    "tokens for blocks",
    replace=[("needs = [view.blocks_for(sequence.num_tokens_at_most) for", "needs = [sequence.num_tokens_at_most for")],
    caught_by=memory_is_set_aside,
    nudge="Those are tokens. A block holds several: `view.blocks_for(tokens)`.",
)
reserving.mistake(
    "a sequence for its tokens",
    replace=[
        ("view.blocks_for(sequence.num_tokens_at_most)\n", "view.blocks_for(sequence)\n"),
        ("view.blocks_for(sequence.num_tokens_at_most) for", "view.blocks_for(sequence) for"),
    ],
    caught_by=one_request_is_served,
    nudge="`view.blocks_for` takes a number of tokens. How many may this sequence come to need?",
)
reserving.mistake(
    "the last comes first",
    replace=[
        ("for sequence in view.waiting]", "for sequence in reversed(view.waiting)]"),
        ("in view.waiting[:count]", "in list(reversed(view.waiting))[:count]"),
    ],
    caught_by=a_place_is_filled_at_once,
    nudge="First come, first served: `view.waiting` is in order of arrival. Begin at its front.",
)
reserving.mistake(
    "goes through a number",
    replace=[("for sequence in view.waiting[:count]", "for sequence in count")],
    caught_by=one_request_is_served,
    nudge="`joining` says how many. Who they are: the first so many of `view.waiting`.",
)
reserving.mistake(
    "computes the answer in advance",
    replace=[
        (
            "view.waiting[:count]:\n            draft.add(sequence, draft.tokens_left(sequence))",
            "view.waiting[:count]:\n            draft.add(sequence, sequence.num_tokens_at_most)",
        )
    ],
    caught_by=one_request_is_served,
    nudge="Memory is set aside for the answer, but its tokens are not known yet. Compute what is: the prompt.",
)
reserving.mistake(
    "rounds up once for all",
    replace=[
        (
            "num_set_aside += view.blocks_for(sequence.num_tokens_at_most)",
            "num_set_aside = view.blocks_for(sum(one.num_tokens_at_most for one in view.running))",
        )
    ],
    caught_by=memory_is_set_aside,
    nudge="A block is never shared by two of them: round up for each sequence, and then add.",
)
reserving.mistake(
    "small ones overtake",
    text="""
class Reserving:
    def __init__(self, max_num_sequences=8):
        self.max_num_sequences = max_num_sequences

    def schedule(self, view):
        draft = view.draft()
        aside = 0
        for sequence in view.running:
            draft.add(sequence, draft.tokens_left(sequence))
            aside += view.blocks_for(sequence.num_tokens_at_most)
        places = self.max_num_sequences - len(view.running)
        for sequence in view.waiting:
            need = view.blocks_for(sequence.num_tokens_at_most)
            if places > 0 and aside + need <= view.num_blocks:
                draft.add(sequence, draft.tokens_left(sequence))
                aside, places = aside + need, places - 1
        return draft.plan
""",
    caught_by=memory_is_set_aside,
    nudge="A small request goes past a large one that waits. While small ones keep coming, the large one starves.",
)
reserving.mistake(
    "returns nothing",
    replace=[("        return draft.plan\n", "")],
    caught_by=one_request_is_served,
    nudge="The plan is drafted and then lost: `return draft.plan`.",
)
reserving.mistake(
    "returns the draft",
    replace=[("        return draft.plan\n", "        return draft\n")],
    caught_by=one_request_is_served,
    nudge="A draft holds a plan and is none: `return draft.plan`.",
)
reserving.mistake(
    "queues as lists",
    text="""
class Reserving:
    def __init__(self, max_num_sequences=8):
        self.max_num_sequences = max_num_sequences

    def schedule(self, view):
        draft = view.draft()
        for sequence in view.running + view.waiting:
            draft.add(sequence, draft.tokens_left(sequence))
        return draft.plan
""",
    caught_by=one_request_is_served,
    nudge="Queues can be read, cut and counted, not added: `[*view.running, *view.waiting]` is a list of both.",
)
reserving.mistake(
    "changes what it is shown",
    text="""
class Reserving:
    def __init__(self, max_num_sequences=8):
        self.max_num_sequences = max_num_sequences

    def schedule(self, view):
        draft = view.draft()
        sequence = view.waiting[0]
        draft.add(sequence, draft.tokens_left(sequence))
        view.running.append(sequence)
        return draft.plan
""",
    caught_by=one_request_is_served,
    nudge="What is shown can only be read. `draft.add` is enough: in the next step `view.running` has the newcomer.",
)
reserving.mistake(
    "takes them out of the queue",
    replace=[
        (
            "for sequence in view.waiting[:count]:\n",
            "for _ in range(count):\n            sequence = view.waiting.pop(0)\n",
        )
    ],
    caught_by=one_request_is_served,
    nudge="What is shown can only be read. Who joins leaves `view.waiting` by itself; take the first `count` of it.",
)
reserving.mistake(
    "waits for the view to change",
    text="""
class Reserving:
    def __init__(self, max_num_sequences=8):
        self.max_num_sequences = max_num_sequences

    def schedule(self, view):
        draft = view.draft()
        for sequence in view.running:
            draft.add(sequence, draft.tokens_left(sequence))
        while view.waiting and len(view.running) < self.max_num_sequences:
            draft.add(view.waiting[0], draft.tokens_left(view.waiting[0]))
        return draft.plan
""",
    caught_by=one_request_is_served,
    nudge="`view` stays as it is until your plan runs, so the first one waits for ever. Count who joins yourself.",
)
reserving.alternative(
    """
class Reserving:
    def __init__(self, max_num_sequences=8):
        self.max_num_sequences = max_num_sequences

    def schedule(self, view):
        draft, left, places = view.draft(), view.num_blocks, self.max_num_sequences
        for sequence in [*view.running, *view.waiting]:
            left -= view.blocks_for(sequence.num_tokens_at_most)
            places -= 1
            if left < 0 or places < 0:
                break
            draft.add(sequence, draft.tokens_left(sequence))
        return draft.plan
"""
)


# 4: what OnDemand must do


@on_demand.check(hint="With blocks for all nobody is preempted, and a place is filled at once.", picture=draw_on_demand)
def with_room_it_is_continuous(rng: np.random.Generator) -> Cases:
    yield from watched(
        on_demand_fault,
        World([(0, 2, 2, 2)], 1, 8, 1),
        World([(0, 1, 1, 1), (0, 1, 3, 3), (0, 1, 2, 2)], 2, 99, 1),
        World([(0, 1, 3, 3), (1, 3, 1, 1), (1, 1, 1, 1)], 2, 99, 1),
        World([(0, 2, 7, 7), *[(i, int(rng.integers(1, 5)), 2, 2) for i in range(1, 5)]], 4, 99, 1),
        World(some_jobs(rng, 7, 1, 4, 8), 7, 200, 2),
    )


@on_demand.check(hint="Which blocks does this step take? Who waits may have the rest.", picture=draw_on_demand)
def one_joins_if_it_fits_now(rng: np.random.Generator) -> Cases:
    yield from watched(
        on_demand_fault,
        World([(0, 3, 2, 9), (0, 3, 2, 9)], 2, 11, 2),
        World([(0, 2, 2, 2), (0, 3, 2, 2)], 2, 4, 1),
        World([(0, 2, 2, 2), (1, 2, 1, 1)], 2, 4, 1),
    )


@on_demand.check(hint="Who came last yields, and one at a time: is it enough now?", picture=draw_on_demand)
def the_latest_yields(rng: np.random.Generator) -> Cases:
    yield from watched(
        on_demand_fault,
        World([(0, 1, 4, 4), (0, 3, 2, 2), (0, 1, 4, 4)], 3, 7, 1),
        World([(0, 1, 4, 4), (0, 1, 4, 4)], 2, 4, 1),
        World([(0, 1, 3, 3), (0, 1, 3, 3), (0, 1, 3, 3)], 3, 3, 1),
        World([(0, 2, 6, 6), (0, 2, 6, 6)], 2, 5, 2),
    )


@on_demand.check(hint="Follow the one that lost its place: who went ahead of it?", picture=draw_on_demand)
def nobody_starves(rng: np.random.Generator) -> Cases:
    small = [(i, 1, 2, 2) for i in range(2, 8)]
    yield from watched(
        on_demand_fault,
        World([(0, 1, 4, 4), (0, 2, 4, 4), (2, 1, 1, 1)], 3, 5, 1),
        World([(0, 1, 5, 5), (0, 3, 4, 4), *small], 4, 7, 1),
        World([(0, 1, 2, 2), (1, 4, 1, 1), (1, 1, 1, 1)], 3, 5, 1),
        World(some_jobs(rng, 8, 2, 4, 6), 4, 12, 1),
        World(some_jobs(rng, 12, 1, 9, 9), 5, 10, 2),
    )


on_demand.mistake(
    "static batching",
    replace=[("self.max_num_sequences - len(batch)", "0 if batch else self.max_num_sequences")],
    caught_by=with_room_it_is_continuous,
    nudge="Yours waits for the whole batch. A place that one leaves can be filled in the very next step.",
)
on_demand.mistake(
    "sets memory aside",
    replace=[
        (
            "needs = [view.blocks_for(sequence.num_known_tokens) for",
            "needs = [view.blocks_for(sequence.num_tokens_at_most) for",
        )
    ],
    caught_by=one_joins_if_it_fits_now,
    nudge="You still set aside what may come. Here one joins if what it has now fits.",
)
on_demand.mistake(
    "counts the free blocks too early",
    replace=[
        (
            "        batch = list(view.running)\n",
            "        batch = list(view.running)\n        free = draft.num_free_blocks\n",
        ),
        ("joining(needs, draft.num_free_blocks,", "joining(needs, free,"),
    ],
    caught_by=one_joins_if_it_fits_now,
    nudge="Those who run take blocks in this step, too. `draft.num_free_blocks` falls as the plan grows: ask it late.",
)
on_demand.mistake(
    "no preemption",
    replace=[
        (
            "        while sum(draft.blocks_needed(sequence, 1) for sequence in batch) > draft.num_free_blocks:\n"
            "            draft.preempt(batch.pop())\n",
            "",
        )
    ],
    caught_by=the_latest_yields,
    nudge="Blocks run out, and nobody yields. Somebody must, before the others go on: `draft.preempt(sequence)`.",
)
on_demand.mistake(
    "the earliest yields",
    replace=[("batch.pop()", "batch.pop(0)")],
    caught_by=the_latest_yields,
    nudge="The one that came first loses its place. So nobody is ever sure to end: the first is always next.",
)
on_demand.mistake(
    "the longest yields",
    replace=[
        (
            "draft.preempt(batch.pop())",
            "longest = max(batch, key=lambda sequence: sequence.num_known_tokens)\n"
            "            batch.remove(longest)\n"
            "            draft.preempt(longest)",
        )
    ],
    caught_by=the_latest_yields,
    nudge="The longest frees most, and has most to compute again. And it may be the one that came first.",
)
on_demand.mistake(
    "everybody but one yields",
    replace=[
        (
            "> draft.num_free_blocks:\n            draft.preempt(batch.pop())",
            "> draft.num_free_blocks:\n            while len(batch) > 1:\n                draft.preempt(batch.pop())",
        )
    ],
    caught_by=the_latest_yields,
    nudge="Too many lose their place. After each one, see whether the blocks suffice.",
)
on_demand.mistake(
    "yields once, not while",
    replace=[("        while sum(", "        if sum(")],
    caught_by=the_latest_yields,
    nudge="One that yields may not be enough. Go on while blocks are short.",
)
on_demand.mistake(
    "runs who was preempted",
    replace=[("        for sequence in batch:", "        for sequence in view.running:")],
    caught_by=the_latest_yields,
    nudge="`view.running` stays as it is while you plan. Who is preempted is still in it, and must not appear again.",
)
on_demand.mistake(
    "newcomers take the place",
    replace=[("        if len(batch) == len(view.running):\n", "        if True:\n")],
    caught_by=nobody_starves,
    nudge="One loses its place, and in the same step somebody else gets it. Who came before loses to who came after.",
)
on_demand.mistake(
    "fresh ones first",
    replace=[
        (
            "needs = [view.blocks_for(sequence.num_known_tokens) for sequence in view.waiting]",
            "queue = sorted(view.waiting, key=lambda sequence: sequence.num_preemptions)\n"
            "            needs = [view.blocks_for(sequence.num_known_tokens) for sequence in queue]",
        ),
        ("for sequence in view.waiting[:count]", "for sequence in queue[:count]"),
    ],
    caught_by=nobody_starves,
    nudge="Those who lost their place stand behind newcomers. While these keep coming, they starve.",
)
on_demand.mistake(
    "shortest first",
    replace=[
        (
            "needs = [view.blocks_for(sequence.num_known_tokens) for sequence in view.waiting]",
            "queue = sorted(view.waiting, key=lambda sequence: sequence.num_known_tokens)\n"
            "            needs = [view.blocks_for(sequence.num_known_tokens) for sequence in queue]",
        ),
        ("for sequence in view.waiting[:count]", "for sequence in queue[:count]"),
    ],
    caught_by=with_room_it_is_continuous,
    nudge="Short ones go first, so a long one waits as long as short ones come. `view.waiting` has the right order.",
)
on_demand.mistake(
    "the prompt only",
    replace=[
        (
            "needs = [view.blocks_for(sequence.num_known_tokens) for",
            "needs = [view.blocks_for(sequence.num_prompt_tokens) for",
        )
    ],
    caught_by=the_latest_yields,
    nudge="Who was preempted has written something already. It must be computed again, with the prompt.",
)
on_demand.mistake(
    "who finds no block yields",
    text="""
class OnDemand:
    def __init__(self, max_num_sequences=8):
        self.max_num_sequences = max_num_sequences

    def schedule(self, view):
        draft = view.draft()
        for sequence in view.running:
            if draft.can_add(sequence, 1):
                draft.add(sequence, 1)
            else:
                draft.preempt(sequence)
        if not draft.plan.preempt:
            for sequence in view.waiting:
                left = draft.tokens_left(sequence)
                if draft.num_running >= self.max_num_sequences or not draft.can_add(sequence, left):
                    break
                draft.add(sequence, left)
        return draft.plan
""",
    caught_by=the_latest_yields,
    nudge="Whoever finds no block yields, even the first. The one that came last should, so that others go on.",
)
on_demand.mistake(
    "waits for room for the whole answer",
    text="""
class OnDemand:
    def __init__(self, max_num_sequences=8):
        self.max_num_sequences = max_num_sequences

    def schedule(self, view):
        draft = view.draft()
        batch = list(view.running)
        while sum(draft.blocks_needed(sequence, 1) for sequence in batch) > draft.num_free_blocks:
            draft.preempt(batch.pop())
        for sequence in batch:
            draft.add(sequence, 1)
        if len(batch) == len(view.running):
            places = self.max_num_sequences - len(batch)
            for sequence in view.waiting[:places]:
                if view.blocks_for(sequence.num_tokens_at_most) > draft.num_free_blocks:
                    break
                draft.add(sequence, draft.tokens_left(sequence))
        return draft.plan
""",
    caught_by=the_latest_yields,
    nudge="You wait until a whole answer would fit. Here one joins if what it has now fits.",
)
on_demand.mistake(
    "computes the prompt only",
    replace=[
        (
            "view.waiting[:count]:\n                draft.add(sequence, draft.tokens_left(sequence))",
            "view.waiting[:count]:\n                draft.add(sequence, sequence.num_prompt_tokens)",
        )
    ],
    caught_by=the_latest_yields,
    nudge="Who was preempted has written something already. It must be computed again, with the prompt.",
)
on_demand.mistake(
    "nobody joins",
    replace=[("self.max_num_sequences - len(batch)", "0")],
    caught_by=with_room_it_is_continuous,
    nudge="Nobody is ever let in. Who joins is added to the plan, too: `draft.add(sequence, ...)`.",
)
on_demand.mistake(
    "a prompt, token by token",
    replace=[
        (
            "            for sequence in view.waiting[:count]:\n"
            "                draft.add(sequence, draft.tokens_left(sequence))",
            "            for sequence in view.waiting[:count]:\n                draft.add(sequence, 1)",
        )
    ],
    caught_by=with_room_it_is_continuous,
    nudge="One token is right for an answer. Who joins computes all that it knows at once: `draft.tokens_left`.",
)
on_demand.mistake(
    "no limit of places",
    replace=[("self.max_num_sequences - len(batch)", "len(view.waiting)")],
    caught_by=with_room_it_is_continuous,
    nudge="There are blocks, but `max_num_sequences` is a limit, too: how many places are left?",
)
on_demand.mistake(
    "all yield",
    replace=[
        (
            "        while sum(draft.blocks_needed(sequence, 1) for sequence in batch) > draft.num_free_blocks:\n"
            "            draft.preempt(batch.pop())",
            "        if sum(draft.blocks_needed(sequence, 1) for sequence in batch) > draft.num_free_blocks:\n"
            "            while batch:\n                draft.preempt(batch.pop())",
        )
    ],
    caught_by=the_latest_yields,
    nudge="Blocks are short, and yours sends everybody away. After each one, see whether the blocks suffice.",
)
on_demand.mistake(
    "a block for every token",
    replace=[("sum(draft.blocks_needed(sequence, 1) for sequence in batch)", "len(batch)")],
    caught_by=the_latest_yields,
    nudge="Not every next token takes a block: most fit into the last one. `draft.blocks_needed(sequence, 1)` knows.",
)
on_demand.mistake(
    "who finds no block rests",
    replace=[
        (
            "        while sum(draft.blocks_needed(sequence, 1) for sequence in batch) > draft.num_free_blocks:\n"
            "            draft.preempt(batch.pop())\n",
            "",
        ),
        (
            "            draft.add(sequence, 1)\n",
            "            if draft.can_add(sequence, 1):\n                draft.add(sequence, 1)\n",
        ),
    ],
    caught_by=the_latest_yields,
    nudge="Yours lets one rest, with all its blocks. If all rest, nobody ends. The latest must give its blocks back.",
)
on_demand.mistake(
    "one yields too early",
    replace=[("for sequence in batch) > draft", "for sequence in batch) >= draft")],
    caught_by=one_joins_if_it_fits_now,
    nudge="Exactly as many blocks as are needed are enough: nobody has to yield.",
)
on_demand.mistake(
    "takes from the view",
    replace=[("batch = list(view.running)", "batch = view.running")],
    caught_by=the_latest_yields,
    nudge="What is shown can only be read. Make a list of your own to take from: `list(view.running)`.",
)
on_demand.alternative(
    """
class OnDemand:
    def __init__(self, max_num_sequences=8):
        self.max_num_sequences = max_num_sequences

    def schedule(self, view):
        draft, order = view.draft(), sorted(view.running, key=lambda sequence: sequence.rank)
        ran = []
        for place, sequence in enumerate(list(order)):
            if place >= len(order):
                break
            while not draft.can_add(sequence, 1) and len(order) > place + 1:
                draft.preempt(order.pop())
            if not draft.can_add(sequence, 1):
                draft.preempt(order.pop())
                break
            draft.add(sequence, 1)
            ran.append(sequence)
        if draft.plan.preempt:
            return draft.plan
        for sequence in view.waiting:
            left = draft.tokens_left(sequence)
            if len(ran) == self.max_num_sequences or not draft.can_add(sequence, left):
                break
            draft.add(sequence, left)
            ran.append(sequence)
        return draft.plan
"""
)
