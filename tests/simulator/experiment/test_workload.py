"""From [workload] to requests: traces and their pace, drawn lengths and arrivals, and what does not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from course.errors import UserError
from course.simulator.experiment.spec import ARRIVALS
from course.simulator.experiment.workload import make_workload
from course.workload.request import Workload
from tests.simulator.experiment.helpers import experiment

CSV = "arrival_s,input_len,output_len\n0,100,10\n1,200,20\n3,300,30\n4,2000,400\n"


@pytest.fixture
def trace(tmp_path: Path) -> str:
    path = tmp_path / "requests.csv"
    path.write_text(CSV)
    return str(path)


def made(context_tokens: int = 2048, **changes: Any) -> Workload:
    read = experiment(**{f"workload.{key}": value for key, value in changes.items()})
    return make_workload(read.workload, read.seed, context_tokens, 16)


def arrivals(workload: Workload) -> list[float]:
    return [request.arrival_s for request in workload.requests]


def test_a_trace_is_taken_as_it_is(trace: str):
    workload = made(trace=trace, rate=None)
    assert arrivals(workload) == [0, 1, 3, 4]
    assert [request.num_prompt_tokens for request in workload.requests] == [100, 200, 300, 2000]
    assert list(workload.output_lengths.values()) == [10, 20, 30, 48], "the last ends with the context"
    assert [request.max_new_tokens for request in workload.requests] == [16, 32, 32, 48]
    assert workload.num_clipped == 1


def test_the_rate_divides_the_arrival_times(trace: str):
    assert arrivals(made(trace=trace, rate=1.5)) == [0, 0.5, 1.5, 2], "3 gaps in 4 s are 0.75 requests/s"
    assert arrivals(made(trace=trace, rate=4, trace_rate=1)) == [0, 0.25, 0.75, 1]
    assert arrivals(made(trace=trace, rate=1.0, limit=2)) == [0, 1]
    assert len(made(trace=trace, rate=1.0, limit=99)) == 4


def test_answers_as_the_keys_say(trace: str):
    workload = made(trace=trace, rate=None, extra_output_tokens=1, stop_at_context=False, max_new_tokens="exact")
    assert list(workload.output_lengths.values()) == [11, 21, 31, 401]
    assert [request.max_new_tokens for request in workload.requests] == [11, 21, 31, 401]
    short = made(trace=trace, rate=None, max_new_tokens=25)
    assert list(short.output_lengths.values()) == [10, 20, 25, 25]
    fitted = made(512, trace=trace, rate=None, fit_context=True)
    assert fitted.scale < 1
    assert all(r.num_prompt_tokens + fitted.output_lengths[r.id] <= 512 for r in fitted.requests)


def test_a_trace_at_other_times(trace: str):
    redrawn = made(trace=trace, arrivals="constant", rate=2)
    assert arrivals(redrawn) == [0.5, 1.0, 1.5, 2.0]
    assert redrawn.requests[2].num_prompt_tokens == 300
    more = made(trace=trace, arrivals="poisson", rate=2, requests=500)
    pairs = {(r.num_prompt_tokens, more.output_lengths[r.id]) for r in more.requests}
    assert pairs == {(100, 10), (200, 20), (300, 30), (2000, 48)}, "rows stay together"


def test_fixed_and_lognormal_lengths():
    fixed = made()
    assert {(r.num_prompt_tokens, fixed.output_lengths[r.id]) for r in fixed.requests} == {(512, 64)}
    drawn = made(requests=4000, prompt_sigma=0.5, context_tokens=10**6)
    prompts = [request.num_prompt_tokens for request in drawn.requests]
    assert np.median(prompts) == pytest.approx(512, rel=0.05)
    assert np.std(np.log(prompts)) == pytest.approx(0.5, rel=0.05)
    assert set(drawn.output_lengths.values()) == {64}


def test_a_length_table():
    workload = made(lengths="azure-conv", requests=2000, context_tokens=10**6)
    assert np.median([r.num_prompt_tokens for r in workload.requests]) == pytest.approx(1020, rel=0.1)
    apart = made(lengths="azure-conv", requests=2000, context_tokens=10**6, joint=False)
    assert [r.num_prompt_tokens for r in apart.requests] == [r.num_prompt_tokens for r in workload.requests]
    assert apart.output_lengths != workload.output_lengths


EXTRA: dict[str, dict[str, Any]] = {
    "gamma": {"burstiness": 0.5},
    "on-off": {"on_s": 5, "off_s": 5},
    "stepped": {"shape": [1, 3, 2], "step_s": 60},
    "sinusoidal": {"amplitude": 0.5, "period_s": 60},
}


@pytest.mark.parametrize("process", ARRIVALS)
def test_every_arrival_process(process: str):
    one = made(requests=3000, arrivals=process, **EXTRA.get(process, {}))
    times = arrivals(one)
    assert times == sorted(times)
    if process == "all-at-once":
        assert set(times) == {0.0}
    else:
        assert 3000 / times[-1] == pytest.approx(4.0, rel=0.15)
        twice = arrivals(made(requests=3000, arrivals=process, rate=8, **EXTRA.get(process, {})))
        if process in ("poisson", "gamma", "constant"):
            assert twice == pytest.approx([time / 2 for time in times], abs=1e-8), "the same draw, closer together"


def test_the_seed_decides():
    def drawn(seed: int) -> list[float]:
        return arrivals(make_workload(experiment(seed=seed).workload, seed, 2048, 16))

    assert drawn(0) == drawn(0) != drawn(1)


def test_a_trace_that_changes_is_read_again(trace: str):
    assert len(made(trace=trace, rate=None)) == 4
    Path(trace).write_text(CSV + "5,10,10\n")
    assert len(made(trace=trace, rate=None)) == 5


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"prompt_tokens": None}, "workload.prompt_tokens is missing: both lengths"),
    ({"prompt_tokens": None, "output_tokens": None}, "does not say how long requests are: give a trace, or lengths"),
    ({"requests": None}, "workload.requests is missing"),
    ({"rate": None}, "workload.rate is missing: say how many requests arrive per second"),
    ({"rate": None, "arrivals": "gamma", "burstiness": 1}, "workload.rate is missing: gamma arrivals need a rate"),
    ({"arrivals": "gamma"}, "workload.burstiness is missing: gamma arrivals need burstiness"),
    ({"arrivals": "on-off", "on_s": 1}, "workload.off_s is missing: on-off arrivals need on_s and off_s"),
    ({"burstiness": 0.5}, 'workload.burstiness belongs to arrivals = "gamma"'),
    ({"limit": 3}, "workload.limit is about a trace, and there is none"),
    ({"joint": False}, "workload.joint is about a table of lengths, and there is none; give workload.lengths or"),
    ({"trace": "TRACE", "joint": False}, "workload.joint is about a table of lengths, and there is none"),
    ({"trace": "TRACE", "prompt_sigma": 1}, "workload has a trace and prompt_sigma"),
    ({"lengths": "arxiv", "output_sigma": 1}, "workload has lengths and output_sigma"),
    ({"trace": "TRACE", "prompt_tokens": 3}, "workload has a trace and prompt_tokens"),
    ({"lengths": "arxiv", "output_tokens": 3}, "workload has lengths and output_tokens; take one of them out"),
    ({"trace": "TRACE", "requests": 3}, "workload.limit takes its first ones"),
    ({"trace": "TRACE", "arrivals": "poisson", "trace_rate": 3}, "workload.trace_rate is about the trace's own times"),
    ({"trace": "TRACE", "limit": 1}, "all come at once; give workload.arrivals"),
    ({"trace": "nowhere.csv"}, "workload.trace: nowhere.csv: there is no such file"),
    ({"trace": "EMPTY"}, "workload.trace: .*empty.csv: has a header but no requests"),
    ({"trace": "NOTHING"}, "workload.trace: .*nothing.csv: is empty"),
]


@pytest.mark.parametrize(("changes", "sentence"), MISTAKES, ids=[str(each) for each, _ in MISTAKES])
def test_what_does_not_go_together(changes: dict[str, Any], sentence: str, trace: str, tmp_path: Path):
    (tmp_path / "empty.csv").write_text("arrival_s,input_len,output_len\n")
    (tmp_path / "nothing.csv").write_text("")
    files = {"TRACE": trace, "EMPTY": str(tmp_path / "empty.csv"), "NOTHING": str(tmp_path / "nothing.csv")}
    with pytest.raises(UserError, match=sentence):
        made(**{key: files.get(str(value), value) for key, value in changes.items()})
