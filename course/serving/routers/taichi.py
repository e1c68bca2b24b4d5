"""Between together and apart: instances with large and with small chunks (TaiChi, arXiv 2508.01989)."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as List
from dataclasses import dataclass

from course.serving.estimator import Estimator
from course.serving.instance import Instance
from course.serving.mover import Move, Mover
from course.serving.parameters import check_not_negative, check_share
from course.serving.routers.load import num_sequences
from course.serving.sequence import Sequence


@dataclass(eq=False)
class TaiChi(Mover):
    """All instances have role "mixed" and chunked prefill. Those with the largest ``token_budget`` are *P-heavy*, quick
    with prompts; the others *D-heavy*, quick with answers. Their number and their two budgets are the sliders: equal
    budgets are plain aggregation; very different ones come near to disaggregation.

    *Length-aware prefill*: of the instances on which the first token is expected within ``ttft_s``, a D-heavy one if
    there is any (prompts that are short enough), else a P-heavy one; there, the one with the fewest pending tokens.

    *Flowing decode*: an answer begun on a P-heavy instance moves to the D-heavy one with the most room. When more
    than the share ``watermark`` of a D-heavy instance's memory is in use, its longest answers, which have time to
    spare, flow to P-heavy ones; there they stay until their TPOT comes to ``alpha`` times ``tpot_s``, and flow back.

    It spends the slack of requests that are better than their limits on those that are not, so it gains when both
    limits are tight, and little when one is loose. ``estimator`` predicts step times. Who flows is decided every
    ``interval_s``. (The rules are taken from notes on the paper, not from its text or code.)
    """

    estimator: Estimator
    ttft_s: float
    tpot_s: float
    watermark: float = 0.95
    alpha: float = 0.96
    interval_s: float | None = 0.05

    def __post_init__(self) -> None:
        check_not_negative(ttft_s=self.ttft_s, tpot_s=self.tpot_s, alpha=self.alpha)
        check_share(watermark=self.watermark)
        self._begun_s: dict[Sequence, float] = {}  # when the first token came

    # prefill

    def choose(self, candidates: List[Instance], sequence: Sequence, now_s: float) -> Instance:
        """The instance that computes the prompt."""
        late_s = now_s - sequence.request.arrival_s
        expected = {i: late_s + self.time_to_first_token_s(i, sequence) for i in candidates}
        in_time = [i for i in candidates if expected[i] <= self.ttft_s]
        if not in_time:
            return min(candidates, key=lambda i: (expected[i], i.id))
        return min(_d_heavy(in_time, candidates) or in_time, key=_load)

    def time_to_first_token_s(self, instance: Instance, sequence: Sequence) -> float:
        """How long the prompts that wait there, and then this one, are expected to take."""
        num_tokens = instance.num_pending_tokens + sequence.num_known_tokens
        num_decodes = len(instance.decoding)
        num_prompts = 1 + len(instance.waiting) + len(instance.running) - num_decodes
        start = num_tokens // num_prompts // 2  # of a chunk, on average
        context = instance.memory.pool.num_used_blocks * instance.memory.pool.block_size
        chunk = max(1, _budget(instance) - num_decodes)

        def step_s(num_prompt_tokens: int) -> float:
            return self.estimator.step_s(instance, num_prompt_tokens, num_decodes, context, start)

        num_full, rest = divmod(num_tokens, chunk)
        return (num_full * step_s(chunk) if num_full else 0.0) + (step_s(rest) if rest else 0.0)

    # decode

    def after_prefill(
        self, sequence: Sequence, home: Instance, instances: List[Instance], now_s: float
    ) -> Instance | None:
        """A D-heavy instance, as long as one has room."""
        self._begun_s.setdefault(sequence, now_s)
        d_heavy = _d_heavy(instances, instances)
        return None if home in d_heavy else self._with_room(d_heavy, sequence)

    def rebalance(self, instances: List[Instance], now_s: float) -> Iterator[Move]:
        """Answers that flow one way or the other."""
        self._begun_s = {s: begun_s for s, begun_s in self._begun_s.items() if not s.is_ended}
        d_heavy = _d_heavy(instances, instances)
        p_heavy = [i for i in instances if i not in d_heavy]
        for instance in d_heavy:
            yield from self._flow_out(instance, p_heavy)
        for instance in p_heavy if d_heavy else ():
            for sequence in list(instance.decoding):
                if self.tpot_so_far_s(sequence, now_s) >= self.alpha * self.tpot_s and (
                    target := self._with_room(d_heavy, sequence)
                ):
                    yield Move(sequence, target)

    def tpot_so_far_s(self, sequence: Sequence, now_s: float) -> float:
        """Mean time of the tokens after the first; 0 while there is none."""
        num_more = sequence.num_output_tokens - 1
        return (now_s - self._begun_s.get(sequence, now_s)) / num_more if num_more > 0 else 0.0

    def _flow_out(self, instance: Instance, p_heavy: list[Instance]) -> Iterator[Move]:
        pool = instance.memory.pool
        leaving = sum(len(s.block_table) for s in instance.held)
        too_many = pool.num_used_blocks - leaving - self.watermark * pool.num_blocks
        for sequence in sorted(instance.decoding, key=lambda s: (-s.num_output_tokens, s.rank, s.sample)):
            if too_many <= 0 or not (target := self._with_room(p_heavy, sequence)):
                return
            too_many -= pool.blocks_for(sequence.num_computed_tokens)
            yield Move(sequence, target)

    def _with_room(self, instances: list[Instance], sequence: Sequence) -> Instance | None:
        """The least used of the instances that would stay below the watermark."""

        def share(instance: Instance) -> float:
            pool = instance.memory.pool
            head = next(iter(instance.waiting), None)  # room for the next prompt is not given away
            coming = pool.blocks_for(sequence.num_known_tokens) + (
                pool.blocks_for(head.num_known_tokens) if head else 0
            )
            return (pool.num_used_blocks + coming) / pool.num_blocks

        roomy = [i for i in instances if share(i) <= self.watermark and i.has_room(sequence)]
        return min(roomy, key=lambda i: (share(i), i.id), default=None)


def _budget(instance: Instance) -> int:
    return int(getattr(instance.scheduler, "token_budget", 1))


def _d_heavy(instances: List[Instance], everyone: List[Instance]) -> list[Instance]:
    """Those with a smaller chunk than the largest of ``everyone``."""
    largest = max(map(_budget, everyone))
    return [i for i in instances if _budget(i) < largest]


def _load(instance: Instance) -> tuple[int, int, int]:
    return instance.num_pending_tokens, num_sequences(instance), instance.id
