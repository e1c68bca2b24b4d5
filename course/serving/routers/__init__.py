"""Which instance an arriving request goes to, and which one receives a sequence that moves."""

from __future__ import annotations

from typing import Any

from course.serving.parameters import make
from course.serving.routers.base import Router, choose
from course.serving.routers.least_pending_tokens import LeastPendingTokens
from course.serving.routers.least_prefills import LeastPrefills
from course.serving.routers.least_queued import LeastQueued
from course.serving.routers.least_requests import LeastRequests
from course.serving.routers.llumnix import Llumnix
from course.serving.routers.power_of_two import PowerOfTwo
from course.serving.routers.prefix_aware import PrefixAware
from course.serving.routers.round_robin import RoundRobin
from course.serving.routers.short_prompts_stay import ShortPromptsStay
from course.serving.routers.splitwise import SplitwisePools
from course.serving.routers.taichi import TaiChi
from course.serving.routers.tetri_infer import TetriInfer

ROUTERS: dict[str, type] = {
    "round-robin": RoundRobin,
    "least-requests": LeastRequests,
    "least-pending-tokens": LeastPendingTokens,
    "power-of-two": PowerOfTwo,
    "prefix-aware": PrefixAware,
    "least-prefills": LeastPrefills,
    "least-queued": LeastQueued,
    "short-prompts-stay": ShortPromptsStay,
    "tetri-infer": TetriInfer,
    "splitwise": SplitwisePools,
    "taichi": TaiChi,
    "llumnix": Llumnix,
}


def make_router(name: str, **parameters: Any) -> Router:
    """The router of that name. Raises UserError for an unknown name or parameter, naming what is known."""
    router: Router = make("router", ROUTERS, name, parameters)
    return router


__all__ = [
    "ROUTERS",
    "LeastPendingTokens",
    "LeastPrefills",
    "LeastQueued",
    "LeastRequests",
    "Llumnix",
    "PowerOfTwo",
    "PrefixAware",
    "RoundRobin",
    "Router",
    "ShortPromptsStay",
    "SplitwisePools",
    "TaiChi",
    "TetriInfer",
    "choose",
    "make_router",
]
