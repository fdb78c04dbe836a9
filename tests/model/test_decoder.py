"""Every switch: causal, the same however the tokens are fed, and exactly the plain decoder when off."""

from __future__ import annotations

import pytest
import torch
from model_kit import MAMBA, SHAPE, SWITCHES, relative_error, some_ids, tiny
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.model import Cache, Config, Decoder, Mixer, fresh
from overwinter.model.config import LETTERS
from overwinter.model.mixer import MIXERS, build_mixer

LENGTH = 23  # three chunks of the Mamba-2 layers and five tokens
each_switch = pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES.keys())


def fed(decoder: Decoder, ids_BL: Tensor, pieces: list[int], cache: Cache | None = None) -> Tensor:
    cache = decoder.new_cache() if cache is None else cache
    with torch.no_grad():
        return torch.cat([decoder(piece, cache) for piece in ids_BL.split(pieces, dim=1)], dim=1)


@each_switch
def test_prefill_in_pieces_and_step_by_step_agree(switches: dict) -> None:
    worst = 0.0
    for seed in range(5):
        decoder, ids_BL = tiny(seed=seed, **switches), some_ids(2, LENGTH, seed=seed)
        with torch.no_grad():
            whole_BLV = decoder(ids_BL)
        for pieces in ([LENGTH], [7, 1, 9, 6], [1] * LENGTH, [12] + [1] * 11):
            worst = max(worst, relative_error(fed(decoder, ids_BL, pieces), whole_BLV))
    print(f"fed differently {switches}: {worst:.1e}")
    assert worst <= 1e-5


@each_switch
def test_later_tokens_leave_earlier_logits_alone(switches: dict) -> None:
    decoder, ids_BL = tiny(**switches), some_ids(1, LENGTH)
    with torch.no_grad():
        before_BLV = decoder(ids_BL)
        for place in (1, 5, LENGTH - 1):
            changed_BL = ids_BL.clone()
            changed_BL[0, place] = (changed_BL[0, place] + 1) % SHAPE["vocab_size"]
            after_BLV = decoder(changed_BL)
            assert torch.equal(after_BLV[:, :place], before_BLV[:, :place])
            assert not torch.equal(after_BLV[:, place:], before_BLV[:, place:])


@each_switch
def test_truncate_forgets_exactly(switches: dict) -> None:
    decoder, ids_BL = tiny(**switches), some_ids(2, LENGTH)
    far = LENGTH + 70
    expected_BLV = fed(decoder, ids_BL, [10, LENGTH - 10], decoder.new_cache(rollback=far))[:, 10:]
    cache = decoder.new_cache(rollback=far)
    fed(decoder, ids_BL, [10, LENGTH - 10], cache)
    fed(decoder, some_ids(2, 70, seed=1), [70], cache)
    cache.truncate(10)
    assert cache.length == 10
    assert torch.equal(fed(decoder, ids_BL[:, 10:], [LENGTH - 10], cache), expected_BLV)


@each_switch
def test_restore_goes_back_again_and_again(switches: dict) -> None:
    decoder, ids_BL = tiny(**switches), some_ids(2, LENGTH)
    cache = decoder.new_cache(rollback=LENGTH - 3)
    fed(decoder, ids_BL[:, :10], [10], cache)
    past, used = cache.snapshot(), cache.bytes
    expected_BLV = fed(decoder, ids_BL[:, 10:], [LENGTH - 10], cache)
    for seed in (1, 2):
        cache.truncate(max(3, cache.shortest))
        fed(decoder, some_ids(2, 8, seed=seed), [8], cache)
        cache.restore(past)
        assert (cache.length, cache.bytes) == (10, used)
        assert torch.equal(fed(decoder, ids_BL[:, 10:], [LENGTH - 10], cache), expected_BLV)


def test_an_empty_moment_can_be_restored() -> None:
    decoder, ids_BL = tiny(), some_ids(1, 6)
    cache = decoder.new_cache()
    past = cache.snapshot()
    first_BLV = fed(decoder, ids_BL, [6], cache)
    cache.restore(past)
    assert (cache.length, cache.bytes) == (0, 0)
    assert torch.equal(fed(decoder, ids_BL, [6], cache), first_BLV)


def test_bytes_count_the_tokens_seen() -> None:
    decoder = tiny()
    cache = decoder.new_cache()
    fed(decoder, some_ids(2, 9), [9], cache)
    keys_and_values = 2 * SHAPE["n_kv_heads"] * SHAPE["d_head"] * 4
    assert cache.bytes == 2 * 9 * SHAPE["n_layers"] * (keys_and_values + 8)


def test_misuse_of_a_cache_is_said() -> None:
    decoder = tiny()
    cache = decoder.new_cache()
    fed(decoder, some_ids(2, 4), [4], cache)
    with pytest.raises(UsageError, match="4 tokens to 5"):
        cache.truncate(5)
    with pytest.raises(UsageError, match="batch of 2"):
        fed(decoder, some_ids(3, 1), [1], cache)
    with pytest.raises(UsageError, match="layers"):
        cache.restore(tiny(n_layers=2).new_cache().snapshot())


@each_switch
def test_padding_is_neither_seen_nor_counted(switches: dict) -> None:
    decoder, long_L, short_L = tiny(**switches), some_ids(1, 9)[0], some_ids(1, 6, seed=1)[0]
    ids_BL = torch.stack([long_L, torch.cat([torch.zeros(3, dtype=torch.long), short_L])])
    positions_BL = torch.stack([torch.arange(9), torch.arange(9) - 3])
    step_BL, last_BL = torch.tensor([[5], [7]]), torch.tensor([[9], [6]])
    cache = decoder.new_cache()
    with torch.no_grad():
        batch_BLV = torch.cat([decoder(ids_BL, cache, positions_BL), decoder(step_BL, cache, last_BL)], dim=1)
        long_BLV = decoder(torch.cat([long_L, step_BL[0]])[None])
        short_BLV = decoder(torch.cat([short_L, step_BL[1]])[None])
    assert relative_error(batch_BLV[:1], long_BLV) <= 1e-5
    assert relative_error(batch_BLV[1:, 3:], short_BLV) <= 1e-5


@pytest.mark.parametrize("name", [name for name in SWITCHES if name not in ("plain", "tied")])
def test_a_switch_that_is_on_shows(name: str) -> None:
    """Otherwise the other tests of that switch would test the plain decoder."""
    plain, switched, ids_BL = tiny(), tiny(**SWITCHES[name]), some_ids(2, LENGTH)
    shared = {key: value for key, value in plain.state_dict().items() if key in switched.state_dict()}
    switched.load_state_dict(shared, strict=False)
    with torch.no_grad():
        assert relative_error(switched(ids_BL), plain(ids_BL)) > 1e-3


def test_off_is_plain() -> None:
    """Written out, each switch's off value is its default, and what has a limit tends to the plain decoder there."""
    off = {
        "pattern": "AAA", "window": None, "mamba": None, "rope_scaling": None, "rope_fraction": 1.0, "qkv_bias": False,
        "out_bias": False, "mlp_bias": False, "qk_norm": False, "attention_scale": None, "attn_softcap": None,
        "logit_softcap": None, "mlp": "swiglu", "norm": "pre", "tied": False, "embedding_scale": 1.0,
        "residual_scale": 1.0, "logit_divisor": 1.0, "attnres": None, "loop": None,
    }  # fmt: skip
    plain, ids_BL = tiny(), some_ids(2, LENGTH)
    with torch.no_grad():
        plain_BLV = plain(ids_BL)
        assert torch.equal(tiny(**off)(ids_BL), plain_BLV)
        written_out = {"attention_scale": SHAPE["d_head"] ** -0.5}
        for nearly in ({"pattern": "W", "window": LENGTH}, {"attn_softcap": 1e4}, {"logit_softcap": 1e4}, written_out):
            switched = tiny(**nearly)
            switched.load_state_dict(plain.state_dict())
            assert relative_error(switched(ids_BL), plain_BLV) <= 1e-5


def test_a_tied_head_is_the_embedding() -> None:
    tied, untied, ids_BL = tiny(tied=True), tiny(), some_ids(1, 5)
    weights = tied.state_dict()
    untied.load_state_dict({**weights, "head.weight": weights["embed.weight"]})
    with torch.no_grad():
        assert torch.equal(tied(ids_BL), untied(ids_BL))


def test_every_letter_has_a_mixer() -> None:
    assert set(LETTERS) == set(MIXERS)
    config = Config(**SHAPE, pattern="AWM", window=4, mamba=MAMBA)
    for letter in LETTERS:
        assert isinstance(build_mixer(letter, config), Mixer)


@pytest.mark.parametrize("name", ["everything", "everything_mixed"])
def test_every_parameter_learns(name: str) -> None:
    decoder = tiny(**SWITCHES[name])
    hidden_BLD = decoder.hidden(some_ids(2, LENGTH))
    (decoder.logits(hidden_BLD).logsumexp(-1).sum() + decoder.loop.exit_gate(hidden_BLD, 0).sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in decoder.parameters())


def test_a_seed_fixes_fresh_weights() -> None:
    first, same, other = (fresh(Config(**SHAPE), seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["embed.weight"], other["embed.weight"])


def test_frequencies_stay_float32() -> None:
    decoder = tiny().to(torch.bfloat16)
    assert decoder.blocks[0].mixer.rope.frequencies_P.dtype == torch.float32
    assert decoder(some_ids(1, 4)).dtype == torch.bfloat16
