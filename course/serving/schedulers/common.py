"""What several policies do alike: keep running what runs, and admit what waits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

from course.errors import UserError
from course.serving.draft import Draft
from course.serving.plan import UNTIL_CHANGE, Plan
from course.serving.sequence import Sequence, State
from course.serving.view import InstanceView

Preempt = Literal["recompute", "swap"]
ANY: Final = sys.maxsize  # as many as there are


def by_arrival(sequence: Sequence) -> tuple[int, int]:
    """Sort key: first come, first served."""
    return sequence.rank, sequence.sample


def check_preempt(preempt: Any) -> None:
    """Raise UserError unless ``preempt`` names a way to preempt."""
    if preempt not in ("recompute", "swap"):
        raise UserError(f"preempt must be 'recompute' or 'swap', got {preempt!r}")


def run_or_make_room(
    draft: Draft, order: list[Sequence], num_tokens: Callable[[Sequence], int], preempt: Preempt
) -> list[Sequence]:
    """Run ``num_tokens(sequence)`` tokens of each sequence in ``order``; 0 means not now.

    Where blocks run out, the last of ``order`` yields, again and again, until there is room: the
    earliest therefore always moves on (vLLM preempts the latest arrived; SOSP'23, section 4.5). One that finds no room
    and has nobody behind it keeps its blocks and waits. Returns those that neither run nor were preempted.
    """
    order = list(order)
    left: list[Sequence] = []
    for index, sequence in enumerate(order):
        if index >= len(order):
            break
        count = num_tokens(sequence)
        while count > 0 and not draft.can_add(sequence, count) and len(order) > index + 1:
            victim = order.pop()
            draft.preempt(victim, swap=preempt == "swap" and draft.can_swap(victim))
        if count > 0 and draft.can_add(sequence, count):
            draft.add(sequence, count)
        else:
            left.append(sequence)
    return left


def run_decodes(view: InstanceView, draft: Draft, preempt: Preempt) -> list[Sequence]:
    """One token for every sequence that decodes, as far as blocks go.

    Returns the running sequences that do not run yet and were not preempted, in order of arrival: those that prefill,
    and decodes for which there was no block.
    """
    if draft.can_decode_all():
        draft.decode_all()
        return sorted(view.prefilling, key=by_arrival)
    order = sorted(view.running, key=by_arrival)
    return run_or_make_room(draft, order, lambda sequence: int(sequence in view.decoding), preempt)


def settled(draft: Draft, holds: int = UNTIL_CHANGE) -> Plan:
    """The plan; if it only decodes, it holds for so many steps, or until somebody comes or goes.

    True of every policy that admits by `admit` or `admit_with_reservation`: who cannot be admitted now cannot be later
    either, for decoding takes blocks and gives none.
    """
    plan = draft.plan
    if plan.decode_all and not (plan.chunks or plan.preempt or plan.refuse):
        plan.holds = holds
    return plan


def run_all(view: InstanceView, draft: Draft) -> None:
    """All known tokens of every running sequence. Only those for which no memory was set aside ever need to yield."""
    left: Iterable[Sequence] = view.running
    if draft.can_decode_all():
        draft.decode_all()
        left = view.prefilling
    run_or_make_room(draft, sorted(left, key=by_arrival), draft.tokens_left, "recompute")


def admit(
    view: InstanceView,
    draft: Draft,
    *,
    max_num_sequences: int | None = None,
    token_budget: int = ANY,
    split: bool = False,
    watermark: float = 0.0,
    order: Iterable[Sequence] | None = None,
) -> None:
    """Admit waiting sequences, first come first served, while sequences, tokens and blocks last.

    ``order`` names the waiting sequences in another order; the next one is asked for only once the one before it is
    admitted, and nobody overtakes one that finds no room.
    With ``split`` a prompt may be cut to what is left of ``token_budget``; without, it runs whole, and one longer
    than the budget runs as the only prompt. A prompt is admitted only if blocks for all of it are free beyond
    ``watermark`` (a share of all blocks, rounded down, kept for the growth of what runs), or if nothing runs. Nobody is
    admitted in a step that preempts.
    """
    if draft.plan.preempt or not view.waiting:
        return
    most = ANY if max_num_sequences is None else max_num_sequences
    num_running = draft.num_running
    admitted = False
    for sequence in view.waiting if order is None else order:
        if num_running and num_running + sequence.num_slots > most:
            break
        left = draft.tokens_left(sequence)
        available = token_budget - draft.num_tokens
        count = min(left, available) if split else left
        if count < 1 or (count > available and admitted):
            break
        spare = int(watermark * view.num_blocks) if num_running else 0
        if not draft.can_add(sequence, left, spare):
            break
        draft.add(sequence, count)
        admitted = True
        num_running += sequence.num_slots


def reservation(view: InstanceView, sequence: Sequence) -> int:
    """Blocks that the prompt and the whole declared answer take, for each of the n answers."""
    return sequence.num_slots * view.blocks_for(sequence.num_tokens_at_most)


def admit_with_reservation(view: InstanceView, draft: Draft, max_num_sequences: int) -> None:
    """Admit whole prompts, first come first served, while blocks for all they may become can be set aside.

    What could not even have the whole memory set aside for its n answers is refused; what has begun elsewhere
    is run alone instead.
    """
    if draft.plan.preempt:
        return
    set_aside = sum(reservation(view, sequence) for sequence in view.running)
    num_running = draft.num_running
    for sequence in view.waiting:
        needed = reservation(view, sequence)
        if needed > view.num_blocks and sequence.state is State.WAITING:
            draft.refuse(sequence, f"its {sequence.num_slots} answers reserve {needed} of {view.num_blocks} blocks")
            continue
        full = num_running and num_running + sequence.num_slots > max_num_sequences
        left = draft.tokens_left(sequence)
        if full or (num_running and set_aside + needed > view.num_blocks) or not draft.can_add(sequence, left):
            break
        draft.add(sequence, left)
        set_aside += needed
        num_running += sequence.num_slots
