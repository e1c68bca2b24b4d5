"""From nothing to a checkpoint with its card: prepare, train, export, measure."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch

from course.model.training.card import measure, write_card
from course.model.training.export import export
from course.model.training.prepare import load, prepare
from course.model.training.recipe import Recipe
from course.model.training.sequences import Sequences
from course.model.training.train import Trainer


def make(
    out: Path,
    work: Path,
    *,
    num_tokens: int | None = None,
    seed: int | None = None,
    num_threads: int = 1,
    resume: bool = False,
    minutes: float | None = None,
) -> None:
    """Train by the recipe, with progress kept in work, and write the finished checkpoint to out."""
    torch.set_num_threads(num_threads)
    recipe = Recipe()
    if num_tokens is not None:
        recipe = recipe.scaled_to(num_tokens)
    if seed is not None:
        recipe = replace(recipe, seed=seed)
    print("Collecting text and training the tokenizer (about a minute, once) ...", flush=True)
    prepare(work, context_tokens=recipe.shape.context_tokens)
    tokenizer, prose, held_out, sources = load(work)
    sequences = Sequences(prose, tokenizer, answer_weight=recipe.answer_weight)
    trainer = Trainer(recipe, sequences, tokenizer)
    if resume:
        trainer.load(work / "checkpoint.pt")
    stop = time.monotonic() + 60 * minutes if minutes else float("inf")
    for _ in trainer.run(save_to=work / "checkpoint.pt", log=lambda line: print(line, flush=True)):
        if time.monotonic() > stop:
            trainer.save(work / "checkpoint.pt")
            print(f"Stopped after {trainer.num_tokens} tokens; go on with --resume.")
            return
    export(trainer.model, tokenizer, out)
    print("Measuring ...", flush=True)
    write_card(out, measure(out, held_out), recipe, trainer, sources, num_threads, prose)
    print(f"The model and its card are in {out}.")
