"""Exercises of lesson 00: what a user feels, in seconds."""
# mypy: allow-untyped-defs

from __future__ import annotations

from itertools import pairwise

import numpy as np

from course.exercises import PLAIN, Cases, call, define

Log = tuple[float, float, list[float]]
GRANTS = (*PLAIN, "from itertools import pairwise")


def request_log(rng: np.random.Generator, num_tokens: int) -> Log:
    """Arrival, start and token times of a request, in seconds; each pause differs from the others."""
    arrival = round(float(rng.integers(10, 60)), 3)
    pauses = rng.permutation(np.arange(20, 20 + 10 * (num_tokens + 2), 10))
    times = [round(arrival + int(total) / 1000, 3) for total in pauses.cumsum()]
    return arrival, times[0], times[1 : num_tokens + 1]


def stream(rng: np.random.Generator, num_tokens: int) -> list[float]:
    """Token times of an answer, in seconds, with one long pause in it."""
    gaps = rng.integers(10, 40, num_tokens)
    gaps[num_tokens // 2] = 400
    first = int(rng.integers(1000, 5000))
    return [round((first + int(total)) / 1000, 3) for total in gaps.cumsum()]


# --- TTFT and E2E ----------------------------------------------------------------------------------


@define("start_here.ttft_and_e2e")
def ttft_and_e2e(
    arrival_s: float,
    started_s: float,
    token_times_s: list[float],
) -> tuple[float, float]:
    """How long the user waits for the first token (TTFT) and for the last one (E2E), in seconds.

    arrival_s: when the request arrived. started_s: when the server took it up.
    token_times_s: when each token came out, at least one. About 1 line.
    """
    return token_times_s[0] - arrival_s, token_times_s[-1] - arrival_s


@ttft_and_e2e.check(hint="The user's watch starts once. It is read twice: at the first token and at the last.")
def waits_as_the_user_does(rng: np.random.Generator) -> Cases:
    for num_tokens in (2, 4, 8):
        arrival, started, times = request_log(rng, num_tokens)
        waits = [time - arrival for time in times]
        yield call(arrival, started, times).returns((min(waits), max(waits)))


@ttft_and_e2e.check(hint="With one token, the first token is also the last.")
def one_token_is_first_and_last(rng: np.random.Generator) -> Cases:
    arrival, started, times = request_log(rng, 1)
    yield call(arrival, started, times).returns((times[0] - arrival, times[0] - arrival))


ttft_and_e2e.mistake(
    "TTFT without queueing",
    replace=[("token_times_s[0] - arrival_s", "token_times_s[0] - started_s")],
    caught_by=waits_as_the_user_does,
    nudge="The user does not see when the server starts. They wait in the queue too.",
)
ttft_and_e2e.mistake(
    "both without queueing",
    replace=[
        ("token_times_s[0] - arrival_s", "token_times_s[0] - started_s"),
        ("token_times_s[-1] - arrival_s", "token_times_s[-1] - started_s"),
    ],
    caught_by=waits_as_the_user_does,
    nudge="You count from when the server starts. When did the user start to wait?",
)
ttft_and_e2e.mistake(
    "TTFT is the wait in the queue",
    replace=[("token_times_s[0] - arrival_s", "started_s - arrival_s")],
    caught_by=waits_as_the_user_does,
    nudge="That is the time in the queue. The prompt must still be computed before a token comes.",
)
ttft_and_e2e.mistake(
    "E2E from the first token on",
    replace=[("token_times_s[-1] - arrival_s", "token_times_s[-1] - token_times_s[0]")],
    caught_by=waits_as_the_user_does,
    nudge="E2E is end to end: it begins where TTFT begins.",
)
ttft_and_e2e.mistake(
    "E2E from the start of the server",
    replace=[("token_times_s[-1] - arrival_s", "token_times_s[-1] - started_s")],
    caught_by=waits_as_the_user_does,
    nudge="E2E is end to end: it begins where TTFT begins.",
)
ttft_and_e2e.mistake(
    "times of the clock",
    replace=[("token_times_s[0] - arrival_s, token_times_s[-1] - arrival_s", "token_times_s[0], token_times_s[-1]")],
    caught_by=waits_as_the_user_does,
    nudge="Those are times on the clock. How long is it from the arrival until then?",
)
ttft_and_e2e.mistake(
    "E2E before TTFT",
    replace=[("token_times_s[0] - arrival_s, token_times_s[-1]", "token_times_s[-1] - arrival_s, token_times_s[0]")],
    caught_by=waits_as_the_user_does,
    nudge="Both numbers are right. TTFT comes first.",
)
ttft_and_e2e.mistake(
    "negative",
    replace=[
        ("token_times_s[0] - arrival_s", "arrival_s - token_times_s[0]"),
        ("token_times_s[-1] - arrival_s", "arrival_s - token_times_s[-1]"),
    ],
    caught_by=waits_as_the_user_does,
    nudge="Nobody waits a negative time: later minus earlier.",
)
ttft_and_e2e.mistake(
    "milliseconds",
    replace=[
        ("return token_times_s[0] - arrival_s, ", "return 1000 * (token_times_s[0] - arrival_s), 1000 * ("),
        ("token_times_s[-1] - arrival_s", "token_times_s[-1] - arrival_s)"),
    ],
    caught_by=waits_as_the_user_does,
    nudge="The course counts in seconds (`_s`), and turns to milliseconds only where it prints.",
)
ttft_and_e2e.mistake(
    "a list with every token's wait",
    replace=[
        (
            "return token_times_s[0] - arrival_s, token_times_s[-1] - arrival_s",
            "return [time_s - arrival_s for time_s in token_times_s]",
        )
    ],
    caught_by=waits_as_the_user_does,
    nudge="Two numbers are wanted: the wait for the first token, and for the last one.",
)
ttft_and_e2e.mistake(
    "one number",
    replace=[(", token_times_s[-1] - arrival_s", "")],
    caught_by=waits_as_the_user_does,
    nudge="That is TTFT. Two numbers are wanted: `return ttft, e2e`.",
)
ttft_and_e2e.mistake(
    "the second token",
    replace=[("token_times_s[0]", "token_times_s[1]")],
    caught_by=waits_as_the_user_does,
    nudge="Python counts from 0: the first token came at `token_times_s[0]`.",
)
ttft_and_e2e.alternative(
    """
def ttft_and_e2e(arrival_s, started_s, token_times_s):
    queue_s = started_s - arrival_s
    first, *_ = token_times_s
    ttft = queue_s + (first - started_s)
    return ttft, ttft + (max(token_times_s) - first)
"""
)


# --- ITL -------------------------------------------------------------------------------------------


@define("start_here.itl", grants=GRANTS)
def itl(answers: list[list[float]]) -> list[float]:
    """The gaps between neighbouring tokens of several answers, in seconds, in one flat list.

    answers: for each answer, when each of its tokens came out. About 1 to 3 lines.
    [[1.0, 1.2, 1.3], [5.0, 5.4]] gives [0.2, 0.1, 0.4].
    """
    return [later - earlier for times in answers for earlier, later in pairwise(times)]


def gaps_one_by_one(answers: list[list[float]]) -> list[float]:
    """The slow way."""
    gaps = []
    for times in answers:
        for i in range(1, len(times)):
            gaps.append(times[i] - times[i - 1])
    return gaps


@itl.check(hint="Begin with one answer: what is the time from each token to the next?")
def gaps_of_one_answer(rng: np.random.Generator) -> Cases:
    for num_tokens in (3, 5):
        answers = [stream(rng, num_tokens)]
        yield call(answers).returns(gaps_one_by_one(answers))


@itl.check(hint="One flat list: first all gaps of the first answer, then all of the next.")
def pools_the_gaps_of_all_answers(rng: np.random.Generator) -> Cases:
    for lengths in ((2, 3), (4, 2, 5)):
        answers = [stream(rng, n) for n in lengths]
        yield call(answers).returns(gaps_one_by_one(answers))


@itl.check(hint="One token has no neighbour.")
def one_token_has_no_gap(rng: np.random.Generator) -> Cases:
    yield call([stream(rng, 1)]).returns([])
    answers = [stream(rng, 3), stream(rng, 1), stream(rng, 2)]
    yield call(answers).returns(gaps_one_by_one(answers))


@itl.mistake(
    "one mean per answer",
    caught_by=gaps_of_one_answer,
    nudge="That is one mean per answer, another definition of ITL. Here every gap stays: long answers weigh more.",
)
def itl_per_request(answers):
    return [(times[-1] - times[0]) / (len(times) - 1) for times in answers if len(times) > 1]


@itl.mistake(
    "one list per answer",
    caught_by=gaps_of_one_answer,
    nudge="Those are lists in a list. Pool them: one flat list of numbers.",
)
def itl_nested(answers):
    return [[later - earlier for earlier, later in pairwise(times)] for times in answers]


@itl.mistake(
    "a number instead of the gaps",
    caught_by=gaps_of_one_answer,
    nudge="Keep the gaps themselves. A mean can be taken of them later; a mean cannot be turned back.",
)
def itl_mean(answers):
    gaps = [later - earlier for times in answers for earlier, later in pairwise(times)]
    return sum(gaps) / len(gaps)


@itl.mistake(
    "the first token has a gap too",
    caught_by=gaps_of_one_answer,
    nudge="Before the first token there is no token: n tokens have n - 1 gaps. That wait belongs to TTFT.",
)
def itl_with_first(answers):
    return [b - a for times in answers for a, b in pairwise([0.0, *times])]


@itl.mistake(
    "a gap of zero before the first token",
    caught_by=gaps_of_one_answer,
    nudge="Before the first token there is no token: n tokens have n - 1 gaps. A zero would flatter every average.",
)
def itl_with_zero(answers):
    return [b - a for times in answers for a, b in pairwise([times[0], *times])]


@itl.mistake(
    "earlier minus later",
    caught_by=gaps_of_one_answer,
    nudge="A gap is positive: later minus earlier.",
)
def itl_negative(answers):
    return [earlier - later for times in answers for earlier, later in pairwise(times)]


@itl.mistake(
    "the last gap is missing",
    caught_by=gaps_of_one_answer,
    nudge="Count them: n tokens have n - 1 gaps. Where does your loop stop?",
)
def itl_short(answers):
    return [times[i + 1] - times[i] for times in answers for i in range(len(times) - 2)]


@itl.mistake(
    "waits since the first token",
    caught_by=gaps_of_one_answer,
    nudge="Measure each gap from the token just before, not from the first one.",
)
def itl_from_first(answers):
    return [time - times[0] for times in answers for time in times[1:]]


@itl.mistake(
    "gaps across answers",
    caught_by=pools_the_gaps_of_all_answers,
    nudge="Between the end of one answer and the beginning of another nobody waits. Pool gaps, not token times.",
)
def itl_across(answers):
    times = [time for answer in answers for time in answer]
    return [later - earlier for earlier, later in pairwise(times)]


@itl.mistake(
    "gaps across answers, sorted",
    caught_by=pools_the_gaps_of_all_answers,
    nudge="Between the end of one answer and the beginning of another nobody waits. Pool gaps, not token times.",
)
def itl_across_sorted(answers):
    times = sorted(time for answer in answers for time in answer)
    return [later - earlier for earlier, later in pairwise(times)]


@itl.mistake(
    "only the first answer",
    caught_by=pools_the_gaps_of_all_answers,
    nudge="There may be several answers. Does your `return` stand inside the loop?",
)
def itl_first_only(answers):
    for times in answers:
        return [later - earlier for earlier, later in pairwise(times)]


@itl.mistake(
    "a gap of zero for a single token",
    caught_by=one_token_has_no_gap,
    nudge="An answer of one token has no gap. That is not a gap of zero.",
)
def itl_zero_for_one(answers):
    gaps = []
    for times in answers:
        gaps += [later - earlier for earlier, later in pairwise(times)] or [0.0]
    return gaps


@itl.mistake(
    "one array per answer",
    caught_by=gaps_of_one_answer,
    nudge="Those are arrays in a list. Pool them: one flat list of numbers.",
)
def itl_arrays(answers):
    return [np.diff(times) for times in answers]


@itl.mistake(
    "an array",
    caught_by=gaps_of_one_answer,
    nudge="`.tolist()` turns a numpy array into a list.",
)
def itl_array(answers):
    return np.concatenate([np.diff(times) for times in answers])


@itl.mistake(
    "the token after the last",
    caught_by=gaps_of_one_answer,
    nudge="`i + 1` walks off the end: the last token has none after it. How many gaps do n tokens have?",
)
def itl_too_far(answers):
    return [times[i + 1] - times[i] for times in answers for i in range(len(times))]


@itl.mistake(
    "the token before the first",
    caught_by=gaps_of_one_answer,
    nudge="`times[-1]` is the last token, not one before the first. Begin with the second token.",
)
def itl_wraps(answers):
    return [times[i] - times[i - 1] for times in answers for i in range(len(times))]


@itl.mistake(
    "pairs of answers",
    caught_by=gaps_of_one_answer,
    nudge="`answers` is a list of lists. Go through the answers first, then through the tokens of each.",
)
def itl_of_answers(answers):
    return [later - earlier for earlier, later in pairwise(answers)]


@itl.mistake(
    "adds an array to a list",
    caught_by=gaps_of_one_answer,
    nudge="With a numpy array, `+` adds numbers and does not append. `np.diff(times).tolist()` is a list.",
)
def itl_adds_an_array(answers):
    gaps = []
    for times in answers:
        gaps += np.diff(times)
    return gaps


@itl.mistake(
    "sums lists",
    caught_by=gaps_of_one_answer,
    nudge="`sum` begins with the number 0, to which no list can be added: `sum(lists, [])` begins with an empty list.",
)
def itl_sums_lists(answers):
    return sum([later - earlier for earlier, later in pairwise(times)] for times in answers)


itl.alternative(
    """
def itl(answers):
    gaps = []
    for times in answers:
        gaps.extend(np.diff(times).tolist())
    return gaps
"""
)


# --- TPOT ------------------------------------------------------------------------------------------


@define("start_here.tpot", grants=GRANTS, builds_on=(itl,))
def tpot(token_times_s: list[float]) -> float | None:
    """Time per output token of one answer after its first: the mean gap, in seconds.

    token_times_s: when each token came out, at least one. With one there is no gap: None.
    About 2 to 3 lines.
    """
    if len(token_times_s) < 2:
        return None
    return (token_times_s[-1] - token_times_s[0]) / (len(token_times_s) - 1)


@tpot.check(hint="Take the gaps of this one answer. What is their mean?")
def mean_of_the_gaps(rng: np.random.Generator) -> Cases:
    for num_tokens in (4, 7):
        times = stream(rng, num_tokens)
        gaps = gaps_one_by_one([times])
        yield call(times).returns(sum(gaps) / len(gaps))


@tpot.check(hint="Two tokens, one gap.")
def two_tokens_have_one_gap(rng: np.random.Generator) -> Cases:
    times = stream(rng, 2)
    yield call(times).returns(times[1] - times[0])


@tpot.check(hint="An answer of one token has no gap: `None`.")
def one_token_has_none(rng: np.random.Generator) -> Cases:
    yield call(stream(rng, 1)).returns(None)


tpot.mistake(
    "divided by n",
    replace=[("(len(token_times_s) - 1)", "len(token_times_s)")],
    caught_by=mean_of_the_gaps,
    nudge="Count the gaps, not the tokens: n tokens have n - 1 gaps.",
)
tpot.mistake(
    "the whole clock over n",
    replace=[
        ("(token_times_s[-1] - token_times_s[0]) / (len(token_times_s) - 1)", "token_times_s[-1] / len(token_times_s)")
    ],
    caught_by=mean_of_the_gaps,
    nudge="`token_times_s[-1]` is a time on the clock. How long is it since the first token?",
)
tpot.mistake(
    "the whole clock over n - 1",
    replace=[("(token_times_s[-1] - token_times_s[0])", "token_times_s[-1]")],
    caught_by=mean_of_the_gaps,
    nudge="`token_times_s[-1]` is a time on the clock. How long is it since the first token?",
)
tpot.mistake(
    "tokens per second",
    replace=[
        (
            "(token_times_s[-1] - token_times_s[0]) / (len(token_times_s) - 1)",
            "(len(token_times_s) - 1) / (token_times_s[-1] - token_times_s[0])",
        )
    ],
    caught_by=mean_of_the_gaps,
    nudge="That is tokens per second. TPOT is seconds per token.",
)
tpot.mistake(
    "milliseconds",
    replace=[("return (token", "return 1000 * (token")],
    caught_by=mean_of_the_gaps,
    nudge="The course counts in seconds, and turns to milliseconds only where it prints.",
)
tpot.mistake(
    "no division",
    replace=[(" / (len(token_times_s) - 1)", "")],
    caught_by=mean_of_the_gaps,
    nudge="That is the time of the whole answer after its first token. How long per token?",
)


tpot.mistake(
    "from the second token on",
    replace=[("token_times_s[0]", "token_times_s[1]")],
    caught_by=mean_of_the_gaps,
    nudge="Python counts from 0: the first token came at `token_times_s[0]`.",
)
tpot.mistake(
    "from the second token on, one gap fewer",
    replace=[("token_times_s[0]", "token_times_s[1]"), ("(len(token_times_s) - 1)", "(len(token_times_s) - 2)")],
    caught_by=mean_of_the_gaps,
    nudge="Python counts from 0: the first token came at `token_times_s[0]`.",
)


@tpot.mistake(
    "the median gap",
    caught_by=mean_of_the_gaps,
    nudge="That is the median gap. TPOT is the mean: it feels the long pause a little.",
)
def tpot_median(token_times_s):
    return float(np.median(np.diff(token_times_s))) if len(token_times_s) > 1 else None


@tpot.mistake(
    "the longest gap",
    caught_by=mean_of_the_gaps,
    nudge="That is the longest gap, a good thing to know. TPOT is the mean.",
)
def tpot_longest(token_times_s):
    return float(np.max(np.diff(token_times_s))) if len(token_times_s) > 1 else None


tpot.mistake(
    "one token forgotten",
    replace=[("    if len(token_times_s) < 2:\n        return None\n", "")],
    caught_by=one_token_has_none,
    nudge="How many gaps has an answer of one token? Ask before you divide.",
)
tpot.mistake(
    "the mean of no gaps",
    text=(
        "def tpot(token_times_s):\n"
        "    gaps = [later - earlier for earlier, later in pairwise(token_times_s)]\n"
        "    return sum(gaps) / len(gaps)\n"
    ),
    caught_by=one_token_has_none,
    nudge="How many gaps has an answer of one token? Ask before you divide.",
)
tpot.mistake(
    "one answer for several",
    text="def tpot(token_times_s):\n    gaps = itl(token_times_s)\n    return sum(gaps) / len(gaps)\n",
    caught_by=mean_of_the_gaps,
    nudge="`itl` takes a list of answers, and here is one answer. A list of one: `itl([token_times_s])`.",
)
tpot.mistake(
    "zero for one token",
    replace=[("return None", "return 0.0")],
    caught_by=one_token_has_none,
    nudge="Zero would count as the fastest answer of all. It has no TPOT: `None` stays out of the averages.",
)


tpot.mistake(
    "a whole zero for one token",
    replace=[("return None", "return 0")],
    caught_by=one_token_has_none,
    nudge="Zero would count as the fastest answer of all. It has no TPOT: `None` stays out of the averages.",
)


@tpot.mistake(
    "nan for one token",
    caught_by=one_token_has_none,
    nudge="A mean of nothing is `nan`, and one `nan` spoils every average. Return `None` where there is no gap.",
)
def tpot_nan(token_times_s):
    gaps = [later - earlier for earlier, later in pairwise(token_times_s)]
    return sum(gaps) / len(gaps) if gaps else math.nan  # noqa: F821


tpot.alternative(
    """
def tpot(token_times_s):
    gaps = [b - a for a, b in pairwise(token_times_s)]
    return sum(gaps) / len(gaps) if gaps else None
"""
)
tpot.alternative(
    """
def tpot(token_times_s):
    gaps = itl([token_times_s])
    return np.mean(gaps) if gaps else None
"""
)


# --- SLO -------------------------------------------------------------------------------------------


@define("start_here.meets_slo")
def meets_slo(
    ttft_s: float | None,
    tpot_s: float | None,
    ttft_limit_s: float,
    tpot_limit_s: float,
) -> bool:
    """Whether one request keeps both limits; exactly on a limit is still good.

    tpot_s is None for an answer of one token: then only TTFT counts.
    ttft_s is None if no token ever came: that is never good. About 3 lines.
    """
    if ttft_s is None:
        return False
    return ttft_s <= ttft_limit_s and (tpot_s is None or tpot_s <= tpot_limit_s)


@meets_slo.check(hint="A request is good if it keeps the one limit and the other.")
def both_limits_hold_together(rng: np.random.Generator) -> Cases:
    first, per_token = (round(float(n) / 1000, 3) for n in rng.integers((200, 20), (400, 50)))
    good, bad = 0.5, 2.0  # of the limit
    for a, b in ((good, good), (bad, good), (good, bad), (bad, bad)):
        yield call(a * first, b * per_token, first, per_token).returns((a, b) == (good, good))


@meets_slo.check(hint="On the limit is within the limit.")
def on_the_limit_is_good(rng: np.random.Generator) -> Cases:
    first, per_token = (float(n) / 1000 for n in rng.integers((200, 20), (400, 50)))
    yield call(first, per_token, first, per_token).returns(True)
    yield call(first, 0.5 * per_token, first, per_token).returns(True)
    yield call(0.5 * first, per_token, first, per_token).returns(True)


@meets_slo.check(hint="`tpot_s` is `None`: there was one token. Only its TTFT can be late.")
def one_token_is_judged_by_ttft(rng: np.random.Generator) -> Cases:
    limit = float(rng.integers(200, 400)) / 1000
    yield call(0.5 * limit, None, limit, 0.05).returns(True)
    yield call(2.0 * limit, None, limit, 0.05).returns(False)


@meets_slo.check(hint="Both are `None`: no token ever came.")
def no_token_is_never_good(rng: np.random.Generator) -> Cases:
    yield call(None, None, float(rng.integers(200, 400)) / 1000, 0.05).returns(False)


meets_slo.mistake(
    "or",
    replace=[("ttft_limit_s and (tpot_s", "ttft_limit_s or (tpot_s")],
    caught_by=both_limits_hold_together,
    nudge="This one begins too late and then flows well. A good request keeps both limits, not one of them.",
)
meets_slo.mistake(
    "only TTFT",
    replace=[(" and (tpot_s is None or tpot_s <= tpot_limit_s)", "")],
    caught_by=both_limits_hold_together,
    nudge="This one begins in time and then crawls. TPOT has a limit of its own.",
)
meets_slo.mistake(
    "only TPOT",
    replace=[("return ttft_s <= ttft_limit_s and (", "return (")],
    caught_by=both_limits_hold_together,
    nudge="This one begins too late and then flows well. A good request keeps both limits, not one of them.",
)
meets_slo.mistake(
    "the limits added up",
    replace=[
        (
            "ttft_s <= ttft_limit_s and (tpot_s is None or tpot_s <= tpot_limit_s)",
            "ttft_s + (tpot_s or 0.0) <= ttft_limit_s + tpot_limit_s",
        )
    ],
    caught_by=both_limits_hold_together,
    nudge="This one begins in time and then crawls. TPOT has a limit of its own.",
)
meets_slo.mistake(
    "upside down",
    replace=[
        ("ttft_s <= ttft_limit_s", "ttft_s >= ttft_limit_s"),
        ("tpot_s <= tpot_limit_s", "tpot_s >= tpot_limit_s"),
    ],
    caught_by=both_limits_hold_together,
    nudge="Latencies are good when they are small: below the limit.",
)
meets_slo.mistake(
    "below the limits only",
    replace=[("ttft_s <= ttft_limit_s", "ttft_s < ttft_limit_s"), ("tpot_s <= tpot_limit_s", "tpot_s < tpot_limit_s")],
    caught_by=on_the_limit_is_good,
    nudge="Exactly on the limit is still good: `<=`.",
)
meets_slo.mistake(
    "one token is never good",
    replace=[("(tpot_s is None or tpot_s <= tpot_limit_s)", "tpot_s is not None and tpot_s <= tpot_limit_s")],
    caught_by=one_token_is_judged_by_ttft,
    nudge="An answer of one token, `Yes` say, has no TPOT to miss. Judge it by its TTFT.",
)
meets_slo.mistake(
    "one token breaks it",
    replace=[("(tpot_s is None or tpot_s <= tpot_limit_s)", "tpot_s <= tpot_limit_s")],
    caught_by=one_token_is_judged_by_ttft,
    nudge="`None` cannot be compared. Ask `tpot_s is None` first.",
)
meets_slo.mistake(
    "one token is always good",
    replace=[
        ("    if ttft_s is None:\n        return False\n", "    if tpot_s is None:\n        return True\n"),
        ("(tpot_s is None or tpot_s <= tpot_limit_s)", "tpot_s <= tpot_limit_s"),
    ],
    caught_by=one_token_is_judged_by_ttft,
    nudge="One token has no TPOT to miss, but it can still come too late.",
)
meets_slo.mistake(
    "no token breaks it",
    replace=[("    if ttft_s is None:\n        return False\n", "")],
    caught_by=no_token_is_never_good,
    nudge="`None` cannot be compared. Ask `ttft_s is None` first.",
)
meets_slo.mistake(
    "no token is good",
    replace=[("if ttft_s is None:\n        return False", "if ttft_s is None:\n        return True")],
    caught_by=no_token_is_never_good,
    nudge="Somebody asked and got nothing. That is the worst answer of all, not a good one.",
)
meets_slo.alternative(
    """
def meets_slo(ttft_s, tpot_s, ttft_limit_s, tpot_limit_s):
    late = ttft_s is None or ttft_s > ttft_limit_s
    slow = (tpot_s or 0.0) > tpot_limit_s
    return not (late or slow)
"""
)
