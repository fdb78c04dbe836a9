"""Parity with transformers in float32, family by family and option by option, both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from model_kit import SWITCHES, relative_error, shared_weights, some_ids, stir, tiny

from overwinter.errors import UsageError
from overwinter.model import Decoder, export, load

transformers = pytest.importorskip("transformers", reason="parity needs transformers")

SHAPE: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "attn_implementation": "eager",
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
QUARTER = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}
BAMBA = {"mamba_n_heads": 8, "mamba_d_state": 6, "mamba_n_groups": 2, "mamba_chunk_size": 8}
GRANITE = {
    "mamba_n_heads": 8,
    "mamba_d_state": 6,
    "mamba_chunk_size": 8,
    "num_local_experts": 0,
    "shared_intermediate_size": 44,
    "layer_types": ["mamba", "attention", "mamba"],
}
NEMOTRON = {
    "mamba_num_heads": 6,
    "mamba_head_dim": 8,
    "ssm_state_size": 5,
    "n_groups": 2,
    "chunk_size": 8,
    "head_dim": 16,
}
FACTORS = {
    "attention_multiplier": 0.3,
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.7,
    "logits_scaling": 6.0,
}
PLAIN_1M = {"rope_type": "default", "rope_theta": 1e6}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-one-key-head": ("llama", {"num_key_value_heads": 1}),
    "llama-all-key-heads": ("llama", {"num_key_value_heads": 4}),
    "llama-llama3": ("llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "llama-yarn": ("llama", {"rope_parameters": YARN}),
    "llama-yarn-full": (
        "llama",
        {"rope_parameters": {**YARN, "beta_fast": 8.0, "beta_slow": 2.0, "attention_factor": 1.3, "truncate": False}},
    ),
    "llama-yarn-mscale": ("llama", {"rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.1}}),
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True, "rms_norm_eps": 1e-3}),
    "llama-wide-heads": ("llama", {"head_dim": 12}),
    "mistral": ("mistral", {"sliding_window": 7, "rope_parameters": PLAIN_1M}),
    "mistral-no-window": ("mistral", {"sliding_window": None, "head_dim": 16}),
    "qwen2": ("qwen2", {"tie_word_embeddings": True, "rope_parameters": PLAIN_1M}),
    "qwen2-window": ("qwen2", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
    "qwen2-yarn": ("qwen2", {"rope_parameters": YARN}),
    "qwen3": ("qwen3", {"head_dim": 16, "rope_parameters": PLAIN_1M}),
    "qwen3-tied-bias": ("qwen3", {"head_dim": 8, "attention_bias": True, "tie_word_embeddings": True}),
    "qwen3-window": ("qwen3", {"head_dim": 8, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 2}),
    "qwen3-yarn": ("qwen3", {"head_dim": 16, "rope_parameters": YARN}),
    "bamba": ("bamba", {**BAMBA, "attn_layer_indices": [1]}),
    "bamba-no-attention": ("bamba", {**BAMBA, "tie_word_embeddings": True}),
    "bamba-biases": (
        "bamba",
        {
            **BAMBA,
            "attn_layer_indices": [0, 2],
            "attention_bias": True,
            "mlp_bias": True,
            "mamba_proj_bias": True,
            "mamba_conv_bias": False,
            "time_step_limit": (0.1, 0.8),
        },
    ),
    "bamba-quarter-rope": ("bamba", {**BAMBA, "attn_layer_indices": [0], "rope_parameters": QUARTER, "head_dim": 16}),
    "bamba-yarn": ("bamba", {**BAMBA, "attn_layer_indices": [0], "rope_parameters": {**YARN, "rope_theta": 1e6}}),
    "granite": ("granitemoehybrid", {**GRANITE, **FACTORS}),
    "granite-rope": ("granitemoehybrid", {**GRANITE, "position_embedding_type": "rope", "attention_bias": True}),
    "granite-plain-factors": ("granitemoehybrid", {**GRANITE, "tie_word_embeddings": True, "mamba_n_groups": 2}),
    "nemotron": ("nemotron_h", {**NEMOTRON, "hybrid_override_pattern": "M-M*-"}),
    "nemotron-biases": (
        "nemotron_h",
        {
            **NEMOTRON,
            "layers_block_type": ["linear_attention", "full_attention", "mlp", "linear_attention"],
            "use_bias": True,
            "mlp_bias": True,
            "use_conv_bias": False,
            "time_step_min": 0.4,
            "layer_norm_epsilon": 1e-3,
        },
    ),
    "nemotron-attention-alone": ("nemotron_h", {**NEMOTRON, "hybrid_override_pattern": "**-"}),
    "granite-attention-alone": ("granitemoehybrid", {**GRANITE, "layer_types": ["attention"] * 3, "mamba_n_heads": 4}),
}
each_case = pytest.mark.parametrize(("family", "options"), CASES.values(), ids=CASES.keys())
IDS = some_ids(2, 40)


def published(family: str, **options: Any) -> Any:
    config = transformers.AutoConfig.for_model(family, **{**SHAPE, **options})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    stir(model)
    return model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS) if isinstance(model, Decoder) else model(IDS, use_cache=False).logits


@each_case
def test_logits_are_those_of_transformers(family: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = published(family, **options)
    model.save_pretrained(tmp_path / "theirs")
    error = relative_error(logits(load(tmp_path / "theirs")), logits(model))
    print(f"parity {family} {options}: {error:.1e}")
    assert error <= 1e-4


@each_case
def test_an_export_is_read_by_transformers(family: str, options: dict[str, Any], tmp_path: Path) -> None:
    published(family, **options).save_pretrained(tmp_path / "theirs")
    decoder = load(tmp_path / "theirs")
    export(decoder, tmp_path / "ours", token_ids={"eos_token_id": 2})
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours", attn_implementation="eager").eval()
    assert again.config.eos_token_id == 2
    assert relative_error(logits(again), logits(decoder)) <= 1e-4
    back = load(tmp_path / "ours")
    assert back.config == decoder.config
    assert torch.equal(logits(back), logits(decoder))


def test_the_parity_tests_reach_past_every_window_and_ramp() -> None:
    assert IDS.shape[1] > 2 * LLAMA3["original_max_position_embeddings"]


def test_shards_and_the_older_spelling_of_rope(tmp_path: Path) -> None:
    model = published("llama", rope_parameters=dict(LLAMA3))
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    values = json.loads((tmp_path / "config.json").read_text())
    rope = values.pop("rope_parameters")
    values["rope_theta"] = rope.pop("rope_theta")
    values["rope_scaling"] = rope
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert relative_error(logits(load(tmp_path)), logits(model)) <= 1e-4


def test_greedy_text_is_that_of_transformers(tmp_path: Path) -> None:
    model = published("qwen3", head_dim=16)
    model.save_pretrained(tmp_path)
    expected_BL = model.generate(IDS[:1, :5], max_new_tokens=30, do_sample=False)
    assert greedy(load(tmp_path), IDS[0, :5].tolist(), 30) == expected_BL[0].tolist()


def greedy(decoder: Any, ids: list[int], count: int) -> list[int]:
    cache, new = decoder.new_cache(), list(ids)
    for _ in range(count):
        with torch.no_grad():
            new.append(int(decoder(torch.tensor([new[cache.length :]]), cache)[0, -1].argmax()))
    return new


@pytest.mark.parametrize(
    "name",
    ["attn_softcap", "logit_softcap", "relu2", "sandwich", "mixed_windows", "attnres_block", "loop", "everything"],
)
def test_what_no_family_has_is_not_exported(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no published family"):
        export(tiny(**SWITCHES[name]), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "gpt_neox"}, r"'gpt_neox'[\s\S]*llama, mistral, qwen2, qwen3"),
        ({"model_type": None, "architectures": ["FooForCausalLM"]}, "FooForCausalLM"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "longrope"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 2.0}}, "low_freq_factor"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": 40}, r"model\.embed_tokens\.weight[\s\S]*\(61, 32\)[\s\S]*\(61, 40\)"),
        ({"num_key_value_heads": 3}, "3 key heads"),
        ({"tie_word_embeddings": "yes"}, "tied"),
        ({"attention_bias": True}, r"missing: model\.layers\.0\.self_attn\.q_proj\.bias[\s\S]* more"),
        ({"num_hidden_layers": 2}, r"unexpected: model\.layers\.2"),
    ],
)
def test_configs_that_do_not_fit_are_refused_by_name(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    export(tiny(), tmp_path / "out")
    path = tmp_path / "out" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UsageError, match=words):
        load(tmp_path / "out")


def test_real_weights_tell_the_documented_story() -> None:
    folder = shared_weights("stories260K")
    if folder is None:
        pytest.skip("no shared weights here: name their folder in OVERWINTER_SHARED")
    pieces = [piece for piece, _ in json.loads((folder / "tok512.json").read_text())]
    ids = greedy(load(folder / "hf"), [1], 60)
    text = "".join(pieces[i] for i in ids[1:]).replace("▁", " ").strip()
    start = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park"
    assert text.startswith(start), text
