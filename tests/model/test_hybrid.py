"""Decoders of Mamba-2 and attention: exact causality, drafts taken back, padding, costs, and published hybrids over many chunks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from model_kit import MAMBA, SHAPE, SWITCHES, relative_error, some_ids, stir, tiny
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.model import Cache, Config, Decoder, MambaConfig, MambaState, export, fresh, load
from overwinter.model.mamba2 import Mamba2

CHUNK = MAMBA.chunk_size
PATTERNS: dict[str, dict[str, Any]] = {
    "M": {"pattern": "M"},
    "MMMA": {"pattern": "MMMA", "n_layers": 4},
    "MW": {"pattern": "MW", "window": 5},
    "mMa": {"pattern": "mMa"},
    "AM": {"pattern": "AM", "rope_base": None, "qk_norm": True},
}
each_pattern = pytest.mark.parametrize("switches", PATTERNS.values(), ids=PATTERNS)


def hybrid(switches: dict[str, Any], **more: Any) -> Decoder:
    return tiny(**{**switches, "mamba": MAMBA, **more})


def fed(decoder: Decoder, ids_BL: Tensor, cache: Cache, piece: int = 1) -> Tensor:
    with torch.no_grad():
        return torch.cat([decoder(ids, cache) for ids in ids_BL.split(piece, dim=1)], dim=1)


@each_pattern
@torch.no_grad()
def test_no_token_sees_a_later_one_at_any_border(switches: dict[str, Any]) -> None:
    length = 3 * CHUNK + 5
    decoder, ids_BL = hybrid(switches), some_ids(1, length)
    before_BLV = decoder(ids_BL)
    borders = {border + step for border in range(0, length, CHUNK) for step in (-1, 0, 1)}
    for place in sorted(borders & set(range(length)) | {length - 1}):
        changed_BL = ids_BL.clone()
        changed_BL[0, place] = (changed_BL[0, place] + 1) % SHAPE["vocab_size"]
        after_BLV = decoder(changed_BL)
        assert torch.equal(after_BLV[:, :place], before_BLV[:, :place])
        assert not torch.equal(after_BLV[:, place], before_BLV[:, place])


@each_pattern
@pytest.mark.parametrize("accepted", [0, 2, 5])
def test_drafted_tokens_are_taken_back(switches: dict[str, Any], accepted: int) -> None:
    """A verifier computes five drafts in one call and keeps some: what follows is as if it had seen those alone."""
    decoder, ids_BL, drafts_BL = hybrid(switches), some_ids(2, 30), some_ids(2, 5, seed=3)
    cache, straight = decoder.new_cache(rollback=5), decoder.new_cache()
    fed(decoder, ids_BL[:, :20], cache, 20)
    fed(decoder, drafts_BL, cache, 5)
    cache.truncate(20 + accepted)
    fed(decoder, ids_BL[:, :20], straight, 20)
    if accepted:
        fed(decoder, drafts_BL[:, :accepted], straight)
    assert cache.length == straight.length == 20 + accepted
    found_BLV, expected_BLV = (fed(decoder, ids_BL[:, 20:], each) for each in (cache, straight))
    assert relative_error(found_BLV, expected_BLV) <= 1e-5


@each_pattern
def test_a_cut_too_far_changes_no_layer(switches: dict[str, Any]) -> None:
    decoder, ids_BL = hybrid(switches), some_ids(1, 12)
    cache = decoder.new_cache(rollback=3)
    fed(decoder, ids_BL[:, :10], cache, 10)
    assert cache.shortest == 7
    for length in (6, 11, -1):
        with pytest.raises(UsageError, match=r"10 tokens to .* can go back to 7"):
            cache.truncate(length)
    assert [layer.length for layer in cache.layers] == [10] * decoder.config.n_layers
    cache.truncate(7)
    assert [layer.length for layer in cache.layers] == [7] * decoder.config.n_layers


@each_pattern
@torch.no_grad()
def test_prompts_of_different_lengths_share_a_batch(switches: dict[str, Any]) -> None:
    decoder, long_L, short_L = hybrid(switches), some_ids(1, 20)[0], some_ids(1, 11, seed=1)[0]
    ids_BL = torch.stack([long_L, torch.cat([torch.full((9,), 7), short_L])])
    positions_BL = torch.stack([torch.arange(20), torch.arange(-9, 11)])
    step_BL, after_BL = some_ids(2, 1, seed=2), torch.tensor([[20], [11]])
    cache = decoder.new_cache()
    batch_BLV = torch.cat([decoder(ids_BL, cache, positions_BL), decoder(step_BL, cache, after_BL)], dim=1)
    for row, (alone_L, padding) in enumerate(((long_L, 0), (short_L, 9))):
        alone_BLV = decoder(torch.cat([alone_L, step_BL[row]])[None])
        assert relative_error(batch_BLV[row : row + 1, padding:], alone_BLV) <= 1e-5


@torch.no_grad()
def test_padding_elsewhere_is_refused() -> None:
    decoder, ids_BL = hybrid({"pattern": "MA"}), some_ids(1, 4)
    with pytest.raises(UsageError, match="padding after a token"):
        decoder(ids_BL, None, torch.tensor([[0, 1, -1, -1]]))
    cache = decoder.new_cache()
    decoder(ids_BL, cache)
    with pytest.raises(UsageError, match="middle of a text"):
        decoder(ids_BL, cache, torch.tensor([[-1, 4, 5, 6]]))


def test_a_factor_is_a_factor_on_weights() -> None:
    """Powers of two are exact, so the factors must give the very bits of a decoder whose weights hold them."""
    ids_BL, rest = some_ids(2, 20), {"pattern": "AM", "mamba": MAMBA}
    factors = {"attention_scale": 2 * SHAPE["d_head"] ** -0.5, "residual_scale": 0.5, "logit_divisor": 4.0}
    switched, plain = tiny(**rest, **factors, embedding_scale=2.0), tiny(**rest)
    weights = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    for name in weights:
        module = name.split(".")[-2]
        factor = {"o": 0.5, "out_proj": 0.5, "down": 0.5, "q": 2.0, "embed": 2.0, "head": 0.25}.get(module, 1.0)
        weights[name] *= factor
    plain.load_state_dict(weights)
    with torch.no_grad():
        assert relative_error(switched(ids_BL), plain(ids_BL)) <= 1e-6


def test_fresh_blocks_remember_by_the_published_rule() -> None:
    config = Config(**SHAPE, pattern="M", mamba=MambaConfig(n_heads=64, head_dim=2, d_state=4))
    first, second, other = (fresh(config, seed=seed) for seed in (1, 1, 2))
    for decoder, same in ((second, True), (other, False)):
        pairs = zip(first.named_parameters(), decoder.parameters(), strict=True)
        random = [torch.equal(one, two) for (name, one), two in pairs if "mixer" in name and not name.endswith("D")]
        assert all(random) if same else not all(random)
    mixer = first.blocks[0].mixer
    assert isinstance(mixer, Mamba2)
    steps = torch.nn.functional.softplus(mixer.dt_bias.detach())
    assert 0.0009 < float(steps.min()) < float(steps.max()) < 0.101
    decays = mixer.A_log.detach().exp()
    assert 1 <= float(decays.min()) < float(decays.max()) <= 16.001
    assert torch.equal(mixer.D, torch.ones(64))
    assert float(mixer.conv1d.weight.detach().abs().max()) > 0.2  # not normal(0, 0.02), which would be deaf


# --- what it costs --------------------------------------------------------------------------------------------------------

MODEL_25M = {"n_kv_heads": 2, "d_head": 64}
MAMBA_25M = MambaConfig(n_heads=12, head_dim=64, d_state=64)


def bytes_of(config: MambaConfig) -> int:
    """A float32 state: P·N numbers per head, and d_conv − 1 inputs of the convolution."""
    return 4 * (config.n_heads * config.head_dim * config.d_state + (config.d_conv - 1) * config.d_conv_channels)


def test_cache_bytes_are_the_arithmetic_of_the_page() -> None:
    """The formula against caches of real decoders, then the page's table against the formula."""
    per_token = 2 * SHAPE["n_kv_heads"] * SHAPE["d_head"] * 4 + 8
    for pattern in ("MMMA", "A"):
        mamba = MAMBA if "M" in pattern else None
        decoder = tiny(pattern=pattern, mamba=mamba, n_layers=4)
        for length in (1, 50):
            cache = decoder.new_cache()
            fed(decoder, some_ids(1, length), cache, length)
            recurrent = decoder.config.letters.count("M")
            assert cache.bytes == recurrent * bytes_of(MAMBA) + (4 - recurrent) * length * per_token

    page = (Path(__file__).parents[2] / "docs" / "mamba2.md").read_text()
    rows = re.findall(r"^\| ([\d,]+) \| ([\d,.]+) \| ([\d,.]+) \| ([\d.]+) % \|$", page, re.MULTILINE)
    assert [row[0] for row in rows] == ["1,024", "4,096", "32,768"]
    kv = 2 * MODEL_25M["n_kv_heads"] * MODEL_25M["d_head"] * 4 + 8
    for length, attention, mixed, percent in rows:
        tokens = int(length.replace(",", ""))
        expected = {"A": 4.0 * kv, "MMMA": kv + 3 * bytes_of(MAMBA_25M) / tokens}
        assert attention == f"{expected['A']:,.0f}"
        assert mixed == f"{expected['MMMA']:,.0f}"
        assert percent == f"{100 * expected['MMMA'] / expected['A']:.1f}"


def test_a_state_does_not_grow_and_costs_per_rollback() -> None:
    decoder = hybrid({"pattern": "M"})
    for rollback in (0, 4):
        cache = decoder.new_cache(rollback=rollback)
        assert cache.bytes == 0
        sizes = set()
        for _ in range(3):
            fed(decoder, some_ids(1, 30), cache, 30)
            sizes.add(cache.bytes)
        matrix, taps = MAMBA.d_inner * MAMBA.d_state, MAMBA.d_conv_channels
        assert sizes == {3 * 4 * ((1 + rollback) * matrix + (3 + rollback) * taps)}
    layer = cache.layers[0]
    assert isinstance(layer, MambaState)


# --- published hybrids ----------------------------------------------------------------------------------------------------

transformers = pytest.importorskip("transformers", reason="parity needs transformers")
THEIRS: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "max_position_embeddings": 512,
    "attn_implementation": "eager",
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
SIZES = {"mamba_n_heads": 8, "mamba_d_state": 6, "mamba_chunk_size": 32}
FAMILIES: dict[str, dict[str, Any]] = {
    "bamba": {**SIZES, "attn_layer_indices": [2]},
    "granitemoehybrid": {
        **SIZES,
        "num_local_experts": 0,
        "shared_intermediate_size": 48,
        "layer_types": ["mamba", "mamba", "attention", "mamba"],
        "attention_multiplier": 0.3,
        "residual_multiplier": 0.7,
    },
    "nemotron_h": {
        "hybrid_override_pattern": "M-M*-M",
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "ssm_state_size": 6,
        "n_groups": 2,
        "chunk_size": 32,
        "head_dim": 16,
    },
}
LONG = 3 * 64 + 5  # over three of our chunks of 64, six of theirs of 32
each_family = pytest.mark.parametrize("family", FAMILIES)


def published(family: str, **options: Any) -> Any:
    shape = {key: value for key, value in THEIRS.items() if family != "nemotron_h" or key != "num_hidden_layers"}
    config = transformers.AutoConfig.for_model(family, **{**shape, **FAMILIES[family], **options})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    stir(model)
    return model


@each_family
@torch.no_grad()
def test_a_published_hybrid_over_many_chunks(family: str, tmp_path: Path) -> None:
    """At once, in pieces and by steps, ours and theirs; theirs by steps gets its positions, which Bamba needs."""
    model, ids_BL = published(family), some_ids(2, LONG)
    model.save_pretrained(tmp_path)
    decoder = load(tmp_path)
    assert decoder.config.mamba is not None
    assert decoder.config.mamba.chunk_size == 64
    whole_BLV = decoder(ids_BL)
    errors = {"theirs at once": relative_error(whole_BLV, model(ids_BL, use_cache=False).logits)}
    start, past, steps = LONG - 6, None, []
    for at in [0, *range(start, LONG)]:
        piece_BL = ids_BL[:, :start] if at == 0 else ids_BL[:, at : at + 1]
        positions_BL = torch.arange(at, at + piece_BL.shape[1]).expand(2, -1)
        out = model(piece_BL, past_key_values=past, position_ids=positions_BL, use_cache=True)
        past = out.past_key_values
        steps.append(out.logits)
    errors["theirs by steps"] = relative_error(whole_BLV, torch.cat(steps, dim=1))
    assert max(errors.values()) <= 1e-4
    for pieces in ([64, 128, 5], [50, 1, 99, 47], [150] + [1] * 47):
        cache = decoder.new_cache()
        found_BLV = torch.cat([decoder(piece, cache) for piece in ids_BL.split(pieces, dim=1)], dim=1)
        errors[f"ours in {len(pieces)} pieces"] = relative_error(found_BLV, whole_BLV)
        assert errors[f"ours in {len(pieces)} pieces"] <= 1e-5
    print(family, {name: f"{error:.1e}" for name, error in errors.items()})


@each_family
def test_greedy_text_is_that_of_transformers(family: str, tmp_path: Path) -> None:
    model = published(family)
    model.save_pretrained(tmp_path)
    decoder, prompt_BL = load(tmp_path), some_ids(1, 40)
    expected = model.generate(prompt_BL, max_new_tokens=12, do_sample=False)[0].tolist()
    cache, ids = decoder.new_cache(), prompt_BL[0].tolist()
    for _ in range(12):
        with torch.no_grad():
            ids.append(int(decoder(torch.tensor([ids[cache.length :]]), cache)[0, -1].argmax()))
    assert ids == expected


@each_family
def test_shards_and_our_own_pattern_go_out_and_in(family: str, tmp_path: Path) -> None:
    model, ids_BL = published(family), some_ids(1, 30)
    model.save_pretrained(tmp_path / "shards", max_shard_size="30KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    decoder = load(tmp_path / "shards")
    with torch.no_grad():
        assert relative_error(decoder(ids_BL), model(ids_BL, use_cache=False).logits) <= 1e-4
        assert export(decoder, tmp_path / "again") == family
        assert torch.equal(load(tmp_path / "again")(ids_BL), decoder(ids_BL))


@pytest.mark.parametrize(
    ("switches", "family"),
    [
        ({"pattern": "MMMA", "n_layers": 4, "mlp": "swiglu", "rope_fraction": 0.5}, "bamba"),
        ({"pattern": "MMMA", "n_layers": 8, "rope_base": None}, "granitemoehybrid"),
        ({"pattern": "MmA", "rope_base": None, "mlp": "relu2"}, "nemotron_h"),
        ({"pattern": "A", "residual_scale": 0.5, "mamba": None}, "granitemoehybrid"),
    ],
)
def test_our_own_hybrids_are_read_by_transformers(switches: dict[str, Any], family: str, tmp_path: Path) -> None:
    mamba = MambaConfig(n_heads=8, head_dim=8, d_state=5, n_groups=2, chunk_size=6, norm_eps=1e-6, dt_lowest=0.002)
    decoder, ids_BL = tiny(**{"mamba": mamba, **switches}), some_ids(2, LONG)
    assert export(decoder, tmp_path / "out") == family
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    with torch.no_grad():
        assert relative_error(decoder(ids_BL), theirs(ids_BL, use_cache=False).logits) <= 1e-4


@pytest.mark.parametrize(
    "switches",
    [
        SWITCHES["hybrid_window"],
        {**SWITCHES["hybrid"], "mlp": "relu2"},
        {**SWITCHES["hybrid"], "qk_norm": True},
        {**SWITCHES["hybrid"], "norm": "sandwich"},
        {"pattern": "MMA", "mamba": MambaConfig(n_heads=8, head_dim=8, norm_eps=1e-6, norm_before_gate=True)},
        {"pattern": "MMA", "mamba": MambaConfig(n_heads=5, head_dim=8, norm_eps=1e-6)},
        {"pattern": "MMA", "mamba": MambaConfig(n_heads=8, head_dim=8, norm_eps=1e-3)},
        {"pattern": "mmA", "mlp": "relu2", "rope_base": None, "tied": True, "mamba": MAMBA},
    ],
    ids=lambda switches: "-".join(map(str, switches))[:40],
)
def test_what_no_family_has_is_not_exported(switches: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no published family"):
        export(tiny(**switches), tmp_path / "out")


@pytest.mark.parametrize(
    ("family", "change", "words"),
    [
        ("bamba", {"attn_layer_indices": [9]}, "attn_layer_indices"),
        ("bamba", {"attn_layer_indices": 2}, "attn_layer_indices"),
        ("bamba", {"mamba_n_heads": 7}, "7 Mamba-2 heads"),
        ("bamba", {"mamba_n_heads": "8"}, "mamba_n_heads '8'"),
        ("bamba", {"mamba_d_state": 0}, "d_state cannot be 0"),
        ("bamba", {"time_step_limit": [0.0]}, "time_step_limit"),
        ("bamba", {"time_step_limit": [0.0, {"x": 1}]}, "time_step_limit"),
        ("bamba", {"rope_parameters": {"rope_type": "longrope"}}, "longrope"),
        ("bamba", {"hidden_act": "gelu"}, "gelu"),
        ("bamba", {"quantization_config": {"bits": 4}}, "quantised"),
        ("granitemoehybrid", {"num_local_experts": 4}, "num_local_experts is 4"),
        ("granitemoehybrid", {"layer_types": ["mamba", "attention", "conv", "mamba"]}, "'conv'"),
        ("granitemoehybrid", {"layer_types": ["mamba"]}, "1 entries for 4 layers"),
        ("granitemoehybrid", {"layer_types": "mamba"}, "layer_types cannot be 'mamba'"),
        ("granitemoehybrid", {"position_embedding_type": "alibi"}, "alibi"),
        ("granitemoehybrid", {"logits_scaling": 0.0}, "logit_divisor cannot be 0"),
        ("granitemoehybrid", {"shared_intermediate_size": 40}, r"input_linear\.weight \(1 of 2\) has shape \(48, 32\)"),
        ("nemotron_h", {"layers_block_type": ["linear_attention", "moe"]}, "'moe'"),
        ("nemotron_h", {"layers_block_type": ["mlp", "linear_attention"]}, "'mlp' without a mixer"),
        ("nemotron_h", {"layers_block_type": 3}, "layers_block_type"),
        ("nemotron_h", {"layers_block_type": None, "hybrid_override_pattern": "M?"}, r"'M\?'"),
        ("nemotron_h", {"mlp_hidden_act": "silu"}, "mlp_hidden_act 'silu'"),
        ("nemotron_h", {"mamba_hidden_act": "gelu"}, "gelu"),
        ("nemotron_h", {"tie_word_embeddings": True}, "ties no embeddings"),
    ],
)
def test_what_differs_is_refused_by_name(family: str, change: dict[str, Any], words: str, tmp_path: Path) -> None:
    published(family).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UsageError, match=words):
        load(tmp_path)
