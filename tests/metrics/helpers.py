from hypothesis import strategies as st

from course.metrics.record import Outcome, RequestRecord


def answer(*token_times_s, arrival_s=0.0, num_prompt_tokens=10, outcome="finished", **more):
    """A record of an answer whose tokens came at these times."""
    end_s = token_times_s[-1] if token_times_s else arrival_s
    return RequestRecord(arrival_s, num_prompt_tokens, list(token_times_s), Outcome(outcome), end_s=end_s, **more)


# Times in 1/1024 s: sums are exact, so that a test can ask for equality.
gap = st.integers(0, 5000).map(lambda n: n / 1024)


@st.composite
def answers(draw, min_tokens=0, outcomes=tuple(Outcome)):
    """Random records, unfinished and failed ones included."""
    now_s = arrival_s = draw(gap)
    times_s = []
    for gap_s in draw(st.lists(gap, min_size=min_tokens, max_size=12)):
        now_s += gap_s
        times_s.append(now_s)
    return answer(*times_s, arrival_s=arrival_s, outcome=draw(st.sampled_from(outcomes)))
