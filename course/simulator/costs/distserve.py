"""The published figures of DistServe's simulator, as data. Source and licence stand in the file."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("distserve.json")


@cache
def published() -> dict[str, Any]:
    """Fitted constants by engine, model and tensor parallelism, and KV capacities by model and "tp,pp"."""
    return json.loads(_FILE.read_text(encoding="utf-8"))
