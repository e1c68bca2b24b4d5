"""What a prompt of n tokens costs: a constant part, one that grows with n, and one that grows with n squared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from course.figures.palette import ACCENT, PREFILL, WAITING
from course.figures.style import dashed, new_figure, say_ms

NUM_POINTS = 64


@dataclass(frozen=True, slots=True)
class PromptCost:
    """Seconds = ``constant_s`` + ``linear_s`` * n + ``quadratic_s`` * n², for a prompt of n tokens run alone.

    The linear part is the weights (every token goes through all of them), the quadratic part is attention (every
    token looks at all before it).
    """

    constant_s: float
    linear_s: float
    quadratic_s: float

    def parts_s(self, num_tokens: int) -> tuple[float, float, float]:
        """The three parts for a prompt of that many tokens."""
        return self.constant_s, self.linear_s * num_tokens, self.quadratic_s * num_tokens**2

    def ttft_s(self, num_tokens: int) -> float:
        """Time to first token on an idle machine."""
        return sum(self.parts_s(num_tokens))

    @property
    def crossover_tokens(self) -> float:
        """Prompt length at which attention costs as much as the weights; infinite without a quadratic part."""
        return self.linear_s / self.quadratic_s if self.quadratic_s else math.inf


def prompt_cost(cost: PromptCost, num_tokens: int, title: str = "What a prompt costs") -> go.Figure:
    """The three parts on top of each other, from one token to twice ``num_tokens``."""
    lengths = [max(1, round(2 * num_tokens * i / NUM_POINTS)) for i in range(NUM_POINTS + 1)]
    columns = zip(*(cost.parts_s(n) for n in lengths), strict=True)
    unit, scale = ("s", 1.0) if cost.ttft_s(lengths[-1]) >= 10 else ("ms", 1e3)
    names = ("every step: constant", "weights: linear", "attention: quadratic")
    fills = (WAITING, PREFILL, ACCENT)
    traces = [
        go.Scatter(
            name=name,
            x=lengths,
            y=[round(scale * seconds, 3) for seconds in column],
            stackgroup="parts",
            line={"color": colour, "width": 2},
            hovertemplate=name + ", %{x} tokens: %{y:.3~g} " + unit + "<extra></extra>",
        )
        for name, colour, column in zip(names, fills, columns, strict=True)
    ]
    shape, label = dashed(num_tokens, f"{num_tokens:,} tokens: {say_ms(cost.ttft_s(num_tokens))}")
    axes: dict[str, Any] = {
        "xaxis": {"title": {"text": "prompt (tokens)"}, "tickformat": ",d", "range": [0, 2 * num_tokens]}
    }
    axes["yaxis"] = {"title": {"text": f"TTFT on an idle machine ({unit})"}, "rangemode": "tozero"}
    return new_figure(traces, title, shapes=[shape], annotations=[label], **axes)


def prompt_cost_summary(cost: PromptCost, num_tokens: int) -> str:
    """The total, the share of each part, and where the quadratic part overtakes."""
    total_s = cost.ttft_s(num_tokens)
    constant, linear, quadratic = (part / total_s for part in cost.parts_s(num_tokens))
    shares = f"{constant:.0%} constant, {linear:.0%} linear, {quadratic:.0%} quadratic"
    crossover = cost.crossover_tokens
    equal = f"Both growing parts are equal at {crossover:,.0f} tokens." if crossover < math.inf else ""
    return f"A prompt of {num_tokens:,} tokens takes {say_ms(total_s)}: {shares}. {equal}".rstrip()
