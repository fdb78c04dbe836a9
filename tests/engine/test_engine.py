"""The engine against its slow twin, and the promise that what a sequence says does not depend on company."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
import torch
from engine_kit import VOCABULARY, decoder_of, engine_of, request, said, serve_slowly, shape
from hypothesis import given, settings
from hypothesis import strategies as st

from overwinter.engine import Engine, Request, SamplingParams
from overwinter.engine.constraint import TrieConstraint
from overwinter.engine.trie import Trie
from overwinter.errors import StoreError, UsageError
from overwinter.model import AttnResConfig, LoopConfig, MambaConfig

MAMBA = MambaConfig(n_heads=4, head_dim=8, d_state=8, chunk_size=16)
HYBRID = {"pattern": "MMA", "n_layers": 3, "mamba": MAMBA}
LOOP = {"loop": LoopConfig(n_loops=3, prelude=1), "n_layers": 3}
SWITCHES = {
    "loops": LOOP,
    "hybrid": HYBRID,
    "recurrent alone": {"pattern": "M", "mamba": MAMBA},
    "loops, attention residuals": {
        "loop": LoopConfig(n_loops=2, prelude=1, reinject="parcae"),
        "attnres": AttnResConfig(blocks=3),
    },
    "plain": {},
    "one key head": {"n_kv_heads": 1},
    "as many key heads": {"n_kv_heads": 4},
    "windows": {"pattern": "AW", "window": 9},
    "softcap": {"attn_softcap": 5.0, "logit_softcap": 8.0},
    "all norms": {"qk_norm": True, "norm": "sandwich"},
    "relu2, biases, own head": {"mlp": "relu2", "qkv_bias": True, "mlp_bias": True, "out_bias": True, "tied": False},
}
LENGTHS = (1, 2, 5, 16, 17, 33, 64, 130)


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES.keys())
def test_engine_says_what_the_plain_decoder_says(switches: dict[str, object]) -> None:
    config = shape(**switches)
    asked = [request(length, seed=seed, logprobs=0) for seed, length in enumerate((1, 7, 40))]
    for got, one in zip(engine_of(config).run(asked), asked, strict=True):
        ids, logprobs = serve_slowly(decoder_of(config), one)
        assert list(got.output_ids) == ids
        assert [each.logprob for each in got.logprobs] == pytest.approx(logprobs, abs=2e-5)


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES.keys())
def test_company_pieces_and_prefixes_change_no_bit(switches: dict[str, object]) -> None:
    config = shape(**switches)
    asked = [request(length, 9, seed=seed, logprobs=3) for seed, length in enumerate(LENGTHS)]
    alone = [said(engine_of(config).run([one])[0]) for one in asked]
    together = engine_of(config, snapshot_tokens=32)
    assert [said(each) for each in together.run(asked)] == alone
    assert [said(each) for each in together.run(asked)] == alone
    border = 32 if "M" in config.letters else 16
    assert together.stats().prefix_hit_tokens == sum((length - 1) // border * border for length in LENGTHS)
    gathering = engine_of(config, mirror_bytes=0)
    assert [said(each) for each in gathering.run(asked)] == alone
    pieces = engine_of(config, step_tokens=19, max_running=3, share_prefixes=False)
    assert [said(each) for each in pieces.run(asked)] == alone
    assert pieces.stats().prefix_hit_tokens == 0


def test_this_machine_is_exact() -> None:
    """The tests here compare bits. Where this one fails, the libraries order their sums by other shapes: see probe.py."""
    assert engine_of().is_exact


@pytest.mark.parametrize("switches", [{}, HYBRID], ids=["attention", "hybrid"])
def test_preemption_changes_no_bit_and_frees_every_block(switches: dict[str, object]) -> None:
    config = shape(**switches)
    asked = [request(length, 40, seed=seed, logprobs=0) for seed, length in enumerate((30, 40, 20, 50, 35))]
    alone = [said(engine_of(config).run([one])[0]) for one in asked]
    block_bytes = engine_of(config).store.block_bytes
    small = engine_of(config, kv_bytes=12 * block_bytes)
    assert [said(each) for each in small.run(asked)] == alone
    stats = small.stats()
    assert stats.preemptions > 0
    assert (stats.blocks_referenced, stats.blocks_free + stats.blocks_cached) == (0, 12)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_order_of_events_leaves_no_block_behind(data: st.DataObject) -> None:
    engine = engine_of(kv_bytes=14 * _BLOCK_BYTES, max_running=4, step_tokens=24)
    expected = {}
    for step in range(data.draw(st.integers(4, 25), "steps")):
        action = data.draw(st.sampled_from(("submit", "submit", "step", "cancel")), "action")
        if action == "submit":
            one = request(data.draw(st.integers(1, 60)), data.draw(st.integers(1, 20)), seed=step)
            expected[engine.submit(one)] = one
        elif action == "cancel" and expected:
            engine.cancel(data.draw(st.sampled_from(sorted(expected))))
        else:
            engine.step()
    finished, said_ids = {}, {number: [] for number in expected}
    for _ in range(2000):
        if not engine.has_work:
            break
        for event in engine.step():
            said_ids[event.sequence] += event.token_ids
            if event.finish is not None:
                assert event.sequence not in finished
                finished[event.sequence] = event.finish
    stats = engine.stats()
    assert not engine.has_work
    assert (stats.running, stats.waiting, stats.blocks_referenced) == (0, 0, 0)
    assert stats.blocks_free + stats.blocks_cached == 14


_BLOCK_BYTES = engine_of().store.block_bytes


def test_a_short_prompt_is_not_starved_by_long_ones() -> None:
    engine = engine_of(step_tokens=40, max_running=8)
    for seed in range(4):
        engine.submit(request(300, seed=seed))
    engine.step()
    short = engine.submit(request(8, 2))
    steps = 0
    while not any(event.sequence == short for event in engine.step()):
        steps += 1
    assert steps <= 1  # the four long ones need 30 steps


def test_the_oldest_prompt_ends_under_a_stream_of_short_ones() -> None:
    engine = engine_of(step_tokens=40, max_running=8)
    long = engine.submit(request(300))
    for steps in range(60):
        engine.submit(request(30, 1, seed=steps))
        if any(event.sequence == long for event in engine.step()):
            break
    assert steps < 25


def test_prompt_logprobs_are_the_decoders() -> None:
    ids = request(150).prompt_ids
    asked = Request(prompt_ids=ids, max_tokens=0, prompt_logprobs=4, prompt_logprobs_from=0)
    got = engine_of(step_tokens=33).run([asked])[0]
    with torch.no_grad():
        expected = decoder_of()(torch.tensor([ids]))[0].log_softmax(-1)
    assert got.finish == "length"
    assert got.output_ids == ()
    assert [each.token_id for each in got.prompt_logprobs] == list(ids)
    assert got.prompt_logprobs[0].logprob is None
    assert [each.logprob for each in got.prompt_logprobs[1:]] == pytest.approx(
        [float(expected[at, token]) for at, token in enumerate(ids[1:])], abs=2e-5
    )
    for at, each in enumerate(got.prompt_logprobs[1:]):
        assert [value for _, value in each.top] == pytest.approx(expected[at].topk(4).values.tolist(), abs=2e-5)


def test_score_uses_the_prompt_in_memory_and_gives_the_same_numbers() -> None:
    ids = request(90).prompt_ids
    engine = engine_of()
    first = engine.score(ids[:70], ids[70:])
    assert engine.score(ids[:70], ids[70:]) == first
    assert engine.stats().prefix_hit_tokens == 64
    with torch.no_grad():
        expected = decoder_of()(torch.tensor([ids]))[0].log_softmax(-1)
    assert first == pytest.approx([float(expected[at - 1, ids[at]]) for at in range(70, 90)], abs=2e-5)
    assert engine.score(ids[:70], []) == []
    with pytest.raises(UsageError, match="prompt"):
        engine.score([], ids)


def test_tenants_share_no_prefix() -> None:
    engine = engine_of()
    engine.run([request(50, salt=b"one")])
    engine.run([request(50, salt=b"two")])
    assert engine.stats().prefix_hit_tokens == 0
    engine.run([request(50, salt=b"one")])
    assert engine.stats().prefix_hit_tokens == 48


@pytest.mark.parametrize("switches", [{}, HYBRID], ids=["attention", "hybrid"])
def test_sessions_that_start_together_compute_their_prefix_once(switches: dict[str, object]) -> None:
    config, ids = shape(**switches), request(96).prompt_ids
    engine = engine_of(config, step_tokens=64, snapshot_tokens=32)
    asked = [Request(prompt_ids=(*ids, tail), max_tokens=30) for tail in range(6)]
    other = engine.submit(request(20, 3))  # is not held up by those that wait for one another
    for one in asked:
        engine.submit(one)
    early = {event.sequence for _ in range(2) for event in engine.step()}
    assert other in early
    for _ in range(8):
        engine.step()
    stats = engine.stats()
    assert stats.prefill_tokens == 20 + 97 + 5
    assert stats.blocks_referenced == 6 + 6


def test_who_waits_for_a_prefix_goes_on_when_its_computer_is_gone() -> None:
    engine = engine_of(step_tokens=32)
    ids = request(200).prompt_ids
    first, second = (engine.submit(Request(prompt_ids=(*ids, tail), max_tokens=5)) for tail in range(2))
    engine.step()
    engine.cancel(first)
    ended = {}
    while engine.has_work:
        ended |= {event.sequence: event.finish for event in engine.step() if event.finish}
    assert ended == {first: "cancelled", second: "length"}


def test_constraints_hold_in_a_batch_and_end_the_sequence() -> None:
    choices = [(5, 6, 7), (5, 9), (88,)]
    trie = TrieConstraint(Trie.build(choices, vocab_size=VOCABULARY, end_token=0))
    asked = [request(length, 8, seed=length, constraint=trie if length % 2 else None) for length in range(3, 12)]
    engine = engine_of()
    for one, got in zip(asked, engine.run(asked), strict=True):
        if one.constraint is not None:
            assert got.output_ids in choices
            assert got.finish == "stop"
        else:
            assert len(got.output_ids) == 8
            assert got == next(each for each in [got] if said(each) == said(engine_of().run([one])[0]))


def test_a_row_without_a_choice_ends_alone() -> None:
    hopeless = request(4, sampling=SamplingParams(banned_ids=tuple(range(VOCABULARY))))
    sound, fault = engine_of().run([request(5), hopeless])
    assert (fault.finish, fault.output_ids) == ("fault", ())
    assert "no token is allowed" in fault.problem
    assert sound.finish == "length"


def test_end_tokens_and_limits() -> None:
    plain = engine_of().run([request(9, 12, seed=2)])[0].output_ids
    end = plain[4]
    first = plain.index(end)
    engine = Engine(decoder_of(), None, end_ids=[end])
    got, ignoring = engine.run([request(9, 12, seed=2), request(9, 12, seed=2, ignore_end=True)])
    assert (got.output_ids, got.finish) == (plain[: first + 1], "stop")
    assert (ignoring.output_ids, ignoring.finish) == (plain, "length")


def test_timeouts_and_cancellation_come_as_events() -> None:
    now = [0.0]
    engine = Engine(decoder_of(), None, clock=lambda: now[0])
    late, cancelled = engine.submit(request(5, 50, timeout_s=10.0)), engine.submit(request(6, 50))
    engine.step()
    engine.cancel(cancelled)
    now[0] = 11.0
    assert {(event.sequence, event.finish) for event in engine.step()} == {(late, "timeout"), (cancelled, "cancelled")}
    engine.cancel(late)  # too late to matter
    assert not engine.has_work
    assert engine.stats().blocks_referenced == 0


def test_an_interrupt_leaves_nothing_running() -> None:
    class Interrupt(Exception):
        pass

    def tick() -> float:
        if next(ticks) > 8:
            raise Interrupt
        return 0.0

    ticks = itertools.count()
    engine = Engine(decoder_of(), None, clock=tick)
    with pytest.raises(Interrupt):
        engine.run([request(5, 50), request(6, 50)])
    ticks = itertools.count(-1000)
    engine.step()
    assert not engine.has_work
    assert engine.stats().blocks_referenced == 0


def test_closing_a_stream_cancels_it() -> None:
    engine = engine_of()
    events = engine.stream(request(5, 50))
    assert next(events).token_ids
    events.close()
    assert not engine.has_work
    assert engine.stats().blocks_referenced == 0


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (request(395, 6), "395 tokens and 6 of output do not fit model's context of 400"),
        (Request(prompt_ids=(VOCABULARY,), max_tokens=1), "outside the vocabulary of 120"),
        (request(5, stop=("x",)), "no tokenizer"),
        (
            request(5, constraint=TrieConstraint(Trie.build([(1,)], vocab_size=VOCABULARY + 1, end_token=0))),
            "constraint is for 121 tokens",
        ),
    ],
)
def test_what_can_never_be_served_is_refused_at_once(asked: Request, words: str) -> None:
    engine = engine_of()
    with pytest.raises(UsageError, match=words):
        engine.submit(asked)
    assert not engine.has_work


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt_ids": (), "max_tokens": 1},
        {"prompt_ids": (1,), "max_tokens": 0},
        {"prompt_ids": (1,), "max_tokens": -1},
        {"prompt_ids": (1,), "max_tokens": 1, "logprobs": 21},
        {"prompt_ids": (1,), "max_tokens": 1, "exit_threshold": 0.0},
        {"prompt_ids": (1,), "max_tokens": 1, "timeout_s": 0.0},
    ],
)
def test_requests_that_mean_nothing_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Request(**fields)


def test_memory_that_is_too_small_is_named() -> None:
    with pytest.raises(UsageError, match="do not fit the 32 tokens"):
        engine_of(kv_bytes=2 * _BLOCK_BYTES).submit(request(30, 6))
    with pytest.raises(UsageError, match="do not hold one block"):
        engine_of(kv_bytes=10)


# --- loops ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.15, 0.5, 0.9])
def test_tokens_that_leave_early_say_the_same_in_any_company(threshold: float, tmp_path: Path) -> None:
    config = shape(**LOOP)
    dials = (threshold, 1.0, threshold, 0.5, threshold)
    asked = [request(10 + 9 * at, 24, seed=at, exit_threshold=dial, logprobs=0) for at, dial in enumerate(dials)]
    alone = [said(engine_of(config).run([one])[0]) for one in asked]
    together = engine_of(config)
    assert [said(each) for each in together.run(asked)] == alone
    assert [said(each) for each in together.run(asked)] == alone  # prompts from memory
    small = engine_of(config, kv_bytes=12 * together.store.block_bytes, mirror_bytes=0)
    assert [said(each) for each in small.run(asked)] == alone
    assert small.stats().preemptions > 0
    engine = engine_of(config)
    number = engine.submit(asked[0])
    for _ in range(9):
        engine.step()
    engine.suspend(number, tmp_path / "one")
    engine.resume(tmp_path / "one")
    ids: list[int] = []
    while engine.has_work:
        for event in engine.step():
            ids += event.token_ids
    assert tuple(ids) == alone[0].output_ids[9:]


def test_the_exit_dial_is_the_decoders() -> None:
    """Token by token against the plain decoder with its own cache, which computes every loop and drops what is not wanted."""
    config, asked = shape(**LOOP), request(20, 12, exit_threshold=0.5)
    engine = engine_of(config)
    got = engine.run([asked])[0]
    decoder = decoder_of(config)
    cache, ids, loops = decoder.new_cache(), list(asked.prompt_ids), 20 * 3
    with torch.no_grad():
        h_BLD = decoder.hidden(torch.tensor([ids]), cache)[:, -1:]
        for _ in range(12):
            ids.append(int(decoder.logits(h_BLD)[0, -1].argmax()))
            given = torch.tensor([[ids[-1]]]), cache, None, torch.tensor([[0.5]])
            h_BLD, depth_BL = decoder.hidden_and_depth(*given)
            loops += int(depth_BL) * (len(ids) - 20 < 12)
    assert list(got.output_ids) == ids[20:]
    assert engine.stats().loops == loops
    assert loops < (20 + 11) * 3


def test_a_dial_without_loops_is_refused() -> None:
    with pytest.raises(UsageError, match="no loops"):
        engine_of().submit(request(5, exit_threshold=0.5))


# --- suspend and resume ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("switches", [{}, HYBRID], ids=["attention", "hybrid"])
@pytest.mark.parametrize("stop_after", [0, 1, 3, 8])
def test_a_suspended_sequence_goes_on_with_the_same_bits(
    tmp_path: Path, stop_after: int, switches: dict[str, object]
) -> None:
    config = shape(**switches)
    asked = request(45, 14, seed=3, logprobs=2, prompt_logprobs=0)
    whole = engine_of(config).run([asked])[0]
    engine = engine_of(config, step_tokens=20)
    number = engine.submit(asked)
    for _ in range(stop_after):
        engine.step()
    engine.suspend(number, tmp_path / "one")
    assert not engine.has_work
    assert engine.stats().blocks_referenced == 0
    other = engine_of(config)
    other.submit(request(20, 30))  # what is resumed shares its steps
    number = other.resume(tmp_path / "one")
    ids, text = [], []
    while other.has_work:
        for event in other.step():
            if event.sequence == number:
                ids += event.token_ids
                text += event.logprobs
    assert tuple(ids) == whole.output_ids[-len(ids) :]
    assert tuple(text) == whole.logprobs[-len(ids) :]


def test_a_resumed_sequence_keeps_its_constraint(tmp_path: Path) -> None:
    trie = TrieConstraint(Trie.build([(5, 6, 7, 8), (5, 6, 9)], vocab_size=VOCABULARY, end_token=0))
    asked = request(10, 8, seed=1, constraint=trie)
    whole = engine_of().run([asked])[0].output_ids
    engine = engine_of()
    number = engine.submit(asked)
    engine.step()
    engine.suspend(number, tmp_path / "one")
    with pytest.raises(UsageError, match="with a constraint"):
        engine.resume(tmp_path / "one")
    number = engine.resume(tmp_path / "one", constraint=trie)
    ids: list[int] = []
    while engine.has_work:
        for event in engine.step():
            ids += event.token_ids
    assert tuple(ids) == whole[1:]


def test_a_foreign_or_damaged_file_is_refused(tmp_path: Path) -> None:
    engine = engine_of()
    number = engine.submit(request(10, 8))
    engine.step()
    engine.suspend(number, tmp_path / "one")
    with pytest.raises(UsageError, match="not under way"):
        engine.suspend(number, tmp_path / "two")
    with pytest.raises(UsageError, match="another model"):
        engine_of(seed=2).resume(tmp_path / "one")
    whole = (tmp_path / "one").read_bytes()
    for cut in (whole[:-1], whole[:40], b"", whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]):
        (tmp_path / "cut").write_bytes(cut)
        with pytest.raises(StoreError):
            engine.resume(tmp_path / "cut")
    assert engine.stats().blocks_referenced == 0


def test_resuming_without_room_computes_again(tmp_path: Path) -> None:
    asked = request(60, 20, seed=5)
    whole = engine_of().run([asked])[0].output_ids
    engine = engine_of(kv_bytes=6 * _BLOCK_BYTES)
    number = engine.submit(asked)
    for _ in range(4):
        engine.step()
    engine.suspend(number, tmp_path / "one")
    engine.submit(request(50, 30, seed=9))
    engine.step()
    number = engine.resume(tmp_path / "one")
    ids: list[int] = []
    while engine.has_work:
        for event in engine.step():
            ids += event.token_ids if event.sequence == number else ()
    assert tuple(ids) == whole[4:]


@pytest.mark.parametrize("switches", [{}, HYBRID], ids=["attention", "hybrid"])
def test_a_conversation_in_memory_says_what_a_fresh_engine_says(switches: dict[str, object]) -> None:
    """Each turn's prompt holds the answer before, which was computed token by token; a fresh engine computes it at once."""
    config, ids = shape(**switches), request(40).prompt_ids
    kept = engine_of(config, snapshot_tokens=16)
    for turn in range(5):
        asked = Request(prompt_ids=ids, max_tokens=20, sampling=SamplingParams(seed=turn), logprobs=1)
        got = kept.run([asked])[0]
        assert said(got) == said(engine_of(config, snapshot_tokens=16).run([asked])[0])
        assert got.cached_tokens > 0 or turn == 0
        ids += got.output_ids + request(9, seed=turn).prompt_ids


def test_random_workloads_equal_serving_each_alone() -> None:
    draw = random.Random(7)
    prefix = request(70).prompt_ids
    asked = [
        Request(
            prompt_ids=prefix[: draw.randrange(1, 70)] + request(draw.randrange(1, 40), seed=at).prompt_ids,
            max_tokens=draw.randrange(1, 25),
            sampling=SamplingParams(temperature=draw.choice((0.0, 0.7, 1.3)), top_p=draw.choice((1.0, 0.9)), seed=at),
            logprobs=draw.choice((None, 0, 5)),
        )
        for at in range(24)
    ]
    alone = [said(engine_of().run([one])[0]) for one in asked]
    crowded = engine_of(kv_bytes=20 * _BLOCK_BYTES, max_running=6, step_tokens=48)
    assert [said(each) for each in crowded.run(asked)] == alone
    assert crowded.stats().preemptions > 0
