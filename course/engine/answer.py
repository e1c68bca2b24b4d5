"""What a caller sees of one answer while it is written and after it has ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from course.model.loading import Model
from course.serving.sequence import State


@dataclass(slots=True)
class Answer:
    """One of the ``n`` answers to a request; ``tokens`` grows while it is written.

    ``state`` is WAITING until it has ended, then FINISHED, CANCELLED, REFUSED or FAILED;
    ``reason`` says why where it did not finish. ``started_s`` is when the first step with its prompt began, on the
    engine's clock: until then it waited in a queue.
    """

    request_id: int
    sample: int
    prompt: tuple[int, ...]
    tokens: list[int] = field(default_factory=list)
    state: State = State.WAITING
    reason: str = ""
    started_s: float | None = None
    model: Model | None = field(default=None, repr=False)

    @property
    def is_ended(self) -> bool:
        """Whether no more tokens will come."""
        return self.state is not State.WAITING

    @property
    def text(self) -> str:
        """The answer as text. Raises UserError where the model has no tokenizer."""
        assert self.model is not None
        # Decoded behind its prompt: some tokenizers drop a leading space otherwise.
        before = self.model.decode(list(self.prompt))
        return self.model.decode([*self.prompt, *self.tokens])[len(before) :]
