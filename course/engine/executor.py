"""Carries out steps on tensors: the one place where the control plane's integers meet the model."""

from __future__ import annotations

from collections.abc import Iterable

from course.engine.forward import forward_pass
from course.engine.sampling import choose
from course.engine.texts import Step
from course.model.kv_cache import KVCache
from course.model.transformer import Transformer
from course.serving.batch import BlockCopy


class Executor:
    """One model with its cache: device blocks, and host blocks to swap to.

    ``cache`` is used instead of a new one if given; it holds the device blocks.
    """

    def __init__(
        self,
        network: Transformer,
        num_blocks: int,
        block_size: int = 16,
        num_host_blocks: int = 0,
        cache: KVCache | None = None,
    ) -> None:
        self.network = network
        self.cache = cache or network.new_cache(num_blocks, block_size)
        self.host_cache = network.new_cache(num_host_blocks, block_size, "cpu") if num_host_blocks else None
        self.forward = forward_pass(network, self.cache)
        self._moved: Step | None = None

    def run(self, step: Step) -> list[int]:
        """Move blocks, run the forward pass, sample: one token for each of the step's draws."""
        self._move_blocks(step)
        if not step.chunks:
            return []
        return choose(self.forward(step.chunks), step.draws)

    def _move_blocks(self, step: Step) -> None:
        """In the order that the contract fixes, and once, even if the forward pass is interrupted and run again."""
        if step is self._moved:
            return
        if step.swap_out:
            assert self.host_cache is not None
            self.host_cache.copy_from(self.cache, *_pairs(step.swap_out))
        if step.copies:
            self.cache.copy(*_pairs(step.copies))
        if step.swap_in:
            assert self.host_cache is not None
            self.cache.copy_from(self.host_cache, *_pairs(step.swap_in))
        self._moved = step


def _pairs(copies: Iterable[BlockCopy]) -> tuple[list[int], list[int]]:
    sources, targets = zip(*copies, strict=True)
    return list(sources), list(targets)
