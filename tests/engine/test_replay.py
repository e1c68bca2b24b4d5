"""Traces on the wall clock: arrivals wait for their time, answers have the trace's lengths."""

from __future__ import annotations

from pathlib import Path

import pytest

from course.engine.replay import serve
from course.errors import UserError
from course.metrics.record import Outcome
from course.workload.build import build_workload
from course.workload.prompts import with_prompt_tokens
from course.workload.request import Request, Workload
from course.workload.traces import TraceRow, read_trace
from tests.engine.conftest import make_engine, make_prompts

AZURE = Path(__file__).parents[3] / "shared/data/traces/azure2023_conv.csv"


def make_workload(num: int = 10, gap_s: float = 0.01) -> Workload:
    rows = [TraceRow(i * gap_s, 5 + 3 * i, 2 + i) for i in range(num)]
    return with_prompt_tokens(build_workload(rows, max_new_tokens=32), vocab_size=199)


def test_every_answer_has_the_length_and_the_times_of_its_trace() -> None:
    engine = make_engine()
    records = serve(engine, make_workload())
    assert [record.num_output_tokens for record in records] == [2 + i for i in range(10)]
    for i, record in enumerate(records):
        assert record.outcome is Outcome.FINISHED
        assert record.arrival_s == pytest.approx(i * 0.01)
        assert record.arrival_s < record.token_times_s[0] <= record.token_times_s[-1] <= record.end_s
        assert sorted(record.token_times_s) == record.token_times_s
    engine.cluster.check_integrity()


def test_the_engine_serves_too() -> None:
    assert [record.num_output_tokens for record in make_engine().serve(make_workload(3))] == [2, 3, 4]


def test_the_same_workload_again_and_then_requests_of_ones_own() -> None:
    engine = make_engine()
    for _ in range(2):
        assert len(serve(engine, make_workload(4, 0.0))) == 4
    assert engine.generate(make_prompts()[0], 3)[0].request_id == 4


def test_what_never_fits_is_recorded_as_refused() -> None:
    records = serve(make_engine(num_blocks=3), make_workload())
    outcomes = [record.outcome for record in records]
    assert outcomes.count(Outcome.REFUSED) > 0
    assert outcomes[0] is Outcome.FINISHED


def test_wrong_workloads_change_nothing() -> None:
    engine = make_engine()
    [answer] = engine.submit(make_prompts()[0], 5)
    with pytest.raises(UserError, match="still serves 1"):
        serve(engine, make_workload())
    while not answer.is_ended:
        engine.advance()
    bare = build_workload([TraceRow(0.0, 5, 5)])
    with pytest.raises(UserError, match="with_prompt_tokens"):
        serve(engine, bare)
    long = Workload([Request(0, 0.0, 2, 600, prompt=(1, 2))], {0: 5})
    with pytest.raises(UserError, match="context of 512"):
        serve(engine, long)
    foreign = Workload([Request(0, 0.0, 2, 6, prompt=(1, 199))], {0: 5})
    with pytest.raises(UserError, match="199"):
        serve(engine, foreign)


def test_an_interrupted_run_leaves_a_clean_engine() -> None:
    engine = make_engine()

    def stop(tokens: list[object]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve(engine, make_workload(), on_step=stop)
    assert engine.num_unfinished == 0
    engine.cluster.check_integrity()
    assert len(serve(engine, make_workload(3))) == 3


@pytest.mark.skipif(not AZURE.exists(), reason="the published Azure trace is not at hand")
def test_a_real_trace() -> None:
    workload = build_workload(read_trace(AZURE), limit=20, speed=50, context_tokens=512)
    records = serve(make_engine(num_blocks=128), with_prompt_tokens(workload, 199))
    assert [record.outcome for record in records] == [Outcome.FINISHED] * 20
    assert [record.num_output_tokens for record in records] == list(workload.output_lengths.values())
