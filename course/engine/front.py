"""What all engines have in common: requests come in, answers go out, whoever computes them.

An engine adds how steps are carried out: `Engine.advance`, and whatever actions only it can have.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from types import TracebackType
from typing import Self

from course.engine.answer import Answer
from course.engine.detokenize import text_pieces
from course.engine.intake import Prompt, make_request
from course.engine.sampling import GREEDY, Sampling
from course.engine.texts import Planned, Text, Texts, Token
from course.errors import UserError
from course.metrics.record import Recorder, RequestRecord
from course.model.loading import Model
from course.serving.actions import Action, SequenceEnded, WakeAt
from course.serving.batch import Batch
from course.serving.cluster import Cluster
from course.serving.sequence import Sequence as ServedSequence
from course.workload.request import Request, Workload


class Engine(ABC):
    """Serves what is submitted, with whatever ``cluster`` decides.

    One thread owns an engine and calls everything; `wake` alone may be called from any other.
    """

    model: Model
    cluster: Cluster
    texts: Texts

    def __init__(self, model: Model, cluster: Cluster, texts: Texts, clock: Callable[[], float]) -> None:
        self.model = model
        self.cluster = cluster
        self.texts = texts
        self.answers: dict[tuple[int, int], Answer] = {}  # those that have not ended
        self.wake_at_s: float | None = None  # when a scheduler asked to be asked again
        self.trouble = ""  # why no request can be served any more
        self._clock = clock
        self.start_over()

    # what an engine does its own way

    @abstractmethod
    def advance(self, until_s: float | None = None) -> list[Token]:
        """Do what can be done now, or wait until something can, ``until_s`` comes or somebody calls `wake`.

        Returns the tokens that came out, perhaps none. With nothing to wait for it returns at once; ``until_s`` may
        be infinite. Raises StalledError where sequences wait and the scheduler will never run them.
        """

    @abstractmethod
    def wake(self) -> None:
        """Make an `advance` that waits return soon. Any thread may call this."""

    def close(self) -> None:
        """End what is unfinished and let go of everything. Closing again is no error."""
        for request_id in {request_id for request_id, _ in self.answers}:
            self.cancel(request_id)

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case WakeAt(time_s):
                    self.wake_at_s = time_s if self.wake_at_s is None else min(time_s, self.wake_at_s)
                case SequenceEnded(sequence, reason):
                    self._end(sequence, reason)
                case _:
                    self._act(action)

    @abstractmethod
    def _act(self, action: Action) -> None:
        """Carry out an action of another kind than those that all engines treat alike."""

    # what all do alike

    def _plan(self, batch: Batch) -> Planned:
        """A batch that is about to run, as a step."""
        for chunk in batch.prompts:
            sequence = chunk.sequence
            answer = self.answers.get(sequence.id)
            if answer and answer.started_s is None:
                for sample in range(sequence.request.n):
                    self.answers[sequence.request.id, sample].started_s = self.now_s
                if self.texts.hash_blocks:
                    self.num_looked_up_tokens += sequence.num_prompt_tokens
                    self.num_cached_tokens += chunk.start
        return self.texts.plan(batch)

    def _finish(self, batch: Batch, planned: Planned, tokens: list[int]) -> list[Token]:
        """A batch is done and these are its tokens: into the texts, the answers, the records; then tell the cluster."""
        sampled = self.texts.take(planned, tokens)
        now_s = self.now_s
        for token in sampled:
            self.answers[token.sequence.id].tokens.append(token.token)
            self.recorder.on_token(token.sequence.request.id, now_s, token.sequence.sample)
        self._carry_out(self.cluster.on_batch_done(batch, [token.result for token in sampled], now_s))
        return sampled

    def _end(self, sequence: ServedSequence, reason: str) -> None:
        self.recorder.record(*sequence.id).num_preemptions = sequence.num_preemptions
        self.recorder.on_end(sequence.request.id, self.now_s, sequence.state.value, sequence.sample, reason)
        self.texts.pop(sequence.id, None)
        answer = self.answers.pop(sequence.id)
        answer.state, answer.reason = sequence.state, reason

    def _check_timer(self) -> None:
        """Ask the schedulers again if the time for which one asked has come."""
        if self.wake_at_s is not None and self.now_s >= self.wake_at_s:
            self.wake_at_s = None
            self._carry_out(self.cluster.on_timer(self.now_s))

    @property
    def now_s(self) -> float:
        """Seconds since the clock was started."""
        return self._clock() - self.start_s

    def start_over(self, first_id: int = 0) -> None:
        """Time 0 is now, nothing is recorded yet, and new requests are numbered from ``first_id``."""
        self.start_s = self._clock()  # what the clock shows at time 0
        self.wake_at_s = None
        self.recorder = Recorder()
        self.num_looked_up_tokens = 0  # of prompts, in the prefix cache
        self.num_cached_tokens = 0  # of these, those that were found
        self._ids = count(first_id)

    @property
    def num_unfinished(self) -> int:
        """Answers that have not ended."""
        return self.cluster.num_unfinished

    # requests

    def submit(
        self,
        prompt: Prompt,
        max_new_tokens: int = 64,
        sampling: Sampling = GREEDY,
        n: int = 1,
        *,
        ignore_end: bool = False,
        min_new_tokens: int = 0,
        priority: int = 0,
    ) -> list[Answer]:
        """Let a request in; returns its ``n`` answers, which later steps fill.

        ``ignore_end`` writes on past the end-of-text token, which does not come among the first
        ``min_new_tokens``. Raises UserError for a prompt that is empty, not in the vocabulary or
        too long, for a request that could never run, and where nobody is left to serve it.
        """
        if self.trouble:
            raise UserError(self.trouble)
        request = make_request(
            self.model, self.cluster, next(self._ids), prompt, max_new_tokens, n, priority, self.now_s
        )
        tokens = list(request.prompt or ())
        end_tokens = frozenset(() if ignore_end else self.model.config.end_tokens)
        text = Text(tokens, len(tokens), sampling, end_tokens=end_tokens, min_new_tokens=min_new_tokens)
        return self.admit(request, text)

    def admit(self, request: Request, text: Text) -> list[Answer]:
        """Let a request in that was checked already (a trace's, say)."""
        answers = [Answer(request.id, k, tuple(text.tokens), model=self.model) for k in range(request.n)]
        self.recorder.on_arrival(request)
        if request.prefix_hashes:
            text.last_block_hash = request.prefix_hashes[-1]
        self.texts[request.id, 0] = text
        self.answers.update({(request.id, answer.sample): answer for answer in answers})
        self._carry_out(self.cluster.on_arrival(request, self.now_s))
        return answers

    def cancel(self, request_id: int, sample: int | None = None) -> None:
        """End the request's unfinished answers now, or one of them; one that is unknown or has ended is no error.

        Raises UserError where one of several is to end alone before they have begun.
        """
        self._carry_out(self.cluster.on_cancel(request_id, self.now_s, sample))

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        max_new_tokens: int = 64,
        sampling: Sampling = GREEDY,
        n: int = 1,
        *,
        ignore_end: bool = False,
    ) -> list[Answer]:
        """Answer one prompt or several together: ``n`` answers per prompt, in order.

        Raises UserError as `submit` does; then, and when interrupted, its requests are cancelled
        and everything else goes on.
        """
        answers: list[Answer] = []
        try:
            for prompt in _as_list(prompts):
                answers += self.submit(prompt, max_new_tokens, sampling, n, ignore_end=ignore_end)
            while not all(answer.is_ended for answer in answers):
                self.advance()
        finally:
            for answer in answers:
                self.cancel(answer.request_id)
        return answers

    def stream(
        self, prompt: Prompt, max_new_tokens: int = 64, sampling: Sampling = GREEDY, *, ignore_end: bool = False
    ) -> Iterator[int]:
        """Tokens of one answer as they come; leaving the loop early cancels the rest.

        Other requests go on in the meantime.
        """
        [answer] = self.submit(prompt, max_new_tokens, sampling, ignore_end=ignore_end)
        return self._stream(answer)

    def stream_text(
        self, prompt: Prompt, max_new_tokens: int = 64, sampling: Sampling = GREEDY, *, ignore_end: bool = False
    ) -> Iterator[str]:
        """As `stream`, in pieces of text. Raises UserError where the model has no tokenizer."""
        [answer] = self.submit(prompt, max_new_tokens, sampling, ignore_end=ignore_end)
        return text_pieces(self.model, answer.prompt, self._stream(answer))

    def serve(self, workload: Workload, sampling: Sampling = GREEDY) -> list[RequestRecord]:
        """Serve a workload in real time, answers as long as it dictates; see `course.engine.replay.serve`."""
        from course.engine.replay import serve

        return serve(self, workload, sampling=sampling)

    def _stream(self, answer: Answer) -> Iterator[int]:
        num_seen = 0
        try:
            while num_seen < len(answer.tokens) or not answer.is_ended:
                if num_seen == len(answer.tokens):
                    self.advance()
                else:
                    yield answer.tokens[num_seen]
                    num_seen += 1
        finally:
            self.cancel(answer.request_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _as_list(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """One prompt, or a list of them: a text is one, and so is a list of token ids."""
    if isinstance(prompts, str) or (len(prompts) and isinstance(prompts[0], int)):
        return [prompts]  # type: ignore[list-item]
    return list(prompts)  # type: ignore[arg-type]
