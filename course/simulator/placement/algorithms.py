"""DistServe's two placement algorithms (OSDI'24, section 4.1 and 4.2), on any judge of a candidate.

Algorithm 1, for a network that is fast between nodes too (high node affinity): the best prefill instance and the best
decode instance are found independently, then each is copied as often as the traffic needs.

Algorithm 2, for a slow network (low node affinity): keys and values may not leave a node. So pairs of a prefill and a
decode instance are judged together, cut into segments such that equal stages stand in one node, and the best is copied.

Best means most requests per second and GPU. (Section 6.5 of the paper swaps the two labels; this is the order of
the algorithms' own captions.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from course.errors import UserError
from course.simulator.goodput import Goodput
from course.simulator.placement.layout import Layout, lay_out_pairs, lay_out_singles, most_pairs
from course.simulator.placement.machines import Candidate, Machines

Judged = Mapping[Candidate, Goodput]


@dataclass(frozen=True, slots=True)
class Placement:
    """What was chosen. ``unit`` is one prefill and one decode instance; ``rate`` is what all together should carry."""

    unit: Candidate
    num_prefill: int
    num_decode: int
    rate: float
    layout: Layout

    @property
    def num_gpus(self) -> int:
        """GPUs in use."""
        return sum(slot is not None for node in self.layout.nodes for slot in node)

    @property
    def per_gpu(self) -> float:
        """Requests per second and GPU in use."""
        return self.rate / self.num_gpus


def place_singles(judged: Judged, machines: Machines, rate: float | None = None) -> Placement:
    """Algorithm 1's choice for a traffic of ``rate`` requests/s; None: as much as the machines can carry.

    The best of either phase by itself; where one of each does not fit the machines, the best two that do.

    Raises:
        UserError: when no two fit, or the rate needs more GPUs than there are.
    """
    prefills = {c: g.rate for c, g in judged.items() if c.prefill and g.rate > 0}
    decodes = {c: g.rate for c, g in judged.items() if c.decode and g.rate > 0}
    pairs = [(p, d) for p in prefills for d in decodes if _packs(machines, p, d, 1, 1)]
    if not pairs:
        raise UserError(_nothing_fits(machines, bool(prefills and decodes)))
    # GPU seconds per request of both phases: the smaller, the more requests every GPU carries once both are balanced.
    p, d = min(pairs, key=lambda pd: (sum(c.num_gpus / judged[c].rate for c in pd), sum(c.num_gpus for c in pd)))
    if rate is None:
        num_prefill, num_decode = _fill_singles(machines, p, d, prefills[p], decodes[d])
    else:
        num_prefill, num_decode = math.ceil(rate / prefills[p]), math.ceil(rate / decodes[d])
    layout = _packs(machines, p, d, num_prefill, num_decode)
    if layout is None:
        raise UserError(_too_few(machines, rate or 0.0, num_prefill * p.num_gpus + num_decode * d.num_gpus))
    carried = min(num_prefill * prefills[p], num_decode * decodes[d])
    return Placement(Candidate(p.prefill, d.decode), num_prefill, num_decode, carried, layout)


def place_pairs(judged: Judged, machines: Machines, rate: float | None = None) -> Placement:
    """Algorithm 2's choice for a traffic of ``rate`` requests/s; None: as much as the machines can carry.

    Raises:
        UserError: as `place_singles`.
    """
    possible = {c: g for c, g in judged.items() if c.prefill and c.decode and g.rate > 0}
    if not possible:
        raise UserError(_nothing_fits(machines, False))
    best = max(possible, key=lambda c: (possible[c].per_gpu, -c.num_gpus))
    each = possible[best].rate
    count = most_pairs(machines, best) if rate is None else math.ceil(rate / each)
    layout = lay_out_pairs(machines, best, count)
    if layout is None:
        raise UserError(_too_few(machines, rate or 0.0, count * best.num_gpus))
    return Placement(best, count, count, count * each, layout)


def _packs(machines: Machines, p: Candidate, d: Candidate, num_prefill: int, num_decode: int) -> Layout | None:
    assert p.prefill
    assert d.decode
    return lay_out_singles(machines, p.prefill, d.decode, num_prefill, num_decode)


def _fill_singles(machines: Machines, p: Candidate, d: Candidate, rate_p: float, rate_d: float) -> tuple[int, int]:
    """How many of each carry most; of equals those with the fewest GPUs."""
    counts = [
        (n, m)
        for n in range(1, machines.num_gpus // p.num_gpus + 1)
        for m in range(1, (machines.num_gpus - n * p.num_gpus) // d.num_gpus + 1)
    ]
    counts.sort(key=lambda c: (-min(c[0] * rate_p, c[1] * rate_d), c[0] * p.num_gpus + c[1] * d.num_gpus))
    return next((n, m) for n, m in counts if _packs(machines, p, d, n, m))


def _nothing_fits(machines: Machines, is_room: bool) -> str:
    if is_room:
        return f"no prefill and decode instance fit together into {machines.num_gpus} GPUs; give more GPUs"
    return (
        "no candidate keeps the limits at any rate; loosen slo.ttft or slo.tpot, or give larger nodes (--gpus-per-node)"
    )


def _too_few(machines: Machines, rate: float, num_needed: int) -> str:
    return (
        f"{rate:g} requests/s need {num_needed} GPUs and there are {machines.num_gpus}; give more GPUs or a lower rate"
    )
