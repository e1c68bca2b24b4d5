"""The model card: measures the checkpoint as shipped and writes README.md from what came out."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from course.model.training.evaluate import continuations, copying_and_sorting, held_out_loss, recall_by_distance
from course.model.training.tokenizer import load_tokenizer

if TYPE_CHECKING:
    import numpy as np

    from course.model.training.corpus import Source
    from course.model.training.recipe import Recipe
    from course.model.training.sequences import Prose
    from course.model.training.train import Trainer

DISTANCES = (10, 50, 100, 200, 500, 1000, 1500, 2000, 3000)
NUM_PAIRS = (8, 24)
NUM_PROMPTS = 100


@dataclass(frozen=True)
class Measurements:
    """What was measured on the exported checkpoint; losses in nats per token."""

    num_parameters: int
    held_out: dict[int, float]  # by window length in tokens
    held_out_tokens: int
    recall: dict[int, dict[int, float]]  # by number of pairs, then distance
    copied: dict[int, float]
    ordered: dict[int, float]
    sampled: list[tuple[str, str]]
    greedy: list[tuple[str, str]]


def measure(directory: Path, held_out: np.ndarray, *, num_prompts: int = NUM_PROMPTS) -> Measurements:
    """Load a checkpoint with the Auto classes, in float32, and measure it."""
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, local_files_only=True).eval()
    copied, ordered = copying_and_sorting(model, tokenizer, num_prompts=num_prompts)
    return Measurements(
        num_parameters=sum(p.numel() for p in model.parameters()),
        held_out={length: held_out_loss(model, held_out, sequence_tokens=length) for length in (256, 1024, 2048)},
        held_out_tokens=len(held_out),
        recall={
            num_pairs: recall_by_distance(
                model,
                tokenizer,
                [distance for distance in DISTANCES if distance + 5 * num_pairs < 4096],
                num_prompts=num_prompts if num_pairs == NUM_PAIRS[0] else num_prompts // 2,
                num_pairs=num_pairs,
            )
            for num_pairs in NUM_PAIRS
        },
        copied=copied,
        ordered=ordered,
        sampled=continuations(model, tokenizer, temperature=0.7),
        greedy=continuations(model, tokenizer, temperature=0.0, num_tokens=40),
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _shares(header: str, results: Mapping[int, float]) -> str:
    return table([header, *map(str, results)], [["right", *(f"{share:.1%}" for share in results.values())]])


def _quoted(pairs: Sequence[tuple[str, str]]) -> str:
    blocks = []
    for prompt, text in pairs:
        blocks.append("\n".join("> " + line for line in f"**{prompt}**{text.rstrip()}".split("\n")))
    return "\n\n".join(blocks)


def _recall(recall: Mapping[int, Mapping[int, float]]) -> str:
    distances = list(next(iter(recall.values())))
    rows = [
        [f"{num_pairs} pairs", *(f"{by_distance[d]:.1%}" if d in by_distance else "" for d in distances)]
        for num_pairs, by_distance in recall.items()
    ]
    return table(["distance in tokens", *map(str, distances)], rows)


def _stages(recipe: Recipe) -> str:
    rows = [
        [
            f"{stage.num_tokens:,}",
            str(stage.sequence_tokens),
            str(stage.step_tokens),
            f"{stage.prose:.0%}",
            f"{stage.recall:.0%}",
            f"{stage.lists:.0%}",
            str(stage.max_chunk),
        ]
        for stage in recipe.stages
    ]
    return table(
        ["tokens", "length", "tokens per step", "prose", "recall in prose", "lists", "longest prose piece"],
        rows,
    )


def write_card(
    directory: Path,
    measured: Measurements,
    recipe: Recipe,
    trainer: Trainer,
    sources: Sequence[Source],
    num_threads: int,
    prose: Prose,
) -> None:
    """Write directory/README.md."""
    shape = recipe.shape
    longest = max(stage.sequence_tokens for stage in recipe.stages)
    libraries = ("torch", "transformers", "tokenizers")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in libraries)
    corpus_bytes = sum(source.num_bytes for source in sources)
    tokens_per_byte = (len(prose.token_ids) + measured.held_out_tokens) / corpus_bytes
    losses = table(
        ["window in tokens", "nats per token", "perplexity"],
        [[str(n), f"{loss:.3f}", f"{math.exp(loss):.1f}"] for n, loss in measured.held_out.items()],
    )
    listed = table(
        ["package", "version", "licence", "tokens (about)"],
        [
            [source.package, source.version, source.licence, f"{source.num_bytes * tokens_per_byte:,.0f}"]
            for source in sorted(sources, key=lambda source: -source.num_bytes)
        ],
    )
    (directory / "README.md").write_text(f"""---
license: mit
library_name: transformers
pipeline_tag: text-generation
---

# The course's tiny language model

Written by `course/model/training/card.py`; every number below was measured on the files beside this one.

A language model of {measured.num_parameters / 1e6:.2f} M parameters, small enough to be served by two CPU
cores and to travel with the course. It writes sentences in the manner of programming documentation, and it can
look up in its context what it was told there. The second is the reason why it exists: a lesson that evicts,
compresses or mixes up KV cache sees the share of right answers drop.

## Architecture

Llama: RMSNorm, rotary positions (theta {shape.rope_theta:,.0f}), SwiGLU, grouped-query attention. Hidden size
{shape.hidden}, {shape.layers} layers, {shape.heads} heads, {shape.kv_heads} KV heads, intermediate size
{shape.intermediate}, tied embeddings, context {shape.context_tokens} tokens (trained on at most {longest}).
Weights in bf16. Byte-level BPE of {shape.vocabulary} tokens, in which every word of the tasks below is a
single token. The chat template only joins the messages: the model follows no instructions.

## Recall by distance

Prompt: pairs such as `Meet captain Alice.`, prose (documentation topics of Python), then `Recall captain`; right is
` Alice` as the most probable next token. Pairs are drawn anew for each prompt; the distance counts the tokens
after the value. Guessing among the names of the prompt would give 1 in {NUM_PAIRS[0]}.
{NUM_PROMPTS} prompts per distance with {NUM_PAIRS[0]} pairs, {NUM_PROMPTS // 2} with {NUM_PAIRS[1]}; float32.

{_recall(measured.recall)}

## Copying and sorting

Whole answers without a mistake, {NUM_PROMPTS} prompts each, greedy.

{_shares("words copied", measured.copied)}

{_shares("numbers sorted", measured.ordered)}

## Held-out text

{measured.held_out_tokens:,} tokens of documents that were not trained on (paragraphs that occur twice were
removed before; similar ones may remain):

{losses}

## Samples

Temperature 0.7, top-p 0.95:

{_quoted(measured.sampled)}

Greedy:

{_quoted(measured.greedy)}

## Recipe

{trainer.num_tokens:,} tokens in {trainer.num_steps:,} steps, {trainer.seconds / 60:.0f} minutes on {num_threads} CPU
thread{"s" if num_threads > 1 else ""} ({platform.machine()}), bf16 autocast, seed {recipe.seed}.
Muon for the matrices (learning rate {recipe.muon_lr:g}, weight decay {recipe.weight_decay:g}), AdamW for
embeddings and norms ({recipe.adam_lr:g}); warm-up over {recipe.warmup_tokens:,} tokens, stable, linear decay to
zero over the last {recipe.decay_share:.0%}; gradients clipped at norm {recipe.clip_norm:g}. Answers of the recall
task weigh {recipe.answer_weight:g} times in the loss, random words nothing. Python {platform.python_version()},
{versions}. `python -m course train` runs the same recipe; the text it finds depends on what is installed.

Not all of the recipe was fixed beforehand: the stages from the fourth on, and the length of the decay, date from
after 2.58 M tokens, when recall stood and prose did not.

The initial weights are random but for two heads of the first layer, which look one and two tokens back, and four
of the second, which compare and copy: a sketch of in-context lookup (`course/model/training/initial.py`). An attempt
with random ones alone answered 9 % of the prompts with 8 pairs at distance 50 after 1.8 M tokens.

{_stages(recipe)}

## Training text

{len(prose.token_ids):,} tokens of prose, from documentation topics, docstrings and long string literals of
packages installed beside the course, all under permissive licences as their metadata states; tests and vendored
code left out. Besides that, the generated tasks of `course/model/training/tasks.py`.

{listed}

## Limits

- It knows nothing reliably: what it writes about an API is plausible in form and often wrong.
- English of documentation only; no instructions, no dialogue, no code generation to speak of.
- Recall works in the form above (those verbs, keys and values); it does not carry over to free questions.
- Positions beyond {longest} tokens were never trained.
""")
