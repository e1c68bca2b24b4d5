"""Exercises of lesson 09: a load generator that does not wait, SLO attainment, goodput, and what to buy."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from course.exercises import Cases, call, define, expect

Served = tuple[float, list[float], bool]
"""A request as a server's log has it: (arrival_s, token_times_s, finished)."""


# 1: open_loop


def to_a_server(learner: Any, num: int, rate: float, seed: int, service_s: float) -> list[float]:
    """When the learner's load generator sends to a server that takes so long for each answer, one after the other."""
    import numpy as np

    sent: list[float] = []
    free_s = 0.0

    def send(time_s: float) -> float:
        nonlocal free_s
        sent.append(float(time_s))
        free_s = max(free_s, float(time_s)) + service_s
        return free_s

    learner(num, rate, np.random.default_rng(seed), send)
    return sent


@define("goodput.open_loop", points=2, through=to_a_server)
def open_loop(
    num: int,
    rate: float,
    rng: np.random.Generator,
    send: Callable[[float], float],
) -> None:
    """Send `num` requests as users do who know nothing of one another: `rate` a second on average.

    The gaps between them, also the one before the first, are independent and exponentially
    distributed (`rng.exponential` takes the mean gap, in seconds). `send(time_s)` sends a request
    at that time, counted from 0; it hands back when the answer will be done. About 4 lines.
    """
    time_s = 0.0
    for _ in range(num):
        time_s += rng.exponential(1 / rate)
        send(time_s)


def is_ascending(times_s: Any) -> bool:
    """Each time is a number, at least 0, and no earlier than the one before."""
    return all(math.isfinite(time_s) for time_s in times_s) and list(times_s) == sorted(max(t, 0.0) for t in times_s)


@open_loop.check(hint="Each request is sent once, later than the one before.")
def each_is_sent_in_its_turn(rng: np.random.Generator) -> Cases:
    for num in (2, 1, 5, 40):

        def all_sent(got: Any, num: int = num) -> bool:
            return len(got) == num

        yield (
            call(num, 2.0, int(rng.integers(99)), 0.25)
            .satisfies(all_sent, f"`send` must be called once for each of the requests, and {num} are wanted.")
            .satisfies(is_ascending, "Times count from 0 and never go back.")
        )


@open_loop.check(hint="Draw from the `rng` that you are given, and from nothing else.")
def the_seed_decides(rng: np.random.Generator) -> Cases:
    seed = int(rng.integers(99))
    first = yield call(4, 2.0, seed, 0.0)
    yield call(4, 2.0, seed, 0.0).returns(first)


@open_loop.check(hint="Users do not know how the server is doing. The times may not depend on what `send` hands back.")
def nobody_waits_for_an_answer(rng: np.random.Generator) -> Cases:
    for num in (2, 6):
        seed = int(rng.integers(99))
        quick = yield call(num, 4.0, seed, 0.0)
        yield call(num, 4.0, seed, 3.0).returns(quick)


@open_loop.check(hint="With a rate of 4 a second, how long is the mean gap?")
def the_rate_is_right(rng: np.random.Generator) -> Cases:
    for rate in (4.0, 0.5):

        def near_the_rate(got: Any, rate: float = rate) -> bool:
            return len(got) == 2000 and abs(rate * got[-1] / 2000 - 1) < 0.15

        said = f"2,000 requests at {rate:g} a second take about {2000 / rate:,.0f} s."
        yield call(2000, rate, int(rng.integers(99)), 0.0).satisfies(near_the_rate, said)


def waits_for_the_first(times_s: Any) -> bool:
    """Nobody is there yet at time 0."""
    return bool(times_s[0] > 0)


@open_loop.check(hint="Exponential gaps: many are short, a few are long. Their spread is as large as their mean.")
def gaps_are_exponential(rng: np.random.Generator) -> Cases:
    def spread_as_mean(got: Any) -> bool:
        gaps_s = np.diff(np.array([0.0, *got]))
        return bool(0.85 < gaps_s.std() / gaps_s.mean() < 1.15 and 0.06 < (gaps_s < gaps_s.mean() / 10).mean() < 0.14)

    said = "The gaps must be exponentially distributed: about a tenth of them shorter than a tenth of the mean."
    yield call(2000, 3.0, int(rng.integers(99)), 0.0).satisfies(spread_as_mean, said)
    first = "A gap comes before the first request, too."
    yield call(1, 3.0, int(rng.integers(99)), 0.0).satisfies(waits_for_the_first, first)


@open_loop.check(hint="Draw from the `rng` that you are given, and from nothing else.")
def another_seed_gives_other_times(rng: np.random.Generator) -> Cases:
    seed = int(rng.integers(99))
    first = yield call(4, 2.0, seed, 0.0)
    other = yield call(4, 2.0, seed + 1, 0.0)
    expect(other != first, "Another seed must give other times.")


@open_loop.check(hint="Add up independent gaps. There is no time by which all must have been sent.")
def no_end_is_known(rng: np.random.Generator) -> Cases:
    first_s = []
    for _ in range(40):
        got = yield call(1, 2.0, int(rng.integers(10**6)), 0.0)
        first_s += got
    expect(max(first_s) > 0.5, "Of 40 first gaps at 2 a second none is longer than the mean, 0.5 s.")


OPEN_LOOP_WAITS = (
    "Your users wait until somebody else's answer is there. That is a closed loop: a slow server gets fewer requests, "
    "and looks better than it is. Send at the next time, whatever `send` hands back."
)
ANOTHER_NUMBER = (
    "Not as many are sent as are wanted. `range(1, num)` has one too few, `range(num + 1)` one too many. A loop that "
    "ends when the time is up leaves the number to chance: send `num` of them, however long that takes."
)
open_loop.mistake(
    "a closed loop",
    replace=[("        send(time_s)\n", "        time_s = send(time_s)\n")],
    caught_by=nobody_waits_for_an_answer,
    nudge=OPEN_LOOP_WAITS,
)
open_loop.mistake(
    "waits if the server is busy",
    text="""
def open_loop(num, rate, rng, send):
    time_s = free_s = 0.0
    for _ in range(num):
        time_s += rng.exponential(1 / rate)
        free_s = send(max(time_s, free_s))
""",
    caught_by=nobody_waits_for_an_answer,
    nudge="A user comes while the server is busy, and you hold the request back. So the wait begins too late, and TTFT "
    "looks short. Send it at once.",
)
open_loop.mistake(
    "the gap, not the time",
    text="""
def open_loop(num, rate, rng, send):
    for _ in range(num):
        send(rng.exponential(1 / rate))
""",
    caught_by=each_is_sent_in_its_turn,
    nudge="That is the gap since the request before. `send` takes the time since the beginning: add the gaps up.",
)
open_loop.mistake(
    "the rate for the gap",
    replace=[("rng.exponential(1 / rate)", "rng.exponential(rate)")],
    caught_by=the_rate_is_right,
    nudge="`rng.exponential` takes the mean gap. With 4 requests a second it is a quarter of a second.",
)
open_loop.mistake(
    "all at once",
    replace=[("        time_s += rng.exponential(1 / rate)\n", "")],
    caught_by=the_rate_is_right,
    nudge="All are sent at the same time. That is a batch job, not users.",
)
open_loop.mistake(
    "the first at 0",
    text="""
def open_loop(num, rate, rng, send):
    time_s = 0.0
    for _ in range(num):
        send(time_s)
        time_s += rng.exponential(1 / rate)
""",
    caught_by=gaps_are_exponential,
    nudge="The first one is sent at 0. There is a gap before it, too: draw, then send.",
)
open_loop.mistake(
    "equal gaps",
    replace=[("rng.exponential(1 / rate)", "1 / rate")],
    caught_by=gaps_are_exponential,
    nudge="The gaps are all alike. Users come in clusters, by chance, and clusters are what makes others wait.",
)
open_loop.mistake(
    "uniform gaps",
    replace=[("rng.exponential(1 / rate)", "rng.uniform(0, 2 / rate)")],
    caught_by=gaps_are_exponential,
    nudge="The mean is right, but no gap is longer than twice the mean, and too few are short. Draw exponential ones.",
)
open_loop.mistake(
    "a number of requests for the gap",
    replace=[("rng.exponential(1 / rate)", "rng.poisson(1 / rate)")],
    caught_by=gaps_are_exponential,
    nudge="Poisson numbers count how many come within a time. The gaps between them are exponential.",
)
open_loop.mistake(
    "one too few",
    replace=[("range(num)", "range(1, num)")],
    caught_by=each_is_sent_in_its_turn,
    nudge=ANOTHER_NUMBER,
)
open_loop.mistake(
    "one too many",
    replace=[("range(num)", "range(num + 1)")],
    caught_by=each_is_sent_in_its_turn,
    nudge=ANOTHER_NUMBER,
)
open_loop.mistake(
    "until the time is up",
    replace=[("    for _ in range(num):\n", "    while time_s < num / rate:\n")],
    caught_by=each_is_sent_in_its_turn,
    nudge=ANOTHER_NUMBER,
)
open_loop.mistake(
    "endless, or really waits",
    text="""
def open_loop(num, rate, rng, send):
    import time

    time_s = 0.0
    for _ in range(num):
        gap_s = rng.exponential(1 / rate)
        time.sleep(100 * gap_s)
        time_s += gap_s
        send(time_s)
""",
    caught_by=each_is_sent_in_its_turn,
    nudge="`send` is told the time of a request, so nobody has to wait for it: do not sleep. And send `num` requests, "
    "then end.",
)
open_loop.mistake(
    "one gap for all",
    text="""
def open_loop(num, rate, rng, send):
    gap_s = rng.exponential(1 / rate)
    for i in range(num):
        send((i + 1) * gap_s)
""",
    caught_by=the_rate_is_right,
    nudge="You draw one gap and use it for all. Users know nothing of one another: draw a gap for each.",
)
open_loop.mistake(
    "milliseconds",
    replace=[("rng.exponential(1 / rate)", "rng.exponential(1000 / rate)")],
    caught_by=the_rate_is_right,
    nudge="A thousand times too long: times are in seconds here.",
)
open_loop.mistake(
    "a mean gap of one",
    replace=[("rng.exponential(1 / rate)", "rng.exponential()")],
    caught_by=the_rate_is_right,
    nudge="`rng.exponential()` draws gaps of one second in the mean, whatever the rate. It takes the mean gap.",
)
open_loop.mistake(
    "whole seconds",
    replace=[("        send(time_s)\n", "        send(int(time_s))\n")],
    caught_by=gaps_are_exponential,
    nudge="Times are cut to whole seconds, so all users of a second come at once. Send at the time itself.",
)
open_loop.mistake(
    "spread over a fixed time",
    text="""
def open_loop(num, rate, rng, send):
    for time_s in sorted(rng.uniform(0, num / rate, num)):
        send(time_s)
""",
    caught_by=no_end_is_known,
    nudge="You spread the requests over a time that is fixed before. It looks alike, but the last user can never be "
    "late. Draw the gaps, and add them up.",
)
open_loop.mistake(
    "returns the times and sends nothing",
    text="""
def open_loop(num, rate, rng, send):
    return np.cumsum(rng.exponential(1 / rate, num))
""",
    caught_by=each_is_sent_in_its_turn,
    nudge="The times are there, and nothing is sent: call `send` with each of them.",
)
open_loop.mistake(
    "sends all times at once",
    text="""
def open_loop(num, rate, rng, send):
    send(np.cumsum(rng.exponential(1 / rate, num)))
""",
    caught_by=each_is_sent_in_its_turn,
    nudge="`send` takes one time, and sends one request. Call it for each.",
)
open_loop.mistake(
    "a generator of its own",
    replace=[("    time_s = 0.0\n", "    time_s, rng = 0.0, np.random.default_rng(0)\n")],
    caught_by=another_seed_gives_other_times,
    nudge="You make a generator of your own, so every load is the same one. Draw from `rng`.",
)
open_loop.alternative(
    """
def open_loop(num, rate, rng, send):
    for time_s in np.cumsum(rng.exponential(scale=1 / rate, size=num)):
        send(float(time_s))
"""
)
open_loop.alternative(
    """
def open_loop(num, rate, rng, send):
    time_s = 0.0
    for _ in range(num):
        time_s = time_s - math.log(1 - rng.random()) / rate
        send(time_s)
"""
)


# 2: attainment


@define("goodput.attainment", points=2)
def attainment(
    requests: list[tuple[float, list[float], bool]],
    ttft_slo_s: float,
    tpot_slo_s: float,
) -> float:
    """The share, 0 to 1, of all requests that keep both limits. No requests: 0.

    Each request is (arrival_s, token_times_s, finished). TTFT is the time of its first token minus
    its arrival. TPOT is the mean gap between its tokens, and 0 with a single token. Exactly at a
    limit, the limit is kept. A request that did not finish has kept nothing, whatever tokens it
    got; it may have none. About 8 lines.
    """
    good = 0
    for arrival_s, times_s, finished in requests:
        if not finished:
            continue
        ttft_s = times_s[0] - arrival_s
        tpot_s = (times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1)
        if ttft_s <= ttft_slo_s and tpot_s <= tpot_slo_s:
            good += 1
    return good / max(len(requests), 1)


def answer(arrival_s: float, ttft_s: float, gaps_s: list[float], finished: bool = True) -> Served:
    """A request with this TTFT and these gaps between tokens."""
    times_s = [arrival_s + ttft_s]
    for gap_s in gaps_s:
        times_s.append(times_s[-1] + gap_s)
    return arrival_s, times_s, finished


LIMITS = (1.0, 0.25)  # TTFT, TPOT; all times of the checks are multiples of 1/64 s, so that sums are exact


def keeps(request: Served) -> bool:
    """One request against the limits, gap by gap."""
    arrival_s, times_s, finished = request
    gaps_s = [later - earlier for earlier, later in pairwise(times_s)]
    mean_s = sum(gaps_s) / len(gaps_s) if gaps_s else 0.0
    return finished and times_s[0] <= arrival_s + LIMITS[0] and mean_s <= LIMITS[1]


@attainment.check(hint="A request is good or not, so of a single one the share is 1 or 0.")
def one_request(rng: np.random.Generator) -> Cases:
    later_s = int(rng.integers(3, 9)) + 0.5
    for arrival_s, ttft_s, gaps_s in (
        (0.0, 0.125, [0.125, 0.125]),  # good
        (0.5, 0.125, [0.125] * 3),  # good
        (later_s, 0.125, [0.125]),  # good
        (later_s, 0.5, [0.125] * 4),  # good
        (later_s, 0.75, [0.125]),  # good
        (later_s, 0.125, [0.75, 0.75]),  # slow
        (later_s, 1.5, [0.125, 0.125]),  # late
        (later_s, 0.125, [0.3125] * 3),  # a little slow
        (later_s, 0.125, [0.125, 0.125, 0.75]),  # slow in the end
    ):
        request = answer(arrival_s, ttft_s, gaps_s)
        yield call([request], *LIMITS).returns(float(keeps(request)))


@attainment.check(hint="Exactly the limit is still good.")
def the_limit_itself_is_kept(rng: np.random.Generator) -> Cases:
    start_s = float(rng.integers(0, 9))
    yield call([answer(start_s, 1.0, [0.125, 0.125])], *LIMITS).returns(1.0)
    yield call([answer(start_s, 0.5, [0.375, 0.125])], *LIMITS).returns(1.0)


@attainment.check(hint="One token, no gap: its TPOT is 0, and TTFT alone decides.")
def answers_of_one_token(rng: np.random.Generator) -> Cases:
    start_s = float(rng.integers(1, 9))
    yield call([answer(start_s, 0.5, [])], *LIMITS).returns(1.0)
    yield call([answer(start_s, 1.5, [])], *LIMITS).returns(0.0)


@attainment.check(hint="Both limits must hold for one and the same request.")
def both_limits_at_once(rng: np.random.Generator) -> Cases:
    late, slow, good = answer(2.0, 1.5, [0.125]), answer(3.0, 0.5, [0.5]), answer(4.0, 0.5, [0.125])
    yield call([late, slow], *LIMITS).returns(0.0)
    yield call([late, slow, good, good], *LIMITS).returns(0.5)
    yield call([late, slow, good], *LIMITS).returns(1 / 3)


@attainment.check(hint="Who failed has been let down. They are among all requests, and not among the good ones.")
def who_fails_counts(rng: np.random.Generator) -> Cases:
    good = answer(1.0, 0.5, [0.125])
    refused: Served = (2.0, [], False)
    broken_off = answer(3.0, 0.5, [0.125, 0.125], finished=False)
    yield call([good, refused], *LIMITS).returns(0.5)
    yield call([good, broken_off], *LIMITS).returns(0.5)
    yield call([refused, good], *LIMITS).returns(0.5)
    yield call([refused], *LIMITS).returns(0.0)


@attainment.check(hint="Go through them one by one and count.")
def many_requests(rng: np.random.Generator) -> Cases:
    for num in (0, 5, 20):
        requests = []
        for i in range(num):
            gaps_s = [int(n) / 64 for n in rng.integers(1, 31, int(rng.integers(0, 6)))]
            requests.append(answer(float(i), int(rng.integers(1, 90)) / 64, gaps_s, bool(rng.random() < 0.85)))
        yield call(requests, *LIMITS).returns(sum(map(keeps, requests)) / max(num, 1))


SLOW = (
    "An answer that begins in time and then crawls is counted as good. Both limits must be kept: not just one, not "
    "TTFT alone."
)
BY_EACH = """
def attainment(requests, ttft_slo_s, tpot_slo_s):
    ttft = [finished and times[0] - arrival <= ttft_slo_s for arrival, times, finished in requests]
    tpot = [
        finished and (times[-1] - times[0]) / max(len(times) - 1, 1) <= tpot_slo_s for _, times, finished in requests
    ]
    num = max(len(requests), 1)
    return {}
"""
attainment.mistake(
    "each limit by itself",
    text=BY_EACH.format("min(sum(ttft) / num, sum(tpot) / num)"),
    caught_by=both_limits_at_once,
    nudge="You count who keeps TTFT, and who keeps TPOT, and take the smaller share. They may be different people: of "
    "two users, one starts late and one reads slowly, and nobody is content.",
)
attainment.mistake(
    "the product of both shares",
    text=BY_EACH.format("sum(ttft) / num * sum(tpot) / num"),
    caught_by=both_limits_at_once,
    nudge="A product of shares is right only if one limit knows nothing of the other. Look at each request: are both "
    "kept?",
)
attainment.mistake(
    "the mean of both shares",
    text=BY_EACH.format("(sum(ttft) + sum(tpot)) / (2 * num)"),
    caught_by=one_request,
    nudge="Half a request is good in your count. A request that misses one limit is not good.",
)
attainment.mistake(
    "one limit is enough",
    replace=[("ttft_s <= ttft_slo_s and", "ttft_s <= ttft_slo_s or")],
    caught_by=one_request,
    nudge=SLOW,
)
attainment.mistake(
    "TTFT alone",
    replace=[(" and tpot_s <= tpot_slo_s", "")],
    caught_by=one_request,
    nudge=SLOW,
)
attainment.mistake(
    "TPOT alone",
    replace=[("ttft_s <= ttft_slo_s and ", "")],
    caught_by=one_request,
    nudge="An answer that begins late is counted as good. TTFT has a limit, too.",
)
attainment.mistake(
    "failed ones left out",
    text="""
def attainment(requests, ttft_slo_s, tpot_slo_s):
    done = [(arrival, times) for arrival, times, finished in requests if finished]
    good = [
        times[0] - arrival <= ttft_slo_s and (times[-1] - times[0]) / max(len(times) - 1, 1) <= tpot_slo_s
        for arrival, times in done
    ]
    return sum(good) / max(len(done), 1)
""",
    caught_by=who_fails_counts,
    nudge="You divide by those who finished. A server that refuses half of its users would look perfect. Divide by "
    "all.",
)
attainment.mistake(
    "broken off and counted as good",
    replace=[("        if not finished:\n", "        if not times_s:\n")],
    caught_by=who_fails_counts,
    nudge="Its tokens came in time, until the answer broke off. Ask `finished`.",
)
attainment.mistake(
    "failed ones are not expected",
    replace=[("        if not finished:\n            continue\n", "")],
    caught_by=who_fails_counts,
    nudge="A request that was refused has no tokens, so there is no first one. Ask `finished` before you look.",
)
attainment.mistake(
    "less than the limit",
    replace=[
        ("ttft_s <= ttft_slo_s", "ttft_s < ttft_slo_s"),
        ("tpot_s <= tpot_slo_s", "tpot_s < tpot_slo_s"),
    ],
    caught_by=the_limit_itself_is_kept,
    nudge="Exactly the limit is not above it: `<=`. So do vLLM's benchmark and DistServe's evaluation.",
)
attainment.mistake(
    "TPOT over all tokens",
    replace=[("max(len(times_s) - 1, 1)", "len(times_s)")],
    caught_by=one_request,
    nudge="n tokens have n - 1 gaps. Yours makes TPOT look shorter than it is.",
)
attainment.mistake(
    "TPOT with the wait for the first",
    replace=[("(times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1)", "(times_s[-1] - arrival_s) / len(times_s)")],
    caught_by=one_request,
    nudge="That is the whole time over all tokens. The wait for the first token belongs to TTFT; TPOT begins there.",
)
attainment.mistake(
    "the time of the first token",
    replace=[("times_s[0] - arrival_s", "times_s[0]")],
    caught_by=one_request,
    nudge="The time of the first token is a time of day. How long has the user waited by then?",
)
attainment.mistake(
    "the longest gap",
    replace=[
        (
            "(times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1)",
            "max((b - a for a, b in zip(times_s, times_s[1:])), default=0.0)",
        )
    ],
    caught_by=the_limit_itself_is_kept,
    nudge="That is the longest gap. TPOT is the mean of them, so one long gap may be made up for. (Whether it should "
    "be is another question.)",
)
attainment.mistake(
    "one token, no gap, no mercy",
    replace=[("max(len(times_s) - 1, 1)", "(len(times_s) - 1)")],
    caught_by=answers_of_one_token,
    nudge="One token has no gap, and you divide by 0. Its TPOT is 0 by definition.",
)
attainment.mistake(
    "one token has no TPOT",
    replace=[("        if not finished:\n", "        if not finished or len(times_s) < 2:\n")],
    caught_by=answers_of_one_token,
    nudge="An answer of one token is left out of TPOT statistics, but for attainment its TPOT counts as 0.",
)
attainment.mistake(
    "limits swapped",
    replace=[("ttft_s <= ttft_slo_s and tpot_s <= tpot_slo_s", "ttft_s <= tpot_slo_s and tpot_s <= ttft_slo_s")],
    caught_by=one_request,
    nudge="Each latency is held against the limit of the other.",
)
attainment.mistake(
    "how many, not which share",
    replace=[("good / max(len(requests), 1)", "good")],
    caught_by=both_limits_at_once,
    nudge="That is how many are good. A share is a part of all.",
)
attainment.mistake(
    "those who are let down",
    replace=[("return good / max(len(requests), 1)", "return 1.0 - good / max(len(requests), 1)")],
    caught_by=one_request,
    nudge="This user is content, and your share is 0. Do you count those who are let down?",
)
attainment.mistake(
    "rounded",
    replace=[("good / max(len(requests), 1)", "round(good / max(len(requests), 1), 1)")],
    caught_by=both_limits_at_once,
    nudge="You round the share. Whoever compares it with a goal needs it as it is.",
)
attainment.mistake(
    "the whole time from the first token to the last",
    replace=[(" / max(len(times_s) - 1, 1)", "")],
    caught_by=one_request,
    nudge="That is the time from the first token to the last. TPOT is the mean gap: divide by the number of gaps.",
)
attainment.mistake(
    "the median gap",
    replace=[
        (
            "(times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1)",
            "np.median(np.diff(times_s)) if len(times_s) > 1 else 0.0",
        )
    ],
    caught_by=one_request,
    nudge="That is the median gap, which one long pause does not move. TPOT is the mean.",
)
attainment.mistake(
    "ends at the first that failed",
    replace=[("            continue\n", "            break\n")],
    caught_by=who_fails_counts,
    nudge="At the first request that failed you leave the loop. Those behind it are users, too: `continue`.",
)
attainment.mistake(
    "one that failed spoils all",
    replace=[("            continue\n", "            return 0.0\n")],
    caught_by=who_fails_counts,
    nudge="One request failed, and yours says that nobody is content. It only counts among those who are not.",
)
attainment.mistake(
    "nobody came, so all are content",
    replace=[("    good = 0\n", "    good = 0\n    if not requests:\n        return 1.0\n")],
    caught_by=many_requests,
    nudge="No requests: here the share is 0 by definition, so that a server that serves nobody does not shine.",
)
attainment.mistake(
    "attributes of a tuple",
    text="""
def attainment(requests, ttft_slo_s, tpot_slo_s):
    good = 0
    for request in requests:
        ttft_s = request.token_times_s[0] - request.arrival_s
        good += ttft_s <= ttft_slo_s
    return good / len(requests)
""",
    caught_by=one_request,
    nudge="A request is a tuple of three here. Take it apart: `for arrival_s, times_s, finished in requests`.",
)
attainment.mistake(
    "in percent",
    replace=[("good / max", "100 * good / max")],
    caught_by=one_request,
    nudge="A hundred times too much: a share goes from 0 to 1.",
)
attainment.mistake(
    "means instead of requests",
    text="""
def attainment(requests, ttft_slo_s, tpot_slo_s):
    done = [(arrival, times) for arrival, times, finished in requests if finished]
    if not done:
        return 0.0
    ttft = np.mean([times[0] - arrival for arrival, times in done])
    tpot = np.mean([(times[-1] - times[0]) / max(len(times) - 1, 1) for arrival, times in done])
    return float(ttft <= ttft_slo_s and tpot <= tpot_slo_s) * len(done) / len(requests)
""",
    caught_by=both_limits_at_once,
    nudge="You hold the means against the limits. In a mean, one very fast answer makes up for a slow one. Judge each "
    "request.",
)
attainment.mistake(
    "a percentile of each",
    text="""
def attainment(requests, ttft_slo_s, tpot_slo_s):
    done = [(arrival, times) for arrival, times, finished in requests if finished]
    if not done:
        return 0.0
    ttft = np.percentile([times[0] - arrival for arrival, times in done], 90)
    tpot = np.percentile([(times[-1] - times[0]) / max(len(times) - 1, 1) for arrival, times in done], 90)
    return float(ttft <= ttft_slo_s and tpot <= tpot_slo_s)
""",
    caught_by=both_limits_at_once,
    nudge="A P90 within its limit says yes or no, for each limit by itself. Here the share of requests is wanted, "
    "with both limits at once.",
)
attainment.mistake(
    "divided without a rest",
    replace=[("good / max", "good // max")],
    caught_by=both_limits_at_once,
    nudge="`//` cuts a share down to 0, unless all are good. `/` keeps the part.",
)
attainment.mistake(
    "an empty list",
    replace=[("max(len(requests), 1)", "len(requests)")],
    caught_by=many_requests,
    nudge="Without any request you divide by 0. The share is 0 then.",
)
attainment.alternative(
    """
def attainment(requests, ttft_slo_s, tpot_slo_s):
    def is_good(arrival_s, times_s, finished):
        if not finished or times_s[0] - arrival_s > ttft_slo_s:
            return False
        gaps_s = np.diff(times_s)
        return len(gaps_s) == 0 or float(gaps_s.mean()) <= tpot_slo_s

    return sum(is_good(*request) for request in requests) / len(requests) if requests else 0.0
"""
)


# 3: goodput


def against_a_server(
    learner: Any, knee: float, goal: float, high: float, tolerance: float, ask: str = "the goodput"
) -> Any:
    """What the learner finds for a server that reaches the goal up to the rate ``knee``; or how many rates it tried."""
    tried: list[float] = []

    def attainment_at(rate: float) -> float:
        tried.append(rate)
        if len(tried) > 2000:
            raise RuntimeError(f"2,000 rates have been tried, and there is no end; the last one was {rate:g}")
        if rate == knee:
            return goal
        return goal + (1 - goal) * (1 - rate / knee) if rate < knee else goal * (knee / rate) ** 2

    found = learner(attainment_at, goal, high, tolerance)
    return len(tried) if ask == "rates tried" else found


@define("goodput.goodput", points=3, through=against_a_server)
def goodput(
    attainment_at: Callable[[float], float],
    goal: float,
    high: float,
    tolerance: float,
) -> float:
    """The largest rate found at which enough requests are good: `attainment_at(rate) >= goal`.

    Attainment falls as the rate rises. If `high` reaches the goal, it is the answer. Else there is
    a rate between 0 and `high` where the goal is lost: halve the interval until it is no longer
    than `tolerance` (requests/s), and return its lower end, which is 0 or has reached the goal. A
    trial takes its time: try each rate once. About 9 lines.
    """
    if attainment_at(high) >= goal:
        return high
    low = 0.0
    while high - low > tolerance:
        middle = (low + high) / 2
        if attainment_at(middle) >= goal:
            low = middle
        else:
            high = middle
    return low


def found_for(knee: float, goal: float, high: float, tolerance: float) -> Any:
    """A call, and the demand that what is found reaches the goal and is near the largest rate that does."""
    best = min(knee, high)

    def reaches_the_goal(got: Any) -> bool:
        return got <= best

    def is_near_the_best(got: Any) -> bool:
        return got >= best - tolerance

    goes = f"This server reaches the goal up to {knee:g} requests/s"
    return (
        call(knee, goal, high, tolerance)
        .satisfies(lambda got: isinstance(got, (int, float)), "A rate is wanted, as a number.")
        .satisfies(reaches_the_goal, f"{goes}; at the rate that you give it misses it.")
        .satisfies(is_near_the_best, f"{goes}; the rate that you give is more than {tolerance:g} below.")
    )


@goodput.check(hint="After each trial, in which half is the largest good rate?")
def between_good_and_bad(rng: np.random.Generator) -> Cases:
    yield found_for(4.4, 0.9, 10.0, 0.25)
    yield found_for(5.5, 0.9, 8.0, 0.5)
    yield found_for(0.5575, 0.9, 1.0, 0.01)
    for _ in range(2):
        yield found_for(float(rng.uniform(1, 15)), float(rng.uniform(0.5, 0.95)), 16.0, 0.125)


@goodput.check(hint="What if the highest rate is good enough?")
def the_highest_rate_is_good(rng: np.random.Generator) -> Cases:
    high = float(rng.integers(2, 9))
    yield call(2 * high, 0.9, high, 0.25).returns(high)


@goodput.check(hint="Exactly the goal is good enough.")
def the_goal_itself_is_enough(rng: np.random.Generator) -> Cases:
    high = float(rng.integers(2, 9))
    yield call(high, 0.9, high, 0.25).returns(high)


@goodput.check(hint="What if no rate that you try is good enough?")
def no_rate_is_good(rng: np.random.Generator) -> Cases:
    yield call(0.001, 0.9, float(rng.integers(2, 9)), 0.25).returns(0.0)


@goodput.check(hint="Each trial serves all requests once, which takes its time. Halving needs few of them.")
def few_rates_are_tried(rng: np.random.Generator) -> Cases:
    for high in (16.0, 2.0 ** int(rng.integers(5, 7))):
        needed = round(math.log2(high / 0.125)) + 1

        def is_few(got: Any, most: int = needed + 2) -> bool:
            return bool(got <= most)

        said = f"From 0 to {high:g}, to within 0.125: {needed} trials are enough, the first at {high:g}."
        yield call(float(rng.uniform(2, 9)), 0.9, high, 0.125, "rates tried").satisfies(is_few, said)


SHARE_OF_A_RATE = (
    "The interval is held against a share of a rate, so it stays wide (or, while that rate is 0, is never narrow "
    "enough). The tolerance is in requests per second, as it is."
)
goodput.mistake(
    "the upper end",
    replace=[("    return low\n", "    return high\n")],
    caught_by=between_good_and_bad,
    nudge="The rate that you return has been tried, and it misses the goal. The lower end has reached it.",
)
goodput.mistake(
    "the middle of what is left",
    replace=[("    return low\n", "    return (low + high) / 2\n")],
    caught_by=between_good_and_bad,
    nudge="Nobody has tried the middle of the last interval. What is known to be good is its lower end.",
)
goodput.mistake(
    "the wrong half",
    replace=[
        ("            low = middle\n", "            high = middle\n"),
        ("        else:\n            high = middle\n", "        else:\n            low = middle\n"),
    ],
    caught_by=between_good_and_bad,
    nudge="The wrong half: if the middle is good, better rates are above it.",
)
goodput.mistake(
    "more than the goal",
    replace=[("if attainment_at(high) >= goal", "if attainment_at(high) > goal")],
    caught_by=the_goal_itself_is_enough,
    nudge="Exactly the goal is enough: `>=`.",
)
goodput.mistake(
    "never tries the highest",
    replace=[("    if attainment_at(high) >= goal:\n        return high\n", "")],
    caught_by=the_highest_rate_is_good,
    nudge="The interval closes in on `high` and never gets there. If `high` itself is good, that is the answer.",
)
goodput.mistake(
    "rate by rate",
    text="""
def goodput(attainment_at, goal, high, tolerance):
    if attainment_at(high) >= goal:
        return high
    rate = 0.0
    while attainment_at(rate + tolerance) >= goal:
        rate += tolerance
    return rate
""",
    caught_by=few_rates_are_tried,
    nudge="You climb step by step. Halving an interval of 64 down to an eighth takes nine trials; climbing may take "
    "500.",
)
goodput.mistake(
    "a few halvings",
    replace=[("    while high - low > tolerance:\n", "    for _ in range(5):\n")],
    caught_by=between_good_and_bad,
    nudge="After a fixed number of halvings the interval may still be wide. Go on while it is wider than `tolerance`.",
)
goodput.mistake(
    "one halving",
    replace=[("    while high - low > tolerance:\n", "    if high - low > tolerance:\n")],
    caught_by=between_good_and_bad,
    nudge="That halves once. Go on while the interval is wider than `tolerance`.",
)
goodput.mistake(
    "whole rates",
    replace=[("(low + high) / 2", "(low + high) // 2")],
    caught_by=between_good_and_bad,
    nudge="`//` cuts the middle down to a whole number. When low and high are neighbours it is low again, for ever.",
)
goodput.mistake(
    "rounded rates",
    replace=[("(low + high) / 2", "round((low + high) / 2, 1)")],
    caught_by=between_good_and_bad,
    nudge="You round the middle. When both ends are neighbours it is one of them again, for ever.",
)
goodput.mistake(
    "the same middle again",
    replace=[
        (
            "    while high - low > tolerance:\n        middle = (low + high) / 2\n",
            "    middle = (low + high) / 2\n    while high - low > tolerance:\n",
        )
    ],
    caught_by=between_good_and_bad,
    nudge="The middle is computed once, before the loop, and tried again and again. After each trial there is another.",
)
goodput.mistake(
    "half of the upper end",
    replace=[("(low + high) / 2", "high / 2")],
    caught_by=between_good_and_bad,
    nudge="Half of `high` is the middle only while `low` is 0. The middle of an interval is (low + high) / 2.",
)
goodput.mistake(
    "past the middle",
    replace=[("            low = middle\n", "            low = middle + tolerance\n")],
    caught_by=between_good_and_bad,
    nudge="You put an end where nobody has tried. After a trial the middle itself is the new end.",
)
goodput.mistake(
    "past the middle on both sides",
    replace=[
        ("            low = middle\n", "            low = middle + tolerance\n"),
        ("            high = middle\n", "            high = middle - tolerance\n"),
    ],
    caught_by=between_good_and_bad,
    nudge="You put an end where nobody has tried. After a trial the middle itself is the new end.",
)
goodput.mistake(
    "half of the interval",
    replace=[("high - low > tolerance", "(high - low) / 2 > tolerance")],
    caught_by=between_good_and_bad,
    nudge="You stop when half of the interval is within `tolerance`. The whole interval must be.",
)
goodput.mistake(
    "a share of the upper end",
    replace=[("high - low > tolerance", "high - low > tolerance * high")],
    caught_by=between_good_and_bad,
    nudge=SHARE_OF_A_RATE,
)
goodput.mistake(
    "each rate twice",
    replace=[("        else:\n            high", "        if attainment_at(middle) < goal:\n            high")],
    caught_by=few_rates_are_tried,
    nudge="You serve all requests twice at each rate. Ask once: `else`, or keep the answer in a variable.",
)
goodput.mistake(
    "ten halvings",
    replace=[("    while high - low > tolerance:\n", "    for _ in range(10):\n")],
    caught_by=few_rates_are_tried,
    nudge="A fixed number of halvings, whatever is asked. Stop when the interval is no longer than `tolerance`.",
)
goodput.mistake(
    "begins at one",
    replace=[("    low = 0.0\n", "    low = 1.0\n")],
    caught_by=between_good_and_bad,
    nudge="Nobody has tried 1 request a second, and it may be too many. Begin at 0.",
)
goodput.mistake(
    "only down",
    text="""
def goodput(attainment_at, goal, high, tolerance):
    while attainment_at(high) < goal and high > tolerance:
        high /= 2
    return high
""",
    caught_by=between_good_and_bad,
    nudge="You halve the rate until it is good. Between that one and the one before, which was not, there may be a "
    "better one.",
)
goodput.mistake(
    "near the goal",
    text="""
def goodput(attainment_at, goal, high, tolerance):
    low = 0.0
    while True:
        middle = (low + high) / 2
        found = attainment_at(middle)
        if abs(found - goal) < tolerance:
            return middle
        if found >= goal:
            low = middle
        else:
            high = middle
""",
    caught_by=between_good_and_bad,
    nudge="You stop when attainment is near the goal. The tolerance is in requests per second: how wide is the "
    "interval of rates?",
)
goodput.mistake(
    "the attainment",
    replace=[("    return low\n", "    return attainment_at(low)\n")],
    caught_by=between_good_and_bad,
    nudge="That is a share of requests. Goodput is a rate, in requests per second.",
)
goodput.mistake(
    "good ones a second",
    replace=[("    return low\n", "    return low * attainment_at(low)\n")],
    caught_by=between_good_and_bad,
    nudge="That is how many good requests come out a second: another goodput, vLLM's. Here the rate itself is wanted.",
)
goodput.mistake(
    "the goal upside down",
    replace=[
        ("if attainment_at(high) >= goal", "if attainment_at(high) <= goal"),
        ("if attainment_at(middle) >= goal", "if attainment_at(middle) <= goal"),
    ],
    caught_by=between_good_and_bad,
    nudge="A rate is good if attainment is at least the goal, not at most.",
)
goodput.mistake(
    "always ninety percent",
    replace=[
        ("if attainment_at(high) >= goal", "if attainment_at(high) >= 0.9"),
        ("if attainment_at(middle) >= goal", "if attainment_at(middle) >= 0.9"),
    ],
    caught_by=between_good_and_bad,
    nudge="90 % is a usual goal, and not the only one: ask `goal`.",
)
goodput.mistake(
    "begins at the tolerance",
    replace=[("    low = 0.0\n", "    low = tolerance\n")],
    caught_by=no_rate_is_good,
    nudge="Nobody has tried the lowest rate that you begin with, and it may be too high. Begin at 0.",
)
goodput.mistake(
    "a share of the rate",
    replace=[("high - low > tolerance", "high - low > tolerance * low")],
    caught_by=between_good_and_bad,
    nudge=SHARE_OF_A_RATE,
)
goodput.alternative(
    """
def goodput(attainment_at, goal, high, tolerance):
    if attainment_at(high) >= goal:
        return high
    step, rate = high / 2, 0.0
    while 2 * step > tolerance:
        if attainment_at(rate + step) >= goal:
            rate += step
        step /= 2
    return rate
"""
)


# 4: cheapest


@define("goodput.cheapest", points=1)
def cheapest(
    systems: dict[str, tuple[int, float, float]],
    load: float,
    within_slos: bool,
) -> tuple[str, int]:
    """Which system serves `load` requests a second with the fewest GPUs, and how many that are.

    `systems` has for each name: GPUs of one replica, and its throughput and its goodput in
    requests/s. Replicas are whole. If somebody waits for the answers (`within_slos`), goodput
    counts; if it is a job for the night, throughput. A system whose rate is 0 cannot do it; at
    least one can. Of equals take the first in `systems`. About 6 lines.
    """
    needed = {}
    for name, (gpus, throughput, within) in systems.items():
        rate = within if within_slos else throughput
        if rate > 0:
            needed[name] = gpus * math.ceil(load / rate)
    best = min(needed, key=lambda name: needed[name])
    return best, needed[best]


def added_one_by_one(systems: dict[str, tuple[int, float, float]], load: float, within_slos: bool) -> tuple[str, int]:
    """Add replica after replica until the load is carried."""
    best = ("", 10**9)
    for name, (gpus, *rates) in systems.items():
        carried, num = 0.0, 0
        while carried < load and num < 10**6 and rates[within_slos] > 0:
            carried, num = carried + rates[within_slos], num + gpus
        if num and num < best[1]:
            best = (name, num)
    return best


def asked(systems: dict[str, tuple[int, float, float]], load: float, within_slos: bool) -> Any:
    """A call with the answer found replica by replica."""
    return call(systems, load, within_slos).returns(added_one_by_one(systems, load, within_slos))


@cheapest.check(hint="How many replicas carry the load? How many GPUs are that?")
def somebody_waits(rng: np.random.Generator) -> Cases:
    yield asked({"a": (1, 6.0, 2.0), "b": (1, 4.0, 4.0)}, 8.0, True)
    yield asked({"a": (1, 6.0, 2.0), "b": (1, 5.0, 3.0)}, 10.0, True)
    load = float(rng.integers(20, 60))
    yield asked({"a": (1, 9.0, 2.5), "b": (1, 7.0, 3.5), "c": (1, 8.0, 3.0)}, load, True)


@cheapest.check(hint="Nobody waits: how soon all is done is what counts.")
def a_job_for_the_night(rng: np.random.Generator) -> Cases:
    yield asked({"a": (1, 6.0, 2.0), "b": (1, 4.0, 4.0)}, 24.0, False)
    yield asked({"a": (1, 9.0, 2.5), "b": (1, 7.0, 3.5)}, float(rng.integers(30, 60)), False)


@cheapest.check(hint="A replica of four GPUs is worth it only if it carries more than four of one GPU.")
def replicas_of_several_gpus(rng: np.random.Generator) -> Cases:
    yield asked({"large": (4, 20.0, 10.0), "small": (1, 6.0, 3.0)}, 11.0, True)
    clear = [load for load in range(20, 50) if 2 * math.ceil(load / 7) != math.ceil(load / 3)]
    yield asked({"pair": (2, 9.0, 7.0), "single": (1, 6.0, 3.0)}, float(rng.choice(clear)), True)
    yield asked({"pair": (2, 9.0, 7.0), "single": (1, 6.0, 3.0)}, 8.0, True)


@cheapest.check(hint="Two systems need equally many GPUs: take the one that comes first in `systems`.")
def of_equals_the_first(rng: np.random.Generator) -> Cases:
    yield asked({"single": (1, 6.0, 3.0), "pair": (2, 9.0, 6.0)}, 12.0, True)


@cheapest.check(hint="A system that never keeps the limits cannot serve anybody, with any number of GPUs.")
def one_cannot_do_it(rng: np.random.Generator) -> Cases:
    yield asked({"never": (1, 9.0, 0.0), "can": (2, 4.0, 1.0)}, float(rng.integers(2, 9)), True)
    yield asked({"never": (1, 9.0, 0.0), "can": (2, 4.0, 1.0)}, float(rng.integers(10, 30)), False)


cheapest.mistake(
    "always throughput",
    replace=[("within if within_slos else throughput", "throughput")],
    caught_by=somebody_waits,
    nudge="Somebody waits, and you count throughput. At that rate most answers are too late.",
)
cheapest.mistake(
    "always goodput",
    replace=[("within if within_slos else throughput", "within")],
    caught_by=a_job_for_the_night,
    nudge="Nobody waits for single answers here. What counts is how many come out: throughput.",
)
cheapest.mistake(
    "the wrong way round",
    replace=[("within if within_slos else throughput", "throughput if within_slos else within")],
    caught_by=somebody_waits,
    nudge="Somebody waits, and you count throughput. At that rate most answers are too late.",
)
cheapest.mistake(
    "rounded down",
    replace=[("math.ceil(load / rate)", "math.floor(load / rate)")],
    caught_by=somebody_waits,
    nudge="Rounded down, the last users find no server. Round up.",
)
cheapest.mistake(
    "parts of a GPU",
    replace=[("math.ceil(load / rate)", "(load / rate)")],
    caught_by=somebody_waits,
    nudge="There are no parts of a replica: round up.",
)
cheapest.mistake(
    "one more to be sure",
    replace=[("math.ceil(load / rate)", "(int(load / rate) + 1)")],
    caught_by=somebody_waits,
    nudge="If the load divides evenly, one too many is bought. `math.ceil` rounds up only what is not whole.",
)
cheapest.mistake(
    "GPUs rounded, not replicas",
    replace=[("gpus * math.ceil(load / rate)", "math.ceil(gpus * load / rate)")],
    caught_by=replicas_of_several_gpus,
    nudge="You round GPUs. Replicas are whole: round their number, then multiply.",
)
cheapest.mistake(
    "counts replicas",
    replace=[("gpus * math.ceil", "math.ceil")],
    caught_by=replicas_of_several_gpus,
    nudge="Those are replicas. One of four GPUs costs four times as much: compare GPUs.",
)
cheapest.mistake(
    "the highest rate",
    text="""
def cheapest(systems, load, within_slos):
    best = max(systems, key=lambda name: systems[name][2 if within_slos else 1])
    gpus, *rates = systems[best]
    return best, gpus * math.ceil(load / rates[within_slos])
""",
    caught_by=replicas_of_several_gpus,
    nudge="The highest rate of a replica may need many GPUs. Which system needs the fewest for this load?",
)
cheapest.mistake(
    "the best for each GPU",
    text="""
def cheapest(systems, load, within_slos):
    rates = {name: (rates[within_slos], gpus) for name, (gpus, *rates) in systems.items()}
    best = max(rates, key=lambda name: rates[name][0] / rates[name][1])
    return best, rates[best][1] * math.ceil(load / rates[best][0])
""",
    caught_by=replicas_of_several_gpus,
    nudge="For each GPU it is the best. But replicas are whole, and the last one may stand half empty: compare how "
    "many GPUs each system needs for this load.",
)
cheapest.mistake(
    "rates for each GPU",
    replace=[("math.ceil(load / rate)", "math.ceil(load / (gpus * rate))")],
    caught_by=replicas_of_several_gpus,
    nudge="The rates are those of a whole replica, with all of its GPUs. Do not multiply them.",
)
cheapest.mistake(
    "number before name",
    replace=[("return best, needed[best]", "return needed[best], best")],
    caught_by=somebody_waits,
    nudge="The right pair in the wrong order: first the name, then the number.",
)
cheapest.mistake(
    "the rate over the load",
    replace=[("math.ceil(load / rate)", "math.ceil(rate / load)")],
    caught_by=somebody_waits,
    nudge="Upside down: how often does the rate go into the load?",
)
cheapest.mistake(
    "the last of equals",
    text="""
def cheapest(systems, load, within_slos):
    best = None
    for name, (gpus, *rates) in systems.items():
        if rates[within_slos] > 0:
            needed = gpus * math.ceil(load / rates[within_slos])
            if best is None or needed <= best[1]:
                best = name, needed
    return best
""",
    caught_by=of_equals_the_first,
    nudge="Both need equally many, and you take the last, or the first by name. Wanted is the first in `systems`: "
    "replace it only by one that needs fewer.",
)
cheapest.mistake(
    "both rates must be there",
    replace=[("        if rate > 0:\n", "        if throughput > 0 and within > 0:\n")],
    caught_by=one_cannot_do_it,
    nudge="For a job for the night a goodput of 0 does no harm: only the rate that counts must be above 0.",
)
cheapest.mistake(
    "the most expensive",
    replace=[("min(needed", "max(needed")],
    caught_by=somebody_waits,
    nudge="That is the one that needs most GPUs.",
)
cheapest.mistake(
    "the name alone",
    replace=[("return best, needed[best]", "return best")],
    caught_by=somebody_waits,
    nudge="The number of GPUs is wanted, too: a pair of name and number.",
)
cheapest.mistake(
    "the number alone",
    replace=[("return best, needed[best]", "return needed[best]")],
    caught_by=somebody_waits,
    nudge="Of which system? A pair of name and number is wanted.",
)
cheapest.mistake(
    "divides by a goodput of 0",
    replace=[("        if rate > 0:\n", "        if True:\n")],
    caught_by=one_cannot_do_it,
    nudge="A goodput of 0 divides nothing. That system cannot do it: leave it out.",
)
cheapest.alternative(
    """
def cheapest(systems, load, within_slos):
    which = 2 if within_slos else 1
    able = [name for name in systems if systems[name][which] > 0]
    gpus = [systems[name][0] * -int(-load // systems[name][which]) for name in able]
    return able[gpus.index(min(gpus))], min(gpus)
"""
)
