"""What made the shipped model: its shape, the stages of its training, and the learning rates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Stage:
    """A number of training tokens at one sequence length, with a mix of kinds of sequences."""

    num_tokens: int
    sequence_tokens: int
    step_tokens: int  # tokens between two updates of the weights
    prose: float
    recall: float
    lists: float
    max_chunk: int  # longest piece of prose between tasks, tokens


@dataclass(frozen=True)
class Shape:
    """A Llama-architecture model."""

    hidden: int = 256
    intermediate: int = 704
    layers: int = 6
    heads: int = 8
    kv_heads: int = 4
    vocabulary: int = 4096
    context_tokens: int = 4096
    rope_theta: float = 50_000.0


@dataclass(frozen=True)
class Recipe:
    """Everything that a re-run needs; the seed included."""

    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    weight_decay: float = 0.1
    warmup_tokens: int = 80_000
    decay_share: float = 0.25
    clip_norm: float = 1.0
    answer_weight: float = 4.0
    seed: int = 0
    shape: Shape = field(default_factory=Shape)
    stages: tuple[Stage, ...] = (
        Stage(624_000, 256, 2048, prose=0.35, recall=0.50, lists=0.15, max_chunk=40),
        Stage(1_300_000, 512, 4096, prose=0.45, recall=0.45, lists=0.10, max_chunk=150),
        Stage(2_400_000, 1024, 4096, prose=0.45, recall=0.47, lists=0.08, max_chunk=400),
        Stage(2_300_000, 2048, 4096, prose=0.40, recall=0.52, lists=0.08, max_chunk=800),
    )

    @property
    def num_tokens(self) -> int:
        """Tokens of all stages together."""
        return sum(stage.num_tokens for stage in self.stages)

    def scaled_to(self, num_tokens: int) -> Recipe:
        """Return the same recipe with every stage longer or shorter by one factor."""
        factor = num_tokens / self.num_tokens
        stages = tuple(replace(stage, num_tokens=round(stage.num_tokens * factor)) for stage in self.stages)
        return replace(self, stages=stages, warmup_tokens=max(1, round(self.warmup_tokens * factor)))

    def stage_at(self, token: int) -> Stage:
        """Return the stage that training is in after that many tokens."""
        end = 0
        for stage in self.stages:
            end += stage.num_tokens
            if token < end:
                return stage
        return self.stages[-1]

    def lr_scale(self, token: int) -> float:
        """Return the learning rate's factor: linear warm-up, stable, linear decay to zero."""
        decay_tokens = self.decay_share * self.num_tokens
        rising = (token + 1) / self.warmup_tokens
        falling = (self.num_tokens - token) / decay_tokens
        return max(0.0, min(1.0, rising, falling))
