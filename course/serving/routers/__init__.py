"""Which instance an arriving request goes to, and which one receives a sequence that moves."""

from __future__ import annotations

from course.errors import UserError
from course.serving.routers.base import Router, choose
from course.serving.routers.least_requests import LeastRequests
from course.serving.routers.round_robin import RoundRobin

ROUTERS: dict[str, type] = {"round-robin": RoundRobin, "least-requests": LeastRequests}


def make_router(name: str) -> Router:
    """The router of that name. Raises UserError for an unknown name, naming what is known."""
    if name not in ROUTERS:
        raise UserError(f"unknown router {name!r}: known are {', '.join(ROUTERS)}")
    return ROUTERS[name]()


__all__ = ["ROUTERS", "LeastRequests", "RoundRobin", "Router", "choose", "make_router"]
