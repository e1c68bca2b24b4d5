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
    """Of two instances drawn at random among those with room for the answer, the one that it will disturb least.

    A decode router. An answer is *heavy* if ``predictor`` says that it will have more than ``heavy_tokens`` tokens:
    its context makes every step of its batch slower, so heavy ones are spread: one goes where fewer heavy ones are,
    a light one where fewer answers are. (The paper keeps the ratio of heavy to light low; taken as a ratio, that
    would send heavy ones after the light ones.) Room is what the answer will take by the prediction; where nobody has
    it, all candidates count.

    What it gains stands and falls with the predictor, and with how much the answers' lengths differ.
    """

    predictor: LengthPredictor = field(default_factory=Declared)
    heavy_tokens: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        self._is_heavy: dict[Sequence, bool] = {}
        self._sent: dict[int, list[Sequence]] = {}  # by instance: those that were not there yet when last looked at
        self._forget_at = 1000

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """The one of two with fewer of its kind."""
        predicted = self.predictor.predict(sequence.request)
        self._forget_ended()
        heavy = self._is_heavy[sequence] = predicted > self.heavy_tokens
        most = sequence.num_prompt_tokens + max(predicted, sequence.num_output_tokens)
        roomy = [i for i in candidates if i.memory.pool.can_allocate(i.memory.pool.blocks_for(most))]
        two = two_of(roomy or candidates, self.seed, sequence)
        chosen = min(two, key=lambda i: (self._num_heavy(i) if heavy else 0, num_sequences(i), self._num_heavy(i)))
        self._sent[chosen.id] = [*self._on_their_way(chosen), sequence]
        return chosen

    def _num_heavy(self, instance: Instance) -> int:
        """Heavy answers that are there or on their way."""
        there = [*instance.waiting, *instance.running, *self._on_their_way(instance)]
        return sum(self._is_heavy.get(sequence, False) for sequence in there)

    def _on_their_way(self, instance: Instance) -> list[Sequence]:
        sent = self._sent.get(instance.id, [])
        return [s for s in sent if not s.is_ended and s not in instance.running and s not in instance.waiting]

    def _forget_ended(self) -> None:
        if len(self._is_heavy) >= self._forget_at:
            self._is_heavy = {s: heavy for s, heavy in self._is_heavy.items() if not s.is_ended}
            self._forget_at = 2 * len(self._is_heavy) + 1000
