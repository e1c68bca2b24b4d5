"""From a History to spans: what each request and each instance was doing, and when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from course.figures.watch import History, Step
from course.metrics.record import RequestRecord

Kind = Literal["waiting", "prefill", "transfer", "decode"]
KINDS: tuple[Kind, ...] = ("waiting", "prefill", "transfer", "decode")
NEGLIGIBLE_S = 2e-4
"""A shorter pause between two steps is the driver's, not a wait."""


class Span(NamedTuple):
    """From ``start_s`` to ``end_s``; ``num_steps`` steps that followed one another without a pause."""

    start_s: float
    end_s: float
    kind: Kind
    num_tokens: int = 0
    num_steps: int = 1


def request_spans(record: RequestRecord, history: History) -> list[Span]:
    """The life of one answer, without gaps: while nothing ran for it and nothing moved, it waited."""
    key = (record.request_id, record.sample)
    return _life(record, _busy_by_request(history)[key])


def spans_by_request(records: Sequence[RequestRecord], history: History) -> list[list[Span]]:
    """`request_spans` of many records; the history is read only once."""
    busy = _busy_by_request(history)
    return [_life(record, busy[record.request_id, record.sample]) for record in records]


def instance_spans(steps: Iterable[Step], instance_id: int) -> tuple[list[Span], list[Span]]:
    """What one instance did: spans with prompts in them, and spans with answers in them.

    A step that mixes both is in both lists.
    """
    prefill, decode = [], []
    for step in steps:
        if step.instance_id != instance_id:
            continue
        num_prompt = sum(chunk.num_tokens for chunk in step.chunks if chunk.is_prefill)
        num_answer = sum(chunk.num_tokens for chunk in step.chunks if not chunk.is_prefill)
        if num_prompt:
            prefill.append(Span(step.start_s, step.end_s, "prefill", num_prompt, step.num_steps))
        if num_answer:
            decode.append(Span(step.start_s, step.end_s, "decode", num_answer, step.num_steps))
    return joined(prefill), joined(decode)


def joined(spans: Iterable[Span]) -> list[Span]:
    """Neighbours of one kind as one span: a hundred steps of one answer are one bar."""
    result: list[Span] = []
    for span in spans:
        last = result[-1] if result else None
        if last and last.kind == span.kind and span.start_s - last.end_s < NEGLIGIBLE_S:
            num_tokens, num_steps = last.num_tokens + span.num_tokens, last.num_steps + span.num_steps
            result[-1] = Span(last.start_s, span.end_s, span.kind, num_tokens, num_steps)
        else:
            result.append(span)
    return result


def _busy_by_request(history: History) -> dict[tuple[int, int], list[Span]]:
    busy: dict[tuple[int, int], list[Span]] = defaultdict(list)
    for step in history.steps:
        for request_id, sample, _, num_tokens, is_prefill in step.chunks:
            kind: Kind = "prefill" if is_prefill else "decode"
            busy[request_id, sample].append(Span(step.start_s, step.end_s, kind, num_tokens, step.num_steps))
    for move in history.moves:
        busy[move.request_id, move.sample].append(Span(move.start_s, move.end_s, "transfer"))
    return busy


def _life(record: RequestRecord, busy: list[Span]) -> list[Span]:
    spans: list[Span] = []
    now_s = record.arrival_s
    for span in sorted(busy):
        if span.start_s - now_s >= NEGLIGIBLE_S:
            spans.append(Span(now_s, span.start_s, "waiting"))
        if span.end_s > span.start_s:
            spans.append(span)
        now_s = max(now_s, span.end_s)
    if record.end_s is not None and record.end_s - now_s >= NEGLIGIBLE_S:
        spans.append(Span(now_s, record.end_s, "waiting"))
    return joined(spans)
