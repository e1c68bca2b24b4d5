"""Moves of keys and values on the virtual clock: a cluster's transfers go over a network, their ends come back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from course.serving.actions import Action, StartTransfer, StopTransfer
from course.serving.batch import Batch
from course.serving.cluster import Cluster
from course.serving.sequence import Sequence
from course.simulator.network import Network, Outcome


class Carrier:
    """Carries out transfers for a driver.

    ``at(time_s, handler)`` has ``handler(now_s)`` called at that time and its actions carried out.
    """

    def __init__(
        self,
        cluster: Cluster,
        network: Network,
        kv_bytes_per_token: float,
        at: Callable[[float, Callable[[float], list[Action]]], Any],
    ) -> None:
        self.network = network
        self.kv_bytes_per_token = kv_bytes_per_token
        self._cluster = cluster
        self._at = at
        self._looks_s = math.inf  # when it will look at the network next
        self._prefills: dict[Sequence, tuple[float, float]] = {}  # how long a prompt took to compute, and until when
        self._reports = {
            Outcome.DONE: cluster.on_transfer_done,
            Outcome.REFUSED: cluster.on_transfer_refused,
            Outcome.FAILED: cluster.on_transfer_failed,
        }

    def start(self, action: StartTransfer, now_s: float) -> None:
        """Send whole blocks, the last one too if it is not full."""
        transfer = action.transfer
        num_tokens = transfer.num_blocks * transfer.source.memory.pool.block_size
        took_s, until_s = self._prefills.pop(transfer.sequence, (0.0, now_s))
        self.network.start(
            transfer.id,
            transfer.source.id,
            transfer.target.id,
            num_tokens * self.kv_bytes_per_token,
            now_s,
            prefill_s=took_s if until_s == now_s else 0.0,  # who had to wait for a place had nowhere to send layers to
        )
        self._look_again()

    def stop(self, action: StopTransfer, now_s: float) -> None:
        """Send no more of it, and give the reservation back at once."""
        number = action.transfer.id
        if self.network.cancel(number, now_s):
            self._at(now_s, lambda now_s: self._cluster.on_transfer_failed(number, now_s))
            self._look_again()

    def note_step(self, batch: Batch, took_s: float, now_s: float) -> None:
        """A step with prompts is over: layers may have been sent while it ran."""
        if self.network.layerwise:
            for chunk in batch.prompts:
                before_s, _ = self._prefills.get(chunk.sequence, (0.0, 0.0))
                self._prefills[chunk.sequence] = before_s + took_s, now_s

    def forget(self, sequence: Sequence) -> None:
        """It has ended."""
        self._prefills.pop(sequence, None)

    def _look(self, now_s: float) -> list[Action]:
        if now_s == self._looks_s:
            self._looks_s = math.inf
        actions: list[Action] = []
        for number, outcome in self.network.finish(now_s):
            actions += self._reports[outcome](number, now_s)
        self._look_again()
        return actions

    def _look_again(self) -> None:
        if (time_s := self.network.next_event_s()) < self._looks_s:
            self._looks_s = time_s
            self._at(time_s, self._look)
