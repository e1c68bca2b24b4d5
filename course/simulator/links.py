"""Links between accelerators: bandwidth and latency. Figures and sources: links.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from course.errors import UserError
from course.simulator.names import unknown_name

_FILE = Path(__file__).with_name("links.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One direction of a link: ``bandwidth_bytes_s`` at line rate, and the latency of one message."""

    name: str
    bandwidth_bytes_s: float
    latency_s: float = 0.0
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.bandwidth_bytes_s <= 0 or self.latency_s < 0:
            raise UserError(
                f"link {self.name!r} needs a bandwidth above 0 bytes/s and a latency of at least 0 s, "
                f"got {self.bandwidth_bytes_s} and {self.latency_s}"
            )

    def transfer_s(self, num_bytes: float) -> float:
        """How long one message takes that has the link to itself."""
        return self.latency_s + num_bytes / self.bandwidth_bytes_s

    def all_reduce_s(self, num_bytes: float, num_ranks: int) -> float:
        """How long ``num_ranks`` accelerators need to sum arrays of ``num_bytes`` so that each has the sum.

        Each reduces its share of the array from all others, then hands it to all: two hops, and 2 (n - 1) / n of the
        array through every link. A ring moves as much and takes 2 (n - 1) hops; behind a switch two suffice.
        """
        if num_ranks == 1:
            return 0.0
        return 2 * self.latency_s + 2 * (num_ranks - 1) / num_ranks * num_bytes / self.bandwidth_bytes_s


def link_names() -> list[str]:
    """Names that `load_link` knows."""
    return list(_tables())


def load_link(name: str) -> Link:
    """The link of that name, such as "nvlink-a100"; raises UserError for others, naming the nearest."""
    if name not in _tables():
        raise UserError(unknown_name("link", name, link_names()))
    return Link(name=name, **_tables()[name])


@cache
def _tables() -> dict[str, dict[str, Any]]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))
