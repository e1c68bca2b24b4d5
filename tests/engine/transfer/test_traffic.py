"""The engine's end of moves, on a clock of the test's: what a slower link takes is counted, not waited for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from course.engine.transfer.link import Throttle
from course.engine.transfer.record import TransferRecord
from course.engine.transfer.traffic import Traffic
from course.errors import UserError
from course.serving.actions import Transfer
from course.serving.memory import Reservation
from course.serving.pool import BlockPool

NUM_LAYERS = 4
BLOCK_BYTES = 1000  # in each layer
MESSAGE_S = 0.0003  # a piece is heard of so late
COPY_S = 0.0002  # of a piece


class Books:
    """As much of a cluster as `Traffic` tells anything."""

    def on_transfer_progress(self, transfer_id: int, num_blocks: int, now_s: float) -> list[Any]:
        return []

    on_transfer_done = on_transfer_failed = lambda self, transfer_id, now_s: []


class Link:
    """Traffic between workers that take ``COPY_S`` for a piece, and an engine that hears of it ``MESSAGE_S`` later."""

    def __init__(self, bandwidth_gb_s: float | None, latency_us: float = 0.0, copy_s: float = COPY_S) -> None:
        self.now_s = 0.0
        self.copy_s = copy_s
        self.asked: list[tuple[float, int]] = []  # when the engine hears of a piece, and whose it is
        throttle = Throttle(bandwidth_gb_s, latency_us)
        self.traffic = Traffic(Books(), throttle, NUM_LAYERS, BLOCK_BYTES, False, lambda: self.now_s)  # type: ignore[arg-type]

    def worker(self, number: int) -> Any:
        send = lambda pull: self.asked.append((self.now_s + self.copy_s + MESSAGE_S, pull.piece.transfer))  # noqa: E731
        return SimpleNamespace(number=number, instance=SimpleNamespace(id=number), is_lost=False, send=send)

    def start(self, number: int, source: Any, target: Any, num_blocks: int, is_early: bool = False) -> None:
        sequence: Any = SimpleNamespace(id=(number, 0), block_table=list(range(num_blocks)))
        reservation = Reservation(BlockPool(num_blocks, 16), num_blocks)
        transfer = Transfer(number, sequence, source.instance, target.instance, reservation)
        transfer.is_early = is_early
        self.traffic.start(transfer, source, target)

    def run(self, until_s: float = 1e9) -> list[TransferRecord]:
        """Until all moves are done: what they took, by their numbers."""
        while self.traffic.is_busy:
            next_s = min([time_s for time_s, _ in self.asked] + [self.traffic.next_s + MESSAGE_S])
            if next_s > until_s:
                break
            self.now_s = max(self.now_s, next_s)
            for heard in [each for each in self.asked if each[0] <= self.now_s]:
                self.asked.remove(heard)
                self.traffic.on_moved(heard[1], self.copy_s)
            self.traffic.look()
        return sorted(self.traffic.totals.records, key=lambda record: record.request_id)


def took_s(record: TransferRecord) -> float:
    assert record.end_s is not None
    return record.end_s - record.start_s


@pytest.mark.parametrize("num_blocks", [1, 7, 1000])
@pytest.mark.parametrize("latency_us", [0.0, 5000.0])
def test_a_throttled_move_takes_what_the_link_would_take(num_blocks: int, latency_us: float) -> None:
    """Messages delay the news of the last piece, and no piece but that."""
    link = Link(0.01, latency_us)
    link.start(0, link.worker(0), link.worker(1), num_blocks)
    [record] = link.run()
    link_s = num_blocks * NUM_LAYERS * BLOCK_BYTES / 1e7 + latency_us * 1e-6
    assert link_s <= took_s(record) <= link_s + 2 * MESSAGE_S + COPY_S
    assert record.copy_s == pytest.approx(COPY_S * len(record.arrived))
    assert record.copy_s + record.throttle_s <= took_s(record) + 1e-9
    assert record.throttle_s >= link_s - len(record.arrived) * (COPY_S + 2 * MESSAGE_S) - 1e-9


def test_a_copy_that_is_slower_than_the_link_is_not_throttled() -> None:
    link = Link(10.0, copy_s=0.05)
    link.start(0, link.worker(0), link.worker(1), 10_000)
    [record] = link.run()
    assert took_s(record) == pytest.approx(record.copy_s, rel=0.02)
    assert record.throttle_s == 0.0


def test_latency_comes_behind_the_copy_where_nothing_is_throttled() -> None:
    link = Link(None, latency_us=5000, copy_s=0.02)
    link.start(0, link.worker(0), link.worker(1), 10)
    [record] = link.run()
    assert 0.025 <= took_s(record) <= 0.025 + 3 * MESSAGE_S
    assert record.throttle_s == pytest.approx(0.005)


def test_two_moves_from_one_worker_share_its_port_and_leave_no_gap() -> None:
    link = Link(0.01)
    source = link.worker(0)
    for number in range(2):
        link.start(number, source, link.worker(1 + number), 500)
    records = link.run()
    link_s = 1000 * NUM_LAYERS * BLOCK_BYTES / 1e7
    assert max(map(took_s, records)) == pytest.approx(link_s, rel=0.005)
    assert min(map(took_s, records)) > 0.9 * link_s, "they take turns"
    for record in records:
        assert record.copy_s + record.throttle_s <= took_s(record) + 1e-9


def test_two_moves_between_others_do_not_wait_for_each_other() -> None:
    link = Link(0.01)
    for number in range(2):
        link.start(number, link.worker(number), link.worker(2 + number), 500)
    for record in link.run():
        assert took_s(record) == pytest.approx(500 * NUM_LAYERS * BLOCK_BYTES / 1e7, rel=0.005)


def test_a_layer_is_on_the_link_no_sooner_than_it_is_computed() -> None:
    """Each of four layers takes 0.1 s to be computed and 0.05 s to be sent: the last is there at 0.45 s."""
    link = Link(0.01)
    source = link.worker(0)
    link.start(0, source, link.worker(1), 500, is_early=True)
    for layer in range(1, NUM_LAYERS + 1):
        link.run(until_s=0.1 * layer)
        link.now_s = 0.1 * layer
        link.traffic.on_layers(source, layer)
    [record] = link.run()
    assert 0.45 <= took_s(record) <= 0.45 + 2 * MESSAGE_S + COPY_S
    assert record.throttle_s <= 4 * 0.05


def test_a_stopped_move_ends_with_the_piece_under_way() -> None:
    link = Link(0.01)
    link.start(0, link.worker(0), link.worker(1), 500)
    link.run(until_s=0.1)
    [shipment] = link.traffic._shipments.values()
    link.traffic.stop(shipment.transfer)
    [record] = link.run()
    assert record.outcome == "stopped"
    assert took_s(record) < 0.102


@pytest.mark.parametrize("arguments", [(0.0,), (-1.0,), (float("inf"),), (1.0, -1.0), (float("nan"),)])
def test_a_link_that_cannot_be(arguments: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"bandwidth_gb_s|latency_us"):
        Throttle(*arguments)
