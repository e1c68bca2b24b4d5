"""Exercises of lesson 10: a queue as a formula, an event loop, two ways to use two GPUs, and a fitted cost model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from course.curriculum.lesson_10_simulation.rules import first_wrong_token, tokens_by_hand, told
from course.exercises import PLAIN, Cases, call, define, expect
from course.figures import token_rows

if TYPE_CHECKING:
    import heapq

# 1: mean_ttft


@define("simulation.mean_ttft", points=1)
def mean_ttft(rate: float, prefill_s: float) -> float:
    """Mean TTFT in seconds of one GPU that takes one prompt after the other.

    `rate` prompts arrive per second, at random (Poisson), and each takes `prefill_s` seconds.
    Where more comes in than the GPU can do, or exactly as much, the queue grows without end:
    `math.inf`. About 3 lines.
    """
    load = rate * prefill_s
    if load >= 1:
        return math.inf
    return prefill_s + load * prefill_s / (2 * (1 - load))


def mean_by_moments(rate: float, service_s: float) -> float:
    """Pollaczek and Khinchine's formula as textbooks have it, with the second moment of the service times."""
    moment = np.mean(np.square([service_s, service_s]))
    return float(rate * moment / 2 / (1 - rate * service_s) + service_s)


@mean_ttft.check(hint="The wait is R·D² / (2·(1 − R·D)). TTFT is the wait and the prefill itself.")
def below_what_it_can_do(rng: np.random.Generator) -> Cases:
    yield call(0.2, 3.0).returns(5.25)
    for low, high in ((0.1, 0.4), (0.6, 0.95)):
        prefill_s = float(rng.uniform(0.03, 0.3))
        load = float(rng.uniform(low, high))
        yield call(load / prefill_s, prefill_s).returns(mean_by_moments(load / prefill_s, prefill_s))


@mean_ttft.check(hint="Nobody before you: TTFT is the prefill.")
def nobody_else_comes(rng: np.random.Generator) -> Cases:
    prefill_s = float(rng.uniform(0.03, 0.3))
    yield call(0.0, prefill_s).returns(prefill_s)


@mean_ttft.check(hint="With R·D = 1 or more, the queue grows for ever. Look at the load before you divide.")
def more_than_it_can_do(rng: np.random.Generator) -> Cases:
    for load in (1.2, 3.0):
        prefill_s = float(rng.uniform(0.03, 0.3))
        yield call(load / prefill_s, prefill_s).returns(math.inf)
    yield call(8.0, 0.125).returns(math.inf)


def instead_of_ttft(line: str, before: str = "    load = rate * prefill_s") -> str:
    """The reference with another last line, and perhaps another load."""
    return f"def mean_ttft(rate, prefill_s):\n{before}\n    if load >= 1:\n        return math.inf\n    return {line}\n"


mean_ttft.mistake(
    "the wait alone",
    text=instead_of_ttft("load * prefill_s / (2 * (1 - load))"),
    caught_by=below_what_it_can_do,
    nudge="That is how long a prompt waits before its turn comes. The first token comes after its prefill.",
)
mean_ttft.mistake(
    "the service time used as a rate",
    text=instead_of_ttft("1 / prefill_s + load / prefill_s / (2 * (1 - load))", "    load = rate / prefill_s"),
    caught_by=below_what_it_can_do,
    nudge="You divide by `prefill_s` as if it were a rate. It is seconds for one prompt; the GPU does 1 / `prefill_s` "
    "prompts per second. The load is the one rate divided by the other.",
)
mean_ttft.mistake(
    "the load upside down",
    text=instead_of_ttft("prefill_s + load * prefill_s / (2 * (1 - load))", "    load = 1 / (rate * prefill_s)"),
    caught_by=below_what_it_can_do,
    nudge="Your load falls when more prompts come. It is the share of time in which the GPU is busy: rate · prefill_s.",
)
mean_ttft.mistake(
    "the load by the rate alone",
    text=instead_of_ttft("prefill_s + load * prefill_s / (2 * (1 - load))", "    load = rate"),
    caught_by=below_what_it_can_do,
    nudge="`rate` is prompts per second. How busy the GPU is depends on how long each of them takes, too.",
)
mean_ttft.mistake(
    "service times that vary",
    text=instead_of_ttft("prefill_s + load * prefill_s / (1 - load)"),
    caught_by=below_what_it_can_do,
    nudge="Twice the wait: with it, TTFT is D / (1 - load), the formula of M/M/1, where service times are as random as "
    "the arrivals. Here all take equally long.",
)
mean_ttft.mistake(
    "half of it with the load outside",
    text=instead_of_ttft("prefill_s + load * prefill_s / 2 * (1 - load)"),
    caught_by=below_what_it_can_do,
    nudge="`a / 2 * b` multiplies by b. The whole of `2 * (1 - load)` belongs below the line: put it in parentheses.",
)
mean_ttft.mistake(
    "two minus the load",
    text=instead_of_ttft("prefill_s + load * prefill_s / (2 - load)"),
    caught_by=below_what_it_can_do,
    nudge="Below the line stands 2 · (1 − load), which goes to 0 when the GPU is always busy. Yours does not.",
)
mean_ttft.mistake(
    "how many wait, not how long",
    text=instead_of_ttft("prefill_s + load / (2 * (1 - load))"),
    caught_by=below_what_it_can_do,
    nudge="Your wait has no unit: a number of prefills. Each of them takes `prefill_s` seconds.",
)
mean_ttft.mistake(
    "how many there are",
    text=instead_of_ttft("prefill_s + load ** 2 / (2 * (1 - load))"),
    caught_by=below_what_it_can_do,
    nudge="R²·D² / (2·(1 − R·D)) is the mean number of prompts in the queue. How long does one of them stand there?",
)
mean_ttft.mistake(
    "in milliseconds",
    text=instead_of_ttft("1000 * (prefill_s + load * prefill_s / (2 * (1 - load)))"),
    caught_by=below_what_it_can_do,
    nudge="A thousand times too much: seconds are wanted.",
)
mean_ttft.mistake(
    "no wait",
    text=instead_of_ttft("prefill_s"),
    caught_by=below_what_it_can_do,
    nudge="That is TTFT with nobody before you. Prompts come at random, so some find others there.",
)
mean_ttft.mistake(
    "no limit",
    text=(
        "def mean_ttft(rate, prefill_s):\n    load = rate * prefill_s\n"
        "    return prefill_s + load * prefill_s / (2 * (1 - load)) if load != 1 else math.inf\n"
    ),
    caught_by=more_than_it_can_do,
    nudge="With a load above 1 your wait is negative. More comes in than goes out: there is no mean, it is `math.inf`.",
)
mean_ttft.mistake(
    "exactly as much as it can do",
    replace=[("load >= 1", "load > 1")],
    caught_by=more_than_it_can_do,
    nudge="At a load of exactly 1 you divide by 0. There, too, the queue grows without end.",
)
mean_ttft.mistake(
    "one prompt a second as the limit",
    replace=[("load >= 1", "rate >= 1")],
    caught_by=below_what_it_can_do,
    nudge="`rate` above 1 is nothing bad: a GPU with short prompts does many in a second. It is the load, rate times "
    "`prefill_s`, that must stay below 1.",
)
mean_ttft.mistake(
    "no answer where there is no end",
    replace=[("return math.inf", "return None")],
    caught_by=more_than_it_can_do,
    nudge="Say it in a number that can be compared: `math.inf`.",
)
mean_ttft.mistake(
    "nothing where there is no end",
    replace=[("return math.inf", "return 0.0")],
    caught_by=more_than_it_can_do,
    nudge="0 would be the best TTFT of all. A queue without end is `math.inf`.",
)
mean_ttft.mistake(
    "the prefill where there is no end",
    replace=[("return math.inf", "return prefill_s")],
    caught_by=more_than_it_can_do,
    nudge="Overloaded, and TTFT as if nobody were there? The queue grows without end: `math.inf`.",
)
mean_ttft.alternative("""
def mean_ttft(rate, prefill_s):
    most = 1 / prefill_s
    return prefill_s * (2 - rate / most) / (2 - 2 * rate / most) if rate < most else float("inf")
""")


# 2: serve


def with_costs(learner: Any, requests: list[tuple[float, int, int]], most_prompts: int, costs: list[float]) -> Any:
    """Serve with step times of DistServe's form; the token times, and what was asked for."""
    always, token, square, decode, context, sequence = costs

    def step_s(prompts: Sequence[int], contexts: Sequence[int]) -> float:
        if prompts:
            return always + token * sum(prompts) + square * sum(n * n for n in prompts)
        return decode + context * sum(contexts) + sequence * len(contexts)

    times = learner([tuple(request) for request in requests], step_s, most_prompts)
    return times, (requests, most_prompts, costs)


EVENTS = (*PLAIN, "import heapq", "from collections import deque")


@define("simulation.serve", points=4, grants=EVENTS, through=with_costs, seconds=3)
def serve(
    requests: list[tuple[float, int, int]],
    step_s: Callable[[list[int], list[int]], float],
    most_prompts: int = 1,
) -> list[list[float]]:
    """When each token of each request comes out: one GPU, one step at a time, prompts first.

    `requests` are (arrival in seconds, tokens of the prompt, tokens of the answer), in order of
    arrival. While prompts wait, a step takes the first `most_prompts` of them, or all if there
    are fewer; at its end each of these has its first token. While none wait, a step gives every
    answer that has begun its next token. A step under way is not interrupted.

    A step takes `step_s(prompts, contexts)` seconds: `prompts` has the length of each prompt in
    it, `contexts` for each answer in it the number of tokens in its cache: the prompt, and of the
    answer all but the latest token. One of the two lists is empty. Return for each request its
    list of times.
    """
    tokens = [[] for _ in requests]  # the answer: when the tokens of each request came
    waiting, running, batch = [], [], []  # requests in the queue, begun, in the step under way
    step_ends = -1  # to come: heapq.heappush(events, (when, step_ends))
    events = [(arrival_s, number) for number, (arrival_s, _, _) in enumerate(requests)]
    heapq.heapify(events)
    while events:
        now_s, event = heapq.heappop(events)  # the earliest
        # yours: about 15 lines. What happened? Is that all for now? Then who runs next?
        if event == step_ends:
            for number in batch:
                tokens[number].append(now_s)
            running = [number for number in running if len(tokens[number]) < requests[number][2]]
            batch = []
        else:
            waiting.append(event)
        more_now = events and events[0][0] == now_s
        if batch or more_now:
            continue
        if waiting:
            batch, waiting = waiting[:most_prompts], waiting[most_prompts:]
            running += batch
            seconds = step_s([requests[number][1] for number in batch], [])
        elif running:
            batch = list(running)
            seconds = step_s([], [requests[number][1] + len(tokens[number]) - 1 for number in batch])
        if batch:
            heapq.heappush(events, (now_s + seconds, step_ends))
        # end
    return tokens


Requests = list[tuple[float, int, int]]
ONE_SECOND = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
"""Every step takes a second."""


def draw_tokens(expected: Any, got: Any) -> Any:
    """The learner's tokens, and where they should be."""
    times, (requests, most_prompts, costs) = got
    wanted = tokens_by_hand(requests, most_prompts, costs)
    return token_rows({"yours": times, "as it should be": wanted}, [request[0] for request in requests])


def served(*worlds: tuple[Requests, int, list[float]]) -> Cases:
    """Serve each, the small ones first, and name the first token that comes at the wrong time."""
    for requests, most_prompts, costs in worlds:
        got = yield call(requests, most_prompts, costs)
        sentence = first_wrong_token(tokens_by_hand(requests, most_prompts, costs), got[0])
        expect(not sentence, f"{sentence}. {told(costs)}")


def some_costs(rng: np.random.Generator) -> list[float]:
    """Of no particular length, so that nothing is right by chance."""
    return [round(float(x), 4) for x in rng.uniform(0.5, 1.5, 6) * np.array([0.2, 0.05, 0.003, 0.3, 0.01, 0.07])]


def some_requests(rng: np.random.Generator, num: int, apart_s: float, answer: int) -> Requests:
    """At random, so far apart on average, no two at one instant."""
    arrivals_s = np.cumsum(0.002 + rng.exponential(apart_s, num))
    return [(round(float(at), 3), int(rng.integers(1, 12)), int(rng.integers(1, answer + 1))) for at in arrivals_s]


@serve.check(hint="One prompt: a step begins when it arrives and ends `step_s` later.", picture=draw_tokens)
def a_prompt_alone(rng: np.random.Generator) -> Cases:
    at = float(rng.integers(2, 6))
    yield from served(
        ([(at, 3, 1)], 1, ONE_SECOND), ([(at, int(rng.integers(2, 9)), 1)], 1, [0.5, 0.25, 0.125, 0, 0, 0])
    )


@serve.check(hint="One after the other: a prompt begins when the one before has ended, and not before it has arrived.")
def a_queue_of_prompts(rng: np.random.Generator) -> Cases:
    """Lindley's recursion (1952): who comes begins at its arrival or when the one before ends, whichever is later."""
    busy, idle, both = rng.uniform(0.1, 0.5, 2), rng.uniform(1.5, 3.0, 3), rng.exponential(0.5, 20)
    for apart_s in (busy, idle, both):
        prefill_s = round(float(rng.uniform(0.6, 1.4)), 3)
        arrivals_s = [round(float(at), 3) for at in np.cumsum(apart_s)]
        requests = [(at, 4, 1) for at in arrivals_s]
        ends_s, free_s = [], 0.0
        for at in arrivals_s:
            free_s = max(at, free_s) + prefill_s
            ends_s.append([free_s])
        got = yield call(requests, 1, [prefill_s, 0.0, 0.0, 9.0, 0.0, 0.0])
        sentence = first_wrong_token(ends_s, got[0])
        expect(not sentence, sentence)


@serve.check(hint="After its prompt, an answer gets a token per step until it has all.", picture=draw_tokens)
def an_answer_alone(rng: np.random.Generator) -> Cases:
    length = int(rng.integers(3, 6))
    yield from served(
        ([(1.0, 3, 2)], 1, ONE_SECOND),
        ([(1.0, 2, length)], 1, [1.0, 0.0, 0.0, 0.25, 0.125, 0.0]),
        ([(0.5, int(rng.integers(3, 9)), length)], 1, some_costs(rng)),
    )


@serve.check(hint="All that have begun share a step. Who has its last token is not in the next.", picture=draw_tokens)
def answers_share_steps(rng: np.random.Generator) -> Cases:
    yield from served(
        ([(0.0, 2, 3), (0.25, 2, 2)], 1, [1.0, 0.0, 0.0, 1.0, 0.25, 0.5]),
        ([(0.0, 2, 2), (0.25, 2, 2)], 1, ONE_SECOND),
        ([(0.0, 2, 4), (0.0625, 5, 2), (0.125, 3, 1)], 1, some_costs(rng)),
    )


@serve.check(hint="A prompt that waits goes before all answers, but interrupts no step.", picture=draw_tokens)
def a_prompt_stops_the_answers(rng: np.random.Generator) -> Cases:
    yield from served(
        ([(0.0, 2, 4), (2.5, 2, 1)], 1, ONE_SECOND),
        ([(0.0, 2, 6), (1.375, 4, 3), (3.5, 2, 2)], 1, [1.0, 0.125, 0.0, 0.5, 0.0625, 0.25]),
    )


@serve.check(hint="A step takes up to `most_prompts` of those who wait when it begins.", picture=draw_tokens)
def several_prompts_share_a_step(rng: np.random.Generator) -> Cases:
    yield from served(
        ([(0.0, 2, 1), (0.25, 2, 1), (0.5, 2, 1)], 2, ONE_SECOND),
        ([(0.0, 2, 1), (0.25, 3, 2), (0.5, 4, 1), (0.75, 2, 3), (1.0, 6, 1)], 3, [1.0, 0.125, 0.0625, 1.0, 0.0, 0.5]),
        (some_requests(rng, 8, 0.3, 3), 4, some_costs(rng)),
    )


@serve.check(hint="First all that happens at an instant, then decide once what runs.", picture=draw_tokens)
def several_things_at_one_instant(rng: np.random.Generator) -> Cases:
    late = int(rng.integers(2, 4))
    yield from served(
        ([(0.0, 2, 1), (0.0, 3, 1)], 2, ONE_SECOND),
        ([(0.0, 2, 3), (1.0, 2, 1)], 1, ONE_SECOND),
        ([(0.0, 2, 5), (float(late), 2, 1), (float(late), 2, 2)], 2, [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
    )


@serve.check(hint="Compare the first wrong token with what the text above says of its step.", picture=draw_tokens)
def many_requests(rng: np.random.Generator) -> Cases:
    yield from served(
        (some_requests(rng, 30, 1.5, 6), 1, some_costs(rng)), (some_requests(rng, 40, 0.8, 9), 5, some_costs(rng))
    )


BEGIN = "        more_now = events and events[0][0] == now_s\n        if batch or more_now:\n            continue\n"
DECODE = "requests[number][1] + len(tokens[number]) - 1"
NOTHING_BEGINS = (
    "Somebody waits, and nothing begins. When a step ends: is `batch` emptied, and do you decide then? (To look at the "
    "next event, use `events[0]`; `heapq.heappop` takes it away.)"
)

FOR_EVER = (
    "Does your loop come to an end? Whose prompt is taken must leave `waiting`, and who has all its tokens must leave "
    "`running`; else steps follow for ever."
)
PROMPT_TOO = (
    "Your contexts are too short. The prompt is in the cache, too, and of the answer all tokens but the latest."
)
UNDER_WAY = "You begin a step although one is under way. The GPU does one at a time: whoever arrives meanwhile waits."

serve.mistake(
    "a prompt is taken before it arrives",
    text="""
def serve(requests, step_s, most_prompts=1):
    tokens = [[] for _ in requests]
    waiting, running, now_s = list(range(len(requests))), [], 0.0
    while waiting or running:
        if waiting:
            batch, waiting = waiting[:most_prompts], waiting[most_prompts:]
            now_s = max(now_s, requests[batch[0]][0]) + step_s([requests[i][1] for i in batch], [])
            running += batch
        else:
            batch = running
            now_s += step_s([], [requests[i][1] + len(tokens[i]) - 1 for i in batch])
        for i in batch:
            tokens[i].append(now_s)
        running = [i for i in running if len(tokens[i]) < requests[i][2]]
    return tokens
""",
    caught_by=a_prompt_stops_the_answers,
    nudge="Your step takes a prompt that has not arrived yet. Nothing may happen before its time: whoever arrives "
    "later is an event that is still on the heap.",
)
serve.mistake(
    "looks ahead on the heap for prompts",
    replace=[
        (
            "        if waiting:\n",
            "        while waiting and len(waiting) < most_prompts and events and events[0][1] != step_ends:\n"
            "            waiting.append(heapq.heappop(events)[1])\n"
            "        if waiting:\n",
        )
    ],
    caught_by=several_prompts_share_a_step,
    nudge="You fill the step with prompts that arrive later: the event is processed before its time. Take those who "
    "wait now.",
)
serve.mistake(
    "arrivals interrupt the step",
    replace=[("if batch or more_now:", "if more_now:")],
    caught_by=a_queue_of_prompts,
    nudge=UNDER_WAY,
)
serve.mistake(
    "arrivals interrupt the step, and it is forgotten",
    replace=[
        ("if batch or more_now:", "if more_now:"),
        (
            "            running = [number for",
            "            running += [one for one in batch if one not in running]\n            running = [number for",
        ),
        ("            running += batch\n            seconds", "            seconds"),
    ],
    caught_by=a_queue_of_prompts,
    nudge=UNDER_WAY,
)
serve.mistake(
    "the end of a step is not on the heap",
    replace=[("            heapq.heappush(events, (now_s + seconds, step_ends))", "            pass")],
    caught_by=a_prompt_alone,
    nudge="None of your steps ends. Put its end on the heap when it begins, the time first: (when, `step_ends`).",
)
serve.mistake(
    "numbers for lists",
    replace=[("step_s([requests[number][1] for number in batch], [])", "step_s(len(batch), 0)")],
    caught_by=a_prompt_alone,
    nudge="`step_s` wants two lists of lengths: of each prompt in the step, and of each context. One of them is empty.",
)
serve.mistake(
    "ends when nobody is there",
    replace=[
        (
            "        if batch:\n            heapq.heappush(events, (now_s + seconds, step_ends))\n",
            "        if not batch:\n            break\n        heapq.heappush(events, (now_s + seconds, step_ends))\n",
        )
    ],
    caught_by=a_queue_of_prompts,
    nudge="Nobody is there, and your loop ends. But arrivals are still on the heap: go on with the next event.",
)
serve.mistake(
    "starts at the arrival",
    text="""
def serve(requests, step_s, most_prompts=1):
    tokens = [[] for _ in requests]
    for number, (arrival_s, prompt, answer) in enumerate(requests):
        now_s = arrival_s + step_s([prompt], [])
        tokens[number].append(now_s)
        for done in range(1, answer):
            now_s += step_s([], [prompt + done - 1])
            tokens[number].append(now_s)
    return tokens
""",
    caught_by=a_queue_of_prompts,
    nudge="Each of your requests has a GPU of its own. They share one: who finds it busy has to wait.",
)
serve.mistake(
    "as if the GPU were never idle",
    text="""
def serve(requests, step_s, most_prompts=1):
    tokens = [[] for _ in requests]
    now_s = requests[0][0]
    for number, (arrival_s, prompt, answer) in enumerate(requests):
        now_s += step_s([prompt], [])
        tokens[number].append(now_s)
        for done in range(1, answer):
            now_s += step_s([], [prompt + done - 1])
            tokens[number].append(now_s)
    return tokens
""",
    caught_by=a_queue_of_prompts,
    nudge="Your GPU goes on with a prompt that is not there yet. When nobody waits, the next thing to happen is an "
    "arrival: time jumps there.",
)
serve.mistake(
    "one request to its end",
    text="""
def serve(requests, step_s, most_prompts=1):
    tokens = [[] for _ in requests]
    now_s = 0.0
    for number, (arrival_s, prompt, answer) in enumerate(requests):
        now_s = max(now_s, arrival_s) + step_s([prompt], [])
        tokens[number].append(now_s)
        for done in range(1, answer):
            now_s += step_s([], [prompt + done - 1])
            tokens[number].append(now_s)
    return tokens
""",
    caught_by=answers_share_steps,
    nudge="You let the answers go on while a prompt waits. Prompts come first, and then all answers that have begun "
    "share a step.",
)
serve.mistake(
    "the token comes when the step begins",
    replace=[
        ("            for number in batch:\n                tokens[number].append(now_s)\n", "            pass\n"),
        ("            running += batch\n", "            running += batch\n            began = now_s\n"),
        (
            "            heapq.heappush(events, (now_s + seconds, step_ends))",
            "            for number in batch:\n"
            "                tokens[number].append(now_s)\n"
            "            heapq.heappush(events, (now_s + seconds, step_ends))",
        ),
    ],
    caught_by=a_prompt_alone,
    nudge="Your token comes out when its step begins. It has to be computed first: it comes when the step ends.",
)
serve.mistake(
    "an event that lies in the past",
    replace=[("(now_s + seconds, step_ends)", "(seconds, step_ends)")],
    caught_by=a_prompt_alone,
    nudge="That is a duration. Events and tokens carry times of the clock: a step that begins at `now_s` ends at "
    "`now_s + seconds`.",
)
serve.mistake(
    "one of several things at an instant",
    replace=[(BEGIN, "        if batch:\n            continue\n")],
    caught_by=several_things_at_one_instant,
    nudge="Two things happen at one instant, and you decide after the first. Look at the head of the heap: as long as "
    "there is something for now, decide later.",
)
serve.mistake(
    "only prompts",
    replace=[
        (
            "        elif running:\n            batch = list(running)\n"
            "            seconds = step_s([], [requests[number][1] + len(tokens[number]) - 1 for number in batch])\n",
            "",
        )
    ],
    caught_by=an_answer_alone,
    nudge="Your answers stop after their first token. When no prompt waits, a step gives each its next one.",
)
serve.mistake(
    "goes on only when somebody arrives",
    replace=[
        ("            batch = []\n        else:", "            batch = []\n            continue\n        else:"),
    ],
    caught_by=a_queue_of_prompts,
    nudge=NOTHING_BEGINS,
)
serve.mistake(
    "the latest token is in the cache",
    replace=[(DECODE, "requests[number][1] + len(tokens[number])")],
    caught_by=an_answer_alone,
    nudge="One too many: the latest token has come out and has not been through the model. It is not in the cache yet.",
)
serve.mistake(
    "the cache does not grow",
    replace=[(DECODE, "requests[number][1]")],
    caught_by=an_answer_alone,
    nudge="Your contexts stay as long as the prompt. Each step puts a token of the answer into the cache.",
)
serve.mistake(
    "only the answer is in the cache",
    replace=[(DECODE, "len(tokens[number]) - 1")],
    caught_by=an_answer_alone,
    nudge=PROMPT_TOO,
)
serve.mistake(
    "only the answer is in the cache, to its latest token",
    replace=[(DECODE, "len(tokens[number])")],
    caught_by=an_answer_alone,
    nudge=PROMPT_TOO,
)
serve.mistake(
    "one token more",
    replace=[("len(tokens[number]) < requests[number][2]", "len(tokens[number]) <= requests[number][2]")],
    caught_by=a_prompt_alone,
    nudge="One token too many. The prompt's step gives the first token of the answer, and it counts.",
)
serve.mistake(
    "answers one by one",
    replace=[("batch = list(running)", "batch = running[:1]")],
    caught_by=answers_share_steps,
    nudge="Your step gives one answer its next token. All that have begun share the step: `most_prompts` is about "
    "prompts only.",
)
serve.mistake(
    "all who wait",
    replace=[("waiting[:most_prompts], waiting[most_prompts:]", "waiting, []")],
    caught_by=a_queue_of_prompts,
    nudge="Your step takes more of those who wait than it may: the first `most_prompts`, and no more.",
)
serve.mistake(
    "always one prompt",
    replace=[("waiting[:most_prompts], waiting[most_prompts:]", "waiting[:1], waiting[1:]")],
    caught_by=several_prompts_share_a_step,
    nudge="Your step takes one prompt. It takes as many as wait, up to `most_prompts`.",
)
serve.mistake(
    "waits until the batch is full",
    replace=[
        (
            "        if waiting:\n            batch,",
            "        if len(waiting) >= most_prompts or (waiting and not events):\n            batch,",
        ),
    ],
    caught_by=several_prompts_share_a_step,
    nudge="Yours waits until `most_prompts` are there. That is the most; a step takes those who wait when it begins.",
)
serve.mistake(
    "the latest first",
    replace=[("waiting[:most_prompts], waiting[most_prompts:]", "waiting[-most_prompts:], waiting[:-most_prompts]")],
    caught_by=a_queue_of_prompts,
    nudge="Yours takes the one that came last. First come, first served.",
)
serve.mistake(
    "each prompt a step of its own time",
    replace=[
        (
            "seconds = step_s([requests[number][1] for number in batch], [])",
            "seconds = sum(step_s([requests[number][1]], []) for number in batch)",
        )
    ],
    caught_by=several_prompts_share_a_step,
    nudge="You add up steps of one prompt each. They share one step: `step_s` takes them all at once.",
)
serve.mistake(
    "each answer a step of its own time",
    replace=[
        (
            "seconds = step_s([], [requests[number][1] + len(tokens[number]) - 1 for number in batch])",
            "seconds = sum(step_s([], [requests[number][1] + len(tokens[number]) - 1]) for number in batch)",
        )
    ],
    caught_by=answers_share_steps,
    nudge="You add up steps of one answer each. They share one step: `step_s` takes them all at once.",
)
serve.mistake(
    "the step never ends",
    replace=[("            batch = []\n        else:", "        else:")],
    caught_by=a_queue_of_prompts,
    nudge=NOTHING_BEGINS,
)
serve.mistake(
    "who has begun joins again and again",
    replace=[
        ("            running = [number for", "            running += batch\n            running = [number for"),
        ("            running += batch\n            seconds", "            seconds"),
    ],
    caught_by=an_answer_alone,
    nudge="Someone gets two tokens in a step. You add the batch to `running` after each step: those who decode are "
    "in it already.",
)
serve.mistake(
    "the queue does not get shorter",
    replace=[
        ("batch, waiting = waiting[:most_prompts], waiting[most_prompts:]", "batch = waiting[:most_prompts]"),
        (
            "if len(tokens[number]) < requests[number][2]]\n",
            "if len(tokens[number]) < requests[number][2]]\n"
            "            waiting = [number for number in waiting if len(tokens[number]) < requests[number][2]]\n",
        ),
    ],
    caught_by=an_answer_alone,
    nudge="You compute a prompt twice. Who is taken into a step leaves the queue.",
)
serve.mistake(
    "numbers of requests instead of lengths",
    replace=[("step_s([requests[number][1] for number in batch], [])", "step_s(batch, [])")],
    caught_by=a_prompt_alone,
    nudge="You hand `step_s` numbers of requests. It wants the lengths of their prompts: `requests[number][1]`.",
)
serve.mistake(
    "one context for all",
    replace=[(f"[{DECODE} for number in batch])", f"[sum({DECODE} for number in batch)])")],
    caught_by=answers_share_steps,
    nudge="You hand over one context, the sum. `step_s` wants a list with one for each answer: it counts them, too.",
)
serve.mistake(
    "prompts and answers in one step",
    text="""
def serve(requests, step_s, most_prompts=1):
    tokens = [[] for _ in requests]
    waiting, running, batch = [], [], []
    events = [(arrival_s, number) for number, (arrival_s, _, _) in enumerate(requests)]
    heapq.heapify(events)
    while events:
        now_s, event = heapq.heappop(events)
        if event == -1:
            for number in batch:
                tokens[number].append(now_s)
            running = [number for number in batch if len(tokens[number]) < requests[number][2]]
            batch = []
        else:
            waiting.append(event)
        if batch or (events and events[0][0] == now_s):
            continue
        new, waiting = waiting[:most_prompts], waiting[most_prompts:]
        batch = running + new
        if batch:
            contexts = [requests[number][1] + len(tokens[number]) - 1 for number in running]
            seconds = step_s([requests[number][1] for number in new], contexts)
            heapq.heappush(events, (now_s + seconds, -1))
    return tokens
""",
    caught_by=answers_share_steps,
    nudge="Your step computes prompts and answers together, as in lesson 07. Here it has the ones or the others: "
    "prompts, while any wait.",
)
serve.mistake(
    "events that cannot be compared",
    replace=[
        ("if event == step_ends:", "if isinstance(event, list):"),
        ("(now_s + seconds, step_ends)", "(now_s + seconds, batch)"),
    ],
    caught_by=several_things_at_one_instant,
    nudge="Two events of one instant are compared by what stands behind the time, and a list is neither less nor more "
    "than a number. Push `step_ends`; who is in the step stands in `batch`.",
)
serve.mistake(
    "removes from the list that it goes through",
    replace=[
        (
            "                tokens[number].append(now_s)\n"
            "            running = [number for number in running if len(tokens[number]) < requests[number][2]]\n",
            "                tokens[number].append(now_s)\n"
            "                if len(tokens[number]) == requests[number][2]:\n"
            "                    running.remove(number)\n",
        ),
        ("batch = list(running)", "batch = running"),
    ],
    caught_by=answers_share_steps,
    nudge="Two end in one step, and the second is passed over: you remove from the list that you are going "
    "through. Make a new list of those who go on.",
)
serve.mistake(
    "takes an event to look at it",
    replace=[("events[0][0] == now_s", "heapq.heappop(events)[0] == now_s")],
    caught_by=a_queue_of_prompts,
    nudge=NOTHING_BEGINS,
)
serve.mistake(
    "endless: nobody is ever done",
    replace=[
        (
            "            running = [number for number in running if len(tokens[number]) < requests[number][2]]\n",
            "",
        )
    ],
    caught_by=a_prompt_alone,
    nudge=FOR_EVER,
)
serve.mistake(
    "endless: prompts stay in the queue",
    replace=[("batch, waiting = waiting[:most_prompts], waiting[most_prompts:]", "batch = waiting[:most_prompts]")],
    caught_by=a_prompt_alone,
    nudge=FOR_EVER,
)
serve.alternative("""
def serve(requests, step_s, most_prompts=1):
    tokens, coming = [[] for _ in requests], deque(range(len(requests)))
    queue, begun, now_s = deque(), [], 0.0
    while coming or queue or begun:
        if not queue and not begun:
            now_s = max(now_s, requests[coming[0]][0])
        while coming and requests[coming[0]][0] <= now_s:
            queue.append(coming.popleft())
        if queue:
            batch = [queue.popleft() for _ in range(min(most_prompts, len(queue)))]
            begun.extend(batch)
            now_s += step_s([requests[i][1] for i in batch], [])
        else:
            batch = begun
            now_s += step_s([], [requests[i][1] + len(tokens[i]) - 1 for i in batch])
        for i in batch:
            tokens[i].append(now_s)
        begun = [i for i in begun if len(tokens[i]) < requests[i][2]]
    return tokens
""")
serve.alternative("""
import heapq

def serve(requests, step_s, most_prompts=1):
    times = {number: [] for number in range(len(requests))}
    heap = [(request[0], number, "comes") for number, request in enumerate(requests)]
    queue, answering, step = [], set(), None
    while heap:
        now = heap[0][0]
        while heap and heap[0][0] == now:
            _, number, what = heapq.heappop(heap)
            if what == "comes":
                heapq.heappush(queue, number)
                continue
            for one in step:
                times[one].append(now)
                (answering.discard if len(times[one]) == requests[one][2] else answering.add)(one)
            step = None
        if step is None and (queue or answering):
            if queue:
                step = [heapq.heappop(queue) for _ in range(min(len(queue), most_prompts))]
                took = step_s([requests[one][1] for one in step], [])
            else:
                step = sorted(answering)
                took = step_s([], [requests[one][1] - 1 + len(times[one]) for one in step])
            heapq.heappush(heap, (now + took, -1, "ends"))
    return list(times.values())
""")


# 3: tensor_ttft


@define("simulation.tensor_ttft", points=1, builds_on=(mean_ttft,))
def tensor_ttft(rate: float, prefill_s: float, speedup: float) -> float:
    """Mean TTFT in seconds of GPUs that share the work of every layer: tensor parallel.

    All of them work on one prompt together, and are done with it `speedup` times as fast as one
    GPU, which takes `prefill_s` seconds. The next prompt begins when they are done. `math.inf`
    where more comes in than they can do. `mean_ttft` is at hand. About 1 line.
    """
    return mean_ttft(rate, prefill_s / speedup)


def tensor_in_letters(rate: float, d: float, k: float) -> float:
    """DistServe (OSDI'24), equation 3, as it is printed."""
    return d / k + rate * d * d / (2 * k * (k - rate * d)) if rate * d < k else math.inf


def some_load(rng: np.random.Generator, low: float, high: float) -> tuple[float, float]:
    """A rate and a prefill time, at so many loads of one GPU."""
    prefill_s = float(rng.uniform(0.03, 0.3))
    return float(rng.uniform(low, high)) / prefill_s, prefill_s


@tensor_ttft.check(hint="Together they are one faster GPU. How long does it take for a prompt?")
def one_faster_gpu(rng: np.random.Generator) -> Cases:
    yield call(2.0, 0.3, 1.5).returns(tensor_in_letters(2.0, 0.3, 1.5))
    for low, high in ((0.1, 0.4), (0.5, 0.9)):
        rate, prefill_s = some_load(rng, low, high)
        speedup = float(rng.uniform(1.2, 1.9))
        yield call(rate, prefill_s, speedup).returns(tensor_in_letters(rate, prefill_s, speedup))


@tensor_ttft.check(hint="One GPU ends at a load of 1. What is the limit of one that is `speedup` times as fast?")
def beyond_one_gpu(rng: np.random.Generator) -> Cases:
    rate, prefill_s = some_load(rng, 1.05, 1.3)
    yield call(rate, prefill_s, 1.5).returns(tensor_in_letters(rate, prefill_s, 1.5))
    rate, prefill_s = some_load(rng, 1.6, 1.9)
    yield call(rate, prefill_s, 1.5).returns(math.inf)


tensor_ttft.mistake(
    "always twice as fast",
    replace=[("prefill_s / speedup", "prefill_s / 2")],
    caught_by=one_faster_gpu,
    nudge="Two GPUs would be twice as fast if they did not have to exchange results in each layer. `speedup` says how "
    "fast they are.",
)
tensor_ttft.mistake(
    "divides the result",
    replace=[("mean_ttft(rate, prefill_s / speedup)", "mean_ttft(rate, prefill_s) / speedup")],
    caught_by=one_faster_gpu,
    nudge="You let prompts queue for one GPU and divide afterwards. With a shorter prefill there is less of a queue.",
)
tensor_ttft.mistake(
    "slower",
    replace=[("prefill_s / speedup", "prefill_s * speedup")],
    caught_by=one_faster_gpu,
    nudge="Yours becomes slower with more GPUs. A speed-up makes a time shorter.",
)
tensor_ttft.mistake(
    "the rate is shared",
    replace=[("mean_ttft(rate, prefill_s / speedup)", "mean_ttft(rate / 2, prefill_s / speedup)")],
    caught_by=one_faster_gpu,
    nudge="You give each GPU half of the prompts. Here all of them work on every prompt.",
)
tensor_ttft.mistake(
    "two copies",
    replace=[("mean_ttft(rate, prefill_s / speedup)", "mean_ttft(rate / 2, prefill_s)")],
    caught_by=one_faster_gpu,
    nudge="Those are two copies of the model with half of the prompts each. Here both GPUs work on every prompt.",
)
tensor_ttft.mistake(
    "fewer prompts instead of shorter ones",
    replace=[("mean_ttft(rate, prefill_s / speedup)", "mean_ttft(rate / speedup, prefill_s)")],
    caught_by=one_faster_gpu,
    nudge="The load is right, and each prompt is as slow as before. It is the time of a prompt that becomes shorter; "
    "as many come as before.",
)
tensor_ttft.mistake(
    "fewer prompts and shorter ones",
    replace=[("mean_ttft(rate, prefill_s / speedup)", "mean_ttft(rate / speedup, prefill_s / speedup)")],
    caught_by=one_faster_gpu,
    nudge="You use `speedup` twice. Prompts become shorter; as many come as before.",
)
tensor_ttft.mistake(
    "no queue",
    replace=[("mean_ttft(rate, prefill_s / speedup)", "prefill_s / speedup")],
    caught_by=one_faster_gpu,
    nudge="That is the prefill alone. Also before a faster GPU some prompts wait: `mean_ttft` knows how long.",
)
tensor_ttft.mistake(
    "only the prefill is faster",
    replace=[
        ("mean_ttft(rate, prefill_s / speedup)", "mean_ttft(rate, prefill_s) - prefill_s + prefill_s / speedup"),
    ],
    caught_by=one_faster_gpu,
    nudge="Your wait is that of one GPU. Those before you are served faster, too.",
)
tensor_ttft.mistake(
    "unchanged",
    replace=[("prefill_s / speedup", "prefill_s")],
    caught_by=one_faster_gpu,
    nudge="That is one GPU. Where is `speedup`?",
)
tensor_ttft.mistake(
    "the limit of one GPU",
    replace=[
        (
            "    return mean_ttft(rate, prefill_s / speedup)",
            "    return mean_ttft(rate, prefill_s / speedup) if rate * prefill_s < 1 else math.inf",
        )
    ],
    caught_by=beyond_one_gpu,
    nudge="One GPU ends at a load of 1. Together they end at `speedup`.",
)
tensor_ttft.mistake(
    "no limit",
    text=(
        "def tensor_ttft(rate, prefill_s, speedup):\n"
        "    load = rate * prefill_s\n"
        "    return prefill_s / speedup + load * prefill_s / (2 * speedup * (speedup - load))\n"
    ),
    caught_by=beyond_one_gpu,
    nudge="Where more comes in than they can do, your wait is negative. It is `math.inf`; `mean_ttft` says so.",
)
tensor_ttft.alternative("""
def tensor_ttft(rate, prefill_s, speedup):
    return mean_ttft(rate / speedup, prefill_s) / speedup
""")
tensor_ttft.alternative("""
def tensor_ttft(rate, prefill_s, speedup):
    load = rate * prefill_s
    if load >= speedup:
        return math.inf
    return prefill_s / speedup + load * prefill_s / (2 * speedup * (speedup - load))
""")


# 4: pipeline_ttft


@define("simulation.pipeline_ttft", points=2, builds_on=(mean_ttft,))
def pipeline_ttft(rate: float, prefill_s: float, num_stages: int = 2) -> float:
    """Mean TTFT in seconds of GPUs that have a part of the layers each: pipeline parallel.

    Every prompt goes through all `num_stages` of them, one after the other, and takes `prefill_s`
    seconds in all, as long in each. As soon as it leaves the first, the next prompt may enter. So
    prompts queue before the first stage alone. `math.inf` where more comes in than the stages can
    do. `mean_ttft` is at hand. 1 to 3 lines.
    """
    stage_s = prefill_s / num_stages
    return mean_ttft(rate, stage_s) + prefill_s - stage_s


def pipeline_in_letters(rate: float, d: float, n: int) -> float:
    """DistServe (OSDI'24), equation 2: D_s + R·D_m² / (2·(1 − R·D_m)), with D_s = D in all and D_m = D / n a stage."""
    stage_s = d / n
    return d + rate * stage_s**2 / (2 * (1 - rate * stage_s)) if rate * stage_s < 1 else math.inf


@pipeline_ttft.check(hint="The wait is that before the first stage. And then? Through all stages: `prefill_s`.")
def two_stages(rng: np.random.Generator) -> Cases:
    yield call(2.0, 0.25).returns(pipeline_in_letters(2.0, 0.25, 2))
    for low, high in ((0.1, 0.4), (0.5, 0.9)):
        rate, prefill_s = some_load(rng, low, high)
        yield call(rate, prefill_s).returns(pipeline_in_letters(rate, prefill_s, 2))


@pipeline_ttft.check(hint="The first stage is free again after `prefill_s / num_stages`.")
def more_stages(rng: np.random.Generator) -> Cases:
    for num_stages in (1, 3, 4):
        rate, prefill_s = some_load(rng, 0.3, 0.9)
        yield call(rate, prefill_s, num_stages).returns(pipeline_in_letters(rate, prefill_s, num_stages))


@pipeline_ttft.check(hint="Two stages can take twice as many prompts as one GPU. From where on is it too much?")
def beyond_what_one_can_do(rng: np.random.Generator) -> Cases:
    rate, prefill_s = some_load(rng, 1.2, 1.8)
    yield call(rate, prefill_s).returns(pipeline_in_letters(rate, prefill_s, 2))
    rate, prefill_s = some_load(rng, 2.1, 3.0)
    yield call(rate, prefill_s).returns(math.inf)


BOTH = "mean_ttft(rate, stage_s) + prefill_s - stage_s"

pipeline_ttft.mistake(
    "halved, as if it were tensor parallel",
    replace=[(BOTH, "mean_ttft(rate, stage_s)")],
    caught_by=two_stages,
    nudge="Your prompts are done after one stage. That would be two GPUs on the same layers. Here a prompt passes "
    "both, one after the other, and takes `prefill_s` in all. Only the next one may begin sooner.",
)
pipeline_ttft.mistake(
    "no gain",
    replace=[(BOTH, "mean_ttft(rate, prefill_s)")],
    caught_by=two_stages,
    nudge="That is one GPU. The prompts behind need not wait until you have left the last stage, only the first.",
)
pipeline_ttft.mistake(
    "waits before every stage",
    replace=[(BOTH, "num_stages * mean_ttft(rate, stage_s)")],
    caught_by=two_stages,
    nudge="Twice the wait: you wait before the second stage, too (or you have two copies of the model). Prompts leave "
    "the first stage at least a stage's time apart, so the second is free when the next one comes.",
)
pipeline_ttft.mistake(
    "through all stages and one more",
    replace=[(BOTH, "mean_ttft(rate, stage_s) + prefill_s")],
    caught_by=two_stages,
    nudge="One stage too many: `mean_ttft` has the first stage in it already.",
)
pipeline_ttft.mistake(
    "the rate is shared",
    replace=[(BOTH, "mean_ttft(rate / num_stages, stage_s) + prefill_s - stage_s")],
    caught_by=two_stages,
    nudge="Every prompt enters the first stage. It sees the whole rate.",
)
pipeline_ttft.mistake(
    "the rest without the first stage",
    replace=[(BOTH, "mean_ttft(rate, stage_s) - stage_s")],
    caught_by=two_stages,
    nudge="That is the wait alone. Then the prompt goes through all stages.",
)
pipeline_ttft.mistake(
    "no queue",
    replace=[(BOTH, "prefill_s")],
    caught_by=two_stages,
    nudge="That is the way through all stages, with nobody before you. The wait before the first stage is missing.",
)
pipeline_ttft.mistake(
    "half of it with the whole prefill",
    replace=[(BOTH, "prefill_s + rate * prefill_s**2 / (2 * (1 - rate * stage_s))")],
    caught_by=two_stages,
    nudge="You have the stage's time below the line and the whole prefill above it. For those who queue only the first "
    "stage counts: R·D² / (2·(1 − R·D)) with D = `prefill_s / num_stages` everywhere.",
)
pipeline_ttft.mistake(
    "always two",
    replace=[("prefill_s / num_stages", "prefill_s / 2")],
    caught_by=more_stages,
    nudge="You have two stages whatever `num_stages` says.",
)
pipeline_ttft.mistake(
    "one stage more than the first",
    replace=[(BOTH, "mean_ttft(rate, stage_s) + stage_s")],
    caught_by=more_stages,
    nudge="Right for two stages. Behind the first there are `num_stages - 1` more.",
)
pipeline_ttft.mistake(
    "the limit of one GPU",
    replace=[(BOTH, BOTH + " if rate * prefill_s < 1 else math.inf")],
    caught_by=beyond_what_one_can_do,
    nudge="At a load of 1, one GPU would be at its end. Each of the stages has only its part of the work.",
)
pipeline_ttft.mistake(
    "no limit",
    text=(
        "def pipeline_ttft(rate, prefill_s, num_stages=2):\n"
        "    stage_s = prefill_s / num_stages\n"
        "    return prefill_s + rate * stage_s**2 / (2 * (1 - rate * stage_s))\n"
    ),
    caught_by=beyond_what_one_can_do,
    nudge="Where more comes in than the first stage can do, your wait is negative. It is `math.inf`; `mean_ttft` says "
    "so by itself.",
)
pipeline_ttft.mistake(
    "divides the result",
    replace=[(BOTH, "mean_ttft(rate, prefill_s) / num_stages")],
    caught_by=two_stages,
    nudge="You divide the TTFT of one GPU. But no prompt becomes faster: it still takes `prefill_s`. What becomes "
    "shorter is the time until the first stage is free again.",
)
pipeline_ttft.mistake(
    "the prefill twice",
    replace=[(BOTH, "prefill_s + mean_ttft(rate, prefill_s) / num_stages")],
    caught_by=two_stages,
    nudge="`mean_ttft` has the prefill in it, and you add it once more. And whose queue is it? That of a first stage "
    "which is free again after `prefill_s / num_stages`.",
)
pipeline_ttft.alternative("""
def pipeline_ttft(rate, prefill_s, num_stages=2):
    wait_s = mean_ttft(rate, prefill_s / num_stages) - prefill_s / num_stages
    return prefill_s + wait_s
""")
pipeline_ttft.alternative("""
def pipeline_ttft(rate, prefill_s, num_stages=2):
    slowest_s = prefill_s / num_stages
    if rate * slowest_s >= 1:
        return math.inf
    return prefill_s + rate * slowest_s * slowest_s / (2 - 2 * rate * slowest_s)
""")


# 5: fit_steps


@define("simulation.fit_steps", points=3)
def fit_steps(steps: list[tuple[list[int], list[float]]], decodes: bool) -> list[float]:
    """The constants [a, b, c] with which the form comes closest to the measured steps.

    Each of `steps` is (lengths, seconds). Of a prefill step, `lengths` are the tokens of its
    prompts; of a decode step (`decodes`), the cached tokens of its sequences. The step was timed
    several times; the median of its `seconds` counts, for now and then something else is in the
    way. The forms:

        prefill:  a + b · (sum of the lengths) + c · (sum of the squares of the lengths)
        decode:   a + b · (sum of the lengths) + c · (number of sequences)

    Closest: the smallest sum of squared differences. `np.linalg.lstsq(matrix, targets)[0]` finds
    it: a row for each step, a column for each constant. What it gives is an array; return a list
    (`.tolist()`). About 6 lines.
    """
    rows, targets = [], []
    for lengths, seconds in steps:
        last = len(lengths) if decodes else sum(n * n for n in lengths)
        rows.append([1.0, sum(lengths), last])
        targets.append(np.median(seconds))
    constants = np.linalg.lstsq(np.array(rows), np.array(targets))[0]
    return [float(constant) for constant in constants]


Steps = list[tuple[list[int], list[float]]]


def timed(lengths: Sequence[int], constants: Sequence[float], decodes: bool) -> float:
    """The form, token by token."""
    a, b, c = constants
    seconds = a
    for length in lengths:
        seconds += b * length
        seconds += c if decodes else c * length * length
    return seconds


@fit_steps.check(hint="A row for each step: 1, the sum of the lengths, the sum of their squares.")
def steps_with_one_prompt(rng: np.random.Generator) -> Cases:
    constants = [0.5, 0.25, 0.125]
    steps = [([n], [timed([n], constants, False)]) for n in (1, 2, 3, 5)]
    yield call(steps, False).returns(constants, rtol=1e-6)


@fit_steps.check(hint="Each prompt looks only at itself: square the lengths first, then add them up.")
def steps_with_several_prompts(rng: np.random.Generator) -> Cases:
    constants = [0.5, 0.25, 0.125]
    several = [[1], [2, 1], [3], [2, 2, 1], [4, 1]]
    yield call([(lengths, [timed(lengths, constants, False)]) for lengths in several], False).returns(
        constants, rtol=1e-6
    )


@fit_steps.check(hint="Of decodes: 1, the sum of the lengths, and how many sequences there are.")
def steps_of_decodes(rng: np.random.Generator) -> Cases:
    constants = [0.5, 0.25, 0.125]
    yield call(exact(constants), True).returns(constants, rtol=1e-6)


def exact(constants: Sequence[float]) -> Steps:
    """Decode steps of several sizes, timed once and without error."""
    several = [[1], [2, 1], [9, 3], [2, 2, 1], [4, 1, 8]]
    return [(lengths, [timed(lengths, constants, True)]) for lengths in several]


@fit_steps.check(hint="Of the timings of one step take the median: `np.median(seconds)`.")
def a_timing_that_went_wrong(rng: np.random.Generator) -> Cases:
    for decodes in (False, True):
        constants = [0.5, 0.25, 0.125]
        several = [[1], [2, 1], [9, 3], [2, 2, 1], [4, 1, 8]]
        steps = []
        for lengths in several:
            seconds = timed(lengths, constants, decodes)
            usual = [seconds] * len(lengths)
            timings = [seconds - 0.0625, *usual[1:], 3 * seconds + 1, *usual]
            steps.append((lengths, timings[:: -1 if len(steps) % 2 else 1]))
        yield call(steps, decodes).returns(constants, rtol=1e-6)
    of_four = [(lengths, [fair - 0.25, fair + 9.0, fair + 0.25, fair - 0.5]) for lengths, [fair] in exact(constants)]
    yield call(of_four, True).returns(constants, rtol=1e-6)


def noisy(rng: np.random.Generator, decodes: bool) -> Steps:
    """Steps that no form fits exactly, one timing each."""
    steps: Steps = []
    for _ in range(9):
        lengths = [int(n) for n in rng.integers(1, 9, int(rng.integers(1, 5)))]
        steps.append((lengths, [timed(lengths, [4.0, 0.5, 0.25], decodes) * float(rng.uniform(0.9, 1.1))]))
    return steps


def by_normal_equations(steps: Steps, decodes: bool) -> list[float]:
    """Where all derivatives of the sum of squares are 0, solved directly."""
    matrix = np.array(
        [[1, sum(lengths), len(lengths) if decodes else sum(n**2 for n in lengths)] for lengths, _ in steps], float
    )
    targets = np.array([seconds[0] for _, seconds in steps])
    return [float(x) for x in np.linalg.solve(matrix.T @ matrix, matrix.T @ targets)]


@fit_steps.check(hint="No form fits real timings exactly. The smallest sum of squared differences, over all steps.")
def timings_that_scatter(rng: np.random.Generator) -> Cases:
    for decodes in (False, True):
        steps = noisy(rng, decodes)
        yield call(steps, decodes).returns(by_normal_equations(steps, decodes), rtol=1e-5, atol=1e-7)


fit_steps.mistake(
    "no constant",
    text="""
def fit_steps(steps, decodes):
    rows = [[sum(l), len(l) if decodes else sum(n * n for n in l)] for l, _ in steps]
    typical = [np.median(seconds) for _, seconds in steps]
    b, c = np.linalg.lstsq(np.array(rows, dtype=float), np.array(typical))[0]
    return [0.0, float(b), float(c)]
""",
    caught_by=steps_with_one_prompt,
    nudge="Your form is 0 for an empty step: the constant is missing. A column of ones is what it multiplies.",
)
fit_steps.mistake(
    "two constants only",
    text="""
def fit_steps(steps, decodes):
    rows = [[sum(l), len(l) if decodes else sum(n * n for n in l)] for l, _ in steps]
    typical = [np.median(seconds) for _, seconds in steps]
    return np.linalg.lstsq(np.array(rows, dtype=float), np.array(typical))[0].tolist()
""",
    caught_by=steps_with_one_prompt,
    nudge="Two constants: what every step costs, however small, is missing. A column of ones is what `a` multiplies.",
)
fit_steps.mistake(
    "a parabola of the sum",
    text="""
def fit_steps(steps, decodes):
    rows = [[1.0, sum(l), len(l) if decodes else sum(l) ** 2] for l, _ in steps]
    typical = [np.median(seconds) for _, seconds in steps]
    return np.linalg.lstsq(np.array(rows), np.array(typical))[0].tolist()
""",
    caught_by=steps_with_several_prompts,
    nudge="You square the sum. Then every prompt would look at the tokens of all others. Square first, then add.",
)
fit_steps.mistake(
    "the first prompt alone",
    text="""
def fit_steps(steps, decodes):
    rows = [[1.0, sum(l), len(l) if decodes else l[0] ** 2] for l, _ in steps]
    typical = [np.median(seconds) for _, seconds in steps]
    return np.linalg.lstsq(np.array(rows), np.array(typical))[0].tolist()
""",
    caught_by=steps_with_several_prompts,
    nudge="You square the first length only. All prompts of the step have a square.",
)
fit_steps.mistake(
    "no squares",
    text="""
def fit_steps(steps, decodes):
    rows = [[1.0, sum(l), len(l)] for l, _ in steps]
    typical = [np.median(seconds) for _, seconds in steps]
    return np.linalg.lstsq(np.array(rows), np.array(typical))[0].tolist()
""",
    caught_by=steps_with_one_prompt,
    nudge="You fit the form of decodes to prompts. Where `decodes` is False, the last column has squares.",
)
fit_steps.mistake(
    "squares for decodes, too",
    replace=[("last = len(lengths) if decodes else sum(n * n for n in lengths)", "last = sum(n * n for n in lengths)")],
    caught_by=steps_of_decodes,
    nudge="A new token looks once at each cached one: no squares. The last column of decodes is how many there are.",
)
fit_steps.mistake(
    "the mean of the timings",
    replace=[("np.median(seconds)", "np.mean(seconds)")],
    caught_by=a_timing_that_went_wrong,
    nudge="A mean believes every timing, also the one with something else in the way. The median does not.",
)
fit_steps.mistake(
    "all timings together",
    text="""
def fit_steps(steps, decodes):
    rows, targets = [], []
    for lengths, seconds in steps:
        for one in seconds:
            rows.append([1.0, sum(lengths), len(lengths) if decodes else sum(n * n for n in lengths)])
            targets.append(one)
    return np.linalg.lstsq(np.array(rows), np.array(targets))[0].tolist()
""",
    caught_by=a_timing_that_went_wrong,
    nudge="You fit every single timing, the bad ones with them, and squares give those the most weight. First the "
    "median of each step.",
)
fit_steps.mistake(
    "the timing that stands in the middle",
    replace=[("np.median(seconds)", "seconds[len(seconds) // 2]")],
    caught_by=a_timing_that_went_wrong,
    nudge="You take the one that stands in the middle of the list, in the order of the timings. The median is the one "
    "in the middle by size: `np.median` sorts.",
)
fit_steps.mistake(
    "the upper of two in the middle",
    replace=[("np.median(seconds)", "sorted(seconds)[len(seconds) // 2]")],
    caught_by=a_timing_that_went_wrong,
    nudge="Right for an odd number of timings. Of an even number, two stand in the middle, and the median is between "
    "them: `np.median(seconds)`.",
)
fit_steps.mistake(
    "in milliseconds",
    replace=[("np.median(seconds)", "1000 * np.median(seconds)")],
    caught_by=steps_with_one_prompt,
    nudge="A thousand times too much: seconds are wanted.",
)
fit_steps.mistake(
    "a caret for a power",
    replace=[("n * n for n", "n ^ 2 for n")],
    caught_by=steps_with_one_prompt,
    nudge="`^` is no power in Python, it compares bits. A square is `n * n` or `n ** 2`.",
)
fit_steps.mistake(
    "the longest length",
    replace=[("sum(lengths), last", "max(lengths), last")],
    caught_by=steps_with_several_prompts,
    nudge="A step computes all its tokens, not only the longest prompt: add the lengths up.",
)
fit_steps.mistake(
    "the sum of the timings",
    replace=[("np.median(seconds)", "sum(seconds)")],
    caught_by=a_timing_that_went_wrong,
    nudge="You add up the timings. Each is one try at the same step: the median is its time.",
)
fit_steps.mistake(
    "the fastest timing",
    replace=[("np.median(seconds)", "min(seconds)")],
    caught_by=a_timing_that_went_wrong,
    nudge="The fastest time is what a step can do at best. Predict what it usually does: the median.",
)
fit_steps.mistake(
    "the first timing",
    replace=[("np.median(seconds)", "seconds[0]")],
    caught_by=a_timing_that_went_wrong,
    nudge="You believe a single timing. Take the median of all.",
)
fit_steps.mistake(
    "the median of everything",
    text="""
def fit_steps(steps, decodes):
    total = np.median([sum(l) for l, _ in steps])
    last = np.median([len(l) if decodes else sum(n * n for n in l) for l, _ in steps])
    typical = np.median([np.median(seconds) for _, seconds in steps])
    return np.linalg.lstsq(np.array([[1.0, total, last]]), np.array([typical]))[0].tolist()
""",
    caught_by=steps_with_one_prompt,
    nudge="You take the median over all steps, and one row is left: three constants cannot be found in it. A "
    "median for each step, and a row for each step.",
)
fit_steps.mistake(
    "the mean length",
    replace=[("sum(lengths), last", "np.mean(lengths), last")],
    caught_by=steps_with_several_prompts,
    nudge="A step computes all its tokens, not an average prompt: add the lengths up.",
)
fit_steps.mistake(
    "another order",
    replace=[("[1.0, sum(lengths), last]", "[sum(lengths), last, 1.0]")],
    caught_by=steps_with_one_prompt,
    nudge="The right numbers in another order: [a, b, c], the constant first.",
)
fit_steps.mistake(
    "highest power first",
    replace=[("[1.0, sum(lengths), last]", "[last, sum(lengths), 1.0]")],
    caught_by=steps_with_one_prompt,
    nudge="The right numbers in another order, as `np.polyfit` gives them. Wanted is [a, b, c], the constant first.",
)
fit_steps.mistake(
    "all that lstsq says",
    replace=[
        ("np.array(targets))[0]\n", "np.array(targets))\n"),
        ("[float(constant) for constant in constants]", "list(constants)"),
    ],
    caught_by=steps_with_one_prompt,
    nudge="`lstsq` returns four things. The constants are the first of them: `[0]`.",
)
fit_steps.mistake(
    "an array",
    replace=[("[float(constant) for constant in constants]", "constants")],
    caught_by=steps_with_one_prompt,
    nudge="An array. A list is wanted: `.tolist()`.",
)
fit_steps.mistake(
    "relative errors",
    text="""
def fit_steps(steps, decodes):
    rows = np.array([[1.0, sum(l), len(l) if decodes else sum(n * n for n in l)] for l, _ in steps])
    typical = np.array([np.median(seconds) for _, seconds in steps])
    return np.linalg.lstsq(rows / typical[:, None], np.ones(len(steps)))[0].tolist()
""",
    caught_by=timings_that_scatter,
    nudge="You divide by the times, so short steps count as much as long ones. No bad idea; but here the squared "
    "differences themselves are to be small.",
)
fit_steps.mistake(
    "three steps are enough",
    text="""
def fit_steps(steps, decodes):
    rows = np.array([[1.0, sum(l), len(l) if decodes else sum(n * n for n in l)] for l, _ in steps])
    typical = np.array([np.median(seconds) for _, seconds in steps])
    return np.linalg.solve(rows[:3], typical[:3]).tolist()
""",
    caught_by=timings_that_scatter,
    nudge="You solve for three of the steps and leave the others out. Every timing is a little off: all have a say.",
)
fit_steps.mistake(
    "the square of a list",
    replace=[("sum(n * n for n in lengths)", "lengths ** 2")],
    caught_by=steps_with_one_prompt,
    nudge="A list has no square. Each of its lengths has one.",
)
fit_steps.mistake(
    "solves instead of fitting",
    replace=[("np.linalg.lstsq(np.array(rows), np.array(targets))[0]", "np.linalg.solve(rows, targets)")],
    caught_by=steps_with_one_prompt,
    nudge="More steps than constants: no three constants fit them all. `np.linalg.lstsq` finds the closest.",
)
fit_steps.alternative("""
def fit_steps(steps, decodes):
    matrix = np.ones((len(steps), 3))
    for i, (lengths, _) in enumerate(steps):
        lengths = np.array(lengths, dtype=float)
        matrix[i, 1:] = lengths.sum(), (len(lengths) if decodes else (lengths**2).sum())
    return (np.linalg.pinv(matrix) @ np.array([np.median(seconds) for _, seconds in steps])).tolist()
""")
