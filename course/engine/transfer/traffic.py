"""The engine's end of every move: which piece goes when, and what the control plane is told.

A move is cut into pieces, and one piece of a move is under way at a time. So a move can be stopped, a slow link can
be kept to, and layers can follow as they are computed. The bytes are copied by the workers; a throttle only decides
when a piece may start and when it counts as arrived. On the throttled link one piece follows the other without a gap:
the next starts when the last was sent, not when this process got to hear of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from course.engine.transfer.link import Throttle
from course.engine.transfer.record import TransferRecord, TransferTotals
from course.engine.workers.handle import Worker
from course.engine.workers.messages import Piece, Pull, Push
from course.serving.actions import Action, Transfer
from course.serving.cluster import Cluster

PIECE_BYTES = 8 << 20  # so that a copy can be stopped, and a step is not held up for long
PIECE_S = 0.002  # of a throttled link


@dataclass(slots=True, eq=False)
class Shipment:
    """A move under way. ``num_layers_ready`` of the source's blocks may be copied; more follow as they are computed."""

    transfer: Transfer
    source: Worker
    target: Worker
    record: TransferRecord
    num_layers_ready: int
    num_layers_sent: int = 0
    last_layer: int = 0  # of the layers that are being sent, all blocks of them before any of the next
    num_blocks_sent: int = 0  # of those layers
    piece: Piece | None = None
    due_s: float = inf  # when the engine has to look again
    ready_s: float = 0.0  # since when the next piece could be on the throttled link
    arrives_s: float = 0.0  # the piece under way, over that link
    is_copied: bool = False  # that piece, really
    is_stopped: bool = False
    waits_since_s: float | None = None  # for the link

    @property
    def is_waiting(self) -> bool:
        """Whether the next piece can be sent as soon as the link is free."""
        is_wanted = not (self.is_stopped or self.target.is_lost)
        return is_wanted and self.piece is None and self.num_layers_ready > self.num_layers_sent


class Traffic:
    """All moves of one engine, between workers whose blocks have ``block_bytes`` in each of ``num_layers``."""

    def __init__(
        self,
        cluster: Cluster,
        throttle: Throttle,
        num_layers: int,
        block_bytes: int,
        needs_both_ends: bool,
        now: Callable[[], float],
    ) -> None:
        self.totals = TransferTotals()
        self.throttle = throttle
        self._cluster = cluster
        self._num_layers = num_layers
        self._block_bytes = block_bytes
        self._needs_both_ends = needs_both_ends
        self._now = now
        self._shipments: dict[int, Shipment] = {}

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self._shipments)

    @property
    def next_s(self) -> float:
        """When `look` has to be called; infinite if only the workers are waited for."""
        return min((shipment.due_s for shipment in self._shipments.values()), default=inf)

    def start_over(self) -> None:
        """The engine's clock starts anew: nothing is counted yet, all links are free."""
        self.totals = TransferTotals()
        self.throttle.start_over()

    # what the engine reports

    def start(self, transfer: Transfer, source: Worker, target: Worker) -> list[Action]:
        """Begin a move. Of a prompt that is still being computed, layers follow by `on_layers`."""
        now_s = self._now()
        record = TransferRecord(
            *transfer.sequence.id,
            source.instance.id,
            target.instance.id,
            list(transfer.source_blocks),
            list(transfer.target_blocks),
            transfer.num_blocks * self._num_layers * self._block_bytes,
            now_s,
            transfer.attempt,
        )
        ready = 0 if transfer.is_early else self._num_layers
        shipment = Shipment(transfer, source, target, record, ready, ready_s=now_s)
        self._shipments[transfer.id] = shipment
        return self._go_on(shipment)

    def on_layers(self, source: Worker, num_layers: int) -> list[Action]:
        """So many layers of the step that ``source`` runs are computed (all of them when the step is done)."""
        actions: list[Action] = []
        for shipment in [s for s in self._shipments.values() if s.source is source]:
            if shipment.num_layers_ready < num_layers:
                shipment.num_layers_ready = num_layers
                shipment.ready_s = max(shipment.ready_s, self._now())
                actions += self._go_on(shipment)
        return actions

    def on_moved(self, transfer_id: int, seconds: float) -> list[Action]:
        """A piece is at its target."""
        if (shipment := self._shipments.get(transfer_id)) is None:
            return []
        shipment.record.copy_s += seconds
        shipment.is_copied = True
        now_s = self._now()
        if not shipment.record.arrived:  # the latency comes once, with the first piece
            shipment.arrives_s = max(shipment.arrives_s, now_s + self.throttle.latency_s)
        shipment.record.throttle_s += max(0.0, shipment.arrives_s - now_s)
        return self._go_on(shipment)

    def on_not_moved(self, transfer_id: int) -> list[Action]:
        """A piece could not be brought: the whole move has failed."""
        shipment = self._shipments.get(transfer_id)
        return self._end(shipment, "failed") if shipment else []

    def stop(self, transfer: Transfer) -> list[Action]:
        """The move is not wanted any more. Its end is reported when nothing writes to its blocks any more."""
        if (shipment := self._shipments.get(transfer.id)) is None:
            return []
        shipment.is_stopped = True
        return self._go_on(shipment)

    def look(self) -> list[Action]:
        """Go on with what had to wait for its time."""
        now_s = self._now()
        actions: list[Action] = []
        for shipment in [s for s in self._shipments.values() if s.due_s <= now_s]:
            shipment.due_s = inf
            actions += self._go_on(shipment)
        return actions

    # one move

    def _go_on(self, shipment: Shipment) -> list[Action]:
        """Do the next thing that can be done."""
        now_s = self._now()
        actions: list[Action] = []
        if shipment.target.is_lost:
            return self._end(shipment, "stopped")  # the control plane has forgotten it already
        if shipment.piece:
            if not shipment.is_copied:
                return []
            if now_s < shipment.arrives_s and not shipment.is_stopped:
                shipment.due_s = shipment.arrives_s
                return []
            actions += self._note_arrival(shipment, shipment.piece, now_s)
        if shipment.is_stopped:
            return actions + self._end(shipment, "stopped")
        if shipment.num_layers_sent == self._num_layers:
            return actions + self._end(shipment, "done")
        self._send(now_s)
        return actions

    def _note_arrival(self, shipment: Shipment, piece: Piece, now_s: float) -> list[Action]:
        shipment.piece, shipment.is_copied, shipment.due_s = None, False, inf
        num_blocks = shipment.record.num_blocks
        shipment.num_blocks_sent += len(piece.sources)
        if shipment.num_blocks_sent == num_blocks:
            shipment.num_layers_sent, shipment.num_blocks_sent = piece.last_layer, 0
            done = num_blocks * piece.last_layer // self._num_layers
        else:
            whole = piece.last_layer - piece.first_layer == self._num_layers
            done = shipment.num_blocks_sent if whole else num_blocks * piece.first_layer // self._num_layers
        shipment.record.arrived.append((now_s, done))
        return self._cluster.on_transfer_progress(shipment.transfer.id, done, now_s)

    def _send(self, now_s: float) -> None:
        """Send what may go; of those that want the same port, the one that has been ready for the longest time."""
        waiting = [s for s in self._shipments.values() if s.is_waiting]
        for shipment in sorted(waiting, key=lambda s: s.ready_s):
            self._send_next(shipment, now_s)

    def _send_next(self, shipment: Shipment, now_s: float) -> None:
        source, target = shipment.source, shipment.target
        start_s = self.throttle.starts_s(source.number, target.number, shipment.ready_s)
        if shipment.waits_since_s is None:
            shipment.waits_since_s = now_s
        if start_s > now_s:
            shipment.due_s = start_s
            return
        shipment.record.throttle_s += max(0.0, start_s - shipment.waits_since_s)
        shipment.waits_since_s, shipment.due_s = None, inf
        piece = shipment.piece = self._next_piece(shipment)
        num_bytes = piece.num_layer_blocks * self._block_bytes
        shipment.ready_s = self.throttle.take(source.number, target.number, num_bytes, start_s)
        shipment.arrives_s = shipment.ready_s + self.throttle.latency_s
        target.send(Pull(source.number, piece))
        if self._needs_both_ends:
            source.send(Push(target.number, piece))

    def _next_piece(self, shipment: Shipment) -> Piece:
        """Of the layers that are ready as many blocks as a piece may have."""
        record, first = shipment.record, shipment.num_layers_sent
        if shipment.num_blocks_sent == 0:
            shipment.last_layer = shipment.num_layers_ready
        last = shipment.last_layer
        most_bytes = PIECE_BYTES
        if self.throttle.bandwidth_gb_s is not None:
            most_bytes = min(most_bytes, int(self.throttle.bandwidth_gb_s * 1e9 * PIECE_S))
        count = max(1, most_bytes // ((last - first) * self._block_bytes))
        begin = shipment.num_blocks_sent
        chosen = slice(begin, begin + count)
        return Piece(shipment.transfer.id, first, last, record.source_blocks[chosen], record.target_blocks[chosen])

    def _end(self, shipment: Shipment, outcome: str) -> list[Action]:
        del self._shipments[shipment.transfer.id]
        now_s, number = self._now(), shipment.transfer.id
        shipment.record.end_s, shipment.record.outcome = now_s, outcome
        self.totals.add(shipment.record)
        if outcome == "done":
            return self._cluster.on_transfer_done(number, now_s)
        return self._cluster.on_transfer_failed(number, now_s)
