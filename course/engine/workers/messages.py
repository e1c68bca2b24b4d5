"""What crosses the pipe between an engine and a worker: integers, and bytes. No token has a meaning here.

To the worker go `Begin`, `Meet`, `Part`, `Run`, `Pull` and `Push`; from it come `Ready`, `Done`, `LayerDone`,
`Moved`, `NotMoved` and `Broken`. A worker and its cache have a ``number`` that no other process of the engine ever has.
"""

from __future__ import annotations

from typing import NamedTuple

from course.engine.texts import Step


class Layout(NamedTuple):
    """How much cache a worker has."""

    num_blocks: int
    block_size: int


class Piece(NamedTuple):
    """Part of ``transfer``: layers ``first_layer`` to ``last_layer`` - 1 of ``sources``, each into its target block."""

    transfer: int
    first_layer: int
    last_layer: int
    sources: list[int]
    targets: list[int]

    @property
    def num_layer_blocks(self) -> int:
        """Blocks, counted once for each layer."""
        return (self.last_layer - self.first_layer) * len(self.sources)


class Begin(NamedTuple):
    """Who the worker is. With ``has_memory`` a file descriptor of the cache's memory follows."""

    number: int
    device: str
    core: int | None
    layout: Layout
    carrier: str
    rendezvous: str
    has_memory: bool


class Meet(NamedTuple):
    """Another worker's cache can be reached from now on, by its ``offer``; or by the file descriptor that follows."""

    peer: int
    layout: Layout
    offer: bytes
    has_memory: bool


class Part(NamedTuple):
    """That worker is gone."""

    peer: int


class Run(NamedTuple):
    """Carry out a step. ``tells_layers``: report each layer as soon as its keys and values are complete."""

    number: int
    step: Step
    tells_layers: bool


class Pull(NamedTuple):
    """Bring a piece from the peer's cache into one's own."""

    peer: int
    piece: Piece


class Push(NamedTuple):
    """Send a piece to a peer that pulls it; only for carriers to which both ends must lend a hand."""

    peer: int
    piece: Piece


class Ready(NamedTuple):
    """The worker has its model and cache. ``offer``: what others need to reach the cache."""

    offer: bytes
    seconds: float


class Done(NamedTuple):
    """The step is carried out: a token for each of its draws."""

    number: int
    tokens: list[int]
    seconds: float


class LayerDone(NamedTuple):
    """So many layers of the step have their keys and values in the cache."""

    number: int
    num_layers: int


class Moved(NamedTuple):
    """A piece has arrived; the copy took so long."""

    transfer: int
    seconds: float


class NotMoved(NamedTuple):
    """A piece could not be brought or sent."""

    transfer: int
    reason: str


class Broken(NamedTuple):
    """The worker has failed, and ends."""

    reason: str
