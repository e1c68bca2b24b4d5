"""The training loop: one thread, bf16 autocast, Muon for the matrices, AdamW for the rest."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from course.model.training.batches import draw_batch
from course.model.training.initial import sketch_lookup

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from course.model.training.recipe import Recipe, Shape
    from course.model.training.sequences import Sequences


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Build an untrained model of that shape, in float32."""
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context_tokens,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config._attn_implementation = "sdpa"
    return LlamaForCausalLM(config)


def weighted_loss(model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the next token, in nats, weighted; tokens of weight zero cost no logits."""
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    counted = weights[:, 1:] > 0
    logits = F.linear(hidden[counted], model.lm_head.weight)
    losses = F.cross_entropy(logits.float(), ids[:, 1:][counted], reduction="none")
    return (losses * weights[:, 1:][counted]).sum() / weights[:, 1:].sum()


def new_optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon turns each matrix's update into a nearly orthogonal one; embeddings and norms stay with AdamW."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=recipe.weight_decay),
        torch.optim.AdamW(others, lr=recipe.adam_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


class Trainer:
    """Holds what a checkpoint must hold: model, optimizers, the random stream, and how far it got."""

    def __init__(self, recipe: Recipe, sequences: Sequences, tokenizer: PreTrainedTokenizerFast) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.sequences = sequences
        self.model = new_model(recipe.shape, tokenizer)
        sketch_lookup(self.model)
        self.optimizers = new_optimizers(self.model, recipe)
        self.rng = random.Random(recipe.seed)
        self.num_tokens = 0
        self.num_steps = 0
        self.seconds = 0.0

    def step(self) -> float:
        """Train on one batch and return its loss, nats per token."""
        started = time.perf_counter()
        recipe = self.recipe
        stage = recipe.stage_at(self.num_tokens)
        ids, weights = draw_batch(self.sequences, stage, self.rng)
        with torch.autocast("cpu", torch.bfloat16):
            loss = weighted_loss(self.model, ids, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
        scale = recipe.lr_scale(self.num_tokens)
        for optimizer, lr in zip(self.optimizers, (recipe.muon_lr, recipe.adam_lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = lr * scale
            optimizer.step()
            optimizer.zero_grad()
        self.num_tokens += weights[:, 1:].numel()
        self.num_steps += 1
        self.seconds += time.perf_counter() - started
        return float(loss.detach())

    def save(self, path: Path) -> None:
        """Write a checkpoint from which training goes on as if it had not stopped."""
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "rng": self.rng.getstate(),
            "progress": (self.num_tokens, self.num_steps, self.seconds),
            "recipe": json.dumps(asdict(self.recipe)),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.rename(path)  # a reader never sees half a file

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        version, numbers, gauss = state["rng"]
        self.rng.setstate((version, tuple(numbers), gauss))
        self.num_tokens, self.num_steps, self.seconds = state["progress"]

    def run(
        self, *, save_to: Path | None = None, save_every_s: float = 300, log: Callable[[str], None] = print
    ) -> Iterator[float]:
        """Train to the end of the recipe, yielding each step's loss; saves now and then and at the end."""
        saved_s, smooth = time.perf_counter(), None
        while self.num_tokens < self.recipe.num_tokens:
            loss = self.step()
            smooth = loss if smooth is None else 0.95 * smooth + 0.05 * loss
            if self.num_steps % 20 == 0:
                speed = self.num_tokens / self.seconds
                length = self.recipe.stage_at(self.num_tokens).sequence_tokens
                log(
                    f"step {self.num_steps} tokens {self.num_tokens} ({self.num_tokens / self.recipe.num_tokens:.1%}) "
                    f"length {length} loss {smooth:.3f} {speed:.0f} tokens/s {self.seconds:.0f} s"
                )
            if save_to and time.perf_counter() - saved_s > save_every_s:
                self.save(save_to)
                saved_s = time.perf_counter()
            yield loss
        if save_to:
            self.save(save_to)
