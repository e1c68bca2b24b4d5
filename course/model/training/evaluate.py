"""How good the model is: held-out loss, recall by distance, copying, sorting, samples."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from course.model.training.tasks import copy_prompt, recall_prompt, sort_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

BATCH_TOKENS = 8192

SAMPLE_PROMPTS = (
    "Return a new list that",
    "The default value is",
    "If the file does not exist,",
    "Compute the",
    "The import statement",
)


@torch.inference_mode()
def held_out_loss(model: PreTrainedModel, token_ids: np.ndarray, *, sequence_tokens: int = 1024) -> float:
    """Mean cross-entropy on unseen documentation, nats per token, in windows of sequence_tokens."""
    num_windows = (len(token_ids) - 1) // sequence_tokens
    total = 0.0
    for index in range(num_windows):
        start = index * sequence_tokens
        window = torch.tensor(token_ids[start : start + sequence_tokens + 1].astype(np.int64))[None]
        logits = model(input_ids=window[:, :-1], use_cache=False).logits
        total += float(F.cross_entropy(logits[0].float(), window[0, 1:]))
    return total / num_windows


@torch.inference_mode()
def share_answered(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tasks: Sequence[tuple[str, str]]
) -> float:
    """Share of (prompt, answer) pairs whose whole answer is what greedy decoding would give."""
    encoded = []
    for prompt, answer in tasks:
        question = tokenizer.encode(prompt)
        encoded.append((question, tokenizer.encode(answer, add_special_tokens=False)))
    encoded.sort(key=lambda pair: len(pair[0]) + len(pair[1]))  # neighbours of one length: little padding
    longest = len(encoded[-1][0]) + len(encoded[-1][1])
    per_batch = max(1, BATCH_TOKENS // longest)
    num_right = 0
    for start in range(0, len(encoded), per_batch):
        batch = encoded[start : start + per_batch]
        rows = [torch.tensor(question + answer[:-1]) for question, answer in batch]
        # Padding on the right: a causal model does not see it from the positions that count.
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
        for row, (question, answer) in zip(hidden, batch, strict=True):
            first = len(question) - 1
            chosen = model.lm_head(row[first : first + len(answer)]).argmax(-1).tolist()
            num_right += chosen == answer
    return num_right / len(encoded)


def recall_by_distance(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    distances: Sequence[int],
    *,
    num_prompts: int,
    num_pairs: int = 8,
    seed: int = 0,
    filler: str | None = None,
) -> dict[int, float]:
    """Share of recall prompts answered rightly for each distance in tokens."""
    accuracy = {}
    for distance in distances:
        rng = random.Random(f"{seed}/{distance}")
        prompts = [
            recall_prompt(distance, rng, tokenizer, num_pairs=num_pairs, filler=filler) for _ in range(num_prompts)
        ]
        accuracy[distance] = share_answered(model, tokenizer, prompts)
    return accuracy


def list_accuracy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    draw: Callable[[int, random.Random], tuple[str, str]],
    sizes: Sequence[int],
    *,
    num_prompts: int,
    seed: int = 0,
) -> dict[int, float]:
    """Share of lists copied (draw=copy_prompt) or sorted (draw=sort_prompt) without a mistake, by size."""
    rng = random.Random(seed)
    return {size: share_answered(model, tokenizer, [draw(size, rng) for _ in range(num_prompts)]) for size in sizes}


def copying_and_sorting(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, *, num_prompts: int, seed: int = 0
) -> tuple[dict[int, float], dict[int, float]]:
    """Accuracy of copying 4 to 20 words and of sorting 3 to 8 numbers, by size."""
    copied = list_accuracy(model, tokenizer, copy_prompt, (4, 10, 20), num_prompts=num_prompts, seed=seed)
    ordered = list_accuracy(model, tokenizer, sort_prompt, (3, 5, 8), num_prompts=num_prompts, seed=seed)
    return copied, ordered


@torch.inference_mode()
def continuations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    num_tokens: int = 60,
    temperature: float = 0.7,
    seed: int = 0,
) -> list[tuple[str, str]]:
    """Continue the sample prompts; returns (prompt, continuation) pairs. Temperature 0 is greedy."""
    torch.manual_seed(seed)
    pairs = []
    for prompt in SAMPLE_PROMPTS:
        ids = torch.tensor([tokenizer.encode(prompt)])
        how = {"do_sample": True, "temperature": temperature, "top_p": 0.95} if temperature else {"do_sample": False}
        generate: Any = model.generate
        out = generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_tokens, **how)
        pairs.append((prompt, str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))))
    return pairs
