"""Two workers, three ways to use them: what the users feel, and who runs when.

Everything runs on the virtual clock: the real control plane, with a cost model instead of the network. How long a step
takes was measured on the tiny model, one CPU core for each worker. The experiment stands in two_workers.toml.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import plotly.graph_objects as go

from course.figures import History, WatchedCluster, serving_overview, serving_summary
from course.metrics.latency import tpot_s, ttft_s
from course.metrics.record import RequestRecord
from course.simulator.experiment import Experiment, load_experiment
from course.simulator.simulate import simulate
from course.widgets import Choice, Explorer, LogSlider, Slider
from course.workload.slo import SLO

SHARED = "both do both: prompts first"
CHUNKED = "both do both: prompts in chunks"
SPLIT = "split: one reads, one writes"
POLICIES = (SHARED, CHUNKED, SPLIT)

TWO_WORKERS = load_experiment(Path(__file__).with_name("two_workers.toml"))
LIMITS = TWO_WORKERS.slo or SLO(math.inf, math.inf)
CHUNK_TOKENS = 64

Waits = Callable[[float, float, list[float]], tuple[float, float]]
"""From arrival, start and token times to (TTFT, E2E), all in seconds: the lesson's first exercise."""
PerToken = Callable[[list[float]], float | None]
"""From token times to TPOT, in seconds: the lesson's third exercise."""


class Log(NamedTuple):
    """What a server writes down of one request, in seconds."""

    arrival_s: float
    started_s: float
    token_times_s: list[float]


CONTROLS = (
    Slider("rate", "requests per second", 5, 60, 5, 20, help="How many new requests arrive each second"),
    LogSlider("prompt_tokens", "prompt (tokens, median)", 16, 1024, 256, help="Half of the prompts are longer"),
    Choice("policy", "two workers", POLICIES, SHARED, help="How the two workers share the work"),
)


def experiment(rate: float, prompt_tokens: int, policy: str) -> Experiment:
    """Twenty requests for two workers: the same requests at every policy, so that only the policy differs."""
    [both] = TWO_WORKERS.table["instances"]
    one = both | {"count": 1}
    instances: dict[str, list[dict[str, Any]]] = {
        SHARED: [both],
        CHUNKED: [both | {"scheduler": "chunked-prefill", "token_budget": CHUNK_TOKENS}],
        SPLIT: [one | {"role": "prefill"}, one | {"role": "decode"}],
    }
    return TWO_WORKERS.with_changes(
        {"workload.rate": rate, "workload.prompt_tokens": prompt_tokens, "instances": instances[policy]}
    )


@lru_cache(maxsize=64)
def serve(rate: float, prompt_tokens: int, policy: str) -> tuple[tuple[RequestRecord, ...], History]:
    """One run on the virtual clock."""
    simulation = simulate(experiment(rate, prompt_tokens, policy), make_cluster=WatchedCluster)
    watched = simulation.driver.cluster
    assert isinstance(watched, WatchedCluster)
    return tuple(simulation.records), watched.history


def logs(rate: float, prompt_tokens: int, policy: str) -> list[Log]:
    """The same run as a list of plain times, one entry for each request."""
    records, history = serve(rate, prompt_tokens, policy)
    started = started_s(history)
    return [Log(record.arrival_s, started[record.request_id], list(record.token_times_s)) for record in records]


def started_s(history: History) -> dict[int, float]:
    """When a worker first took up each request, by its id."""
    started: dict[int, float] = {}
    for step in history.steps:
        for chunk in step.chunks:
            started[chunk.request_id] = min(step.start_s, started.get(chunk.request_id, step.start_s))
    return started


def figure(
    rate: float,
    prompt_tokens: int,
    policy: str,
    *,
    ttft_and_e2e: Waits | None = None,
    tpot: PerToken | None = None,
) -> go.Figure:
    """TTFT and TPOT of every request above, who ran when below."""
    records, history = serve(rate, prompt_tokens, policy)
    started = started_s(history)

    def first_s(record: RequestRecord) -> float | None:
        if ttft_and_e2e is None:
            return ttft_s(record)
        return ttft_and_e2e(record.arrival_s, started[record.request_id], list(record.token_times_s))[0]

    def per_token_s(record: RequestRecord) -> float | None:
        return tpot_s(record) if tpot is None else tpot(list(record.token_times_s))

    return serving_overview(records, history, LIMITS, ttft=first_s, tpot=per_token_s)


def summary(rate: float, prompt_tokens: int, policy: str) -> str:
    """The same in one line."""
    return serving_summary(*serve(rate, prompt_tokens, policy), LIMITS)


def explorer(ttft_and_e2e: Waits | None = None, tpot: PerToken | None = None) -> Explorer:
    """With sliders; TTFT and TPOT may be computed by the learner's own functions."""
    return Explorer(partial(figure, ttft_and_e2e=ttft_and_e2e, tpot=tpot), CONTROLS, summary)
