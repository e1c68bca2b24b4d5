"""Lab 1: what is checked at grading only. Not in a student's copy."""

from __future__ import annotations

import math

import numpy as np

from course.curriculum.lab1_kv_cache.exercises import (
    a_text,
    as_tensor,
    attend,
    check_decode,
    check_prefill,
    decode,
    layer,
    looking,
    numbers,
    prefill,
    some_tokens,
    store,
    stored,
    through_a_layer,
    written,
)
from course.exercises import Cases, call


@store.check(hidden=True, hint="Tokens that fill the cache to its last row fit; one more does not.")
def the_last_row_is_used(rng: np.random.Generator) -> Cases:
    yield stored(rng, (1, 3, 2), 2, 1, "float32")
    yield stored(rng, (2, 4, 4), 0, 4, "float32")
    keys, values = (as_tensor(numbers(rng, 2, 5, 4)) for _kv in "kv")
    yield call(as_tensor(numbers(rng, 2, 2, 4, 4)), 0, keys, values).returns("ValueError")


@store.check(hidden=True, hint="The cache may be of another precision than what comes in. It stays what it is.")
def a_cache_of_another_dtype(rng: np.random.Generator) -> Cases:
    yield stored(rng, (1, 4, 2), 1, 2, "bfloat16")
    yield stored(rng, (3, 6, 6), 2, 3, "float64")


@attend.check(hidden=True, hint="Leftovers may be anything, NaN as well, and 0 · NaN is NaN. Leave those rows out.")
def leftovers_never_leak(rng: np.random.Generator) -> Cases:
    yield looking(rng, (1, 1), 1, 1, leftovers=math.nan)
    yield looking(rng, (4, 2), 2, 3, leftovers=math.nan)
    yield looking(rng, (2, 1), 0, 2, leftovers=math.inf)


@attend.check(hidden=True, hint="One KV head for all, one for each, a full cache, a single token: the rule is one.")
def every_sharing_and_a_full_cache(rng: np.random.Generator) -> Cases:
    yield looking(rng, (1, 1), 0, 1, left_over=0)
    yield looking(rng, (6, 1), 3, 2, left_over=0)
    yield looking(rng, (3, 3), 4, 1, left_over=0, head_dim=2)
    yield looking(rng, (6, 2), 1, 4, left_over=5, head_dim=8)


@attend.check(hidden=True, hint="Scores may be large, and numbers of another precision: softmax can deal with both.")
def large_scores_and_other_dtypes(rng: np.random.Generator) -> Cases:
    yield looking(rng, (2, 1), 6, 6, scale=200.0)
    yield looking(rng, (4, 2), 3, 3, dtype="float64")


@layer.check(hidden=True, hint="The heads together need not be as wide as the model: head_dim is given.")
def heads_wider_than_the_model(rng: np.random.Generator) -> Cases:
    yield through_a_layer(rng, 2, (4, 2), 4, 6, 10)
    yield through_a_layer(rng, 5, (3, 1), 2, 10, 4)


@prefill.check(
    hidden=True,
    hint="If all of the prompt is cached, there are no logits yet: its last token goes through again.",
)
def a_prompt_that_is_cached_already(rng: np.random.Generator) -> Cases:
    for length, behind in ((3, 0), (4, 3), (1, 0), (1, 2)):
        text = some_tokens(rng, length)
        yield from check_prefill([*text, *[90] * behind], text, 3, length - 1)


@prefill.check(hidden=True, hint="Try the sizes at the edges: chunks of one, one chunk exactly, nothing in common.")
def sizes_at_the_edges(rng: np.random.Generator) -> Cases:
    yield from check_prefill([], some_tokens(rng, 1), 4, 0)
    yield from check_prefill([], some_tokens(rng, 3), 1, 0)
    yield from check_prefill([], some_tokens(rng, 6), 3, 0)
    yield from check_prefill([], some_tokens(rng, 3), 50, 0)
    text = some_tokens(rng, 5)
    yield from check_prefill([2, *text[1:]], text, 2, 0)
    yield from check_prefill([*text[:2], 95, *text[3:]], text, 2, 2)


@decode.check(hidden=True, hint="An answer may be empty: no tokens wanted, or an end token first.")
def empty_answers(rng: np.random.Generator) -> Cases:
    text = a_text(rng, 3)
    yield from check_decode(text, 0, [], 100)
    yield from check_decode(text, 3, [written(text, 1)[0]], 100)


@decode.check(hidden=True, hint="Several end tokens, an end token in the last place, no room from the beginning.")
def every_way_to_stop(rng: np.random.Generator) -> Cases:
    text = a_text(rng, 5)
    later = written(text, 5)
    yield from check_decode(text, 5, [later[3], later[2]], 100)
    yield from check_decode(text, 3, [later[2]], 100)
    yield from check_decode(text, 5, [], 4)
    yield from check_decode(text, 2, [later[2]], 5)
