import math

from course.metrics.summary import summary_table
from course.workload.slo import SLO
from tests.metrics.helpers import answer


def test_the_table():
    records = [
        answer(1.5, 1.75, 2.5, arrival_s=1.0),
        answer(2.25, arrival_s=2.0, num_preemptions=2),
        answer(arrival_s=3.0, outcome="refused"),
    ]
    assert summary_table(records, SLO(0.4, math.inf), duration_s=4.0).splitlines() == [
        "3 requests: 2 finished, 1 refused; 2 preemptions",
        "4.00 s: 0.50 requests/s, 1.0 output tokens/s",
        "within TTFT 400.00 ms: 33.3%, TPOT inf ms: 66.7%, all limits: 33.3% (wanted 90.0%); 0.25 good requests/s",
        "",
        "ms          mean    median       p90       p99",
        "TTFT      375.00    375.00    475.00    497.50",
        "TPOT      500.00    500.00    500.00    500.00",
        "ITL       500.00    500.00    700.00    745.00",
        "E2E       875.00    875.00      1375      1488",
    ]


def test_a_run_without_requests_has_dashes():
    lines = summary_table([], SLO(1, 1)).splitlines()
    assert lines[0] == "0 requests: 0 finished; 0 preemptions"
    assert lines[-1] == "E2E            -         -         -         -"
