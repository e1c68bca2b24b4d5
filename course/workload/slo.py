"""Service level objectives: what a user still accepts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from course.errors import UserError


@dataclass(frozen=True, slots=True)
class SLO:
    """Limits on the latencies of one request, and the share of requests that must keep them.

    A request is good if every limit holds, inclusive: TTFT <= ``ttft_s``, TPOT <= ``tpot_s``
    and, where it is given, E2E <= ``e2e_s`` (seconds). ``math.inf`` means no limit.
    ``attainment`` is the share wanted over all requests, 0.9 in DistServe (OSDI'24, section 1).

    Raises:
        UserError: when a limit is not positive or ``attainment`` is not in (0, 1].
    """

    ttft_s: float
    tpot_s: float
    e2e_s: float | None = None
    attainment: float = 0.9

    def __post_init__(self) -> None:
        for name in ("ttft_s", "tpot_s", "e2e_s"):
            limit = getattr(self, name)
            if limit is not None and (math.isnan(limit) or limit <= 0):
                raise UserError(f"slo: {name} must be a positive number of seconds, got {limit}")
        if not 0 < self.attainment <= 1:
            raise UserError(f"slo: attainment must be a share above 0 and up to 1, got {self.attainment}")
