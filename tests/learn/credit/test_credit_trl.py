"""A real training step of TRL with credit of ours: a random model of a few thousand weights, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overwinter.errors import UsageError
from overwinter.learn.credit import Config

pytest.importorskip("trl", reason="pip install trl, to test the trainer that extends it")

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from overwinter.learn.credit.adapters.trl import CreditGRPOTrainer

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning")]

WORDS = ["<pad>", "<end>", "go", "left", "right", "up", "door", "key", "wall", "star"]
TURN, ANSWER = [3, 4], [8]
"""What a scripted rollout says in a turn, and what its world answers."""


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    torch.set_num_threads(1)


def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<end>")


def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=len(WORDS), num_key_value_heads=2, pad_token_id=0, eos_token_id=1, **shape)
    )


def trainer(folder: Path, rewards: Any, kind: Any = CreditGRPOTrainer, **changes: Any) -> Any:
    args = GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=6,
        max_steps=1,
        learning_rate=1e-2,
        report_to=[],
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
        bf16=False,
    )
    dataset = Dataset.from_dict({"prompt": ["go left", "go right"]})
    return kind(
        model(), reward_funcs=rewards, args=args, train_dataset=dataset, processing_class=tokenizer(), **changes
    )


def stars(completions: list[str], **_: Any) -> list[float]:
    return [float(at % 2) for at in range(len(completions))]


def test_a_step_is_trained_on_our_advantages(tmp_path: Path) -> None:
    training = trainer(tmp_path, stars, credit=Config(estimator="rloo"))
    before = [weight.detach().clone() for weight in training.model.parameters()]
    seen: list[Any] = []
    compute_loss = training._compute_loss

    def spy(model: Any, inputs: Any) -> Any:
        seen.append({name: inputs[name].clone() for name in ("advantages", "completion_mask")})
        return compute_loss(model, inputs)

    training._compute_loss = spy
    training.train()
    advantages, mask = seen[0]["advantages"], seen[0]["completion_mask"].bool()
    assert advantages.shape == mask.shape
    # Rewards 0, 1, 0, 1: RLOO's advantages are ∓2/3, the same for every token of a completion, and nothing on padding.
    assert sorted(advantages[:, 0].tolist()) == pytest.approx([-2 / 3, -2 / 3, 2 / 3, 2 / 3])
    assert torch.equal(advantages != 0, mask)
    assert any(not torch.equal(old, new) for old, new in zip(before, training.model.parameters(), strict=True))
    logged = training.state.log_history[0]
    assert logged["credit/zero_variance_groups"] == 0
    assert logged["credit/max_abs"] == pytest.approx(2 / 3)
    assert sorted(training._logs["advantages"]) == pytest.approx([-2 / 3, -2 / 3, 2 / 3, 2 / 3])


def scripted(prompts: list[Any], _: Any) -> dict[str, Any]:
    """Every rollout takes two turns with an answer of the world between them; env_mask is 0 on the answer."""
    count = len(prompts)
    return {
        "prompt_ids": [[2, 3]] * count,
        "completion_ids": [TURN + ANSWER + [5, 1]] * count,
        "logprobs": [[-1.0] * 5] * count,
        "env_mask": [[1, 1, 0, 1, 1]] * count,
    }


def test_turns_get_their_own_credit(tmp_path: Path) -> None:
    def states_of(inputs: list[Any], completions: list[Any], _: Any) -> list[list[str]]:
        assert len(inputs) == len(completions) == 4
        # The first two pass a hall and the others a cellar; all start in the same place.
        return [["start", "hall" if at < 2 else "cellar", f"end {at}"] for at in range(4)]

    def first_wins(completions: list[Any], **_: Any) -> list[float]:
        return [1.0, 0.0, 0.0, 0.0]

    credit = Config(estimator="gigpo", options={"normalise": "mean", "over": "trajectories", "gamma": 1.0})
    training = trainer(tmp_path, first_wins, credit=credit, states=states_of, rollout_func=scripted)
    batch = training._generate_and_score_completions([{"prompt": "go left"}] * 4)
    advantages = batch["advantages"].numpy()
    # Both terms compare (1, 0, 0, 0) at the start; in the hall (1, 0), in the cellar (0, 0).
    np.testing.assert_allclose(advantages[0], [1.5, 1.5, 0, 1.25, 1.25])
    np.testing.assert_allclose(advantages[1], [-0.5, -0.5, 0, -0.75, -0.75])
    np.testing.assert_allclose(advantages[3], [-0.5, -0.5, 0, -0.25, -0.25])


def test_grpo_with_trl_s_constants_is_trl_s_own(tmp_path: Path) -> None:
    def graded(completions: list[Any], **_: Any) -> list[float]:
        return [0.0, 0.25, 1.0, 0.5]

    inputs = [{"prompt": "go left"}] * 4
    credit = Config(estimator="grpo", options={"ddof": 1, "eps": 1e-4, "clip": float("inf")})
    mine = trainer(tmp_path, graded, credit=credit, rollout_func=scripted)._generate_and_score_completions(inputs)
    theirs = trainer(tmp_path, graded, kind=GRPOTrainer, rollout_func=scripted)._generate_and_score_completions(inputs)
    assert theirs["advantages"].shape == (4,)
    torch.testing.assert_close(mine["advantages"][:, 0], theirs["advantages"], rtol=1e-5, atol=1e-6)


def test_memory_is_kept_between_steps_and_declined_completions_are_left_out(tmp_path: Path) -> None:
    def some(completions: list[Any], **_: Any) -> list[float | None]:
        return [1.0, 0.0, None, 0.0]

    def states_of(inputs: list[Any], *_: Any) -> list[list[str]]:
        return [["start", "hall", f"end {at}"] for at in range(len(inputs))]

    training = trainer(tmp_path, some, credit=Config(estimator="pg"), states=states_of, rollout_func=scripted)
    training.model.train()
    inputs = [{"prompt": "go left"}] * 4
    first = training._generate_and_score_completions(inputs)["advantages"]
    assert first[2].abs().sum() == 0
    counted = training.credit_memory.count.sum()
    training._generate_and_score_completions(inputs)
    assert training.credit_memory.count.sum() == pytest.approx(counted * 1.6)
    training.model.eval()
    memory = training.credit_memory
    training._generate_and_score_completions(inputs)
    assert training.credit_memory is memory


def test_what_the_trainer_cannot_feed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="states"):
        trainer(tmp_path, stars, credit=Config(estimator="gigpo"))
    with pytest.raises(UsageError, match="hindsight_score"):
        trainer(tmp_path, stars, credit=Config(estimator="hcapo"))
