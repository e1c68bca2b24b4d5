"""The door of the engine: prompts become requests, and what could never run is turned away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from course.errors import UserError
from course.model.config import ModelConfig
from course.model.loading import Model
from course.serving.cluster import Cluster
from course.serving.sequence import Sequence as ServedSequence
from course.workload.request import Request

Prompt = str | Sequence[int]


def make_request(
    model: Model,
    cluster: Cluster,
    request_id: int,
    prompt: Prompt,
    max_new_tokens: int,
    n: int,
    priority: int,
    arrival_s: float,
) -> Request:
    """A request for a prompt given as text or token ids.

    Raises UserError for a prompt that is empty, of unknown tokens or too long for the model, for
    counts below 1, and for a request that no memory of the cluster could ever hold.
    """
    tokens = tuple(model.encode(prompt) if isinstance(prompt, str) else prompt)
    if not tokens:
        raise UserError("the prompt is empty; give at least one token")
    request = Request(
        id=request_id,
        arrival_s=arrival_s,
        num_prompt_tokens=len(tokens),
        max_new_tokens=max_new_tokens,
        prompt=tokens,
        n=n,
        priority=priority,
        prefix_hashes=cluster.name_blocks(tokens),
    )
    check_fits(request, model.config)
    if reason := cluster.why_never(ServedSequence(request, rank=0)):
        raise UserError(reason)
    return request


def check_fits(request: Request, config: ModelConfig) -> None:
    """Raise UserError unless the model can read the prompt and write the whole answer."""
    longest = request.num_prompt_tokens + request.max_new_tokens
    if longest > config.max_context:
        raise UserError(
            f"request {request.id}: {request.num_prompt_tokens} prompt tokens and up to {request.max_new_tokens} new "
            f"ones do not fit the model's context of {config.max_context} tokens; shorten the prompt or ask for less"
        )
    if request.prompt is None:
        raise UserError(f"request {request.id} has no prompt tokens; a real model needs them (with_prompt_tokens)")
    check_vocabulary(request.id, request.prompt, config.vocab_size)


def check_vocabulary(request_id: int, tokens: Iterable[int], vocab_size: int) -> None:
    """Raise UserError for the first token id that the model does not know."""
    for token in tokens:
        if not isinstance(token, int) or not 0 <= token < vocab_size:
            raise UserError(f"request {request_id}: token {token!r} is none of the model's ids 0 to {vocab_size - 1}")
