"""What several policies do alike: keep running what runs, and admit what waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from course.errors import UserError
from course.serving.draft import Draft
from course.serving.sequence import Sequence, State
from course.serving.view import InstanceView

Preempt = Literal["recompute", "swap"]


def by_arrival(sequence: Sequence) -> tuple[int, int]:
    """Sort key: first come, first served."""
    return sequence.rank, sequence.sample


def check_positive(**parameters: float) -> None:
    """Raise UserError naming the parameter unless all are at least 1."""
    for name, value in parameters.items():
        if value < 1:
            raise UserError(f"{name} must be at least 1, got {value}")


def check_preempt(preempt: str) -> None:
    """Raise UserError unless ``preempt`` names a way to preempt."""
    if preempt not in ("recompute", "swap"):
        raise UserError(f"preempt must be 'recompute' or 'swap', got {preempt!r}")


def check_watermark(watermark: float) -> None:
    """Raise UserError unless ``watermark`` is a share of the blocks that leaves some to use."""
    if not 0 <= watermark < 1:
        raise UserError(f"watermark is the share of blocks to keep spare, from 0 to below 1, got {watermark}")


def run_or_make_room(
    draft: Draft, order: list[Sequence], num_tokens: Callable[[Sequence], int], preempt: Preempt
) -> list[Sequence]:
    """Run ``num_tokens(sequence)`` tokens of each sequence in ``order``; 0 means not now.

    Where blocks run out, the last of ``order`` yields, again and again, until there is room: the
    earliest therefore always moves on (vLLM preempts the latest arrived; SOSP'23, section 4.5). One that finds no room
    and has nobody behind it keeps its blocks and waits for the next step. Returns those not preempted.
    """
    order = list(order)
    for index, sequence in enumerate(order):
        if index >= len(order):
            break
        count = num_tokens(sequence)
        if count < 1:
            continue
        while not draft.can_add(sequence, count) and len(order) > index + 1:
            victim = order.pop()
            draft.preempt(victim, swap=preempt == "swap" and draft.can_swap(victim))
        if draft.can_add(sequence, count):
            draft.add(sequence, count)
    return order


def run_decodes(view: InstanceView, draft: Draft, preempt: Preempt) -> list[Sequence]:
    """One token for every running sequence that decodes. Returns the running sequences not preempted."""

    def one_if_decoding(sequence: Sequence) -> int:
        return int(sequence.num_known_tokens - sequence.num_computed_tokens == 1)

    return run_or_make_room(draft, sorted(view.running, key=by_arrival), one_if_decoding, preempt)


def run_all(view: InstanceView, draft: Draft) -> None:
    """All known tokens of every running sequence. Only those for which no memory was set aside ever need to yield."""
    run_or_make_room(draft, sorted(view.running, key=by_arrival), draft.tokens_left, "recompute")


def admit(
    view: InstanceView,
    draft: Draft,
    *,
    max_num_sequences: int,
    token_budget: int,
    split: bool = False,
    watermark: float = 0.0,
) -> None:
    """Admit waiting sequences, first come first served, while sequences, tokens and blocks last.

    With ``split`` a prompt may be cut to what is left of ``token_budget``; without, it runs whole, and one longer
    than the budget runs as the only prompt. A prompt is admitted only if blocks for all of it are free beyond
    ``watermark`` (a share of all blocks, kept for the growth of what runs), or if nothing runs. Nobody is admitted
    in a step that preempts.
    """
    if draft.plan.preempt:
        return
    num_running = draft.num_running
    admitted = False
    for sequence in view.waiting:
        if num_running and num_running + sequence.num_slots > max_num_sequences:
            break
        left = draft.tokens_left(sequence)
        available = token_budget - draft.num_tokens
        count = min(left, available) if split else left
        if count < 1 or (count > available and admitted):
            break
        spare = int(watermark * view.num_blocks) if num_running else 0
        if draft.blocks_needed(sequence, left) + spare > draft.num_free_blocks:
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
