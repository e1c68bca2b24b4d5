"""What a server says of itself before it gets any load."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from course.engine.client.answer import error_message
from course.engine.client.call import BrokenError, Target, call
from course.errors import UserError

PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class ServerCard:
    """The model that will answer. ``vocab_size`` is known of the course's own server alone: it takes token ids."""

    model: str
    max_tokens: int | None = None
    vocab_size: int | None = None


async def probe(target: Target, model: str | None) -> ServerCard:
    """Ask for /v1/models. Raises UserError where nobody answers, or not as OpenAI's API does.

    A proxy that has no such path is believed to serve ``model``.
    """
    where = f"http{'s' if target.is_secure else ''}://{target.authority}{target.prefix}"
    try:
        async with asyncio.timeout(PATIENCE_S):
            reply = await call(target, "GET", "/v1/models")
    except TimeoutError:
        raise UserError(f"{where} does not answer within {PATIENCE_S:g} s") from None
    except OSError as error:
        raise UserError(f"nobody answers at {where}: {error.strerror or error}") from None
    except BrokenError as error:
        raise UserError(f"{where} does not speak HTTP as expected: {error}") from None
    if reply.status in (404, 405):
        if model is None:
            raise UserError(f"{where} does not say which models it has; name one with --model")
        return ServerCard(model)
    try:
        body = json.loads(reply.body)
        if reply.status != 200:
            raise UserError(f"{where} refuses to name its models: HTTP {reply.status}: {error_message(body)}")
        cards: dict[str, dict[str, Any]] = {card["id"]: card for card in body["data"]}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{where}/v1/models gives no list of models (HTTP {reply.status})") from None
    if not cards or (model is not None and model not in cards):
        known = ", ".join(cards) or "none"
        raise UserError(f"{where} has no model {model or ''!r}; it has: {known}")
    name = model or next(iter(cards))
    card = cards[name]
    is_ours = card.get("owned_by") == "course"
    return ServerCard(name, card.get("max_model_len"), card.get("vocab_size") if is_ours else None)
