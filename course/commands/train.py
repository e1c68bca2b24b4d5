"""`python -m course train`: make the course's tiny language model again, from text on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from course.errors import UserError

SUMMARY = "train the tiny language model from installed documentation (about 90 minutes on one CPU core)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--out", type=Path, default=Path("build/tiny"), help="where the checkpoint goes")
    parser.add_argument("--work", type=Path, default=Path("build/train"), help="corpus, tokenizer, progress")
    parser.add_argument("--tokens", type=int, default=None, help="train on fewer tokens than the recipe")
    parser.add_argument("--seed", type=int, default=None, help="another seed than the recipe's")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work")
    parser.add_argument("--minutes", type=float, default=None, help="stop after this time; --resume goes on")


def run(args: argparse.Namespace) -> int:
    """Train, measure, and write a checkpoint with its model card; returns the exit status."""
    if args.tokens is not None and args.tokens < 1:
        raise UserError(f"--tokens must be positive, not {args.tokens}.")
    if args.threads < 1:
        raise UserError(f"--threads must be at least 1, not {args.threads}.")
    if args.resume and not (args.work / "checkpoint.pt").exists():
        raise UserError(f"There is no checkpoint.pt in {args.work} to go on from; leave out --resume.")
    from course.model.training.make import make  # heavy: torch and transformers

    make(
        args.out,
        args.work,
        num_tokens=args.tokens,
        seed=args.seed,
        num_threads=args.threads,
        resume=args.resume,
        minutes=args.minutes,
    )
    return 0
