"""Scheduling policies, one short file each, and the names they go by on the command line."""

from __future__ import annotations

from typing import Any

from course.serving.parameters import make
from course.serving.plan import Scheduler
from course.serving.schedulers.chunked_prefill import ChunkedPrefill
from course.serving.schedulers.decode_first import DecodeFirst
from course.serving.schedulers.decode_only import DecodeOnly
from course.serving.schedulers.fixed_chunks import FixedChunks
from course.serving.schedulers.longest_prefix_first import LongestPrefixFirst
from course.serving.schedulers.orca import Orca
from course.serving.schedulers.prefill_first import PrefillFirst
from course.serving.schedulers.prefill_only import PrefillOnly
from course.serving.schedulers.splitwise import Splitwise
from course.serving.schedulers.static import Static
from course.serving.schedulers.vtc import VirtualTokenCounter

SCHEDULERS: dict[str, type] = {
    "static": Static,
    "orca": Orca,
    "prefill-first": PrefillFirst,
    "longest-prefix-first": LongestPrefixFirst,
    "decode-first": DecodeFirst,
    "chunked-prefill": ChunkedPrefill,
    "prefill-only": PrefillOnly,
    "decode-only": DecodeOnly,
    "fixed-chunks": FixedChunks,
    "splitwise": Splitwise,
    "vtc": VirtualTokenCounter,
}


def make_scheduler(name: str, **parameters: Any) -> Scheduler:
    """The policy of that name. Raises UserError for an unknown name or parameter, naming what is known."""
    scheduler: Scheduler = make("scheduler", SCHEDULERS, name, parameters)
    return scheduler


__all__ = [
    "SCHEDULERS",
    "ChunkedPrefill",
    "DecodeFirst",
    "DecodeOnly",
    "FixedChunks",
    "LongestPrefixFirst",
    "Orca",
    "PrefillFirst",
    "PrefillOnly",
    "Splitwise",
    "Static",
    "VirtualTokenCounter",
    "make_scheduler",
]
