import pytest

from course.metrics.record import Outcome, Recorder
from course.workload.request import Request


def recorder(**changed):
    arguments = {"id": 3, "arrival_s": 1.0, "num_prompt_tokens": 10, "max_new_tokens": 8} | changed
    made = Recorder()
    made.on_arrival(Request(**arguments))
    return made


def test_the_life_of_one_request():
    made = recorder(client="ann")
    made.on_token(3, 1.5)
    made.on_preemption(3)
    made.on_tokens(3, [1.75, 2.0])
    made.on_end(3, 2.0)
    (record,) = made.records
    assert (record.request_id, record.sample, record.client) == (3, 0, "ann")
    assert (record.arrival_s, record.num_prompt_tokens) == (1.0, 10)
    assert record.token_times_s == [1.5, 1.75, 2.0]
    assert (record.num_output_tokens, record.num_preemptions) == (3, 1)
    assert (record.outcome, record.end_s, record.finished) == (Outcome.FINISHED, 2.0, True)


def test_samples_of_one_request_have_records_of_their_own():
    made = recorder(n=3)
    made.on_token(3, 1.5, sample=0)
    made.on_token(3, 1.6, sample=2)
    made.on_end(3, 1.7, sample=2)
    made.on_end(3, 1.9, "cancelled")
    assert [(r.sample, r.token_times_s, r.outcome.value, r.end_s) for r in made.records] == [
        (0, [1.5], "cancelled", 1.9),
        (1, [], "cancelled", 1.9),
        (2, [1.6], "finished", 1.7),
    ]


def test_a_record_that_was_taken_is_kept_no_longer():
    recorder = Recorder()
    recorder.on_arrival(Request(7, 1.0, 4, 5, n=2))
    assert [record.sample for record in recorder.take(7)] == [0, 1]
    assert recorder.records == []
    assert recorder.take(7) == []


def test_a_request_that_never_ends_is_kept():
    assert recorder().records[0].outcome is Outcome.UNFINISHED


def test_a_load_client_says_when_it_really_sent():
    made = Recorder()
    made.on_arrival(Request(0, 1.0, 5, 5), arrival_s=1.25)
    assert made.record(0).arrival_s == 1.25


def test_the_reason_of_a_refusal_is_kept():
    made = recorder()
    made.on_end(3, 1.0, Outcome.REFUSED, error="can never fit")
    assert made.record(3).error == "can never fit"


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (lambda made: made.on_arrival(Request(3, 0, 1, 1)), "request 3 arrived twice"),
        (lambda made: made.on_token(4, 2.0), "request 4 sample 0 never arrived"),
        (lambda made: made.on_token(3, 2.0, sample=1), "request 3 sample 1 never arrived"),
        (lambda made: made.on_end(4, 2.0), "request 4 sample 0 never arrived"),
        (lambda made: made.on_token(3, 0.5), "request 3: token at 0.5 s comes after 1.0 s"),
        (lambda made: made.on_tokens(3, [2.0, 1.5]), "request 3: token at 1.5 s comes after 2.0 s"),
        (lambda made: made.on_end(3, 0.5), "request 3: ended at 0.5 s, before 1.0 s"),
        (lambda made: made.on_end(3, 2.0, "done"), "'done' is not a valid Outcome"),
    ],
)
def test_faults_of_the_driver_raise(fault, sentence):
    with pytest.raises(ValueError, match=sentence):
        fault(recorder())


def test_nothing_comes_after_the_end():
    made = recorder()
    made.on_end(3, 2.0)
    with pytest.raises(ValueError, match=r"request 3 sample 0 has ended \(finished\)"):
        made.on_token(3, 3.0)
    with pytest.raises(ValueError, match="request 3 sample 0 ended twice"):
        made.on_end(3, 3.0, sample=0)
    made.on_end(3, 3.0, "failed")
    assert made.record(3).outcome is Outcome.FINISHED, "ending all samples leaves the ended ones alone"
