"""Data: nothing is lost or seen twice in a pass, order is a function of the seed and the cursor, borders are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overwinter.errors import UsageError
from overwinter.learn.train.data import NO_TARGET, Examples, Mixture, Windows, in_order
from overwinter.learn.train.shards import Document, Shards, write_shards


def counted(folder: Path, lengths: list[int], *, shard_tokens: int = 16) -> Shards:
    """Documents whose tokens count on from 0, so that a token is its own place."""
    ends = np.cumsum(lengths)
    documents = (Document(ids=np.arange(end - length, end)) for length, end in zip(lengths, ends, strict=True))
    return write_shards(folder, documents, vocab_size=70_000, shard_tokens=shard_tokens)


def examples(folder: Path, lengths: list[int]) -> Shards:
    documents = (
        Document(ids=[number] * length, learn=[place >= 2 for place in range(length)])
        for number, length in enumerate(lengths)
    )
    return write_shards(folder, documents, vocab_size=1000)


def test_shards_give_every_range_back(tmp_path: Path) -> None:
    shards = counted(tmp_path / "a", [5, 20, 1, 30])
    assert len(list((tmp_path / "a").glob("tokens-*.bin"))) == 4
    for start, stop in ((0, 56), (3, 9), (15, 17), (16, 48), (55, 56), (7, 7)):
        assert shards.ids(start, stop).tolist() == list(range(start, stop))
    assert shards.ends.tolist() == [5, 25, 26, 56]
    assert shards.starts.tolist() == [0, 5, 25, 26]
    assert len(shards) == 4
    small = write_shards(tmp_path / "b", [Document(ids=[1, 2])], vocab_size=1 << 16)
    assert (small.folder / "tokens-00000.bin").stat().st_size == 4


def test_damaged_shards_are_refused(tmp_path: Path) -> None:
    shards = counted(tmp_path / "a", [40])
    last = shards.folder / "tokens-00002.bin"
    last.write_bytes(last.read_bytes()[:-4])
    with pytest.raises(UsageError, match="tokens-00002"):
        Shards(shards.folder)
    with pytest.raises(UsageError, match="ids from"):
        write_shards(tmp_path / "b", [Document(ids=[1, 9])], vocab_size=9)
    with pytest.raises(UsageError, match="one mark"):
        write_shards(tmp_path / "b", [Document(ids=[1, 2], learn=[True])], vocab_size=9)
    with pytest.raises(UsageError, match="nothing"):
        write_shards(tmp_path / "b", [Document(ids=[])], vocab_size=9)
    assert not (tmp_path / "b").exists()
    assert not list(tmp_path.glob(".*"))


@settings(max_examples=25, deadline=None)
@given(st.integers(9, 90), st.integers(2, 8), st.integers(0, 5))
def test_a_pass_sees_each_window_once(
    tmp_path_factory: pytest.TempPathFactory, tokens: int, context: int, seed: int
) -> None:
    source = Windows(counted(tmp_path_factory.mktemp("w") / "a", [tokens]), context=context, seed=seed)
    for turn in range(2):
        rows = [source.row(turn * source.rows_per_pass + at) for at in range(source.rows_per_pass)]
        seen = np.concatenate([row.ids for row in rows])
        assert len(set(seen.tolist())) == len(seen) >= tokens - 2 * context
        for row in rows:
            assert row.targets.tolist() == (row.ids + 1).tolist()


def test_passes_differ_and_seeds_differ(tmp_path: Path) -> None:
    shards = counted(tmp_path / "a", [200])
    one, other = Windows(shards, context=8, seed=1), Windows(shards, context=8, seed=2)
    count = one.rows_per_pass
    passes = [
        [int(source.row(at + turn * count).ids[0]) for at in range(count)] for source in (one, other) for turn in (0, 1)
    ]
    assert len({tuple(each) for each in passes}) == 4
    assert len({each[0] % 8 for each in passes}) > 1, "the offset changes too"


@pytest.mark.parametrize("borders", ["see", "mask", "isolate"])
def test_borders_of_documents(tmp_path: Path, borders: str) -> None:
    source = Windows(counted(tmp_path / "a", [5, 3, 9]), context=8, borders=borders, shuffle=False)
    first, second = source.row(0), source.row(1)
    hidden = [] if borders == "see" else [4, 7]
    assert np.flatnonzero(first.targets == NO_TARGET).tolist() == hidden
    assert np.flatnonzero(first.starts).tolist() == ([5] if borders == "isolate" else [])
    assert np.flatnonzero(second.targets == NO_TARGET).tolist() == []
    assert second.ids.tolist() == list(range(8, 16))


def test_examples_learn_their_targets_alone(tmp_path: Path) -> None:
    source = Examples(examples(tmp_path / "a", [4, 6]), context=8, batch_rows=1, shuffle=False)
    assert source.row(0).targets.tolist() == [NO_TARGET, 0, 0]
    assert source.row(1).targets.tolist() == [NO_TARGET, 1, 1, 1, 1]


@pytest.mark.parametrize("packing", ["bucket", "pack"])
def test_every_example_comes_once_in_a_pass(tmp_path: Path, packing: str) -> None:
    lengths = [3 + (7 * at) % 11 for at in range(40)]
    source = Examples(examples(tmp_path / "a", lengths), context=20, batch_rows=4, packing=packing)
    for turn in range(3):
        rows = [source.row(turn * source.rows_per_pass + at) for at in range(source.rows_per_pass)]
        seen = [int(example) for row in rows for example in row.ids[row.starts]]
        assert sorted(seen) == list(range(40))
        assert max(len(row.ids) for row in rows) <= 20
    assert sum(lengths) // 21 <= len(rows) <= 40
    if packing == "pack":
        assert sum(len(row.ids) for row in rows) > 0.85 * 20 * (len(rows) - 4)


def test_buckets_hold_similar_lengths_in_every_pass(tmp_path: Path) -> None:
    lengths = [3 + (7 * at) % 61 for at in range(70)]
    source = Examples(examples(tmp_path / "a", lengths), context=80, batch_rows=8)
    mixture = Mixture([source])
    padded = real = 0
    for _ in range(3 * source.rows_per_pass // 8):
        batch = mixture.batch(8)
        padded, real = padded + batch.ids.numel(), real + int((batch.ids > 0).sum() + (batch.targets == 0).sum())
    assert source.rows_per_pass == 64
    assert real > 0.8 * padded


def test_long_examples(tmp_path: Path) -> None:
    shards = examples(tmp_path / "a", [4, 12])
    with pytest.raises(UsageError, match=r"1 examples .* longer than 9"):
        Examples(shards, context=8, batch_rows=1)
    assert Examples(shards, context=8, batch_rows=1, too_long="skip").rows_per_pass == 1
    cut = Examples(shards, context=8, batch_rows=1, too_long="cut", shuffle=False).row(1)
    assert len(cut.ids) == 8
    assert NO_TARGET not in cut.targets


def test_a_mixture_keeps_its_proportions_at_every_moment(tmp_path: Path) -> None:
    sources = [Windows(counted(tmp_path / str(at), [300]), context=4, seed=at) for at in range(3)]
    mixture = Mixture(sources, [1.0, 2.0, 5.0])
    for rows in range(1, 81):
        mixture.batch(1)
        assert all(abs(taken - rows * share / 8) < 2 for taken, share in zip(mixture.taken, (1, 2, 5), strict=True))
    assert mixture.taken == [10, 20, 50]


def test_the_cursor_goes_on_where_it_was(tmp_path: Path) -> None:
    sources = [Windows(counted(tmp_path / str(at), [90]), context=4, seed=at) for at in range(2)]
    one, other = Mixture(sources, [1, 3]), Mixture(sources, [1, 3])
    for _ in range(13):
        one.batch(3)
    other.move(list(one.taken))
    for _ in range(20):
        assert torch.equal(one.batch(3).ids, other.batch(3).ids)
    skipping, reading = Mixture(sources), Mixture(sources)
    skipping.skip(7)
    reading.batch(7)
    assert skipping.taken == reading.taken
    with pytest.raises(UsageError, match="cursor"):
        other.move([1])


def test_what_is_evaluated_on_is_the_same_each_time(tmp_path: Path) -> None:
    source = Windows(counted(tmp_path / "a", [403]), context=4, shuffle=False)
    first = [batch.ids for batch in in_order(source, 10, 4)]
    assert [len(each) for each in first] == [4, 4, 2]
    assert all(torch.equal(a, b) for a, b in zip(first, (each.ids for each in in_order(source, 10, 4)), strict=True))
    assert int(first[-1][-1, 0]) >= 350, "spread over all of it"
    assert sum(batch.n_targets for batch in in_order(source, 1000, 7)) == 400


def test_text_that_is_too_short(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="9 tokens"):
        Windows(counted(tmp_path / "a", [9]), context=9)
    assert Windows(counted(tmp_path / "b", [9]), context=8).rows_per_pass == 1
