"""Random requests and policies for the property tests of the control plane."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from course.serving.plan import Scheduler
from course.serving.schedulers import make_scheduler
from course.workload.request import Request, Workload
from tests.serving.helpers import with_tokens

BLOCK = 4
MOST_TOKENS = 60  # of prompt and answer: 15 blocks hold the longest request alone


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
    if name is None:
        name = draw(st.sampled_from(["static", "orca", "prefill-first", "decode-first", "chunked-prefill"]))
    parameters: dict[str, Any] = {}
    if name in ("prefill-first", "decode-first", "chunked-prefill"):
        parameters = {
            "token_budget": draw(st.sampled_from([1, 3, 8, 64])),
            "preempt": draw(st.sampled_from(["recompute", "swap"])),
            "watermark": draw(st.sampled_from([0.0, 0.1])),
        }
    return make_scheduler(name, max_num_sequences=draw(st.sampled_from([1, 2, 5, 64])), **parameters)
