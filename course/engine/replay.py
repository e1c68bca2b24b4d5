"""A workload served in real time: requests arrive when they say, answers end as the trace dictates."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from course.engine.front import Engine
from course.engine.intake import check_fits
from course.engine.sampling import GREEDY, Sampling
from course.engine.texts import Text, Token
from course.errors import UserError
from course.metrics.record import RequestRecord
from course.workload.request import Request, Workload


def serve(
    engine: Engine,
    workload: Workload,
    *,
    sampling: Sampling = GREEDY,
    on_step: Callable[[list[Token]], None] = lambda tokens: None,
) -> list[RequestRecord]:
    """Serve the workload from time 0 of a fresh clock; returns one record per answer.

    Answers have the workload's ``output_lengths`` whatever the model would have said: its
    end-of-text token is ignored. A request that could never run is recorded as refused.
    ``on_step`` is called with the tokens of each step that has any.

    Raises UserError, before anything runs, if the engine is busy or has nobody left to serve with, or a request has no
    prompt tokens or does not fit the model's context.
    """
    if engine.trouble:
        raise UserError(engine.trouble)
    if engine.num_unfinished:
        raise UserError(f"the engine still serves {engine.num_unfinished} answers; let them end or cancel them first")
    for request in workload.requests:
        check_fits(request, engine.model.config)
    to_come = deque(sorted(workload.requests, key=lambda request: request.arrival_s))
    engine.start_over(first_id=1 + max((request.id for request in to_come), default=-1))
    try:
        while to_come or engine.num_unfinished:
            while to_come and to_come[0].arrival_s <= engine.now_s:
                request = to_come.popleft()
                engine.admit(request, _text(request, workload, sampling))
            if tokens := engine.advance(to_come[0].arrival_s if to_come else None):
                on_step(tokens)
    finally:
        for request in workload.requests:
            engine.cancel(request.id)
    return engine.recorder.records


def _text(request: Request, workload: Workload, sampling: Sampling) -> Text:
    prompt = list(request.prompt or ())
    return Text(prompt, len(prompt), sampling, len(prompt) + workload.output_lengths[request.id])
