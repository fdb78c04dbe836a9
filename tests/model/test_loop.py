"""Loops: the order of things, the memory of each loop, and tokens that stop early."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit import MAMBA, SHAPE, relative_error, some_ids, tiny
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.model import AttnResConfig, Cache, Config, Decoder, KVCache, LoopConfig, fresh
from overwinter.model.loop import FIRST_DECAY, ExitGate, Parcae, Plan
from overwinter.model.loop_training import exit_log_probs

LENGTH = 23  # three chunks of the Mamba-2 layers and five tokens
KINDS: dict[str, dict[str, Any]] = {
    "ouro": {"loop": LoopConfig(n_loops=3), "norm": "sandwich"},
    "shared_bias": {"loop": LoopConfig(n_loops=3, gate_bias="shared"), "tied": True},
    "state": {"loop": LoopConfig(n_loops=3, loop_norm=False)},
    "add": {"loop": LoopConfig(n_loops=3, reinject="add"), "pattern": "AW", "window": 4},
    "concat": {"loop": LoopConfig(n_loops=2, prelude=1, reinject="concat")},
    "parcae": {"loop": LoopConfig(n_loops=3, prelude=1, coda=1, reinject="parcae")},
    "coda": {"loop": LoopConfig(n_loops=3, coda=1, loop_norm=False), "tied": True},
    "attnres": {"loop": LoopConfig(n_loops=3, prelude=1), "attnres": AttnResConfig(kind="full"), "norm": "sandwich"},
    "blocks": {"loop": LoopConfig(n_loops=2, coda=1), "attnres": AttnResConfig(blocks=3)},
    "mamba": {"loop": LoopConfig(n_loops=3), "pattern": "MA", "mamba": MAMBA, "norm": "sandwich"},
    "hybrid": {
        "loop": LoopConfig(n_loops=2, prelude=1, reinject="parcae"),
        "pattern": "AMM",
        "mamba": MAMBA,
        "attnres": AttnResConfig(blocks=3),
        "tied": True,
    },
}
each_kind = pytest.mark.parametrize("switches", KINDS.values(), ids=KINDS.keys())


def bound(switches: dict[str, Any]) -> float:
    """Chunks and steps of Mamba-2 round differently, and each loop carries that on."""
    return 5e-5 if "mamba" in switches else 1e-5


class WithoutNarrow:
    """A memory that only attends, as a recurrent one only mixes: the loop then computes every token."""

    def __init__(self) -> None:
        self._cache = KVCache()

    @property
    def length(self) -> int:
        return self._cache.length

    def attend(self, *args: Any) -> Tensor:
        return self._cache.attend(*args)


def wide_cache(decoder: Decoder) -> Any:
    layers = decoder.new_cache().layers
    return Cache([WithoutNarrow() if isinstance(layer, KVCache) else layer for layer in layers])  # type: ignore[arg-type]


def uneven(decoder: Decoder) -> Decoder:
    """Gates that differ much from token to token."""
    with torch.no_grad():
        decoder.loop.exit_gate.weight.mul_(8)
    return decoder


def thresholds(batch: int, length: int, seed: int = 0) -> Tensor:
    values = torch.tensor([0.05, 0.3, 0.6, 0.9, 1.0])
    return values[torch.randint(0, 5, (batch, length), generator=torch.Generator().manual_seed(seed))]


@pytest.mark.parametrize(
    "options", [{}, {"prelude": 1, "coda": 1, "reinject": "parcae"}, {"loop_norm": False, "exit": 0.5}]
)
@pytest.mark.parametrize("others", [{}, {"norm": "sandwich", "attnres": AttnResConfig(blocks=3), "tied": True}])
def test_one_loop_is_the_plain_decoder(options: dict[str, Any], others: dict[str, Any]) -> None:
    plain, once = tiny(**others), tiny(loop=LoopConfig(n_loops=1, **options), **others)
    assert list(once.state_dict()) == list(plain.state_dict())
    ids_BL = some_ids(2, 20)
    caches = plain.new_cache(), once.new_cache()
    assert len(caches[0].layers) == len(caches[1].layers)
    with torch.no_grad():
        assert torch.equal(once(ids_BL), plain(ids_BL))
        for piece in ids_BL.split([12, 1, 1, 6], dim=1):
            assert torch.equal(once(piece, caches[1]), plain(piece, caches[0]))


@each_kind
def test_the_loop_written_out(switches: dict[str, Any]) -> None:
    decoder, ids_BL = tiny(**switches), some_ids(2, 15)
    with torch.no_grad():
        # Loops carry rounding on: machines and numbers of threads round otherwise, hybrids by up to 1.3e-6 so far.
        assert relative_error(decoder(ids_BL), decoder.logits(unrolled(decoder, ids_BL)[-1])) <= 5e-6


def unrolled(decoder: Decoder, ids_BL: Tensor) -> list[Tensor]:
    """What reaches the head after each loop; block by block, with no memory and nothing shared with `Loop.forward`."""
    loop, positions_BL = decoder.config.loop, torch.arange(ids_BL.shape[1]).expand(ids_BL.shape)
    blocks = list(decoder.blocks)
    end = len(blocks) - loop.coda

    def through(part: str, h_BLD: Tensor, layers: list[Any]) -> Tensor:
        sublayers = [sublayer for block in layers for sublayer in block.sublayers(positions_BL, None)]
        return decoder.stacks[part](h_BLD, sublayers) if layers else h_BLD

    e_BLD = through("prelude", decoder.embed(ids_BL), blocks[: loop.prelude])
    if loop.reinject == "parcae":
        e_BLD = decoder.loop.entry_norm(e_BLD)
    given_BLD, outputs = e_BLD, []
    for _ in range(loop.n_loops):
        state_BLD = through("middle", given_BLD, blocks[loop.prelude : end])
        normed_BLD = decoder.norm(state_BLD)
        next_BLD = normed_BLD if loop.loop_norm else state_BLD
        outputs.append(decoder.norm(through("coda", next_BLD, blocks[end:])) if loop.coda else normed_BLD)
        given_BLD = injected(decoder, next_BLD, e_BLD)
    return outputs


def injected(decoder: Decoder, state_BLD: Tensor, e_BLD: Tensor) -> Tensor:
    kind, injection = decoder.config.loop.reinject, decoder.loop.injection
    if kind == "concat":
        left_DD, right_DD = injection.adapter.weight.chunk(2, dim=1)
        return state_BLD @ left_DD.T + e_BLD @ right_DD.T
    if kind == "parcae":
        dt_D = (1 + injection.dt_bias.exp()).log()
        return torch.exp(-dt_D * injection.A_log.exp()) * state_BLD + dt_D * (e_BLD @ injection.B.weight.T)
    return state_BLD + e_BLD if kind == "add" else state_BLD


@each_kind
def test_prefill_in_pieces_and_step_by_step_agree(switches: dict[str, Any]) -> None:
    decoder, ids_BL, worst = tiny(**switches), some_ids(2, LENGTH), 0.0
    with torch.no_grad():
        whole_BLV = decoder(ids_BL)
        for pieces in ([LENGTH], [8, 1, 9, 5], [1] * LENGTH):
            cache = decoder.new_cache()
            fed_BLV = torch.cat([decoder(piece, cache) for piece in ids_BL.split(pieces, dim=1)], dim=1)
            worst = max(worst, relative_error(fed_BLV, whole_BLV))
    print(f"loops fed differently {switches}: {worst:.1e}")
    assert worst <= bound(switches)


@each_kind
def test_each_loop_and_layer_has_its_slot(switches: dict[str, Any]) -> None:
    decoder = tiny(**switches)
    loop, layers = decoder.config.loop, decoder.config.n_layers
    middle = layers - loop.prelude - loop.coda
    slots = decoder.plan.slots
    assert len(decoder.new_cache().layers) == len(slots) == loop.prelude + loop.n_loops * middle + loop.coda
    for t, layer in itertools.product(range(loop.n_loops), range(middle)):
        assert slots[loop.prelude + t * middle + layer] == loop.prelude + layer
    cache, ids_BL = decoder.new_cache(), some_ids(1, 6)
    with torch.no_grad():
        decoder(ids_BL, cache)
    assert {memory.length for memory in cache.layers} == {6}
    keys = [memory.newest(6)[0] if isinstance(memory, KVCache) else memory.matrix for memory in cache.layers]
    for first, second in itertools.combinations(keys, 2):
        assert first.shape != second.shape or not torch.equal(first, second)


def test_a_plan_without_a_loop_is_every_layer_once() -> None:
    plan = Plan.of(Config(**SHAPE))
    assert plan.slots == (0, 1, 2)
    assert plan.split(["a", "b", "c"]) == ([], [["a", "b", "c"]], [])


@each_kind
def test_threshold_one_is_all_loops_exactly(switches: dict[str, Any]) -> None:
    decoder, ids_BL = uneven(tiny(**switches)), some_ids(2, 12)
    with torch.no_grad():
        # A gate so sure that 1 − S rounds to 1 after the first loop.
        decoder.loop.exit_gate.bias.fill_(40.0)
        caches = decoder.new_cache(), decoder.new_cache()
        for piece in ids_BL.split([7, 1, 1, 3], dim=1):
            ones_BL = torch.ones_like(piece, dtype=torch.float)
            normed_BLD, depth_BL = decoder.hidden_and_depth(piece, caches[0], exit_thresholds_BL=ones_BL)
            assert torch.equal(normed_BLD, decoder.hidden(piece, caches[1]))
            assert (depth_BL == decoder.config.loop.n_loops).all()


@each_kind
def test_the_smallest_threshold_is_one_loop(switches: dict[str, Any]) -> None:
    decoder, ids_BL = tiny(**switches), some_ids(2, 12)
    with torch.no_grad():
        first_BLD = unrolled(decoder, ids_BL)[0]
        low_BL = torch.full(ids_BL.shape, 1e-9)
        hidden_BLD, depth_BL = decoder.hidden_and_depth(ids_BL, decoder.new_cache(), exit_thresholds_BL=low_BL)
    assert (depth_BL == 1).all()
    assert relative_error(hidden_BLD, first_BLD) <= 1e-6


def test_depth_is_the_first_loop_whose_cumulative_probability_reaches_the_threshold() -> None:
    decoder, ids_BL = uneven(tiny(loop=LoopConfig(n_loops=5))), some_ids(1, 30)
    with torch.no_grad():
        states = unrolled(decoder, ids_BL)
        gates_BLT = torch.stack([decoder.loop.exit_gate(state, t) for t, state in enumerate(states)], dim=-1)
        p_T = exit_log_probs(gates_BLT)[0, -1].exp()
        for q in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
            expected = next(t for t in range(1, 6) if t == 5 or float(p_T[:t].sum()) >= q)
            asked_BL = torch.ones(1, 30)
            asked_BL[0, -1] = q
            hidden_BLD, depth_BL = decoder.hidden_and_depth(ids_BL, exit_thresholds_BL=asked_BL)
            assert depth_BL[0, -1] == expected
            assert (depth_BL[0, :-1] == 5).all()
            assert relative_error(hidden_BLD[0, -1], states[expected - 1][0, -1]) <= 1e-5


@each_kind
@pytest.mark.parametrize("batch", [1, 3])
def test_computing_only_active_tokens_changes_nothing(switches: dict[str, Any], batch: int) -> None:
    """The fast path copies keys and values; its twin computes every token from the input its mixer had."""
    decoder, ids_BL = uneven(tiny(**switches)), some_ids(batch, 20)
    narrow, wide, depths, worst = decoder.new_cache(), wide_cache(decoder), set(), 0.0
    lengths = [6, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3]
    with torch.no_grad():
        for number, piece in enumerate(ids_BL.split(lengths, dim=1)):
            asked_BL = thresholds(*piece.shape, seed=number)
            fast_BLD, fast_BL = decoder.hidden_and_depth(piece, narrow, exit_thresholds_BL=asked_BL)
            slow_BLD, slow_BL = decoder.hidden_and_depth(piece, wide, exit_thresholds_BL=asked_BL)
            assert torch.equal(fast_BL, slow_BL)
            worst = max(worst, relative_error(fast_BLD, slow_BLD))
            depths |= set(fast_BL.flatten().tolist())
    print(f"active tokens alone {switches}: {worst:.1e}")
    assert worst <= bound(switches)
    assert len(depths) > 1, "a test of early exit needs tokens that stop and tokens that go on"


@each_kind
def test_with_exits_it_is_the_same_however_fed(switches: dict[str, Any]) -> None:
    """Without a cache, in one call, tokens of one sequence stop at different loops and see each other as steps would."""
    decoder, ids_BL = uneven(tiny(**switches)), some_ids(2, 18)
    asked_BL = thresholds(2, 18)
    with torch.no_grad():
        whole_BLD, whole_BL = decoder.hidden_and_depth(ids_BL, exit_thresholds_BL=asked_BL)
        for pieces in ([1] * 18, [5, 1, 1, 11]):
            cache, parts = decoder.new_cache(), []
            for piece, asked in zip(ids_BL.split(pieces, 1), asked_BL.split(pieces, 1), strict=True):
                parts.append(decoder.hidden_and_depth(piece, cache, exit_thresholds_BL=asked))
            assert torch.equal(torch.cat([depth for _, depth in parts], dim=1), whole_BL)
            assert relative_error(torch.cat([hidden for hidden, _ in parts], dim=1), whole_BLD) <= bound(switches)
    assert whole_BL.min() < whole_BL.max()


def test_unvisited_slots_hold_what_the_last_visited_one_holds() -> None:
    decoder, ids_BL = uneven(tiny(loop=LoopConfig(n_loops=3), pattern="AW", window=4)), some_ids(1, 8)
    cache = decoder.new_cache()
    with torch.no_grad():
        decoder(ids_BL, cache)
        depths = []
        for token in range(8):
            asked_BL = torch.tensor([[0.3]])
            _, depth_BL = decoder.hidden_and_depth(ids_BL[:, token : token + 1], cache, exit_thresholds_BL=asked_BL)
            depths.append(int(depth_BL))
    assert len(set(depths)) > 1
    for token, layer in itertools.product(range(8), range(3)):
        slots = [cache.layers[t * 3 + layer] for t in range(3)]
        for t in range(depths[token], 3):
            for kept, last in zip(slots[t].newest(8), slots[depths[token] - 1].newest(8), strict=True):
                place = token if kept.dim() == 2 else (slice(None), token)
                assert torch.equal(kept[0][place], last[0][place])


@each_kind
def test_truncate_and_restore_with_exits(switches: dict[str, Any]) -> None:
    decoder, ids_BL = uneven(tiny(**switches)), some_ids(1, 16)

    def steps(cache: Any, start: int, end: int, q: float) -> list[Tensor]:
        asked_BL = torch.full((1, 1), q)
        with torch.no_grad():
            return [decoder(ids_BL[:, t : t + 1], cache, exit_thresholds_BL=asked_BL) for t in range(start, end)]

    cache = decoder.new_cache(rollback=6)
    steps(cache, 0, 10, 0.4)
    past, used = cache.snapshot(), cache.bytes
    expected = steps(cache, 10, 16, 0.4)
    cache.truncate(10)
    assert (cache.length, cache.bytes) == (10, used)
    assert all(map(torch.equal, steps(cache, 10, 16, 0.4), expected))
    steps(cache, 0, 9, 0.1)
    cache.restore(past)
    assert all(map(torch.equal, steps(cache, 10, 16, 0.4), expected))


def test_later_tokens_and_their_thresholds_leave_earlier_ones_alone() -> None:
    decoder, ids_BL = uneven(tiny(**KINDS["parcae"])), some_ids(1, 20)
    asked_BL, changed_BL = thresholds(1, 20), ids_BL.clone()
    changed_BL[0, 12] = (changed_BL[0, 12] + 1) % SHAPE["vocab_size"]
    other_BL = asked_BL.clone()
    other_BL[0, 12:] = 0.01
    with torch.no_grad():
        before_BLV = decoder(ids_BL, exit_thresholds_BL=asked_BL)
        assert torch.equal(decoder(changed_BL, exit_thresholds_BL=asked_BL)[:, :12], before_BLV[:, :12])
        assert torch.equal(decoder(ids_BL, exit_thresholds_BL=other_BL)[:, :12], before_BLV[:, :12])


def test_the_configs_threshold_is_for_decoding_alone() -> None:
    decoder, ids_BL = uneven(tiny(loop=LoopConfig(n_loops=3, exit=0.01))), some_ids(1, 6)
    cache = decoder.new_cache()
    with torch.no_grad():
        assert (decoder.hidden_and_depth(ids_BL, cache)[1] == 3).all()
        assert (decoder.hidden_and_depth(ids_BL[:, :1], cache)[1] == 1).all()
        assert (decoder.hidden_and_depth(ids_BL[:, :1])[1] == 3).all()
        all_of_them = torch.ones(1, 1)
        assert (decoder.hidden_and_depth(ids_BL[:, :1], cache, exit_thresholds_BL=all_of_them)[1] == 3).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 8), st.floats(0.1, 20), st.integers(0, 100))
def test_exit_probabilities_sum_to_one_however_sure_the_gate(n_loops: int, scale: float, seed: int) -> None:
    gates_BLT = scale * (2 * torch.rand(2, 9, n_loops, generator=torch.Generator().manual_seed(seed)) - 1).sign()
    gates_BLT.requires_grad_()
    log_p_BLT = exit_log_probs(gates_BLT)
    p_BLT = log_p_BLT.exp()
    assert torch.allclose(p_BLT.sum(-1), torch.ones(2, 9), atol=1e-6)
    entropy_BL = -(p_BLT * log_p_BLT).sum(-1)
    assert torch.isfinite(entropy_BL).all()
    assert bool((entropy_BL >= -1e-6).all() & (entropy_BL <= math.log(n_loops) + 1e-5).all())
    entropy_BL.sum().backward()
    assert torch.isfinite(gates_BLT.grad).all()


@pytest.mark.parametrize("n_loops", [2, 3, 4, 8])
def test_at_the_start_every_depth_is_equally_likely(n_loops: int) -> None:
    decoder = fresh(Config(**SHAPE, loop=LoopConfig(n_loops=n_loops)))
    gate = decoder.loop.exit_gate
    assert isinstance(gate, ExitGate)
    gates_BLT = torch.stack([gate(torch.randn(1, 3, 32), t) for t in range(n_loops)], dim=-1)
    assert torch.allclose(exit_log_probs(gates_BLT).exp(), torch.full((1, 3, n_loops), 1 / n_loops))
    shared = fresh(Config(**SHAPE, loop=LoopConfig(n_loops=n_loops, gate_bias="shared"))).loop.exit_gate
    gates_BLT = torch.stack([shared(torch.randn(1, 3, 32), t) for t in range(n_loops)], dim=-1)
    halves_T = torch.tensor([0.5 ** min(t + 1, n_loops - 1) for t in range(n_loops)])
    assert torch.allclose(exit_log_probs(gates_BLT).exp(), halves_T.expand(1, 3, n_loops))


def test_parcae_forgets_whatever_its_parameters_become() -> None:
    injection, h_BLD = Parcae(8), torch.randn(1, 2, 8)
    nothing_BLD = torch.zeros_like(h_BLD)
    with torch.no_grad():
        assert torch.allclose(injection(h_BLD, nothing_BLD), FIRST_DECAY * h_BLD)
        for scale in (-3.0, 0.0, 3.0):
            injection.A_log.fill_(scale)
            injection.dt_bias.fill_(scale)
            assert bool((injection(h_BLD, nothing_BLD).abs() < h_BLD.abs()).all())


def test_every_parameter_of_a_loop_learns() -> None:
    for name in ("ouro", "concat", "parcae", "blocks"):
        decoder = tiny(**KINDS[name])
        normed_BLD, _ = decoder.hidden_and_depth(some_ids(2, 9))
        total = decoder.logits(normed_BLD).logsumexp(-1).sum() + decoder.loop.exit_gate(normed_BLD, 0).sum()
        total.backward()
        idle = [
            name for name, parameter in decoder.named_parameters() if parameter.grad is None or not parameter.grad.any()
        ]
        assert not idle


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"n_loops": 0}, "n_loops"),
        ({"n_loops": 2, "prelude": -1}, "prelude"),
        ({"n_loops": 2, "reinject": "noise"}, "reinject"),
        ({"n_loops": 2, "exit": 0.0}, "exit"),
        ({"n_loops": 2, "exit": 1.5}, "exit"),
        ({"n_loops": 2, "exit": 0.5, "gate": False}, "gate"),
        ({"n_loops": 2, "bptt": 1}, "embedding without gradient"),
        ({"n_loops": 2, "depth_sampling": "uniform"}, "depth_sampling"),
        ({"n_loops": 2, "speed": 1}, "speed"),
        ({}, "n_loops"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Config.from_dict({**SHAPE, "loop": wrong})


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(UsageError, match="no layer of 3"):
        tiny(loop=LoopConfig(n_loops=2, prelude=2, coda=1))
    ungated, ids_BL = tiny(loop=LoopConfig(n_loops=2, gate=False)), some_ids(1, 4)
    assert not [name for name in ungated.state_dict() if name.startswith("loop.")]
    with pytest.raises(UsageError, match="no gate"):
        ungated(ids_BL, exit_thresholds_BL=torch.full((1, 4), 0.5))
    with torch.no_grad():
        assert torch.equal(ungated(ids_BL, exit_thresholds_BL=torch.ones(1, 4)), ungated(ids_BL))
    with pytest.raises(UsageError, match=r"\(1, 3\).*\(1, 4\)"):
        tiny(loop=LoopConfig(n_loops=2))(ids_BL, exit_thresholds_BL=torch.ones(1, 3))
