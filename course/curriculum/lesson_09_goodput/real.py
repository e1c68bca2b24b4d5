"""The tiny model as a server on this machine, with users who come by an open-loop load generator."""

from __future__ import annotations

import numpy as np

from course.curriculum.lesson_09_goodput.exercises import Served, open_loop
from course.curriculum.lesson_09_goodput.explorer import OpenLoop, as_log
from course.engine.local import LocalEngine
from course.engine.replay import serve
from course.model.loading import Model, load_model
from course.serving.plan import Scheduler
from course.serving.schedulers import Orca, Static
from course.workload.request import Request, Workload

TEXT = "A list holds values in order. A dictionary maps keys to values, and a set holds each value once. "
PROMPT_TOKENS, ANSWER_TOKENS = 24, 24
NUM_USERS = 32


def requests(model: Model, rate: float, open_loop: OpenLoop, num: int = NUM_USERS) -> Workload:
    """So many users who ask for answers of one length; at an infinite rate all are there at once."""
    sent: list[float] = []

    def send(time_s: float) -> float:
        sent.append(float(time_s) / rate)
        return time_s

    open_loop(num, 1.0, np.random.default_rng(1), send)
    words = model.encode(TEXT * 6)
    prompts = [tuple(words[i : i + PROMPT_TOKENS]) for i in range(num)]
    asked = [
        Request(i, arrival_s, PROMPT_TOKENS, ANSWER_TOKENS, prompt=prompt)
        for i, (arrival_s, prompt) in enumerate(zip(sent, prompts, strict=True))
    ]
    return Workload(asked, dict.fromkeys(range(num), ANSWER_TOKENS))


def measure(model: Model, scheduler: Scheduler, asked: Workload) -> list[Served]:
    """Serve them on the wall clock; the log of the server."""
    engine = LocalEngine(model, scheduler, num_blocks=512)
    return as_log(serve(engine, asked))


def per_second(log: list[Served]) -> float:
    """Requests per second from the first arrival to the last token."""
    return len(log) / (max(times_s[-1] for _, times_s, _ in log) - min(arrival_s for arrival_s, _, _ in log))


def tiny() -> Model:
    """The tiny model, warmed up: the first steps are always slow."""
    model = load_model("tiny")
    for scheduler in (Static(16), Orca(4)):
        measure(model, scheduler, requests(model, float("inf"), open_loop.reference, 8))
    return model


def alone(model: Model, tries: int = 3) -> tuple[float, float]:
    """E2E and TPOT, in seconds, of a request with nobody else there; the quickest of some tries."""
    logs = [measure(model, Orca(4), requests(model, float("inf"), open_loop.reference, 1)) for _ in range(tries)]
    arrival_s, times_s, _ = min((log[0] for log in logs), key=lambda one: one[1][-1] - one[0])
    return times_s[-1] - arrival_s, (times_s[-1] - times_s[0]) / (len(times_s) - 1)
