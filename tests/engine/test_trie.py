"""The vectorised trie against its twin of dictionaries and against a Python set of prefixes."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the trie needs overwinter[local]")

from overwinter.engine.trie import DEAD, DONE, ROOT, Trie, TrieHandle, TrieRows  # noqa: E402
from overwinter.engine.trie_dict import DictTrie  # noqa: E402
from overwinter.errors import UsageError  # noqa: E402

torch.set_num_threads(1)
V, END = 19, 3
TOKENS = st.integers(0, V - 1).filter(lambda token: token != END)
SEQUENCES = st.lists(st.lists(TOKENS, min_size=1, max_size=6).map(tuple), min_size=1, max_size=30)
# From 1 (every list is a bit row) over a mixture to 99 (none is).
WIDE_FROM = st.sampled_from([1, 2, 4, 99])
quick = settings(max_examples=25)


def build(sequences: Any, **options: Any) -> Trie:
    return Trie.build(sequences, vocab_size=V, end_token=END, **options)


def prefixes(sequences: list[tuple[int, ...]]) -> set[tuple[int, ...]]:
    whole = [(*sequence, END) for sequence in sequences]
    return {sequence[:length] for sequence in whole for length in range(len(sequence) + 1)}


def expected(known: set[tuple[int, ...]], path: tuple[int, ...]) -> set[int]:
    """What may follow by the set of prefixes alone; after the end, and when dead, only the end."""
    return {token for token in range(V) if (*path, token) in known} or {END}


def allowed_in(logits_V: torch.Tensor) -> set[int]:
    return set((logits_V > float("-inf")).nonzero().squeeze(1).tolist())


def at(trie: Trie, paths: list[tuple[int, ...]]) -> TrieRows:
    """Rows of mixed depths, each walked there alone."""
    states = []
    for path in paths:
        row = trie.start(1)
        for token in path:
            row = row.advance(torch.tensor([token]))
        states.append(row.states_R)
    return TrieRows(trie, torch.cat(states))


@given(SEQUENCES, WIDE_FROM, st.integers(0, 5), st.booleans())
@quick
def test_every_prefix_allows_what_the_set_says(
    sequences: list[tuple[int, ...]], wide_from: int, padding: int, closed: bool
) -> None:
    known = prefixes(sequences)
    trie = build([(*s, END) if closed else s for s in sequences], wide_from=wide_from)
    paths = sorted(known)
    rows = at(trie, paths)
    logits_RV = torch.randn(len(paths), V + padding)
    before_RV = logits_RV.clone()
    assert rows.constrain_(logits_RV) is logits_RV
    mask_RV, candidates = trie.mask(rows.states_R), trie.candidates(rows.states_R)
    for row, path in enumerate(paths):
        allowed = expected(known, path)
        assert allowed_in(logits_RV[row]) == allowed == set(mask_RV[row].nonzero().squeeze(1).tolist())
        assert logits_RV[row, sorted(allowed)].equal(before_RV[row, sorted(allowed)])
        listed = candidates.tokens_RB[row][candidates.valid_RB[row]].tolist()
        assert sorted(listed) == sorted(allowed)
        assert bool(rows.done_R[row]) == (path[-1:] == (END,))
    assert not rows.dead_R.any()
    # No state is shared or left over: dead, done, root and one for each other prefix.
    assert trie.state_count == 3 + sum(1 for path in known if path and path[-1] != END)


@given(SEQUENCES, WIDE_FROM, st.data())
@quick
def test_a_batch_walks_like_the_twin(sequences: list[tuple[int, ...]], wide_from: int, data: st.DataObject) -> None:
    """Right and wrong tokens, ends, beams that are repeated and dropped, rows of different depth in one batch."""
    trie, twin = build(sequences, wide_from=wide_from), DictTrie(sequences, end_token=END)
    rows, nodes = trie.start(3), [twin.root] * 3
    for _ in range(8):
        tokens = [
            data.draw(st.one_of(st.sampled_from(twin.allowed(node)), st.integers(-1, V + 1)), label="token")
            for node in nodes
        ]
        rows = rows.advance(torch.tensor(tokens))
        nodes = [twin.advance(node, token) for node, token in zip(nodes, tokens, strict=True)]
        beams = data.draw(st.lists(st.integers(0, len(nodes) - 1), min_size=1, max_size=5), label="beams")
        beams.append(0)
        rows, nodes = rows.select(torch.tensor(beams)), [nodes[beam] for beam in beams]
        fresh = trie.start(1)
        rows, nodes = TrieRows(trie, torch.cat([rows.states_R, fresh.states_R])), [*nodes, twin.root]
        logits_RV = torch.randn(len(nodes), V)
        twin_RV = logits_RV.clone()
        rows.constrain_(logits_RV)
        twin.constrain_(twin_RV, nodes)
        assert logits_RV.equal(twin_RV)
        assert rows.dead_R.tolist() == [node is None for node in nodes]
        assert rows.done_R.tolist() == [node is twin.done for node in nodes]
        assert not logits_RV.softmax(1).isnan().any()


@given(SEQUENCES, WIDE_FROM, st.data())
@quick
def test_drafts_are_cut_and_rolled_back(sequences: list[tuple[int, ...]], wide_from: int, data: st.DataObject) -> None:
    trie, known = build(sequences, wide_from=wide_from), prefixes(sequences)
    drafts = []
    for _ in range(4):
        path = (*data.draw(st.sampled_from(sequences)), END, END, END, END, END, END)[:6]
        cut = data.draw(st.integers(0, 6))
        drafts.append((*path[:cut], *data.draw(st.lists(st.integers(0, V - 1), min_size=6 - cut, max_size=6 - cut))))
    rows = trie.start(4)
    walk = rows.walk(torch.tensor(drafts))
    logits_RK1V = torch.zeros(4, 7, V)
    trie.constrain_(logits_RK1V, walk.states_RK1)
    for row, draft in enumerate(drafts):
        path: tuple[int, ...] = ()
        accepted = 0
        for token in draft:
            if token not in expected(known, path):
                break
            path = path if path[-1:] == (END,) else (*path, token)
            accepted += 1
            assert allowed_in(logits_RK1V[row, accepted]) == expected(known, path)
        assert walk.allowed_R[row] == accepted
        rolled = TrieRows(trie, walk.states_RK1[row, accepted][None])
        assert rolled.states_R.equal(at(trie, [path]).states_R)
    assert (rows.states_R == ROOT).all(), "walking changes nothing"


@given(SEQUENCES, WIDE_FROM)
@quick
def test_the_same_row_alone_and_in_any_batch(sequences: list[tuple[int, ...]], wide_from: int) -> None:
    trie = build(sequences, wide_from=wide_from)
    states_R = torch.arange(trie.state_count)
    logits_RV = torch.randn(trie.state_count, V)
    alone = torch.cat([trie.constrain_(logits_RV[[row]], states_R[[row]]) for row in range(len(states_R))])
    assert trie.constrain_(logits_RV, states_R).equal(alone)


@given(SEQUENCES, st.randoms())
@quick
def test_order_and_duplicates_do_not_matter(sequences: list[tuple[int, ...]], random: Any) -> None:
    shuffled = [*sequences, *sequences]
    random.shuffle(shuffled)
    one, other = build(sequences), build(iter(shuffled))
    for name in ("tokens_E", "first_S1", "ends_S"):
        assert np.array_equal(getattr(one.arrays, name), getattr(other.arrays, name))


def test_torch_and_numpy_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines that run over numpy views on a CPU run over tensors elsewhere; here they are made to on the CPU."""
    rng = np.random.default_rng(0)
    trie = Trie.build(rng.integers(4, 600, (3000, 4)), vocab_size=700, end_token=END, wide_from=4)
    other = Trie.build(rng.integers(4, 600, (1, 4)), vocab_size=700, end_token=END)
    tensors = [trie.tokens_E, trie.first_S1, trie.ends_S, trie.slot_B, trie.root_next_V]
    moved = trie.to("cpu")
    object.__setattr__(moved, "_index", type(other._index)(torch, END, *tensors))
    states_R = torch.randint(0, trie.state_count, (400,))
    states_R[:3] = torch.tensor([DEAD, DONE, ROOT])
    logits_RV = torch.randn(400, 700)
    assert trie.constrain_(logits_RV.clone(), states_R).equal(moved.constrain_(logits_RV.clone(), states_R))
    one, two = trie.candidates(states_R), moved.candidates(states_R)
    assert one.valid_RB.equal(two.valid_RB)
    assert one.tokens_RB.equal(two.tokens_RB)
    for tokens_R in (one.tokens_RB[:, 0], torch.randint(-2, 705, (400,))):
        assert trie.advance(states_R, tokens_R).equal(moved.advance(states_R, tokens_R))


def test_arrays_lists_and_dtypes_build_the_same() -> None:
    rows = [[5, 6, 7], [5, 6, 8], [1, 2, 4]]
    wanted = build(rows).arrays.tokens_E.tolist()
    for dtype in (np.int64, np.int32, np.uint16, np.uint64):
        assert build(np.array(rows, dtype=dtype)).arrays.tokens_E.tolist() == wanted
    assert Trie.build(rows, vocab_size=2**17, end_token=END).tokens_E.dtype == torch.int32


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "no sequences"),
        ([[1, 2], []], "sequence 1 is empty"),
        ([[1], [END]], "sequence 1 is empty"),
        ([[1], [2, V]], f"token {V} of sequence 1 is outside"),
        ([[1], [], [-1]], "token -1 of sequence 2 is outside"),
        ([[1, END, 2]], "sequence 0 goes on after the end token"),
        ([["a"]], "not made of token ids"),
        ([3], "not made of token ids"),
        ([[1.5]], "not made of token ids"),
        ([[2**70]], "not made of token ids"),
        (np.zeros((2, 2)), "not a list of token sequences"),
        (np.zeros((0, 4), dtype=int), "no sequences"),
        (np.array([1, 2]), "not a list of token sequences"),
    ],
)
def test_bad_sequences_are_named(sequences: Any, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        build(sequences)


def test_bad_calls_are_named() -> None:
    with pytest.raises(UsageError, match="end token 19 is outside"):
        Trie.build([[1]], vocab_size=V, end_token=V)
    trie = build([[1, 2]])
    with pytest.raises(UsageError, match="do not fit"):
        trie.start(2).constrain_(torch.zeros(3, V))
    with pytest.raises(UsageError, match="do not fit"):
        trie.start(2).constrain_(torch.zeros(2, V - 1))
    with pytest.raises(UsageError, match="one token for each state"):
        trie.start(2).advance(torch.tensor([1]))


def test_an_empty_batch_is_fine() -> None:
    none = build([[1, 2]]).start(0)
    assert none.constrain_(torch.zeros(0, V)).shape == (0, V)
    assert none.advance(torch.zeros(0, dtype=torch.int64)).states_R.shape == (0,)
    assert none.trie.candidates(none.states_R).tokens_RB.shape == (0, 1)


def test_rows_in_flight_keep_their_snapshot() -> None:
    handle = TrieHandle(build([[1, 2, 4]]))
    before = handle.start(1).advance(torch.tensor([1]))
    old = handle.swap(build([[1, 5]]))
    after = handle.start(1).advance(torch.tensor([1]))
    assert before.trie is old is not handle.current
    assert handle.version == 2
    assert [allowed_in(rows.constrain_(torch.zeros(1, V))[0]) for rows in (before, after)] == [{2}, {5}]
    with pytest.raises(UsageError, match="20 tokens"):
        handle.swap(Trie.build([[1]], vocab_size=20, end_token=END))


def test_swaps_beside_readers() -> None:
    """Readers always see one snapshot whole, and no swap is lost."""
    tries = [build([[first, first + 10]]) for first in range(4, 8)]
    handle, torn = TrieHandle(tries[0]), []

    def read() -> None:
        for _ in range(200):
            rows = handle.start(1)
            (first,) = allowed_in(rows.constrain_(torch.zeros(1, V))[0])
            second = allowed_in(rows.advance(torch.tensor([first])).constrain_(torch.zeros(1, V))[0])
            torn.extend([] if second == {first + 10} else [(first, second)])

    def write() -> None:
        for turn in range(200):
            handle.swap(tries[turn % 4])

    threads = [threading.Thread(target=job) for job in (read, read, write, write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not torn
    assert handle.version == 401


def test_a_file_brings_back_the_same_trie(tmp_path: Path) -> None:
    trie = build([[1, 2, 4], [1, 2], [7]], wide_from=2)
    trie.save(tmp_path / "legal.trie")
    trie.save(tmp_path / "legal.trie")
    back = Trie.load(tmp_path / "legal.trie", wide_from=2)
    assert [path.name for path in tmp_path.iterdir()] == ["legal.trie"]
    states_R = torch.arange(trie.state_count)
    assert back.mask(states_R).equal(trie.mask(states_R))
    assert (back.vocab_size, back.end_token) == (V, END)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "legal.trie"
    with pytest.raises(UsageError, match="there is no trie"):
        Trie.load(path)
    trie = build([[1, 2, 4], [1, 2], [7]])
    trie.save(path)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UsageError, match="damaged"):
            Trie.load(path)
    parts = {
        "head": np.array([1, V, END]),
        "tokens": trie.arrays.tokens_E,
        "first": trie.arrays.first_S1,
        "ends": trie.arrays.ends_S,
    }
    wrong = [
        {"head": np.array([2, V, END])},
        {"head": np.array([1, 5, END])},
        {"head": np.array([1, V, 7])},
        {"tokens": parts["tokens"][::-1]},
        {"first": parts["first"][::-1]},
        {"first": parts["first"][1:]},
        {"ends": np.zeros_like(parts["ends"])},
        {"tokens": parts["tokens"].astype(float)},
        {"tokens": np.array([{"a": 1}], dtype=object)},
    ]
    for change in wrong:
        with path.open("wb") as file:
            np.savez(file, **{**parts, **change})
        with pytest.raises(UsageError):
            Trie.load(path)


def test_the_page_s_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "constraints.md").read_text()
    names: dict[str, Any] = {"__name__": "constraints_page"}
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"docs/constraints.md, block {number}", "exec", dont_inherit=True), names)
