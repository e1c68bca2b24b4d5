"""What a handover and a split answer must do, event by event, and the first thing that is wrong with one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from course.figures.style import say_count
from course.figures.two_pools import PoolState


class Event(NamedTuple):
    """What happened, to whom, what was said, and what the pools (source, target) looked like afterwards."""

    what: str
    name: str
    text: str
    answer: Any
    kind: str
    problem: str
    free: tuple[list[int], list[int]]
    letters: tuple[list[str], list[str]]


class HandoverLog(NamedTuple):
    """A story that was replayed on a handover, as far as it came."""

    num_blocks: tuple[int, int]
    events: list[Event]

    @classmethod
    def of(cls, data: dict[str, Any]) -> HandoverLog:
        """From plain data, as it comes out of another process."""
        events = []
        for (what, name, text), one in zip(data["story"], data["log"], strict=False):
            free, letters = ((both[0], both[1]) for both in (one["free"], one["letters"]))
            events.append(Event(what, name, text, one["answer"], one["kind"], one["problem"], free, letters))
        return cls((data["pools"][0], data["pools"][1]), events)


class Fault(NamedTuple):
    """A sentence (empty: there is no fault), the event it is about, and the two pools then."""

    sentence: str = ""
    event: str = ""
    pools: tuple[PoolState, PoolState] | None = None


WORKERS = ("source", "target")


@dataclass
class Truth:
    """Who must hold which blocks at the source and at the target."""

    num_blocks: tuple[int, int]
    held: tuple[dict[str, list[int]], dict[str, list[int]]] = field(default_factory=lambda: ({}, {}))
    texts: dict[str, str] = field(default_factory=dict)
    free: tuple[list[int], list[int]] = ((), ())  # type: ignore[assignment]

    def owners(self, side: int) -> dict[int, str]:
        """The holder of each block."""
        return {block: name for name, table in self.held[side].items() for block in table}


def handover_fault(log: HandoverLog) -> Fault:
    """The first event after which something is not as it must be."""
    truth = Truth(log.num_blocks)
    truth.free = (list(range(log.num_blocks[0])), list(range(log.num_blocks[1])))
    for event in log.events:
        said = _said(event, truth)
        sentence, wrong = _event_fault(event, truth)
        if not sentence:
            sentence, wrong = _holding_fault(event, truth, said)
        if sentence:
            pools = [_state(side, event, truth, wrong[side]) for side in (0, 1)]
            return Fault(sentence, said, (pools[0], pools[1]))
        truth.free = event.free
    return Fault()


Wrong = tuple[dict[int, str], dict[int, str]]
"""At the source and at the target, a word for each block that is not as it must be."""


def _said(event: Event, truth: Truth) -> str:
    """The call that was made."""
    if event.what == "reserve":
        return f'reserve("{event.name}", {truth.held[0].get(event.name, [])})'
    return f'{event.what.replace(" ", "_")}("{event.name}")'


def _event_fault(event: Event, truth: Truth) -> tuple[str, Wrong]:
    """What is wrong with the answer; the truth moves on."""
    nothing: Wrong = ({}, {})
    said = f"`{_said(event, truth)}`"
    if event.problem:
        more = (
            "; where there is no room the answer is None"
            if "free" in event.problem and "already" not in event.problem
            else ""
        )
        return f"In {said}: {event.problem}{more}", nothing
    match event.what:
        case "prefill":
            truth.held[0][event.name], truth.texts[event.name] = event.answer, event.text
        case "reserve":
            return _reserve_fault(event, truth, said)
        case "commit":
            return _commit_fault(event, truth, said)
        case "give up":
            del truth.held[1][event.name]
        case "end":
            del truth.held[1][event.name]
    return "", nothing


def _reserve_fault(event: Event, truth: Truth, said: str) -> tuple[str, Wrong]:
    blocks, num_free = truth.held[0][event.name], len(truth.free[1])
    needs = f"{event.name} needs {len(blocks)} blocks and the target has {num_free} free"
    got = f"a {event.kind}" if event.answer is None and event.kind != "NoneType" else repr(event.answer)
    if len(blocks) > num_free:
        refused = event.answer is None and event.kind == "NoneType"
        return ("" if refused else f"{needs}: {said} must return None; it returned {got}"), ({}, {})
    if event.answer is None and event.kind == "NoneType":
        return f"{needs}: there is room, and {said} returned None", ({}, {})
    pairs = event.answer
    if not isinstance(pairs, list) or not all(isinstance(p, (tuple, list)) and len(p) == 2 for p in pairs):
        return f"{said} must return a list of pairs (source block, target block); it returned {got}", ({}, {})
    here, there = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if here != blocks:
        return f"{event.name} is in blocks {blocks} of the source; {said} has copied: {here}, in {got}", ({}, {})
    not_set_aside = [b for b in there if b in event.free[1] or b not in truth.free[1]]
    if not_set_aside or len(set(there)) < len(there):
        words = dict.fromkeys(not_set_aside, "not set aside")
        block = not_set_aside[0] if not_set_aside else next(b for b in there if there.count(b) > 1)
        what = "is not set aside for it" if not_set_aside else "is written twice"
        return f"{said} has {event.name} copied to block {block} of the target, which {what}: {got}", ({}, words)
    truth.held[1][event.name] = there
    return "", ({}, {})


def _commit_fault(event: Event, truth: Truth, said: str) -> tuple[str, Wrong]:
    there = truth.held[1][event.name]
    if event.answer != there:
        got = f"a {event.kind}" if event.answer is None and event.kind != "NoneType" else repr(event.answer)
        named = event.answer if isinstance(event.answer, list) else []
        words = {block: "not its own" for block in named if isinstance(block, int) and block not in there}
        words = {block: word for block, word in words.items() if 0 <= block < truth.num_blocks[1]}
        return f"{event.name} was copied to blocks {there} of the target; {said} returned {got}", ({}, words)
    del truth.held[0][event.name]
    return "", ({}, {})


def _holding_fault(event: Event, truth: Truth, said: str) -> tuple[str, Wrong]:
    """Blocks that somebody holds and that are free, and blocks that nobody holds and that are not."""
    wrong: Wrong = ({}, {})
    faults = []
    for side in (0, 1):
        owners, free = truth.owners(side), set(event.free[side])
        early = sorted(free & owners.keys())
        lost = sorted(set(range(truth.num_blocks[side])) - free - owners.keys())
        wrong[side].update(dict.fromkeys(early, "free") | dict.fromkeys(lost, "lost"))
        if early:
            faults.append(f"block {early[0]} of the {WORKERS[side]} is free, and {owners[early[0]]} still needs it")
        if lost:
            faults.append(f"nobody needs block {lost[0]} of the {WORKERS[side]}, and it is not free: it is lost")
    return f"After `{said}` {'; '.join(faults)}" if faults else "", wrong


def _state(side: int, event: Event, truth: Truth, wrong: dict[int, str]) -> PoolState:
    """One pool as it is, with what should not be so."""
    return PoolState(WORKERS[side], [letters.strip() for letters in event.letters[side]], truth.owners(side), wrong)


def next_token(tokens: Iterable[int]) -> int:
    """What the workers of `serve_split`'s checks write behind a text."""
    return 100 + sum((place + 1) * token for place, token in enumerate(tokens)) % 800


def split_fault(got: dict[str, Any]) -> str:
    """What is wrong first with an answer that two workers wrote; empty if nothing is."""
    prompt, count, calls = list(got["prompt"]), got["max_new_tokens"], got["calls"]
    text = list(prompt)
    for _ in range(count):
        text.append(next_token(text))
    wanted = text[len(prompt) :]
    case = f"A prompt of {say_count(len(prompt), 'token')}, {count} wanted: "
    if fault := _calls_fault(prompt, wanted, calls):
        return case + fault
    if got["problem"]:
        return case + got["problem"]
    if got["answer"] is None or list(got["answer"]) != wanted:
        shown = got["answer"] if got["answer"] is not None else f"a {got['kind']}"
        return f"{case}the answer is {wanted}; yours is {shown}"
    if got["kind"] != "list":
        return f"{case}a list is wanted, and yours is a {got['kind']}"
    if got["prompt_after"] != prompt:
        return f"{case}the list `prompt` belongs to the caller; yours leaves {got['prompt_after']} in it"
    if any(got["used"]):
        side = "prefill" if got["used"][0] else "decode"
        return f"{case}in the end the {side} worker still holds {say_count(max(got['used']), 'block')}"
    return ""


def _calls_fault(prompt: list[int], wanted: list[int], calls: list[list[Any]]) -> str:
    """The first call that should not have been made, or not like that."""
    end = len(prompt)
    prefills = [call for call in calls if call[1] == "prefill"]
    moves = [call for call in calls if call[1] == "move"]
    steps = [call for call in calls if call[1] == "step"]
    if len(prefills) != 1 or prefills[0][0] != "prefill" or prefills[0][2] != prompt:
        where = [f"{call[0]} worker: {call[2]}" for call in prefills]
        return f"the prompt is computed once, at the prefill worker; yours computes {'; '.join(where) or 'nothing'}"
    if len(wanted) == 1 and (moves or steps):
        return (
            "the first token is the whole answer; yours moves it on"
            if moves
            else "the answer is complete; yours goes on"
        )
    for place, (worker, _, token, position, table) in enumerate(steps[: len(wanted) - 1]):
        if worker != "decode":
            return "the answer is to be written by the decode worker; yours uses the prefill worker"
        if not moves:
            return f"a step at the decode worker with table {table}, and nothing was moved there"
        own = moves[0][3]
        if table[: len(own)] != own:
            return f"the blocks were moved to {own} of the decode worker; yours computes with table {table}"
        if (token, position) != (wanted[place], end + place):
            return (
                f"step {place + 1} of the decode worker computes token {wanted[place]} at position {end + place}; "
                f"yours computes token {token} at position {position}"
            )
    return ""
