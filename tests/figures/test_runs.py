"""Timeline, latencies, the overview of both, and the tokens of one stream."""

from __future__ import annotations

import json
from itertools import pairwise

import plotly.graph_objects as go
import pytest

from course.curriculum.lesson_00_start_here.explorer import LIMITS, POLICIES, SHARED, SPLIT, serve
from course.figures import (
    latency_distributions,
    latency_summary,
    serving_overview,
    serving_summary,
    timeline,
    timeline_summary,
    token_gaps,
    token_gaps_summary,
)
from course.figures.gaps import Stall, stalls
from course.figures.latency import Latencies
from course.figures.spans import KINDS, request_spans
from course.figures.timeline import MOST_LABELS
from course.figures.watch import History
from course.metrics.latency import ttft_s
from course.metrics.record import Outcome, RequestRecord
from course.metrics.statistics import percentile
from course.workload.slo import SLO


@pytest.fixture(scope="module", params=POLICIES)
def run(request: pytest.FixtureRequest) -> tuple[tuple[RequestRecord, ...], History]:
    return serve(20, 256, request.param)


def test_a_timeline_holds_every_span_of_every_request(run) -> None:
    records, history = run
    figure = timeline(records, history)
    assert [trace.name for trace in figure.data] == list(KINDS)
    rows = dict(zip(figure.layout.yaxis.ticktext, figure.layout.yaxis.tickvals, strict=True))
    for record in records:
        y = rows[f"request {record.request_id}"]
        for kind, trace in zip(KINDS, figure.data, strict=True):
            drawn = [(b, x) for b, x, at in zip(trace.base, trace.x, trace.y, strict=True) if at == y]
            spans = [s for s in request_spans(record, history) if s.kind == kind]
            assert drawn == [
                (pytest.approx(s.start_s * 1e3, abs=1e-3), pytest.approx((s.end_s - s.start_s) * 1e3, abs=2e-3))
                for s in spans
            ]


def test_only_a_split_cluster_transfers() -> None:
    for policy in POLICIES:
        transfers = timeline(*serve(20, 256, policy)).data[KINDS.index("transfer")]
        assert bool(transfers.x) == (policy == SPLIT)


def test_of_many_requests_only_some_are_labelled() -> None:
    records = [RequestRecord(0.0, 1, [0.1], Outcome.FINISHED, 0.1, request_id=i) for i in range(200)]
    figure = timeline(records, History(roles={0: "mixed"}))
    assert len(figure.layout.yaxis.ticktext) <= MOST_LABELS + 1
    assert "worker 0" in figure.layout.yaxis.ticktext


def test_a_timeline_of_nothing() -> None:
    assert timeline([], History()).data
    assert timeline_summary([], History()) == "Nothing ran."


def test_latencies_are_drawn_as_a_distribution(run) -> None:
    records, _ = run
    ttft, tpot = latency_distributions(Latencies.of(records), LIMITS).data
    expected = sorted(ttft_s(record) for record in records)
    assert list(ttft.x) == pytest.approx([value * 1e3 for value in expected], abs=1e-3)
    assert ttft.y[-1] == tpot.y[-1] == 1
    crosses = sum(symbol == "x" for symbol in ttft.marker.symbol)
    assert crosses == sum(value > LIMITS.ttft_s for value in expected)


def test_of_a_thousand_requests_those_are_drawn_that_the_eye_can_tell_apart() -> None:
    ttft_s = tuple(0.2 + 1e-4 * i for i in range(999))
    slow = Latencies(ttft_s, (0.05,) * 998 + (0.2,))
    ttft, tpot = latency_distributions(slow, SLO(ttft_s[-1], 0.1)).data
    for trace, values in ((ttft, slow.ttft_s), (tpot, slow.tpot_s)):
        assert len(trace.x) < 250
        at = {round(1e3 * value, 3): (i + 1) / 999 for i, value in enumerate(values)}  # of equal ones, the last
        assert all(y <= at[x] + 1e-4 for x, y in zip(trace.x, trace.y, strict=True))
        assert max(b - a for a, b in pairwise((0.0, *trace.y))) < 0.02
        assert (trace.x[-1], trace.y[-1]) == (round(1e3 * values[-1], 3), 1)
    assert "x" not in ttft.marker.symbol  # exactly at the limit is within it
    assert list(tpot.marker.symbol).count("x") == 1


def test_latencies_of_several_runs_have_a_legend_and_limits() -> None:
    runs = {policy: Latencies.of(serve(20, 256, policy)[0]) for policy in POLICIES}
    figure = latency_distributions(runs, SLO(ttft_s=0.2, tpot_s=float("inf")))
    assert [trace.name for trace in figure.data if trace.showlegend] == list(POLICIES)
    assert [label.text for label in figure.layout.annotations] == ["TTFT limit 200 ms"]
    assert latency_summary(runs).count("TTFT median") == len(POLICIES)


def test_a_learners_definition_can_be_drawn() -> None:
    records, _ = serve(20, 256, SHARED)
    doubled = Latencies.of(records, ttft=lambda record: 2 * ttft_s(record))
    assert doubled.ttft_s == pytest.approx([2 * value for value in Latencies.of(records).ttft_s])


def test_latencies_of_nothing() -> None:
    assert latency_summary(Latencies.of([])) == "no request finished."
    assert len(latency_distributions(Latencies.of([])).data) == 2


def test_the_overview_joins_both(run) -> None:
    figure = serving_overview(*run, LIMITS)
    assert [trace.type for trace in figure.data] == ["scatter"] * 2 + ["bar"] * 4
    assert {trace.xaxis for trace in figure.data} == {"x", "x2", "x3"}
    assert len(json.dumps(figure.to_plotly_json())) < 60_000


def test_splitting_flattens_tpot_and_costs_ttft() -> None:
    """What lesson 00 promises to show."""
    together, apart = (Latencies.of(serve(20, 256, policy)[0]) for policy in (SHARED, SPLIT))
    assert percentile(apart.tpot_s, 90) < 0.6 * percentile(together.tpot_s, 90)
    assert percentile(apart.ttft_s, 90) > percentile(together.ttft_s, 90)


def test_summaries_are_stable() -> None:
    assert serving_summary(*serve(20, 256, SHARED), LIMITS) == serving_summary(*serve(20, 256, SHARED), LIMITS)
    record = RequestRecord(0.0, 4, [0.1, 0.2, 0.5], Outcome.FINISHED, 0.5)
    assert latency_summary(Latencies.of([record])) == "TTFT median 100 ms, P90 100 ms; TPOT median 200 ms, P90 200 ms."


def test_stalls_are_the_gaps_above_the_limit() -> None:
    times_s = [0.0, 0.01, 0.02, 0.12, 0.13, 0.33]
    assert stalls(times_s, 0.05) == [Stall(0.02, 0.12, 3), Stall(0.13, 0.33, 5)]
    assert stalls(times_s, 1.0) == stalls([], 0.1) == []


def test_labels_of_stalls_at_the_same_time_do_not_meet() -> None:
    labels = token_gaps({"one": [0.0, 0.2], "other": [0.0, 0.001, 0.201]}, 0.05).layout.annotations
    assert [(label.y, label.yshift) for label in labels] == [(1, -20), (2, 20)]
    assert labels[0].x < labels[1].x


def test_a_label_gives_way_to_the_tokens_of_another_stream() -> None:
    stalled = [*(0.001 * i for i in range(10)), *(1.0 + 0.001 * i for i in range(10))]
    steady = [0.5 + 0.001 * i for i in range(20)]
    alone, beside = (
        token_gaps(streams, 0.5).layout.annotations[0] for streams in (stalled, {"stalled": stalled, "steady": steady})
    )
    assert (alone.x, alone.yshift) == (504.5, -20)
    assert beside.x == 256.75


def test_token_gaps_mark_the_longest() -> None:
    figure = token_gaps([0.0, 0.01, 0.02, 0.12, 0.13, 0.33], 0.05)
    stall, stream = figure.data
    assert list(stall.x) == [20, 120, None, 130, 330, None]
    assert list(stream.y) == [1, 2, 3, 4, 5, 6]
    assert [label.text for label in figure.layout.annotations] == ["<b>200 ms</b>"]
    assert token_gaps_summary([0.0, 0.01, 0.02, 0.12], 0.05) == (
        "gaps: median 10 ms, longest 100 ms, 1 longer than 50 ms."
    )
    assert token_gaps_summary([0.0], 0.05) == "1 token, no gaps."


def test_several_streams_keep_their_names() -> None:
    figure = token_gaps({"together": [0.0, 0.2], "split": [0.0, 0.01]}, 0.05)
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == ["stall", "together", "split"]
    assert "split: gaps" in token_gaps_summary({"together": [0.0, 0.2], "split": [0.0, 0.01]}, 0.05)


def test_backgrounds_are_transparent_and_nothing_comes_from_a_network(run) -> None:
    for figure in (timeline(*run), serving_overview(*run), token_gaps([0.0, 1.0], 0.5)):
        assert isinstance(figure, go.Figure)
        layout = figure.layout.template.layout
        assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0, 0, 0, 0)"
        assert "http" not in figure.to_json()
