"""Together against apart: tolls stack, rows carry who did what, the summary says it."""

from __future__ import annotations

from course.figures import History, Move, Served, Step, Toll, together_apart, together_apart_summary
from course.figures.together_apart import mean_toll
from course.figures.watch import ChunkRun
from course.metrics.record import Outcome, RequestRecord

RECORD = RequestRecord(0.0, 32, [0.1, 0.25, 0.3], request_id=0)
RECORD.outcome, RECORD.end_s = Outcome.FINISHED, 0.3
PREFILL = Step(0, 0.02, 0.1, (ChunkRun(0, 0, 0, 32, True),))
DECODE = Step(1, 0.2, 0.3, (ChunkRun(0, 0, 32, 2, False),), 2)
APART = History([PREFILL, DECODE], [Move(0, 0, 0, 1, 0.1, 0.18, 2)], {0: "prefill", 1: "decode"})
RUN = Served([RECORD], APART, [Toll(0.02, 0.08)], [Toll(0.02, transfer=0.08, decode=0.05)])


def test_there_is_a_row_for_each_worker_and_one_for_what_is_on_its_way() -> None:
    figure = together_apart({"apart": RUN})
    assert list(figure.layout.yaxis4.ticktext) == ["apart, prefill", "apart, decode", "apart, on its way"]
    assert list(figure.layout.yaxis3.ticktext) == ["first token, apart", "second token, apart"]
    tolls = {trace.name: list(trace.x) for trace in figure.data if trace.yaxis == "y3"}
    assert tolls == {"waiting": [20.0, 20.0], "prefill": [80.0, 0.0], "transfer": [0.0, 80.0], "decode": [0.0, 50.0]}
    moves = next(trace for trace in figure.data if trace.yaxis == "y4" and trace.name == "transfer")
    assert (list(moves.base), list(moves.x), list(moves.y)) == ([100.0], [80.0], [2])


def test_the_summary_names_the_toll() -> None:
    assert together_apart_summary({"apart": RUN}) == (
        "apart: TTFT 100 ms, TPOT 100 ms (medians), longest gap 150 ms, transfer 80 ms."
    )


def test_the_parts_of_a_mean_wait_are_means() -> None:
    assert mean_toll([Toll(1, 2), Toll(3, 0, 1)]) == Toll(2, 1, 0.5, 0)
    assert mean_toll([]) == Toll()
