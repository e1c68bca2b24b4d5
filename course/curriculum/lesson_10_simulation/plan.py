"""Before anything is bought: a server of A100s that nobody has, served by the learner's event loop."""

from __future__ import annotations

from functools import lru_cache, partial

import plotly.graph_objects as go

from course.curriculum.lesson_10_simulation import exercises, real
from course.curriculum.lesson_10_simulation.explorer import Serve
from course.figures.latency import Latencies, latency_distributions, latency_summary
from course.metrics.attainment import attainment
from course.metrics.record import RequestRecord
from course.widgets import Choice, Explorer, LogSlider, Slider
from course.workload.arrivals import poisson_arrivals
from course.workload.lengths import Lognormal, lognormal_lengths
from course.workload.slo import SLO

SERVERS = {
    "OPT-13B on 1 A100": ("opt-13b", 1),
    "OPT-13B on 2 A100": ("opt-13b", 2),
    "OPT-13B on 4 A100": ("opt-13b", 4),
    "OPT-66B on 4 A100": ("opt-66b", 4),
    "OPT-66B on 8 A100": ("opt-66b", 8),
}
LIMITS = {"opt-13b": SLO(0.25, 0.1), "opt-66b": SLO(2.5, 0.15)}
"""What DistServe (OSDI'24, table 1) asks of a chatbot."""

CONTROLS = (
    Choice(
        "server", "server", tuple(SERVERS), "OPT-13B on 1 A100", help="All GPUs work on every layer (tensor parallel)"
    ),
    Slider("rate", "requests per second", 1, 40, 1, 4, help="How many new requests arrive each second"),
    LogSlider("prompt", "prompt (tokens, median)", 64, 1024, 256, help="Half of the prompts are longer"),
    LogSlider("answer", "answer (tokens, median)", 16, 128, 64, help="Half of the answers are longer"),
    LogSlider("most", "prompts in one step", 1, 16, 4, help="At most so many whole prompts in a step"),
    LogSlider("num", "requests simulated", 75, 600, 600, help="How long the simulation runs"),
)


@lru_cache(maxsize=64)
def planned(
    server: str, rate: float, prompt: int, answer: int, most: int, num: int, serve: Serve = exercises.serve
) -> tuple[RequestRecord, ...]:
    """Serve some requests there."""
    model, tp = SERVERS[server]
    prompts = Lognormal(prompt, 0.7, low=4, high=1536)
    drawn = lognormal_lengths(num, prompts, Lognormal(answer, 0.6, low=4, high=512), seed=0)
    arrivals_s = poisson_arrivals(num, rate, seed=0).tolist()
    jobs = list(zip(arrivals_s, drawn.prompt_tokens.tolist(), drawn.output_tokens.tolist(), strict=True))
    tokens = serve(jobs, real.published_step("distserve-a100", model, tp), most)
    return tuple(real.records_of(jobs, tokens))


def figure(
    server: str, rate: float, prompt: int, answer: int, most: int, num: int, serve: Serve = exercises.serve
) -> go.Figure:
    """TTFT and TPOT of every request, beside the limits."""
    run = Latencies.of(planned(server, rate, prompt, answer, most, num, serve))
    return latency_distributions(run, LIMITS[SERVERS[server][0]], f"{server}, {rate:g} requests per second")


def summary(
    server: str, rate: float, prompt: int, answer: int, most: int, num: int, serve: Serve = exercises.serve
) -> str:
    """The same in a line, and how many requests keep both limits."""
    records = planned(server, rate, prompt, answer, most, num, serve)
    model, tp = SERVERS[server]
    good = attainment(records, LIMITS[model]).both
    kept = f"{100 * good:.3g}% keep both limits"  # 99.8, not 100, where a cross is drawn
    return f"{latency_summary(Latencies.of(records))} {kept}; {rate / tp:.3g} requests/s per GPU."


def explorer(serve: Serve = exercises.serve) -> Explorer:
    """With sliders; ``serve`` may be the learner's own."""
    return Explorer(partial(figure, serve=serve), CONTROLS, partial(summary, serve=serve))
