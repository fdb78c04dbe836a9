"""Ouro checkpoints against the formulas of arXiv 2510.25741, written out over the tensors' published names."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from model_kit import SHAPE, relative_error, some_ids, tiny
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from overwinter.errors import UsageError
from overwinter.model import LoopConfig, export, load

CONFIG: dict[str, Any] = {
    "architectures": ["OuroForCausalLM"],
    "model_type": "ouro",
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "sliding_window": None,
    "max_window_layers": 28,
    "layer_types": ["full_attention"] * 3,
    "total_ut_steps": 3,
    "early_exit_threshold": 1.0,
    "attention_dropout": 0.0,
}
IDS = some_ids(2, 20)


def checkpoint(folder: Path, seed: int = 0, **changes: Any) -> dict[str, Tensor]:
    """A folder as the published ones are, with drawn weights; returns its tensors."""
    values, generator = {**CONFIG, **changes}, torch.Generator().manual_seed(seed)
    width, heads = values["hidden_size"], values["num_attention_heads"]
    wide, narrow = (heads * 8, width), (values["num_key_value_heads"] * 8, width)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (values["vocab_size"], width),
        "model.norm.weight": (width,),
        "model.early_exit_gate.weight": (1, width),
        "model.early_exit_gate.bias": (1,),
    }
    if not values["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (values["vocab_size"], width)
    for layer in range(values["num_hidden_layers"]):
        place = f"model.layers.{layer}."
        for norm in ("input_layernorm", "input_layernorm_2", "post_attention_layernorm", "post_attention_layernorm_2"):
            shapes[f"{place}{norm}.weight"] = (width,)
        for part, shape in (("q", wide), ("k", narrow), ("v", narrow), ("o", wide[::-1])):
            shapes[f"{place}self_attn.{part}_proj.weight"] = shape
        for part, shape in (("gate", (48, width)), ("up", (48, width)), ("down", (width, 48))):
            shapes[f"{place}mlp.{part}_proj.weight"] = shape
    tensors = {
        name: (1.0 if "norm" in name else 0.0) + 0.2 * torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    }
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(values))
    return tensors


def by_the_paper(tensors: dict[str, Tensor], values: dict[str, Any], ids_L: Tensor) -> tuple[list[Tensor], Tensor]:
    """Logits after each loop [LV], and p_t of each token [LT]; one sequence, one head at a time."""
    h_LD, head = tensors["model.embed_tokens.weight"][ids_L], tensors.get("lm_head.weight")
    head = tensors["model.embed_tokens.weight"] if head is None else head
    logits, stops = [], []
    for _ in range(values["total_ut_steps"]):
        for layer in range(values["num_hidden_layers"]):
            named = {name.removeprefix(f"model.layers.{layer}."): tensor for name, tensor in tensors.items()}
            attended_LD = attention(rms(h_LD, named["input_layernorm.weight"]), named, values, layer)
            h_LD = h_LD + rms(attended_LD, named["input_layernorm_2.weight"])
            x_LD = rms(h_LD, named["post_attention_layernorm.weight"])
            wide_LF = functional.silu(x_LD @ named["mlp.gate_proj.weight"].T) * (x_LD @ named["mlp.up_proj.weight"].T)
            h_LD = h_LD + rms(wide_LF @ named["mlp.down_proj.weight"].T, named["post_attention_layernorm_2.weight"])
        h_LD = rms(h_LD, tensors["model.norm.weight"])
        logits.append(h_LD @ head.T)
        gate_L1 = h_LD @ tensors["model.early_exit_gate.weight"].T + tensors["model.early_exit_gate.bias"]
        stops.append(torch.sigmoid(gate_L1[:, 0]))
    left_L, p = torch.ones_like(stops[0]), []
    for stop_L in stops[:-1]:
        p.append(stop_L * left_L)
        left_L = left_L * (1 - stop_L)
    return logits, torch.stack([*p, left_L], dim=-1)


def rms(x_LD: Tensor, gain_D: Tensor) -> Tensor:
    return gain_D * x_LD / (x_LD.square().mean(-1, keepdim=True) + CONFIG["rms_norm_eps"]).sqrt()


def attention(x_LD: Tensor, named: dict[str, Tensor], values: dict[str, Any], layer: int) -> Tensor:
    heads, key_heads = values["num_attention_heads"], values["num_key_value_heads"]
    places_L = torch.arange(x_LD.shape[0])
    angles_LC = places_L[:, None] * 10000.0 ** (-torch.arange(0, 8, 2) / 8).repeat(2)
    behind_LL = places_L[:, None] - places_L
    seen_LL = behind_LL >= 0
    if values["layer_types"][layer] == "sliding_attention":
        seen_LL &= behind_LL < values["sliding_window"]

    def turned(part_LC: Tensor) -> Tensor:
        half_LC = torch.cat([-part_LC[:, 4:], part_LC[:, :4]], dim=-1)
        return part_LC * angles_LC.cos() + half_LC * angles_LC.sin()

    parts = [x_LD @ named[f"self_attn.{part}_proj.weight"].T for part in "qkv"]
    out = []
    for head in range(heads):
        key = head * key_heads // heads
        q_LC = turned(parts[0][:, 8 * head : 8 * head + 8])
        k_LC, v_LC = turned(parts[1][:, 8 * key : 8 * key + 8]), parts[2][:, 8 * key : 8 * key + 8]
        scores_LL = (q_LC @ k_LC.T / math.sqrt(8)).masked_fill(~seen_LL, -math.inf)
        out.append(scores_LL.softmax(-1) @ v_LC)
    return torch.cat(out, dim=-1) @ named["self_attn.o_proj.weight"].T


CASES: dict[str, dict[str, Any]] = {
    "as published": {},
    "grouped, tied": {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "windows": {
        "use_sliding_window": True,
        "sliding_window": 6,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
        "max_window_layers": 1,
    },
    "two loops": {"total_ut_steps": 2},
}
each_case = pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())


@each_case
def test_logits_and_exits_are_those_of_the_paper(changes: dict[str, Any], tmp_path: Path) -> None:
    tensors, values = checkpoint(tmp_path / "theirs", **changes), {**CONFIG, **changes}
    decoder = load(tmp_path / "theirs")
    expected = [by_the_paper(tensors, values, row_L) for row_L in IDS]
    with torch.no_grad():
        all_BLV = decoder(IDS)
        for row, (logits, p_LT) in enumerate(expected):
            error = relative_error(all_BLV[row], logits[-1])
            print(f"parity ouro {changes}: {error:.1e}")
            assert error <= 1e-4
            for q in (0.2, 0.5, 0.8):
                cache, asked = decoder.new_cache(), torch.full((1, 1), q)
                decoder(IDS[row : row + 1, :-1], cache)
                out_11V = decoder(IDS[row : row + 1, -1:], cache, exit_thresholds_BL=asked)
                depth = int((p_LT[-1].cumsum(-1) < q - 1e-6).sum())
                assert relative_error(out_11V[0, 0], logits[min(depth, len(logits) - 1)][-1]) <= 1e-4


@each_case
def test_an_export_is_the_same_files(changes: dict[str, Any], tmp_path: Path) -> None:
    tensors = checkpoint(tmp_path / "theirs", **changes)
    decoder = load(tmp_path / "theirs")
    assert export(decoder, tmp_path / "ours") == "ouro"
    again = load(tmp_path / "ours")
    assert again.config == decoder.config
    with torch.no_grad():
        assert torch.equal(again(IDS), decoder(IDS))
    from overwinter.model.weights import read_tensors

    written = read_tensors(tmp_path / "ours")
    assert written.keys() == tensors.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in tensors.items())
    values = json.loads((tmp_path / "ours" / "config.json").read_text())
    kept = ("model_type", "architectures", "total_ut_steps", "early_exit_threshold", "layer_types", "hidden_size")
    assert {key: values[key] for key in kept} == {key: {**CONFIG, **changes}[key] for key in kept}


def test_the_threshold_of_the_file_is_the_default_when_decoding(tmp_path: Path) -> None:
    checkpoint(tmp_path / "theirs", early_exit_threshold=0.01)
    decoder = load(tmp_path / "theirs")
    cache = decoder.new_cache()
    with torch.no_grad():
        assert (decoder.hidden_and_depth(IDS, cache)[1] == 3).all()
        assert (decoder.hidden_and_depth(IDS[:, :1], cache)[1] == 1).all()


def test_keys_that_are_left_out_mean_what_the_published_code_means(tmp_path: Path) -> None:
    left_out = ("total_ut_steps", "early_exit_threshold", "layer_types", "use_sliding_window", "rope_scaling")
    checkpoint(tmp_path / "theirs")
    path = tmp_path / "theirs" / "config.json"
    path.write_text(json.dumps({key: value for key, value in CONFIG.items() if key not in left_out}))
    assert load(tmp_path / "theirs").config.loop == LoopConfig(n_loops=4, gate_bias="shared")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"total_ut_steps": 1}, "low exit threshold"),
        ({"total_ut_steps": 0}, "n_loops"),
        ({"early_exit_threshold": 1.5}, "exit"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"num_hidden_layers": 2, "layer_types": ["full_attention"] * 2}, r"unexpected: model\.layers\.2"),
    ],
)
def test_what_differs_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    checkpoint(tmp_path / "theirs")
    path = tmp_path / "theirs" / "config.json"
    path.write_text(json.dumps({**CONFIG, **changes}))
    with pytest.raises(UsageError, match=words):
        load(tmp_path / "theirs")


@pytest.mark.parametrize(
    "options", [{"gate": False}, {"reinject": "add"}, {"gate_bias": "loop"}, {"prelude": 1}, {"loop_norm": False}]
)
def test_other_loops_are_not_ouro(options: dict[str, Any], tmp_path: Path) -> None:
    shape = {**SHAPE, "norm": "sandwich"}
    with pytest.raises(UsageError, match="no published family"):
        export(tiny(**shape, loop=LoopConfig(**{"n_loops": 3, "gate_bias": "shared", **options})), tmp_path / "out")
    how_it_was_trained = LoopConfig(n_loops=3, gate_bias="shared", depth_sampling="poisson")
    assert export(tiny(**shape, loop=how_it_was_trained), tmp_path / "out") == "ouro"
