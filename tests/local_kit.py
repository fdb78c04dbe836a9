"""A tiny model with drawn weights and a tokenizer trained on the greenhouse's words, as a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CHATML = (
    "{% if tools %}<|start|>tools\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|end|>\n{% endif %}"
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
END, START = "<|end|>", "<|start|>"
SHAPE: dict[str, Any] = {
    "d_model": 32,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "d_head": 8,
    "d_mlp": 48,
    "tied": True,
}


def make_model(
    folder: Path, *, seed: int = 0, context: int = 4096, template: str | None = CHATML, end: bool = True
) -> Path:
    """A model folder; another seed makes other weights, `end` says whether an end token is named."""
    import torch

    from overwinter.model import Config, fresh, save

    torch.set_num_threads(1)
    tokenizer = _tokenizer()
    decoder = fresh(Config(vocab_size=tokenizer.get_vocab_size(), context=context, **SHAPE), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in decoder.parameters():
            # Large enough for a distribution that is far from even.
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.3, generator=generator)
    save(decoder, folder, tokenizer=tokenizer)
    named = {**({"eos_token": END} if end else {}), **({} if template is None else {"chat_template": template})}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return folder


def _tokenizer() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    from overwinter.loop.view import ACTING_INSTRUCTIONS, INSTRUCTIONS
    from overwinter.tools.fence import FENCE_RULE
    from overwinter.worlds import open_world

    world = open_world("greenhouse:days=20")
    texts = [INSTRUCTIONS, ACTING_INSTRUCTIONS, FENCE_RULE, world.goal, world.reset(0).text, *world.actions()]
    texts += [world.step("wait").observation.text for _ in range(10)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(START, special=True), AddedToken(END, special=True)])
    return tokenizer
