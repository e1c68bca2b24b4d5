"""Scheduling policies, one short file each, and the names they go by on the command line."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import Any

from course.errors import UserError
from course.serving.plan import Scheduler
from course.serving.schedulers.chunked_prefill import ChunkedPrefill
from course.serving.schedulers.decode_first import DecodeFirst
from course.serving.schedulers.orca import Orca
from course.serving.schedulers.prefill_first import PrefillFirst
from course.serving.schedulers.static import Static

SCHEDULERS: dict[str, type] = {
    "static": Static,
    "orca": Orca,
    "prefill-first": PrefillFirst,
    "decode-first": DecodeFirst,
    "chunked-prefill": ChunkedPrefill,
}


def make_scheduler(name: str, **parameters: Any) -> Scheduler:
    """The policy of that name. Raises UserError for an unknown name or parameter, naming what is known."""
    if name not in SCHEDULERS:
        near = get_close_matches(name, SCHEDULERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(SCHEDULERS)}"
        raise UserError(f"unknown scheduler {name!r}: {hint}")
    policy = SCHEDULERS[name]
    known = list(inspect.signature(policy).parameters)
    for parameter in parameters:
        if parameter not in known:
            raise UserError(f"scheduler {name!r} has no parameter {parameter!r}; it has {', '.join(known)}")
    return policy(**parameters)


__all__ = [
    "SCHEDULERS",
    "ChunkedPrefill",
    "DecodeFirst",
    "Orca",
    "PrefillFirst",
    "Static",
    "make_scheduler",
]
