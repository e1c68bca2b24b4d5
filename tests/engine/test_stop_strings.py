"""Stop strings: found wherever the text is cut, and nothing of them gets out."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from course.engine.stop_strings import StopStrings

LETTERS = st.text("abc", max_size=24)
STOPS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=3)


def until_stop(text: str, stops: list[str]) -> str:
    """The obvious way: read letter by letter until some stop string is complete."""
    for end in range(len(text) + 1):
        if found := [stop for stop in stops if text[:end].endswith(stop)]:
            return text[: end - max(map(len, found))]
    return text


@given(LETTERS, STOPS, st.lists(st.integers(0, 24), max_size=8))
@settings(max_examples=500)
def test_what_gets_out_does_not_depend_on_the_cuts(text: str, stops: list[str], cuts: list[int]) -> None:
    watch = StopStrings(stops)
    said, borders = "", sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    for start, end in pairwise(borders):
        said += watch.add(text[start:end])
        assert until_stop(text, stops).startswith(said), "what is out cannot be taken back"
        if watch.found:
            break
    else:
        said += watch.finish()
    assert said == until_stop(text, stops)
    assert bool(watch.found) == any(stop in text for stop in stops)


def test_only_what_may_become_a_stop_string_waits() -> None:
    watch = StopStrings(["\n\n"])
    assert watch.add("one\n") == "one"
    assert watch.add("two") == "\ntwo"
    assert watch.add("\n\nthree") == ""
    assert watch.found == "\n\n"
