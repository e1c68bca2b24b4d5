"""A request as a client states it."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from course.errors import UserError


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for: a prompt and at most ``max_new_tokens`` of answer, ``n`` times.

    How long the answer really becomes is not here: only the data plane knows it, so no
    scheduler can peek. Times are seconds on the clock of the run.

    ``prompt`` holds token ids where a real model runs and is None where lengths are enough.
    ``prefix_hashes`` holds one chained hash per full block of the prompt
    (see ``course.serving.prefix``); empty means that nothing of it is shared.
    """

    id: int
    arrival_s: float
    num_prompt_tokens: int
    max_new_tokens: int
    prompt: tuple[int, ...] | None = None
    n: int = 1
    client: str = ""
    priority: int = 0
    prefix_hashes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (type(self.id) is type(self.num_prompt_tokens) is type(self.max_new_tokens) is type(self.n) is int):
            self._make_whole("id", "num_prompt_tokens", "max_new_tokens", "n")
        if self.num_prompt_tokens < 1:
            raise UserError(f"request {self.id}: a prompt needs at least 1 token, got {self.num_prompt_tokens}")
        if self.max_new_tokens < 1:
            raise UserError(f"request {self.id}: max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if self.n < 1:
            raise UserError(f"request {self.id}: n must be at least 1, got {self.n}")
        if self.prompt is not None and len(self.prompt) != self.num_prompt_tokens:
            raise UserError(
                f"request {self.id}: num_prompt_tokens is {self.num_prompt_tokens} "
                f"but the prompt has {len(self.prompt)} tokens"
            )

    def _make_whole(self, *names: str) -> None:
        """Numbers of numpy, say, become Python's; raises UserError for what is no whole number."""
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, Integral):
                raise UserError(f"request {self.id}: {name} must be a whole number, got {value!r}")
            object.__setattr__(self, name, int(value))


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests in order of arrival, and the true answer lengths that only a data plane may read.

    ``output_lengths[i]`` is the number of tokens that request ``i`` (by id) will produce;
    it never exceeds the request's ``max_new_tokens``.

    ``scale`` is the factor that made the lengths of a trace fit a context (1.0: untouched) and
    ``num_clipped`` counts the requests that were cut beyond it. ``block_size`` is the number of
    tokens that one entry of ``prefix_hashes`` stands for (0: no request carries hashes); a block
    pool can use the hashes only if its blocks have that size.
    """

    requests: list[Request]
    output_lengths: dict[int, int]
    num_clipped: int = 0
    scale: float = 1.0
    block_size: int = 0

    def __len__(self) -> int:
        return len(self.requests)
