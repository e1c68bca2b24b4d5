"""What `serve` must do, told without events: go from one moment at which the GPU is free to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Job(NamedTuple):
    """A request: when it arrives (seconds), the tokens of its prompt and of its answer."""

    arrival_s: float
    prompt: int
    answer: int


def tokens_by_hand(requests: Sequence[tuple[float, int, int]], most_prompts: int, costs: Sequence[float]) -> list:
    """For each request the times of its tokens. ``costs`` are the six constants of a step: three of prompts, three of
    answers, in the order (always, per token, per square; always, per cached token, per sequence).
    """
    jobs = [Job(*request) for request in requests]
    tokens: list[list[float]] = [[] for _ in jobs]
    now_s = 0.0
    while any(len(row) < job.answer for row, job in zip(tokens, jobs, strict=True)):
        here = [i for i, job in enumerate(jobs) if job.arrival_s <= now_s]
        untouched = [i for i in here if not tokens[i]][:most_prompts]
        begun = [i for i in here if tokens[i] and len(tokens[i]) < jobs[i].answer]
        if untouched:
            always, token, square = costs[:3]
            lengths = [jobs[i].prompt for i in untouched]
            now_s = now_s + (always + token * sum(lengths) + square * sum(n * n for n in lengths))
        elif begun:
            always, context, sequence = costs[3:]
            cached = sum(jobs[i].prompt + len(tokens[i]) - 1 for i in begun)
            now_s = now_s + (always + context * cached + sequence * len(begun))
        else:
            now_s = min(job.arrival_s for i, job in enumerate(jobs) if not tokens[i])
        for i in untouched or begun:
            tokens[i].append(now_s)
    return tokens


def first_wrong_token(wanted: Sequence[Sequence[float]], got: object) -> str:
    """The first token, in the order in which they should come, that does not come at its time; empty if all do."""
    if not isinstance(got, list) or len(got) != len(wanted):
        what = "None" if got is None else f"a {type(got).__name__} of another length or kind"
        return f"`serve` must return a list with one list of times for each request, and returns {what}"
    for number, row in enumerate(got):
        if not isinstance(row, list | tuple) or not all(isinstance(time_s, int | float) for time_s in row):
            return f"What comes for request {number} is no list of times: {row!r}"
    found = []
    for number, (should, are) in enumerate(zip(wanted, got, strict=True)):
        for i in range(max(len(should), len(are))):
            due = should[i] if i < len(should) else None
            came = are[i] if i < len(are) else None
            if due is None or came is None or abs(came - due) > 1e-9 * max(1.0, abs(due)):
                when = due if due is not None else came
                found.append((when or 0.0, number, i, due, came))
                break
    return _say(*min(found)[1:]) if found else ""


def _say(number: int, token: int, due: float | None, came: float | None) -> str:
    which = f"Token {token + 1} of request {number}"
    if due is None:
        return f"{which} comes at {came:.10g} s, though its answer has {token} token{'s' * (token != 1)}"
    if came is None:
        return f"{which} should come at {due:.10g} s, and never comes"
    return f"{which} should come at {due:.10g} s, and comes at {came:.10g} s"


def told(costs: Sequence[float]) -> str:
    """How long steps take with such constants, in a sentence, so that one can reckon along."""
    prompts, answers = costs[:3], costs[3:]
    return (
        f"A step of prompts takes {_sum(prompts, 'token', 'squared length')}; "
        f"one of answers {_sum(answers, 'token in a cache', 'answer')}"
    )


def _sum(constants: Sequence[float], *units: str) -> str:
    always, *each = (f"{constant:g} s" for constant in constants)
    return " + ".join(
        [always, *(f"{part} per {unit}" for part, unit in zip(each, units, strict=True) if part != "0 s")]
    )
