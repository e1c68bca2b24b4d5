"""Accelerators: how fast they compute, how fast they read, how much they hold. Figures and sources: hardware.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from course.errors import UserError
from course.simulator.names import unknown_name

_FILE = Path(__file__).with_name("hardware.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One accelerator. ``flops_s`` is the dense peak in the model's number format.

    ``link`` joins it to the others of its node, ``host_link`` to its host's memory.
    """

    name: str
    memory_bytes: int
    flops_s: float
    memory_bandwidth_bytes_s: float
    link: str = ""
    host_link: str = ""
    description: str = ""
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ("memory_bytes", "flops_s", "memory_bandwidth_bytes_s"):
            if getattr(self, name) <= 0:
                raise UserError(f"hardware {self.name!r}: {name} must be positive, got {getattr(self, name)}")

    @property
    def ridge_flops_per_byte(self) -> float:
        """Arithmetic per byte read at which reading and computing take equally long: 153 on an A100."""
        return self.flops_s / self.memory_bandwidth_bytes_s


def hardware_names() -> list[str]:
    """Names that `load_hardware` knows."""
    return [*_tables(), "this-machine"]


def load_hardware(name: str) -> Hardware:
    """The accelerator of that name, such as "a100-80gb"; "this-machine", or a profile's file, for what was measured.

    Raises:
        UserError: for another name, naming the nearest; for a profile that cannot be read.
    """
    if name == "this-machine" or name.endswith(".json"):
        from course.simulator.costs.profile import profile_named

        return profile_named(name).machine
    if name not in _tables():
        raise UserError(unknown_name("hardware", name, hardware_names(), "or give the file of a recorded profile"))
    table = dict(_tables()[name])
    return Hardware(name=name, memory_bytes=table.pop("memory_mib") * 2**20, **table)


@cache
def _tables() -> dict[str, dict[str, Any]]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))
