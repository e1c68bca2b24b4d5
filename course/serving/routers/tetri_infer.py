"""Decode instances chosen by predicted answer length (TetriInfer, arXiv 2401.11181)."""

from __future__ import annotations

from collections.abc import Sequence as List
from dataclasses import dataclass, field

from course.serving.instance import Instance
from course.serving.predictor import Declared, LengthPredictor
from course.serving.routers.load import num_sequences
from course.serving.routers.power_of_two import two_of
from course.serving.sequence import Sequence


@dataclass(eq=False)
class TetriInfer:
    """Of two instances drawn at random among those with room for the answer, the one where long answers are fewer.

    A decode router. An answer is *heavy* if ``predictor`` says that it will have more than ``heavy_tokens`` tokens:
    its context makes every step of its batch slower, so heavy and light ones are kept in proportion everywhere. Room
    is what the answer will take by that prediction; where nobody has it, all candidates count.

    What it optimises stands and falls with the predictor: at the paper's 74.9 % little of the gain may be left.
    """

    predictor: LengthPredictor = field(default_factory=Declared)
    heavy_tokens: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        self._is_heavy: dict[Sequence, bool] = {}
        self._sent: dict[int, list[Sequence]] = {}  # by instance: those that were not there yet when last looked at
        self._forget_at = 1000

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """The one of two on which the smaller share of the answers is heavy once this one is there."""
        predicted = self.predictor.predict(sequence.request)
        self._forget_ended()
        heavy = self._is_heavy[sequence] = predicted > self.heavy_tokens
        most = sequence.num_prompt_tokens + max(predicted, sequence.num_output_tokens)
        roomy = [i for i in candidates if i.memory.pool.can_allocate(i.memory.pool.blocks_for(most))]
        two = two_of(roomy or candidates, self.seed, sequence)
        chosen = min(two, key=lambda i: (self._heavy_share(i, heavy), num_sequences(i), i.id))
        self._sent[chosen.id] = [*self._on_their_way(chosen), sequence]
        return chosen

    def _heavy_share(self, instance: Instance, heavy: bool) -> float:
        """Share of heavy ones among the answers there, or on their way there, with one more."""
        there = [*instance.running, *self._on_their_way(instance)]
        return (sum(self._is_heavy.get(s, False) for s in there) + heavy) / (len(there) + 1)

    def _on_their_way(self, instance: Instance) -> list[Sequence]:
        sent = self._sent.get(instance.id, [])
        return [s for s in sent if not s.is_ended and s not in instance.running and s not in instance.waiting]

    def _forget_ended(self) -> None:
        if len(self._is_heavy) >= self._forget_at:
            self._is_heavy = {s: heavy for s, heavy in self._is_heavy.items() if not s.is_ended}
            self._forget_at = 2 * len(self._is_heavy) + 1000
