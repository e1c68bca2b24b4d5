"""Random requests and policies for the property tests of the control plane."""

from __future__ import annotations

import inspect
import math
from typing import Any

from hypothesis import strategies as st

from course.serving.plan import Scheduler
from course.serving.schedulers import SCHEDULERS, make_scheduler
from course.workload.request import Request, Workload
from tests.serving.helpers import with_tokens

BLOCK = 4
MOST_TOKENS = 60  # of prompt and answer: 15 blocks hold the longest request alone
PARAMETERS: dict[str, list[Any]] = {
    "max_num_sequences": [1, 2, 5, 64],
    "token_budget": [1, 3, 8, 64],
    "max_context_tokens": [None, 1, 40, 90],
    "preempt": ["recompute", "swap"],
    "watermark": [0.0, 0.1],
    "max_pauses": [1, 4],
    "order": ["fcfs", "sjf", "ljf"],
    "num_sorted": [1, 3],
    "patience_s": [0.0, 0.01, math.inf],
}


@st.composite
def requests(draw: Any, max_requests: int = 12) -> list[Request]:
    """Requests that share prefixes, some with several answers, some at the same instant."""
    shared = draw(st.lists(st.integers(0, 3), min_size=0, max_size=20))
    drawn = []
    for index in range(draw(st.integers(1, max_requests))):
        tokens = shared[: draw(st.integers(0, len(shared)))]
        tokens = tokens + draw(st.lists(st.integers(0, 3), min_size=1, max_size=24))
        plain = Request(
            index,
            draw(st.sampled_from([0.0, 0.001, 0.01, 0.05])),
            len(tokens),
            draw(st.integers(1, MOST_TOKENS - len(tokens))),
            n=draw(st.sampled_from([1, 1, 2, 3])),
            client=draw(st.sampled_from(["a", "b", "c"])),
        )
        drawn.append(with_tokens(plain, tokens, BLOCK))
    return sorted(drawn, key=lambda r: r.arrival_s)


@st.composite
def workloads(draw: Any, max_requests: int = 12) -> Workload:
    """Requests and how long their answers really become."""
    drawn = draw(requests(max_requests))
    return Workload(drawn, {r.id: draw(st.integers(1, r.max_new_tokens)) for r in drawn})


@st.composite
def policies(draw: Any, name: str | None = None) -> Scheduler:
    """A policy of the project with random parameters."""
    name = name or draw(st.sampled_from(list(SCHEDULERS)))
    known = inspect.signature(SCHEDULERS[name]).parameters
    parameters = {key: draw(st.sampled_from(values)) for key, values in PARAMETERS.items() if key in known}
    return make_scheduler(name, **parameters)
