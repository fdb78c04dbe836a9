"""One decision by search: branches are grown while the budget of the search lasts, then one of them is committed.

    search.began                settings, what it may spend, what it leaves for an answer without it
      … forks of this entry, see `branch` …
    search.ended                the tree in figures, the votes, what is committed and why
    branch.committed, sample.completion     the branch's first step becomes the run's, and is carried out for real, through its gates

All three of the last are one append: a search that has ended is committed. A search that was killed is gone on with: its tree is read from
its branches, a branch that was not finished is finished, and the strategy, a function of the tree, is asked again. What was spent stays
spent. Something that comes from outside meanwhile and that the model has to see (an event, a new budget) overtakes a search, and
another one begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from overwinter.errors import BudgetExhausted, UsageError
from overwinter.journal import Draft, Entry, Store
from overwinter.loop import sampling
from overwinter.loop.fork import adopted
from overwinter.loop.memory.recall import before_step
from overwinter.loop.search.branch import BranchSession, Seat, make_branch, open_branch, seat_of
from overwinter.loop.search.critics import critic_name
from overwinter.loop.search.growing import Growing, first_completion, scored_entry
from overwinter.loop.session import Session, episode, load_state, witness
from overwinter.loop.state import RunState, is_visible
from overwinter.think.search import ROOT, Choice, Expand, SearchSettings, Tree, make_strategy
from overwinter.worlds.imagination import Imagination, Plain, check_imagination

ANSWER_TOKENS = 64
"""What an answer takes where only an action can be said."""
LEAST_VIEWS = 3
"""With less than so many views to spend there is no search: the first branch, its critic and one that it is compared with."""


def branch_name(run: str, began: int, node: int) -> str:
    return f"{run}-b{began}.{node}"


def decide(session: Session) -> Iterator[Entry]:
    """The run's next completion, by search where there is a budget for one, else as without.

    Raises:
        BudgetExhausted, ModelError: as `sampling.take_step`.
    """
    open_search = _open_search(session)
    if open_search is not None and open_search.kind == "search.ended":
        # It ended without a branch: the answer that was kept in reserve is due.
        yield from sampling.take_step(session)
        return
    began = open_search
    if began is not None and _overtaken(session, began):
        yield from session.append(
            [_ended(began, Choice(node=None, why="overtaken by something from outside"), None, [])]
        )
        began = None
    if began is None:
        yield from before_step(session)
        yield from sampling.next_view(session)
        draft = _begin(session)
        if draft is None:
            yield from sampling.take_step(session)
            return
        [began] = session.append([draft])
        yield began
    search = Search(session, began)
    if not search.spend():
        return  # something came from outside; the loop takes it, and asks again
    yield from search.commit()


def _open_search(session: Session) -> Entry | None:
    """The last word on a search for the present step: that it began, or that it ended without a branch; None before it."""
    state = session.state
    after = -1 if state.completion is None else state.completion
    last = None
    for entry in session.store.read(session.run, after + 1, kinds=["search.began", "search.ended"]):
        last = entry if entry.seq > state.forked_at else last
    if last is not None and last.kind == "search.ended" and (last.body["branch"] or "overtaken" in last.body["why"]):
        return None
    return last


def _overtaken(session: Session, began: Entry) -> bool:
    return any(is_visible(entry) for entry in session.store.read(session.run, began.seq + 1))


def _begin(session: Session) -> Draft | None:
    """The draft of search.began; None where there is too little to spend."""
    settings, world, left = session.parts.search, session.parts.world, session.left()
    assert settings is not None
    legal = world.legal_actions() if world is not None else ()
    observation = world.observation.data if world is not None else {}
    view_tokens = session.view.build(session.state, left, observation, legal).tokens
    answer = ANSWER_TOKENS if session.parts.only_acts else session.parts.pace.max_tokens
    kept = view_tokens + answer
    tokens = min(settings.tokens, left.get("tokens", settings.tokens + kept) - kept)
    if tokens < max(1, LEAST_VIEWS * view_tokens):
        return None
    if world is not None:
        check_imagination(world.world)
    strategy = make_strategy(settings)
    critic = critic_name(settings.critic, session.parts) if strategy.needs_critic else "none"
    body = {
        "step": session.state.step + 1,
        "settings": settings.as_json(),
        "tokens": tokens,
        "kept": kept,
        "critic": critic,
        "luck": strategy.needs_critic and world is not None and not isinstance(world.world.imagination(), Plain),  # type: ignore[attr-defined]
    }
    return Draft(kind="search.began", body=body)


class Search:
    """The search of one decision, at work in this process."""

    def __init__(self, session: Session, began: Entry) -> None:
        self.session, self.began, self.store = session, began, session.store
        self.settings = SearchSettings(**began.body["settings"])
        self.critic: str = began.body["critic"]
        self.strategy = make_strategy(self.settings)
        self.tree = Tree(budget=began.body["tokens"], depth=self.settings.depth, luck=began.body["luck"])
        self.seats: dict[int, Seat] = {}
        self._stopped_by = ""
        self.imagination: Imagination | None = None
        if session.parts.world is not None and self.tree.luck:
            # Read once, then kept up to date by the run's world.
            done = (each for each in episode(self.store, session.run) if isinstance(each, str))
            self.imagination = session.parts.world.imagine(done)

    def spend(self) -> bool:
        """Grow the tree until the strategy stops or the budget ends. False where something from outside has to be looked at first."""
        try:
            self._root()
            while True:
                if self.store.letters(self.session.run):
                    return False
                plan = self._planned()
                if plan is None:
                    return True
                self._grow(len(self.tree.nodes), plan)
        except BudgetExhausted as error:
            self._stopped_by = error.problem
            return True

    def commit(self) -> Iterator[Entry]:
        """End the search, and take over the first step of the branch that is chosen."""
        choice = self.strategy.choose(self.tree)
        if choice.node is None and self._stopped_by:
            choice = replace(choice, why=f"{choice.why}: {self._stopped_by}")
        rows = self._rows()
        if choice.node is None:
            yield from self.session.append([_ended(self.began, choice, None, rows, self._spent())])
            yield from sampling.take_step(self.session)
            return
        name = self._name(choice.node)
        first = first_completion(self.store, name)
        drafts = [_ended(self.began, choice, name, rows, self._spent()), *adopted(name, first)]
        world_before = self.session.parts.world
        assert world_before is None or not world_before.done
        entries = self.session.append(drafts)
        witness(self.session.parts, entries[-1])
        yield from entries

    # --- the tree and its branches --------------------------------------------------------------------------------

    def _name(self, node: int) -> str:
        return branch_name(self.session.run, self.began.seq, node)

    def _root(self) -> None:
        """The fork that has the decision's budget, and the value before anything is done."""
        about: dict[str, Any] = {"node": ROOT, "of": ROOT, "repeat": None, "own": True, "scenario": None, "without": []}
        parent = seat_of(self.session)
        # The entry that the search began with is what branches go on from, whatever was noted since.
        parent.state = _state_at(self.session.state, self.began)
        scored = self._finished(ROOT, about, parent)
        self.tree.nodes[ROOT].value, self.tree.nodes[ROOT].tokens = scored.body["value"], scored.body["tokens"]

    def _planned(self) -> Expand | None:
        """What to grow next. A node that exists was planned by a process before: the same tree gives the same plan."""
        return self.strategy.next(self.tree)

    def _grow(self, number: int, plan: Expand) -> None:
        siblings = self.tree.nodes[plan.node].children
        tried = sorted({self.tree.nodes[n].label for n in siblings}) if plan.fresh else []
        about: dict[str, Any] = {
            "node": number,
            "of": plan.node,
            "repeat": None if plan.repeat is None else self._name(plan.repeat),
            "own": not siblings,
            "scenario": plan.scenario if plan.node == ROOT and not plan.fresh else None,
            "without": tried if self.session.parts.only_acts else [],
            "unexplored": self.tree.unexplored() if plan.node == ROOT and plan.fresh else 1.0,
        }
        if self.strategy.name == "majority":
            about["scenario"], about["own"] = None, False
        body = self._finished(number, about, self.seats.get(plan.node)).body
        self.tree.add(
            plan.node,
            body["label"],
            body["value"],
            tokens=body["tokens"],
            prior=body.get("prior"),
            scenario=body["scenario"],
            again=plan.repeat is not None,
            over=body["over"],
            why=body["why"],
        )

    def _finished(self, number: int, about: dict[str, Any], parent: Seat | None) -> Entry:
        """The branch.scored entry of a node: read, or grown now."""
        name = self._name(number)
        if _exists(self.store, name):
            scored = scored_entry(self.store, name)
            if scored is not None:
                return scored
            seat, lease = None, None  # its process was killed in it
        else:
            state = self._parent_state(about, parent)
            caps = {"tokens": self.began.body["tokens"]} if number == ROOT else None
            lease = make_branch(self.store, name=name, parent=state, setup={"branch": about}, caps=caps)
            seat = parent
        branch = open_branch(self.session, name, self.critic, seat, lease)
        with branch:
            return self._score(branch, number)

    def _score(self, branch: BranchSession, number: int) -> Entry:
        plays = self.strategy.needs_critic
        scored = Growing(branch, self.tree, self.began, self.imagination, plays=plays).grow()
        self.seats[number] = branch.seat
        return scored

    def _parent_state(self, about: dict[str, Any], parent: Seat | None) -> RunState:
        return parent.state if parent is not None else load_state(self.store, self._name(about["of"]))

    def _spent(self) -> int:
        """By the ledger: a branch that was not finished for want of budget has cost something too."""
        root = self._name(ROOT)
        return self.store.budget(root)["tokens"].spent if _exists(self.store, root) else 0

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for node in self.tree.nodes:
            row: dict[str, Any] = {
                "node": node.number,
                "of": node.parent if node.parent is not None else -1,
                "label": node.label,
                "value": round(node.value, 6),
                "worth": round(self.tree.worth(node.number), 6),
                "visits": self.tree.visits(node.number),
                "tokens": node.tokens,
                "scenario": node.scenario,
                "over": node.over,
            }
            rows.append(row if node.prior is None else {**row, "prior": round(node.prior, 6)})
        return rows


def _state_at(state: RunState, began: Entry) -> RunState:
    made = RunState.from_json(state.to_json())
    assert made is not None
    made.head_seq, made.head_hash = began.seq, began.hash
    return made


def _exists(store: Store, name: str) -> bool:
    try:
        return not store.info(name).unborn
    except UsageError:
        return False


def _ended(began: Entry, choice: Choice, branch: str | None, rows: list[dict[str, Any]], tokens: int = 0) -> Draft:
    votes = {label: round(share, 6) for label, share in choice.votes.items()}
    body = {
        "began": began.seq,
        "branch": branch or "",
        "votes": votes,
        "nodes": rows,
        "tokens": tokens,
        "why": choice.why,
    }
    return Draft(kind="search.ended", body=body)
