"""The engine in one process: the loop that joins control plane and executor.

`LocalEngine.step` is the whole of it: decide, execute, report. Everything else here lets requests
in and answers out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from course.engine.answer import Answer
from course.engine.detokenize import text_pieces
from course.engine.executor import Executor, Text, Token
from course.engine.intake import Prompt, make_request
from course.engine.memory import keep_freed_memory
from course.engine.sampling import GREEDY, Sampling
from course.errors import UserError
from course.metrics.record import Recorder, RequestRecord
from course.model.loading import Model, load_model
from course.serving.actions import Action, RunBatch, SequenceEnded, WakeAt
from course.serving.batch import Batch, TokenResult
from course.serving.cluster import Cluster
from course.serving.instance import Instance
from course.serving.plan import Scheduler
from course.serving.pool import BlockPool
from course.serving.schedulers import make_scheduler
from course.serving.sequence import Sequence as ServedSequence
from course.workload.request import Request, Workload


class LocalEngine:
    """Serves one model on one device, with the scheduler of your choice.

    Args:
        model: a `Model`, or a name for `load_model` ("tiny", a folder, a hub name).
        scheduler: a policy, or the name of one ("chunked-prefill", "orca", ...).
        num_blocks: blocks of KV cache; block_size: tokens per block.
        num_host_blocks: blocks of host memory to swap to.
        prefix_cache: whether prompts and answers that begin alike share their blocks.
        clock: seconds, monotonic.
        make_pool: the pool of blocks, of (num_blocks, block_size, prefix_cache); see `course.serving.allocator`.
        make_cluster: a class of cluster that watches what happens.

    Raises UserError for an unknown model or scheduler and for sizes that make no cache. A call
    that raises leaves what is being served as it was.
    """

    def __init__(
        self,
        model: str | Model = "tiny",
        scheduler: str | Scheduler = "chunked-prefill",
        *,
        num_blocks: int = 1024,
        block_size: int = 16,
        num_host_blocks: int = 0,
        prefix_cache: bool = False,
        clock: Callable[[], float] = time.perf_counter,
        make_pool: Callable[[int, int, bool], BlockPool] = BlockPool,
        make_cluster: Callable[[list[Instance]], Cluster] = Cluster,
    ) -> None:
        policy = make_scheduler(scheduler) if isinstance(scheduler, str) else scheduler
        if num_host_blocks < 0:
            raise UserError(f"num_host_blocks must be 0 (no swapping) or more, got {num_host_blocks}")
        self.instance = Instance(
            policy,
            num_blocks,
            block_size,
            prefix_cache=prefix_cache,
            num_host_blocks=num_host_blocks,
            make_pool=make_pool,
        )
        self.model = load_model(model) if isinstance(model, str) else model
        self.cluster = make_cluster([self.instance])
        self.executor = Executor(self.model.network, num_blocks, block_size, num_host_blocks, prefix_cache)
        self.answers: dict[tuple[int, int], Answer] = {}  # those that have not ended
        self.wake_at_s: float | None = None  # when a scheduler asked to be asked again
        self._batch: Batch | None = None
        self._clock = clock
        self.start_over()
        keep_freed_memory()

    # the loop

    def step(self) -> list[Token] | None:
        """Run the next batch; the tokens it sampled (perhaps none), or None if there was nothing to run.

        A batch that was interrupted is run again by the next call.
        """
        if self._batch is None:
            self._carry_out(self.cluster.decide(self.now_s))
        if (batch := self._batch) is None:
            return None
        tokens = self.executor.execute(batch)
        self._batch = None
        now_s = self.now_s
        for sequence, token, *_ in tokens:
            self.answers[sequence.id].tokens.append(token)
            self.recorder.on_token(sequence.request.id, now_s, sequence.sample)
        results = [TokenResult(t.sequence, t.finished, t.block_hash) for t in tokens]
        self._carry_out(self.cluster.on_batch_done(batch, results, now_s))
        return tokens

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case RunBatch(batch):
                    self._batch = batch
                case WakeAt(time_s):
                    self.wake_at_s = time_s if self.wake_at_s is None else min(time_s, self.wake_at_s)
                case SequenceEnded(sequence, reason):
                    self._close(sequence, reason)

    def _close(self, sequence: ServedSequence, reason: str) -> None:
        self.recorder.record(*sequence.id).num_preemptions = sequence.num_preemptions
        self.recorder.on_end(sequence.request.id, self.now_s, sequence.state.value, sequence.sample, reason)
        self.executor.close(sequence.id)
        answer = self.answers.pop(sequence.id)
        answer.state, answer.reason = sequence.state, reason

    def advance(self) -> list[Token]:
        """A step, or if nothing can run before some later time, a rest until then.

        Raises StalledError where sequences wait and the scheduler will never run them.
        """
        tokens = self.step()
        if tokens is None:
            self.rest_until(self.wake_at_s)
        return tokens or []

    def rest_until(self, time_s: float | None) -> None:
        """Sleep until ``time_s`` or the time that a scheduler asked for, whichever is earlier."""
        times_s = [t for t in (time_s, self.wake_at_s) if t is not None]
        if not times_s:
            self.cluster.check_not_stalled()
            return
        time.sleep(max(0.0, min(times_s) - self.now_s))
        if self.wake_at_s is not None and self.now_s >= self.wake_at_s:
            self.wake_at_s = None
            self._carry_out(self.cluster.on_timer(self.now_s))

    @property
    def now_s(self) -> float:
        """Seconds since the clock was started."""
        return self._clock() - self._start_s

    def start_over(self, first_id: int = 0) -> None:
        """Time 0 is now, nothing is recorded yet, and new requests are numbered from ``first_id``."""
        self._start_s = self._clock()
        self.wake_at_s = None
        self.recorder = Recorder()
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
        too long, and for a request that could never run.
        """
        request = make_request(
            self.model, self.instance, next(self._ids), prompt, max_new_tokens, n, priority, self.now_s
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
        self.executor.open(request.id, text)
        self.answers.update({(request.id, answer.sample): answer for answer in answers})
        self._carry_out(self.cluster.on_arrival(request, self.now_s))
        return answers

    def cancel(self, request_id: int) -> None:
        """End the request's unfinished answers now; one that is unknown or has ended is no error."""
        self._carry_out(self.cluster.on_cancel(request_id, self.now_s))

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


def _as_list(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """One prompt, or a list of them: a text is one, and so is a list of token ids."""
    if isinstance(prompts, str) or (len(prompts) and isinstance(prompts[0], int)):
        return [prompts]  # type: ignore[list-item]
    return list(prompts)  # type: ignore[arg-type]
