"""One request of a trace, whatever file it came from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from course.errors import UserError

MOONCAKE_BLOCK_TOKENS = 512


@dataclass(frozen=True, slots=True)
class TraceRow:
    """When a request came (seconds from the start of the trace) and how long it was (tokens).

    ``num_output_tokens`` is the length that the answer really had. ``prefix_hashes`` names the
    prompt's blocks of ``hash_block_tokens`` tokens, a last incomplete one included; the hashes
    are chained, so two rows with the same entry share all tokens up to the end of that block.
    ``hash_block_tokens`` is a fraction once a trace has been scaled.
    """

    arrival_s: float
    num_prompt_tokens: int
    num_output_tokens: int
    prefix_hashes: tuple[int, ...] = ()
    client: str = ""
    hash_block_tokens: float = MOONCAKE_BLOCK_TOKENS

    def __post_init__(self) -> None:
        if not (math.isfinite(self.arrival_s) and self.arrival_s >= 0):
            raise UserError(f"a trace row arrives at {self.arrival_s} s; count from 0")
        if self.num_prompt_tokens < 1 or self.num_output_tokens < 1:
            raise UserError(
                f"a trace row has {self.num_prompt_tokens} prompt and "
                f"{self.num_output_tokens} output tokens; both must be at least 1"
            )
