"""The work that every system does: the same prompts, the same answer lengths, all at time 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from course.workload.lengths import Lognormal, lognormal_lengths

NUM_REQUESTS = {"tiny": 64, "small": 32}
PROMPT = Lognormal(median=128, sigma=0.7, low=8, high=512)
OUTPUT = Lognormal(median=64, sigma=0.7, low=4, high=256)


@dataclass(frozen=True, slots=True)
class Work:
    """Prompts as token ids, and how many tokens each answer has (greedy, end of text ignored)."""

    prompts: list[list[int]]
    output_lengths: list[int]

    @property
    def num_tokens(self) -> int:
        """Prompt and answer tokens of all requests: what tokens/s counts."""
        return sum(map(len, self.prompts)) + sum(self.output_lengths)


class Timing(NamedTuple):
    """One run: seconds in all, and for each request the times at which its tokens came out."""

    seconds: float
    token_times_s: list[list[float]]

    def mean_ttft_ms(self) -> float:
        """Mean time to first token; all requests arrive at time 0."""
        return 1e3 * float(np.mean([times[0] for times in self.token_times_s]))

    def mean_tpot_ms(self) -> float:
        """Mean over requests of (last - first) / (tokens - 1)."""
        per_token = [(t[-1] - t[0]) / (len(t) - 1) for t in self.token_times_s if len(t) > 1]
        return 1e3 * float(np.mean(per_token))


def make_work(model: str, vocab_size: int, num_requests: int | None = None, seed: int = 0) -> Work:
    """The benchmark's requests for model shape "tiny" or "small"."""
    num = NUM_REQUESTS[model] if num_requests is None else num_requests
    prompt_tokens, output_tokens = lognormal_lengths(num, PROMPT, OUTPUT, seed)
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(0, vocab_size, length).tolist() for length in prompt_tokens.tolist()]
    return Work(prompts, output_tokens.tolist())
