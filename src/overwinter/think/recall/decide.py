"""The vote of checked chains, and what it is worth.

The best class that is there votes: A before B before C. Where hardly any chain is of it, the next class votes too: one chain
that states a true fact is no better than many that state none (ours; `QUORUM`). The confidence is the winner's share times how
often a winner of that class was right on labelled questions, made a probability by a calibrator; without labels it is the share
alone, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from overwinter.errors import UsageError
from overwinter.think.recall.chain import CLASSES, Chain
from overwinter.think.recall.facts import Fact
from overwinter.think.recall.verify import Check, Standing
from overwinter.think.vote.ballot import Ballot, weighted

if TYPE_CHECKING:
    from overwinter.think.confidence.calibrators import Calibrator, Scope

QUORUM = 0.2
"""Share of the readable chains that have to vote."""
ISOTONIC_FROM, PLATT_FROM = 500, 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Priors:
    """What an answer of each class was worth on labelled questions.

    Attributes:
        classes: share of right answers, drawn towards one half by two questions (one right, one wrong).
        calibrator: from share × prior to a probability; None with fewer than `PLATT_FROM` labels.
        labelled: how many questions.
    """

    classes: Mapping[str, float]
    calibrator: Calibrator | None = None
    labelled: int = 0

    def confidence(self, kind: str, share: float, scope: Scope | None = None) -> float:
        """Of a winner. Raises UsageError outside the scope that the calibrator was fitted in."""
        raw = share * self.classes[kind]
        return raw if self.calibrator is None else self.calibrator.apply(raw, scope or self.calibrator.scope)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recalled:
    """The answer and what stands behind it.

    Attributes:
        answer: None where no chain could be read, or the confidence is below the threshold (`abstained`).
        best: the answer that won, abstained or not.
        share: of the winner among those that voted. kind: the best class among them, "" where nothing could be read.
        confidence: a probability if `calibrated`, else the share.
        supporting: facts behind the answer, with what supports each.
        tokens: of all asking, thinking and checking together.
    """

    answer: str | None
    best: str | None
    share: float
    kind: str
    confidence: float
    calibrated: bool = False
    abstained: bool = False
    supporting: tuple[tuple[Fact, Check], ...] = ()
    chains: tuple[Chain, ...] = field(default=(), repr=False)
    tokens: int = 0


def settle(
    chains: Sequence[Chain],
    *,
    quorum: float = QUORUM,
    priors: Priors | None = None,
    scope: Scope | None = None,
    threshold: float = 0.0,
    tokens: int = 0,
) -> Recalled:
    """Let the best non-empty class vote, by weight.

    Args:
        quorum: share of the readable chains that have to vote; 0 lets the best class decide, however small it is.
        scope: what is asked; priors of another scope are refused. None asks no such question.
        threshold: below this confidence no answer is given.
    """
    able = [chain for chain in chains if chain.thought.answer is not None]
    kind = next((each for each in CLASSES if any(chain.kind == each for chain in able)), "")
    voting: list[Chain] = []
    for each in CLASSES:
        if not voting or len(voting) < quorum * len(able):
            voting += [chain for chain in able if chain.kind == each]
    outcome = weighted([Ballot(answer=chain.thought.answer, confidence=chain.weight) for chain in voting])
    if outcome.answer is None:
        return Recalled(
            answer=None,
            best=None,
            share=0.0,
            kind="",
            confidence=0.0,
            abstained=True,
            chains=tuple(chains),
            tokens=tokens,
        )
    confidence = outcome.share if priors is None else priors.confidence(kind, outcome.share, scope)
    supporting: dict[tuple[str, str, str], tuple[Fact, Check]] = {}
    for chain in voting:
        if chain.thought.answer == outcome.answer:
            for fact, check in zip(chain.facts, chain.checks, strict=True):
                if check.standing is Standing.SUPPORTED:
                    supporting.setdefault(fact.key, (fact, check))
    abstained = confidence < threshold
    return Recalled(
        answer=None if abstained else outcome.answer,
        best=outcome.answer,
        share=outcome.share,
        kind=kind,
        confidence=confidence,
        calibrated=priors is not None and priors.calibrator is not None,
        abstained=abstained,
        supporting=tuple(supporting.values()),
        chains=tuple(chains),
        tokens=tokens,
    )


def fit_priors(asked: Sequence[Recalled], right: Sequence[bool], scope: Scope | None = None) -> Priors:
    """Priors from questions whose answers are known: isotonic regression from `ISOTONIC_FROM` labels on, Platt scaling from `PLATT_FROM`.

    Args:
        right: whether `best` was right, for each.

    Raises:
        UsageError: not one label per question.
    """
    from overwinter.think.confidence.calibrators import Scope as AnyScope
    from overwinter.think.confidence.calibrators import fit

    if len(asked) != len(right):
        raise UsageError(f"{len(asked)} questions and {len(right)} labels", "give one label per question")
    pairs = [(each, ok) for each, ok in zip(asked, right, strict=True) if each.kind]
    classes = {}
    for kind in CLASSES:
        of_kind = [ok for each, ok in pairs if each.kind == kind]
        classes[kind] = (sum(of_kind) + 1) / (len(of_kind) + 2)
    raw, labels = [each.share * classes[each.kind] for each, _ in pairs], [int(ok) for _, ok in pairs]
    calibrator = None
    if len(pairs) >= PLATT_FROM and len(set(labels)) == 2:
        method = "isotonic" if len(pairs) >= ISOTONIC_FROM else "platt"
        calibrator = fit(method, raw, labels, scope or AnyScope(signal="recall"))
    return Priors(classes=classes, calibrator=calibrator, labelled=len(pairs))
