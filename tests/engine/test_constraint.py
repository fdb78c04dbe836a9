"""The trie as a constraint of the engine: against the batched trie, in mixed batches, and rebuilt from output ids."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="constraints need overwinter[local]")

from overwinter.engine.constraint import Constraint, TrieConstraint, TrieState, rebuild  # noqa: E402
from overwinter.engine.trie import DEAD, DONE, ROOT, Trie, TrieHandle  # noqa: E402
from overwinter.errors import ModelError, UsageError  # noqa: E402

torch.set_num_threads(1)
V, END = 19, 3
TOKENS = st.integers(0, V - 1).filter(lambda token: token != END)
SEQUENCES = st.lists(st.lists(TOKENS, min_size=1, max_size=5), min_size=1, max_size=12)
# From 1 (every list of children is a bit row) over a mixture to 99 (none is).
WIDE_FROM = st.sampled_from([1, 2, 4, 99])
quick = settings(max_examples=40)


def trie_of(sequences: list[list[int]], wide_from: int = 99) -> Trie:
    return Trie.build(sequences, vocab_size=V, end_token=END, wide_from=wide_from)


def allowed_in(logits_V: torch.Tensor) -> list[int]:
    return (logits_V > float("-inf")).nonzero().flatten().tolist()


def states_of(constraint: TrieConstraint) -> list[TrieState]:
    """Every state that can be reached, by following what is allowed."""
    found, todo = [], [constraint.start()]
    while todo:
        state = todo.pop()
        found.append(state)
        if state.state != DONE:
            todo += [constraint.advance(state, token) for token in state.trie.allowed(state.state)]
    return found


@given(SEQUENCES, WIDE_FROM)
@quick
def test_one_row_on_the_host_follows_as_a_batch_does(sequences: list[list[int]], wide_from: int) -> None:
    trie = trie_of(sequences, wide_from)
    for state in range(trie.state_count):
        states_V = torch.full((V,), state)
        batch = trie.advance(states_V, torch.arange(V)).tolist()
        assert [trie.follow(state, token) for token in range(V)] == batch
        assert sorted(trie.allowed(state)) == [token for token in range(V) if batch[token] != DEAD]
        assert trie.follow(state, -1) == trie.follow(state, V) == trie.follow(state, 2**40) == DEAD


@given(st.lists(st.tuples(SEQUENCES, WIDE_FROM), min_size=1, max_size=3), st.randoms(use_true_random=False))
@quick
def test_rows_of_several_tries_stand_in_one_batch_and_do_not_see_each_other(tries, random) -> None:
    states = [state for rows in tries for state in states_of(TrieConstraint(trie_of(*rows)))]
    random.shuffle(states)
    states = states[:12]
    constraint = TrieConstraint(states[0].trie)
    logits_RV = torch.randn(len(states), V + 2)
    alone_RV = logits_RV.clone()
    constraint.constrain_(logits_RV, states)
    for row, state in enumerate(states):
        constraint.constrain_(alone_RV[row : row + 1], [state])
        assert allowed_in(logits_RV[row]) == sorted(state.trie.allowed(state.state))
        assert constraint.is_complete(state) == (allowed_in(logits_RV[row]) == [END])
    assert logits_RV.equal(alone_RV)


def test_a_row_of_a_larger_matrix_is_masked_where_it_lies() -> None:
    constraint = TrieConstraint(trie_of([[1, 2]]))
    both = torch.zeros(4, 2 * V)
    constraint.constrain_(both[1:3, :V], [constraint.start()] * 2)
    assert allowed_in(both[1, :V]) == allowed_in(both[2, :V]) == [1]
    assert (both[[0, 3]] == 0).all()
    assert (both[:, V:] == 0).all()


@given(SEQUENCES, st.data())
@quick
def test_a_state_is_rebuilt_from_output_ids(sequences: list[list[int]], data: st.DataObject) -> None:
    constraint = TrieConstraint(trie_of(sequences))
    state, output = constraint.start(), []
    while state.state != DONE:
        output.append(data.draw(st.sampled_from(state.trie.allowed(state.state))))
        state = constraint.advance(state, output[-1])
        assert rebuild(constraint, output) == state
    assert output[:-1] in sequences
    assert constraint.is_complete(state)
    assert constraint.advance(state, END).state == DONE


def test_a_handle_is_resolved_when_a_sequence_starts() -> None:
    old, new = trie_of([[1, 2]]), trie_of([[5]])
    handle = TrieHandle(old)
    constraint = TrieConstraint(handle)
    early = constraint.start()
    handle.swap(new)
    late = constraint.start()
    assert (early, late) == (TrieState(old, ROOT), TrieState(new, ROOT))
    logits_RV = torch.zeros(3, V)
    constraint.constrain_(logits_RV, [late, early, late])
    assert list(map(allowed_in, logits_RV)) == [[5], [1], [5]]
    assert constraint.advance(early, 1).trie is old


def test_what_may_not_follow_is_refused_with_what_may() -> None:
    constraint = TrieConstraint(trie_of([[1, 2], [1, 4], [1]]))
    with pytest.raises(ModelError, match="token 2 may not follow here: allowed are 1"):
        constraint.advance(constraint.start(), 2)
    with pytest.raises(ModelError, match="allowed are 2, 4, 3"):
        rebuild(constraint, [1, 7])
    with pytest.raises(ModelError, match="token 3 may not follow"):
        constraint.advance(constraint.start(), END)


def test_logits_that_do_not_fit_are_refused() -> None:
    constraint = TrieConstraint(trie_of([[1]]))
    with pytest.raises(UsageError, match="2 states"):
        constraint.constrain_(torch.zeros(1, V), [constraint.start()] * 2)
    with pytest.raises(UsageError, match="19 tokens"):
        constraint.constrain_(torch.zeros(1, V - 1), [constraint.start()])
    constraint.constrain_(torch.zeros(0, V), [])


def test_it_is_a_constraint() -> None:
    constraint = TrieConstraint(trie_of([[1]]))
    assert isinstance(constraint, Constraint)
    assert (constraint.vocab_size, constraint.end_token) == (V, END)
