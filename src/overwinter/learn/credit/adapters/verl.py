"""Credit in verl: one line, before the trainer starts.

    from overwinter.learn.credit.adapters import verl
    verl.register(Config(estimator="rloo"))            # then: algorithm.adv_estimator=overwinter

verl (0.7) looks estimators up by name and calls them with `token_level_rewards` and `response_mask` [B, L], `index` (the uid of
each row's prompt), `config` and whatever else its version knows; it expects (advantages, returns), both [B, L]. Rows that share a
uid are a group; turns are the runs of ones in the mask.

Its uids are new in every step, so estimators that remember are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.learn.credit.adapters.turns import demand_usable, read_turns
from overwinter.learn.credit.table import Config, advantages

States = Callable[[Mapping[str, Any]], Sequence[Sequence[Hashable]]]
"""(everything verl passed) → per row, the state before each turn and the one after the last."""

Registry = Callable[[str], Callable[[Any], Any]]


def register(
    credit: Config | None = None,
    *,
    name: str = "overwinter",
    states: States | None = None,
    success_at: float = 1.0,
    registry: Registry | None = None,
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Registers an estimator with verl under `name`, and returns it.

    Args:
        credit: which estimator, and its constants.
        states: keys of states, for estimators that compare them.
        success_at: sums of rewards from here on are a success (graph estimators).
        registry: verl's `register_adv_est`, or anything with its signature; imported from verl without it.
    """
    credit = credit or Config()
    demand_usable(credit, has_states=states is not None, keeps_tasks=False)
    if registry is None:
        registry = _verl_registry()

    def estimator(
        token_level_rewards: Tensor,
        response_mask: Tensor,
        index: Any = None,
        config: Any = None,
        **others: Any,
    ) -> tuple[Tensor, Tensor]:
        if index is None:
            raise UsageError("verl passed no uid of prompts", "set non_tensor_batch['uid'], as its GRPO needs it too")
        known = {
            "token_level_rewards": token_level_rewards,
            "response_mask": response_mask,
            "index": index,
            "config": config,
        }
        groups = np.unique(np.asarray(index).astype(str), return_inverse=True)[1].reshape(-1)
        turns = read_turns(
            response_mask.detach().cpu().numpy(),
            token_level_rewards.detach().double().cpu().numpy(),
            groups,
            states=None if states is None else states(known | others),
            success_at=success_at,
        )
        tokens = turns.spread(advantages(turns.batch, credit).advantages)
        result = torch.from_numpy(tokens).to(token_level_rewards.device)
        # verl's outcome estimators return the advantages twice as well: there is no critic to fit to returns.
        return result, result

    registry(name)(estimator)
    return estimator


def _verl_registry() -> Registry:
    try:
        from verl.trainer.ppo.core_algos import register_adv_est
    except ImportError as missing:
        raise UsageError(
            "verl is not installed here", "install it where the training runs, or pass registry=…"
        ) from missing
    found: Registry = register_adv_est
    return found
