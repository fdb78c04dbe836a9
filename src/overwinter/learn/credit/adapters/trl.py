"""Credit in TRL's GRPOTrainer.

    trainer = CreditGRPOTrainer(model, reward_funcs=…, args=…, train_dataset=…, credit=Config(estimator="gigpo"), states=states_of)

TRL 1.16 computes advantages in the middle of `_generate_and_score_completions`, with no hook; its loss, though, takes advantages
of shape [B, L] from subclasses. So the trainer lets TRL do its work, keeps the rewards it collected, and replaces the result:
turns are read off the completion mask (without what tools answered), credited, and laid back on their tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor
from trl import GRPOTrainer

from overwinter.errors import UsageError
from overwinter.learn.batch import Ints
from overwinter.learn.credit.adapters.turns import Turns, demand_usable, read_turns, state_key
from overwinter.learn.credit.table import Config, advantages, remembers

States = Callable[[list[dict[str, Any]], list[Any], list[Any] | None], Sequence[Sequence[Hashable]]]
"""(examples, completions, environments) → per completion, the state before each turn and the one after the last."""


class CreditGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPOTrainer whose advantages come from `overwinter.learn.credit`.

    Args:
        credit: which estimator, and its constants.
        states: keys of states, for estimators that compare them; called once per batch of completions.
        success_at: rewards from here on are a success (graph estimators).
        args, kwargs: as of GRPOTrainer.

    Each figure of `Credit.diagnostics` is logged as credit/NAME. A completion that every reward function declined has no
    advantage and no part in its group's baseline.
    """

    def __init__(
        self,
        *args: Any,
        credit: Config | None = None,
        states: States | None = None,
        success_at: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self.credit = credit or Config()
        self.credit_states = states
        self.credit_success_at = success_at
        self.credit_memory: Any = None
        demand_usable(self.credit, has_states=states is not None, keeps_tasks=True)
        super().__init__(*args, **kwargs)
        if self.multi_objective_aggregation != "sum_then_normalize":
            raise UsageError(
                "credit takes one reward per completion, and normalize_then_sum makes several",
                'set multi_objective_aggregation="sum_then_normalize"',
            )

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: list[Any], completions: list[Any], completion_ids_list: list[Any]
    ) -> Tensor:
        rewards: Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        states = self.credit_states(inputs, completions, self.environments) if self.credit_states else None
        self._credit_seen = (rewards, states, [ids[-1] for ids in completion_ids_list])
        return rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        mask = output["completion_mask"]
        if "tool_mask" in output:
            mask = mask * output["tool_mask"]
        turns = self._credit_turns(inputs, mask)
        training = bool(self.model.training)
        credit = advantages(turns.batch, self.credit, self.credit_memory)
        if training:
            self.credit_memory = credit.memory
        mine = slice(self.accelerator.process_index * len(inputs), (self.accelerator.process_index + 1) * len(inputs))
        tokens = turns.spread(credit.advantages)
        output["advantages"] = torch.from_numpy(tokens[mine, : mask.shape[1]]).to(mask.device)
        for name, value in credit.diagnostics.items():
            self._metrics["train" if training else "eval"][f"credit/{name}"].append(value)
        self._log_advantages(tokens)
        return output

    def _credit_turns(self, inputs: list[dict[str, Any]], mask: Tensor) -> Turns:
        """The turns of all processes: groups may be spread over them."""
        per_func, states, last_ids = self._credit_seen
        per_func = per_func.detach().double().cpu()
        rewards = (per_func * self.reward_weights.double().cpu()).nansum(dim=1).numpy()
        unscorable = torch.isnan(per_func).all(dim=1).numpy()
        ends = {*self.eos_token_ids, self._tokenizer.pad_token_id}
        rows = mask.cpu().numpy()
        records = gather_object(
            [
                (
                    rows[at].tolist(),
                    None if states is None else list(states[at]),
                    int(last_ids[at]) not in ends,
                    example,
                )
                for at, example in enumerate(_task_names(inputs))
            ]
        )
        length = max(len(record[0]) for record in records)
        written = np.array([record[0] + [0] * (length - len(record[0])) for record in records])
        written[unscorable] = 0
        return read_turns(
            written,
            rewards,
            self._credit_groups([record[3] for record in records]),
            states=None if states is None else [record[1] for record in records],
            cut_short=np.array([record[2] for record in records]),
            success_at=self.credit_success_at,
        )

    def _credit_groups(self, tasks: list[str]) -> Ints:
        """Groups stand together in TRL's batch. Estimators that remember need names that last: the example itself."""
        if remembers(self.credit.estimator):
            return np.array([state_key(task) for task in tasks], dtype=np.int64)
        size = self.num_generations if self.model.training else self.num_generations_eval
        groups: Ints = np.arange(len(tasks), dtype=np.int64) // size
        return groups

    def _log_advantages(self, tokens: np.ndarray[Any, Any]) -> None:
        """In TRL's table of completions, the mean over the tokens in place of TRL's own advantage."""
        logged = self._logs["advantages"]
        for _ in range(min(len(tokens), len(logged))):
            logged.pop()
        written = np.maximum((tokens != 0).sum(axis=1), 1)
        logged.extend((tokens.sum(axis=1) / written).tolist())


def _task_names(inputs: list[dict[str, Any]]) -> list[str]:
    return [json.dumps(example, sort_keys=True, default=repr) for example in inputs]
