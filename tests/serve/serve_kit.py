"""A worker that says what a test tells it to, the real engine with a tiny random model, and clients for both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from starlette.testclient import TestClient
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from overwinter.engine import Config as EngineConfig
from overwinter.engine import Engine, Event, Request
from overwinter.engine.request import TokenLogprob
from overwinter.engine.worker import EngineWorker
from overwinter.journal import open_store
from overwinter.model import Config as Shape
from overwinter.model import TextFormat, fresh
from overwinter.model.template import ChatTemplate
from overwinter.serve.app import create_app
from overwinter.serve.backend import Backend
from overwinter.serve.config import Config
from overwinter.serve.desk import ResponseDesk
from overwinter.serve.keys import Keys
from overwinter.serve.metrics import Metrics
from overwinter.serve.served import Served
from overwinter.serve.stored import ResponseStore

torch.set_num_threads(1)

NAME = "tiny"
SPECIAL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")
CHATML = """
{%- if tools %}{{ '<|im_start|>system\\n<tool_call> ' }}{{ tools | tojson }}{{ '<|im_end|>\\n' }}{% endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content }}
    {%- for call in message.tool_calls or [] %}{{ '<tool_call>' }}{{ call.function | tojson }}{{ '</tool_call>' }}{% endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def text_format(template: str | None = CHATML) -> TextFormat:
    """A tokenizer with a token for every byte, and four special ones in front."""
    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={sign: at + 4 for at, sign in enumerate(signs)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    whole = Tokenizer.from_str(_with_specials(tokenizer))
    return TextFormat(
        whole,
        special_tokens={"bos_token": "<s>", "eos_token": "</s>"},
        bos_id=whole.token_to_id("<s>"),
        end_ids=[whole.token_to_id("</s>"), whole.token_to_id("<|im_end|>")],
        adds_bos=True,
        template=None if template is None else ChatTemplate({"default": template}),
        name=NAME,
    )


def _with_specials(tokenizer: Tokenizer) -> str:
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    return str(tokenizer.to_str())


Answer = Callable[[Request], str]


@dataclass(frozen=True)
class Counts:
    """Stands for the engine's Stats."""

    blocks_free: int = 7


class FakeWorker:
    """Answers each request with a text, one token an event; or keeps them until `release`.

    Args:
        answer: the text for a request.
        slots: sequences that run at once; the others wait.
        holds: nothing is said before `release`.
    """

    def __init__(self, answer: Answer | str = "fine", *, slots: int = 4, holds: bool = False) -> None:
        self.text = text_format()
        self.answer = answer if callable(answer) else (lambda _: answer)
        self.slots, self.holds = slots, holds
        self.requests: list[Request] = []
        self.cancelled: list[int] = []
        self.is_alive = True
        self._open: dict[int, tuple[Request, Callable[[Event], None]]] = {}
        self._lock = threading.Lock()

    @property
    def running(self) -> int:
        return min(self.slots, len(self._open))

    @property
    def waiting(self) -> int:
        return len(self._open) - self.running

    def stats(self) -> Counts:
        return Counts()

    def submit(self, request: Request, listener: Callable[[Event], None]) -> int:
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
            self._open[number] = request, listener
        if not self.holds:
            self.release(number)
        return number

    def cancel(self, sequence: int) -> None:
        self.cancelled.append(sequence)
        asked = self._open.pop(sequence, None)
        if asked is not None:
            asked[1](Event(sequence=sequence, finish="cancelled"))

    def release(self, *numbers: int) -> None:
        """Say what these sequences say, or all that are open."""
        for number in numbers or tuple(self._open):
            asked = self._open.pop(number, None)
            if asked is not None:
                for event in self.events(number, asked[0]):
                    asked[1](event)

    def events(self, number: int, request: Request) -> list[Event]:
        said = self.answer(request)
        ids = self.text.encode(said, add_special=False)
        text, kept = said, ids[: request.max_tokens]
        finish: Any = "length" if len(ids) > request.max_tokens else "stop"
        events = []
        for at, token in enumerate(kept):
            logprobs = () if request.logprobs is None else (logprob_of(token, request.logprobs),)
            piece = self.text.token_text(token) if said.isascii() else (text if at == len(kept) - 1 else "")
            events.append(Event(sequence=number, token_ids=(token,), text=piece, logprobs=logprobs))
        events = events or [Event(sequence=number)]
        facts = {}
        if request.prompt_logprobs is not None:
            ids = list(request.prompt_ids)
            rows = [TokenLogprob(ids[0], None), *(logprob_of(token, request.prompt_logprobs) for token in ids[1:])]
            facts = {"prompt_logprobs": tuple(rows)}
        events[0] = replace(events[0], cached_tokens=min(2, len(request.prompt_ids)), **facts)
        return [*events[:-1], replace(events[-1], finish=finish)]


def logprob_of(token: int, top: int) -> TokenLogprob:
    return TokenLogprob(token, -0.5, tuple((token + n, -0.5 - n) for n in range(top)))


def engine_of(**limits: Any) -> Engine:
    """A random model over the tokenizer of `text_format`; its weights are large, so that it says various things."""
    text = text_format()
    shape = Shape(
        vocab_size=text.vocab_size,
        d_model=48,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        d_head=12,
        d_mlp=52,
        context=700,
        tied=True,
    )
    decoder = fresh(shape, seed=3)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(2.5)
    return Engine(decoder, text, EngineConfig(**{"max_running": 4, **limits}), name=NAME)


def backend_of(
    worker: FakeWorker | EngineWorker, folder: Path | None = None, keys: dict[str, str] | None = None, **limits: Any
) -> Backend:
    if isinstance(worker, EngineWorker):
        served = Served.of(worker, NAME)
    else:
        vocabulary = worker.text.vocab_size
        served = Served(
            worker=worker,
            text=worker.text,
            name=NAME,
            context_tokens=700,
            room_tokens=2000,
            vocab_size=vocabulary,
            slots=worker.slots,
            created=7,
        )
    backend = Backend(served=served, config=Config(**limits), keys=Keys(keys or {}), metrics=Metrics())
    if folder is not None:
        backend.desk = ResponseDesk(backend, ResponseStore(open_store(str(folder / "serve.db"))))
    return backend


@contextmanager
def client_of(worker: FakeWorker | EngineWorker, *args: Any, **limits: Any) -> Iterator[TestClient]:
    with TestClient(create_app(backend_of(worker, *args, **limits)), raise_server_exceptions=True) as client:
        yield client


def chat(content: str = "Is it cold?", **fields: Any) -> dict[str, Any]:
    return {"model": NAME, "messages": [{"role": "user", "content": content}], **fields}


def completion(prompt: Any = "Once", **fields: Any) -> dict[str, Any]:
    return {"model": NAME, "prompt": prompt, **fields}


def sse(text: str) -> list[Any]:
    """The data of a stream's events; DONE as a string."""
    import json

    datas = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [data if data == "[DONE]" else json.loads(data) for data in datas]


TOOLS: Sequence[dict[str, Any]] = (
    {
        "type": "function",
        "function": {
            "name": "heat",
            "description": "Heat the greenhouse.",
            "parameters": {
                "type": "object",
                "properties": {"hours": {"type": "integer", "minimum": 1, "maximum": 9}},
                "required": ["hours"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "wait"}},
)
