"""A pool for prompts, one for answers, and a mixed one between them (Splitwise, ISCA'24)."""

from __future__ import annotations

from collections.abc import Sequence as List
from dataclasses import dataclass

from course.serving.instance import Instance
from course.serving.mover import Mover
from course.serving.parameters import check_positive
from course.serving.routers.load import num_sequences
from course.serving.sequence import Sequence


@dataclass(eq=False)
class SplitwisePools(Mover):
    """Instances with ids below ``num_prompt`` are prompt machines, the others token machines; their roles are "mixed"
    and their scheduler is `Splitwise`.

    A prompt goes to the prompt machine with the fewest pending tokens. Where even that has more than
    ``overflow_tokens`` of them, a machine of the mixed pool takes it, then one of the opposite pool. An answer goes to
    the token machine with the fewest tokens in memory; if none has room, to one of the mixed pool, or it stays. A
    machine with work of the opposite kind is in the mixed pool for as long as it has any (section 4.1). So bursts of
    either kind find room, at the price of mixed batches while they last.

    The paper names the token machine when the request arrives, so that the copy can begin with the first layer. Here
    it is named when the prompt is computed; whether the copy overlapped with it is for the link to say. Machines
    that are in the mixed pool for long do not change sides.
    """

    num_prompt: int = 1
    overflow_tokens: int = 8192

    def __post_init__(self) -> None:
        check_positive(num_prompt=self.num_prompt, overflow_tokens=self.overflow_tokens)

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """The machine that computes the prompt."""
        pools: dict[str, list[Instance]] = {"prompt": [], "mixed": [], "token": []}
        for instance in candidates:
            pools[self.pool_of(instance)].append(instance)
        for pool in pools.values():
            best = min(pool, key=_prompt_load, default=None)
            if best and best.num_pending_tokens <= self.overflow_tokens:
                return best
        return min(candidates, key=_prompt_load)

    def pool_of(self, instance: Instance) -> str:
        """The pool that the machine is in now: "prompt", "token" or "mixed"."""
        if self._is_prompt_machine(instance):
            return "mixed" if instance.decoding else "prompt"
        return "mixed" if len(instance.waiting) + len(instance.running) > len(instance.decoding) else "token"

    def after_prefill(
        self, sequence: Sequence, home: Instance, instances: List[Instance], now_s: float
    ) -> Instance | None:
        """The machine that writes the answer."""
        if not self._is_prompt_machine(home):
            return None
        others = [i for i in instances if not self._is_prompt_machine(i) and i.has_room(sequence)]
        tokens = [i for i in others if self.pool_of(i) == "token"]
        return min(tokens or others, key=lambda i: (i.memory.pool.num_used_blocks, i.id), default=None)

    def _is_prompt_machine(self, instance: Instance) -> bool:
        return instance.id < self.num_prompt


def _prompt_load(instance: Instance) -> tuple[int, int, int]:
    return instance.num_pending_tokens, num_sequences(instance), instance.id
