"""A few steps on a very small model: the loss falls, a seed decides everything, the result loads."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from course.model.training.batches import draw_batch
from course.model.training.export import export
from course.model.training.recipe import Recipe, Shape, Stage
from course.model.training.sequences import Prose, Sequences
from course.model.training.tasks import default_filler
from course.model.training.tokenizer import load_tokenizer
from course.model.training.train import Trainer

TINY = Path(__file__).parents[2] / "course" / "model" / "tiny"
MICRO = replace(
    Recipe(),
    warmup_tokens=512,
    shape=Shape(hidden=32, intermediate=48, layers=2, heads=4, kv_heads=2, context_tokens=128),
    stages=(Stage(256 * 12, 64, 256, prose=0.4, recall=0.4, lists=0.2, max_chunk=16),),
)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TINY)


@pytest.fixture(scope="module")
def sequences(tokenizer):
    token_ids = np.array(tokenizer.encode(default_filler()[:60_000], add_special_tokens=False), dtype=np.uint16)
    newline_ids = {tokenizer.encode(text, add_special_tokens=False)[-1] for text in ("\n", "\n\n")}
    return Sequences(Prose(token_ids, newline_ids), tokenizer, answer_weight=4.0)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_batch_weighs_answers_and_nothing_random(sequences, tokenizer):
    stage = Stage(1024, 128, 1024, prose=0, recall=1, lists=0, max_chunk=16)
    ids, weights = draw_batch(sequences, stage, random.Random(0))
    assert ids.shape == weights.shape == (8, 129)
    (recall_id,) = tokenizer.encode("Recall", add_special_tokens=False)
    (meet_id,) = tokenizer.encode("Meet", add_special_tokens=False)
    for row, weight in zip(ids.tolist(), weights.tolist(), strict=True):
        told = {row[at + 1]: row[at + 2] for at in range(126) if row[at] == meet_id}
        for at in range(126):
            if row[at] == recall_id:
                assert weight[at : at + 3] == [0.0, 0.0, 4.0]
                assert row[at + 2] == told[row[at + 1]]
            if row[at] == meet_id:
                assert weight[at : at + 3] == [0.0, 0.0, 0.0]


def test_loss_falls_and_the_seed_decides(sequences, tokenizer, tmp_path):
    losses = list(Trainer(MICRO, sequences, tokenizer).run(log=lambda line: None))
    assert len(losses) == 12
    assert losses[-1] < losses[0] - 0.3
    again = Trainer(MICRO, sequences, tokenizer)
    first = [again.step() for _ in range(6)]
    assert first == losses[:6]
    again.save(tmp_path / "checkpoint.pt")
    resumed = Trainer(replace(MICRO, seed=5), sequences, tokenizer)
    resumed.load(tmp_path / "checkpoint.pt")
    assert [resumed.step() for _ in range(6)] == losses[6:]
    assert resumed.num_tokens == MICRO.num_tokens


def test_the_checkpoint_loads_with_the_auto_classes(sequences, tokenizer, tmp_path):
    trainer = Trainer(MICRO, sequences, tokenizer)
    trainer.step()
    export(trainer.model, tokenizer, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True, dtype=torch.float32)
    loaded = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.chat_template == tokenizer.chat_template
    kept = trainer.model.state_dict()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, kept[name].bfloat16().float())


def test_the_schedule_rises_stays_and_falls_to_zero():
    recipe = Recipe()
    scales = [recipe.lr_scale(token) for token in range(0, recipe.num_tokens + 1, 1000)]
    assert scales[0] < 0.1
    assert max(scales) == 1.0
    assert recipe.lr_scale(recipe.num_tokens) == 0.0
    assert scales[len(scales) // 2] == 1.0
    assert abs(recipe.scaled_to(10_000).num_tokens - 10_000) <= len(recipe.stages)
    assert recipe.stage_at(recipe.num_tokens) == recipe.stages[-1]
