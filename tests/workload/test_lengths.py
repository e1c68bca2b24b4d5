import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course.errors import UserError
from course.workload.lengths import Lognormal, fixed_lengths, lognormal_lengths, resampled_lengths
from course.workload.traces import TraceRow


def test_fixed():
    lengths = fixed_lengths(3, 512, 64)
    assert lengths.prompt_tokens.tolist() == [512, 512, 512]
    assert lengths.output_tokens.tolist() == [64, 64, 64]


@given(st.floats(1, 5000), st.floats(0, 3), st.integers(1, 100), st.integers(0, 5000), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_lognormal_stays_within_its_clip(median, sigma, low, width, seed):
    law = Lognormal(median, sigma, low, low + width)
    for tokens in lognormal_lengths(50, law, law, seed):
        assert low <= tokens.min()
        assert tokens.max() <= low + width


def test_lognormal_has_its_median_and_sigma():
    lengths = lognormal_lengths(20_000, Lognormal(1000, 0.7), Lognormal(64, 0.2), seed=3)
    assert np.median(lengths.prompt_tokens) == pytest.approx(1000, rel=0.03)
    assert np.log(lengths.prompt_tokens).std() == pytest.approx(0.7, rel=0.03)
    assert np.median(lengths.output_tokens) == pytest.approx(64, rel=0.02)
    assert abs(np.corrcoef(lengths.prompt_tokens, lengths.output_tokens)[0, 1]) < 0.04


def test_lognormal_repeats_with_its_seed():
    law = Lognormal(128, 0.7, 8, 512)
    one, same, other = (lognormal_lengths(20, law, law, seed) for seed in (0, 0, 1))
    assert (one.prompt_tokens == same.prompt_tokens).all()
    assert (one.prompt_tokens != other.prompt_tokens).any()


def test_resampling_keeps_prompt_and_output_together():
    rows = [TraceRow(0, n, 1000 + n) for n in range(1, 20)]
    lengths = resampled_lengths(rows, 500, seed=1)
    assert (lengths.output_tokens == lengths.prompt_tokens + 1000).all()
    assert set(lengths.prompt_tokens.tolist()) == set(range(1, 20))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: fixed_lengths(0, 1, 1), "lengths of 0 requests cannot be drawn; ask for at least 1"),
        (lambda: fixed_lengths(1, 0, 1), "lengths must be at least 1 token, got 0 and 1"),
        (
            lambda: lognormal_lengths(1, Lognormal(0, 1), Lognormal(1, 1)),
            "a lognormal length needs median > 0 and sigma >= 0, got 0 and 1",
        ),
        (
            lambda: lognormal_lengths(1, Lognormal(8, math.nan), Lognormal(1, 1)),
            "a lognormal length needs median > 0 and sigma >= 0, got 8 and nan",
        ),
        (
            lambda: lognormal_lengths(1, Lognormal(8, 1, 9, 5), Lognormal(1, 1)),
            "a length is clipped to 1 <= low <= high, got 9 and 5",
        ),
        (
            lambda: resampled_lengths([], 1),
            "lengths cannot be drawn from a trace without rows; give one with requests",
        ),
    ],
)
def test_refuses_what_is_no_length(call, sentence):
    with pytest.raises(UserError) as caught:
        call()
    assert str(caught.value) == sentence
