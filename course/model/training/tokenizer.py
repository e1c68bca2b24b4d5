"""A byte-level BPE of 4096 tokens in which every word of the tasks is one token."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course.model.training.tasks import NUMBERS, WORDS, vocabulary_lines

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY_SIZE = 4096
PAD, BOS, EOS = "<|pad|>", "<|bos|>", "<|eos|>"

# The model follows no instructions: a chat is laid out as plain text for it to continue.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}"
    "{% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}"
)


def train_tokenizer(texts: Iterable[str], *, context_tokens: int, seed: int = 0) -> PreTrainedTokenizerFast:
    """Train on texts and on lines of the tasks; the result puts <|bos|> in front of what it encodes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    task_lines = vocabulary_lines(random.Random(seed), 100_000)
    bpe.train_from_iterator([*texts, *task_lines], trainer)
    bos_id = bpe.token_to_id(BOS)
    # Two steps in a sequence: the byte-level one keeps offsets exact, the template adds <|bos|>.
    bpe.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, bos_id)]),
        ]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=context_tokens,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def split_words(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Words of the tasks that are not a single token; empty when the tokenizer is fit for use."""
    fixed = ["Meet", "Recall", "Copy", "Again", "Sort", "Sorted"]
    texts = fixed + [f" {word}" for word in WORDS + NUMBERS]
    return [text for text in texts if len(tokenizer.encode(text, add_special_tokens=False)) != 1]


def load_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    """Load a saved tokenizer without touching the network."""
    from transformers import AutoTokenizer

    loaded: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    return loaded
