"""A scripted policy behind the Model protocol: the baseline that plays until a trained model does better.

It reads the observation's facts, never the world's hidden state, and answers with the action's words; so its runs have the
same journal as a language model's, and are text-only. A `Reader` reads the turns of the view instead and nothing else, and may call
tools.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from overwinter.errors import ModelError
from overwinter.loop.model import Completion, Constraint, Limits, Lived, Usage, View
from overwinter.worlds.world import Observation, Policy, Reader, World


class PolicyModel:
    """Plays a world by a `Policy`.

    Args:
        policy: the player; reset to `seed` here.
        open_world: makes a fresh world of the same kind, to show the policy an episode again after a resume.
    """

    local = True
    context_tokens = 1 << 20

    def __init__(self, policy: Policy, seed: int, open_world: Callable[[], World]) -> None:
        self.name = f"policy:{policy.name}"
        self._policy = policy
        self._open_world = open_world
        policy.reset(seed)

    def catch_up(self, seed: int, episode: Iterable[Lived]) -> None:
        """Bring the policy's beliefs to where a run stands: it is asked again (None) and the old actions are taken again."""
        world = self._open_world()
        observation = world.reset(seed)
        self._policy.reset(seed)
        for action in episode:
            if action is None:
                self._policy.act(observation, world.actions())
            elif isinstance(action, Mapping):
                observation = world.restore(dict(action))
            else:
                observation = world.step(action).observation

    def branch(self) -> PolicyModel:
        """The same player with a mind of its own from here on."""
        made = copy.copy(self)
        made._policy = copy.deepcopy(self._policy)
        return made

    def witness(self, observation: Mapping[str, Any], legal: Sequence[str], action: str) -> None:  # noqa: ARG002
        """Somebody else decided here: it is asked all the same, for what it keeps in mind it has from being asked."""
        if not isinstance(self._policy, Reader):
            self._policy.act(_own(observation), legal)

    def count_tokens(self, text: str) -> int:
        """Words. A policy has no tokenizer, and its answers are charged to nobody."""
        return len(text.split())

    def sample(self, view: View, n: int, constraint: Constraint, limits: Limits) -> Sequence[Completion]:  # noqa: ARG002
        if not view.legal_actions:
            raise ModelError(f"{self.name} plays worlds only, and this run has none", "choose a model with --model")
        if isinstance(self._policy, Reader):
            texts = [message.text for message in view.messages]
            action = self._policy.read(texts, [tool["function"]["name"] for tool in view.tools], view.legal_actions)
        else:
            action = self._policy.act(_own(view.observation), view.legal_actions)
        return [Completion(text=action, model=self.name, usage=Usage())] * n

    def score(self, view: View, continuations: Sequence[str]) -> Sequence[Sequence[float]]:  # noqa: ARG002
        raise ModelError(f"{self.name} has no probabilities", "choose a language model with --model")

    def price_micro_usd(self, prompt_tokens: int, completion_tokens: int) -> int:  # noqa: ARG002
        return 0

    def close(self) -> None:
        """Nothing is held."""


def _own(data: Mapping[str, Any]) -> Observation:
    """A copy: a policy may note on what it was shown, and others are shown the same."""
    return Observation(text="", data=copy.deepcopy(dict(data)))
