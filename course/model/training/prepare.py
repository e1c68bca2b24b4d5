"""Corpus and tokenizer, made once and kept beside the checkpoints."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from course.model.training.corpus import Source, collect
from course.model.training.sequences import Prose, encode_documents
from course.model.training.tokenizer import load_tokenizer, split_words, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def prepare(work: Path, *, context_tokens: int) -> None:
    """Collect the text, train the tokenizer, encode; writes tokenizer/, tokens.npz and sources.json into work."""
    if (work / "tokens.npz").exists():
        return
    work.mkdir(parents=True, exist_ok=True)
    documents, sources = collect()
    training = [item for item in documents if not item.held_out]
    tokenizer = train_tokenizer((item.text for item in training), context_tokens=context_tokens)
    if split_words(tokenizer):
        raise AssertionError(f"not single tokens: {split_words(tokenizer)}")
    tokenizer.save_pretrained(work / "tokenizer")
    (work / "sources.json").write_text(json.dumps([asdict(source) for source in sources], indent=1) + "\n")
    held_out = [item for item in documents if item.held_out]
    np.savez(
        work / "tokens.npz",
        training=encode_documents(training, tokenizer),
        held_out=encode_documents(held_out, tokenizer),
    )


def load(work: Path) -> tuple[PreTrainedTokenizerFast, Prose, np.ndarray, list[Source]]:
    """Load what prepare wrote: tokenizer, training prose, held-out token ids, sources."""
    tokenizer = load_tokenizer(work / "tokenizer")
    tokens = np.load(work / "tokens.npz")
    newline_ids = {tokenizer.encode(text, add_special_tokens=False)[-1] for text in ("\n", "\n\n")}
    sources = [Source(**entry) for entry in json.loads((work / "sources.json").read_text())]
    return tokenizer, Prose(tokens["training"], newline_ids), tokens["held_out"], sources
