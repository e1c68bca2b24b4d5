"""Shapes beside the models that transformers builds, and beside published figures."""

from __future__ import annotations

import json

import pytest

from course.errors import UserError
from course.simulator.shapes import ModelShape, load_shape, shape_from_config, shape_names

# Parameters as the checkpoints on the Hugging Face hub have them.
PUBLISHED = {
    "opt-13b": 12_853_473_280,
    "opt-66b": 65_719_701_504,
    "opt-175b": 174_604_468_224,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
}

KV_BYTES_PER_TOKEN = {
    "opt-13b": 819_200,  # 800 KiB, vLLM paper section 3
    "opt-66b": 2_359_296,  # 2.25 MiB
    "opt-175b": 4_718_592,  # 4.5 MiB
    "llama-2-70b": 2 * 80 * 8 * 128 * 2,
    "llama-3.1-8b": 131_072,
    "qwen2.5-14b": 196_608,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_published_checkpoint(name: str):
    assert load_shape(name).num_parameters == PUBLISHED[name]


@pytest.mark.parametrize("name", KV_BYTES_PER_TOKEN)
def test_cache_of_a_token(name: str):
    assert load_shape(name).kv_bytes_per_token == KV_BYTES_PER_TOKEN[name]


def test_opt_66b_caches_a_512_token_prompt_in_1_13_gib():
    # DistServe (OSDI'24), section 3.3; binary units.
    assert round(512 * load_shape("opt-66b").kv_bytes_per_token / 2**30, 2) == 1.12


def test_every_named_shape_loads_and_says_where_it_comes_from():
    for name in shape_names():
        shape = load_shape(name)
        assert shape.name == name
        assert shape.source
    assert not {"opt", "llama-2", "llama-3.1", "qwen2.5"} & set(shape_names())  # families are no models


def test_heads_decide_between_mha_gqa_and_mqa():
    assert load_shape("opt-13b").group_size == 1
    assert load_shape("llama-3.1-70b").group_size == 8
    assert load_shape("tiny").group_size == 2


@pytest.mark.parametrize(("name", "near"), [("opt13b", "opt-13b"), ("LLama-3.1-8B-Instruct", "llama-3.1-8b"), ("", "")])
def test_an_unknown_name_gets_the_nearest(name: str, near: str):
    with pytest.raises(UserError, match=f"unknown model {name!r}: the nearest is '{near}"):
        load_shape(name)


def test_a_family_is_not_a_model():
    with pytest.raises(UserError, match="unknown model 'opt'"):
        load_shape("opt")


def test_the_tiny_shape_is_the_tiny_model():
    from course.model.weights import checkpoint_folder, load_config

    folder = checkpoint_folder("tiny")
    config, shape = load_config(folder), load_shape("tiny")
    assert shape.kv_bytes_per_token == config.kv_bytes_per_token(element_bytes=4)
    stored = json.loads((folder / "config.json").read_text())
    read = shape_from_config({**stored, "dtype": "float32"})  # the engine computes in float32
    assert read == ModelShape(**{f: getattr(shape, f) for f in shape.__slots__ if f != "name"}, name="llama")


FAMILIES = [
    *("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "opt", "gpt2", "gpt_neox", "gptj", "gpt_bigcode"),
    *("bloom", "falcon", "phi", "phi3", "starcoder2", "stablelm", "cohere", "persimmon", "granite", "smollm3", "glm"),
]
EXACT = {
    *("llama", "mistral", "qwen2", "qwen3", "gemma", "opt", "gpt2", "gpt_neox", "gpt_bigcode", "falcon"),
    *("phi3", "starcoder2", "stablelm", "granite", "smollm3"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_any_configuration_has_the_parameters_of_its_model(family: str):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(family)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    truth = sum(parameter.numel() for parameter in model.parameters())
    shape = shape_from_config(config.to_dict())
    assert shape.num_parameters == pytest.approx(truth, rel=0 if family in EXACT else 1e-4)


def test_a_configuration_file_or_its_folder(tmp_path):
    stored = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    stored |= {"num_hidden_layers": 3, "intermediate_size": 96, "vocab_size": 100, "max_position_embeddings": 512}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(stored))
    shape = load_shape(str(tmp_path))
    assert shape == load_shape(str(file)) == shape_from_config(file)
    assert (shape.name, shape.head_dim, shape.num_kv_heads, shape.bytes_per_value) == (tmp_path.name, 16, 2, 2)
    assert shape.max_context == 512


def test_one_key_value_head_for_all_is_mqa():
    shape = shape_from_config(
        {"model_type": "falcon", "multi_query": True, "hidden_size": 4544, "num_hidden_layers": 32, "vocab_size": 65024}
        | {"num_attention_heads": 71}
    )
    assert shape.num_kv_heads == 1
    assert shape.kv_bytes_per_token == 2 * 32 * 64 * 2  # Falcon-7B: 8 KiB


LLAMA = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 1, "vocab_size": 9}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({**LLAMA, "model_type": "mixtral", "num_local_experts": 8}, "mixture of experts"),
        ({**LLAMA, "kv_lora_rank": 512}, "MLA"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "has an encoder"),
        ({"model_type": "llama", "hidden_size": 64}, "does not say its num_heads"),
        (LLAMA, "does not say its ffn_size"),
        ({**LLAMA, "intermediate_size": 8, "num_key_value_heads": 3}, "cannot share 3 key-value heads"),
        ({**LLAMA, "intermediate_size": 8, "dtype": "float8_e4m3fn"}, "float8_e4m3fn"),
    ],
)
def test_what_cannot_be_described_is_refused_in_a_sentence(config: dict, sentence: str):
    with pytest.raises(UserError, match=sentence):
        shape_from_config(config)


@pytest.mark.parametrize(("text", "sentence"), [("[]", "not a model's configuration"), ("no", "is not JSON")])
def test_files_that_are_no_configuration(tmp_path, text: str, sentence: str):
    file = tmp_path / "model.json"
    file.write_text(text)
    with pytest.raises(UserError, match=sentence):
        load_shape(str(file))
    with pytest.raises(UserError, match="no model configuration"):
        load_shape(str(tmp_path / "absent.json"))
