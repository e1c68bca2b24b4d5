"""Checkpoints on disk: whole, sharded, tied, with a tokenizer; and those that cannot be loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GPT2Config, Qwen2Config

from course.errors import UserError
from course.model.config import ModelConfig, benchmark_shape
from course.model.linear import PackedLinear, PlainLinear, linear_map
from course.model.loading import load_model
from course.model.packing import Chunk, pack
from course.model.transformer import Transformer
from course.model.weights import TINY_FOLDER, load_config, random_weights
from tests.model.conftest import build

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("shard", ["5GB", "40KB"], ids=["whole", "sharded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_saved_checkpoints_load(tmp_path: Path, family: str, shard: str, dtype: torch.dtype) -> None:
    config, _, hf_model = build(family)
    hf_model.to(dtype).save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "40KB")
    model = load_model(str(tmp_path))
    tokens = list(range(20))
    cache = model.network.new_cache(2, 16)
    logits = model.network.forward(pack([Chunk(tokens, 0, [1, 0])], 16, config.num_kv_heads), cache)
    with torch.no_grad():
        same = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
        wanted = same(torch.tensor([tokens])).logits[0, -1:]
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=0)


def test_wrong_names_and_broken_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model at 'no-such'"):
        load_model("no-such")
    with pytest.raises(UserError, match="no model at"):
        load_model("./no/such")
    with pytest.raises(UserError, match="holds no config"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot read"):
        load_model(str(tmp_path))
    with pytest.raises(UserError, match="dtype"):
        load_model("tiny", dtype="int3")


def test_hub_names_without_a_network() -> None:
    with pytest.raises(UserError, match="cannot fetch the model 'nobody/nothing-0b'"):
        load_model("nobody/nothing-0b")


def test_unsupported_families_are_named(tmp_path: Path) -> None:
    GPT2Config().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"'gpt2'.*llama, qwen2, qwen3"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"use_sliding_window": True}, "sliding-window"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "dynamic"),
    ],
)
def test_what_the_engine_does_not_compute_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        ModelConfig.from_hugging_face(Qwen2Config(**change))


def test_missing_and_misshapen_weights_are_named(tmp_path: Path) -> None:
    config, weights, hf_model = build("llama")
    hf_model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(UserError, match=r"cannot read .*model.safetensors"):
        load_model(str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"holds no model\.safetensors"):
        load_model(str(tmp_path))
    name = "model.layers.1.mlp.up_proj.weight"
    with pytest.raises(UserError, match=f"{name}.*has shape"):
        Transformer(config, {**weights, name: weights[name][:3]})
    del weights[name]
    with pytest.raises(UserError, match=f"lacks the weight '{name}'"):
        Transformer(config, weights)


def test_a_model_without_tokenizer_says_so(tmp_path: Path) -> None:
    _, _, hf_model = build("llama")
    hf_model.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no tokenizer"):
        load_model(str(tmp_path)).encode("text")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there() -> None:
    config = benchmark_shape("tiny")
    with pytest.raises(UserError, match="'cuda:0' is not available"):
        Transformer(config, random_weights(config), device="cuda:0")


def test_end_tokens_may_be_one_or_many() -> None:
    assert ModelConfig.from_hugging_face(Qwen2Config(eos_token_id=5)).end_tokens == (5,)
    assert ModelConfig.from_hugging_face(Qwen2Config(eos_token_id=[5, 6])).end_tokens == (5, 6)


def test_random_weights_are_reproducible_and_complete() -> None:
    config = benchmark_shape("tiny")
    first, second, other = random_weights(config, 1), random_weights(config, 1), random_weights(config, 2)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])
    assert sum(weight.numel() for weight in first.values()) == 6_450_432
    small = benchmark_shape("small")
    assert sum(weight.numel() for weight in random_weights(small).values()) == 50_721_920
    with pytest.raises(UserError, match="unknown benchmark shape"):
        benchmark_shape("huge")


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_linear_maps_agree(bias: bool, rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, offset = torch.randn(24, 16, generator=generator), torch.randn(24, generator=generator)
    x, other = torch.randn(rows, 16, generator=generator), torch.randn(rows, 24, generator=generator)
    y = x @ weight.t() + (offset if bias else 0)
    for packed in (False, True):
        linear = linear_map(weight, offset if bias else None, packed=packed)
        torch.testing.assert_close(linear(x), y, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(linear.add_to(other, x), other + y, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(linear.silu(x), y * torch.sigmoid(y), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(linear.times(x, other), y * other, atol=1e-4, rtol=1e-4)


def test_packing_falls_back_to_public_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(8, 8)
    assert isinstance(linear_map(weight.double(), packed=True), PlainLinear)
    assert isinstance(linear_map(weight, packed=False), PlainLinear)

    def missing(self: PackedLinear, *_: object) -> None:
        raise AttributeError("no such operator")

    monkeypatch.setattr(PackedLinear, "__init__", missing)
    assert isinstance(linear_map(weight, packed=True), PlainLinear)


def test_the_shipped_model_has_its_announced_shape() -> None:
    assert json.loads((TINY_FOLDER / "config.json").read_text())["model_type"] == "llama"
    model = load_model("tiny")
    assert model.encode("hello")


def test_the_short_way_to_the_tiny_model_leads_to_the_same() -> None:
    assert load_config(TINY_FOLDER) == ModelConfig.from_hugging_face(AutoConfig.from_pretrained(TINY_FOLDER))
    mine, other = load_model("tiny").tokenizer, AutoTokenizer.from_pretrained(TINY_FOLDER)
    messages = [{"role": "user", "content": "What is a list?"}, {"role": "assistant", "content": "It holds values."}]
    assert mine.get_vocab() == other.get_vocab()
    assert mine.special_tokens_map == other.special_tokens_map
    assert mine.apply_chat_template(messages, tokenize=False) == other.apply_chat_template(messages, tokenize=False)
    for text in ("A list holds values.", "<|bos|>x = {1: 'é'}\n\n", "  two  spaces", "日本"):
        assert mine(text)["input_ids"] == other(text)["input_ids"]
        assert mine.decode(mine(text)["input_ids"]) == other.decode(other(text)["input_ids"])


def test_the_tiny_model_waits_for_no_large_import() -> None:
    """Each worker of an engine, and each notebook, would wait for it: two seconds of processor time."""
    code = "import sys; from course.model.loading import load_model; load_model().encode('A list'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"sympy", "torch._dynamo", "torch.distributed.tensor"} & set(done.stdout.split())
