"""A sequence in a file: tokens, memory, and what its next token depends on.

The file is safetensors (paged.py) with the request and the tokens as JSON in its notes. Text is not stored: it is made again
from the tokens. Nor is a constraint, which is code and is given again. The mark of model, number format and tokenizer must
be the resuming engine's own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from overwinter.engine.paged import PagedStore, read_tensors, write_tensors
from overwinter.engine.prefix import Fingerprint
from overwinter.engine.recurrent import to_tensors
from overwinter.engine.request import Request, TokenLogprob
from overwinter.engine.sampling import SamplingParams
from overwinter.engine.sequence import LiveSequence
from overwinter.engine.watching import Reflect, StopBelow
from overwinter.errors import StoreError, UsageError
from overwinter.model import Decoder

if TYPE_CHECKING:
    from overwinter.engine.constraint import Constraint
    from overwinter.model import TextFormat

_GIVEN_AGAIN = {"sampling", "constraint", "salt", "timeout_s", "stop_below", "reflect"}
_KEPT = [field.name for field in dataclasses.fields(Request) if field.name not in _GIVEN_AGAIN]
"""Fields that are JSON as they are. Sampling, salt and watches have forms of their own; a constraint and a deadline belong to a process."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What a file held."""

    request: Request
    output_ids: list[int]
    logprobs: list[TokenLogprob]
    prompt_logprobs: list[TokenLogprob]
    cached_tokens: int | None
    watched: dict[str, Any]
    """What the watches of its confidence had seen."""
    memory: dict[str, Tensor]
    """Keys, values and states; empty where nothing was computed."""


def fingerprint(decoder: Decoder, text: TextFormat | None) -> Fingerprint:
    """What K and V depend on beside the tokens: weights and switches, number format, vocabulary."""
    digest = hashlib.blake2b(digest_size=32)
    digest.update(json.dumps(decoder.config.given(), sort_keys=True).encode())
    for name, tensor in sorted(decoder.state_dict().items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    rope = json.dumps({key: value for key, value in decoder.config.to_dict().items() if key.startswith("rope")})
    dtype = str(decoder.embed.weight.dtype)
    return Fingerprint(
        model=digest.hexdigest(), dtype=dtype, rope=rope, tokenizer="" if text is None else text.vocabulary_hash
    )


def write(path: Path, live: LiveSequence, store: PagedStore, mark: Fingerprint) -> None:
    request = live.request
    asked = {name: getattr(request, name) for name in _KEPT}
    notes = {
        "model": _text(mark),
        "request": json.dumps(asked),
        "sampling": json.dumps(dataclasses.asdict(request.sampling) | {"seed": live.sampler.seed}),
        "salt": request.salt.hex(),
        "constrained": json.dumps(request.constraint is not None),
        "output_ids": json.dumps(live.output_ids),
        "logprobs": json.dumps([live.logprobs, live.prompt_logprobs, live.cached_tokens]),
    }
    if live.watches is not None:
        limits = {name: getattr(request, name) for name in ("stop_below", "reflect")}
        asked_of = {name: dataclasses.asdict(each) for name, each in limits.items() if each is not None}
        notes["watches"] = json.dumps({"asked": asked_of, "seen": live.watches.to_json()})
    computed = live.table is not None and live.table.length
    tensors = store.export(live.table) | to_tensors(live) if live.table is not None and computed else {}
    write_tensors(path, tensors, notes)


def read(path: Path, mark: Fingerprint, constraint: Constraint | None) -> Saved:
    tensors, notes = read_tensors(path)
    if notes.get("model") != _text(mark):
        raise UsageError(
            f"{path} was suspended by another model, number format or tokenizer", "resume it with that one"
        )
    try:
        asked, sampling = json.loads(notes["request"]), json.loads(notes["sampling"])
        logprobs, prompt_logprobs, cached_tokens = json.loads(notes["logprobs"])
        was_constrained, output_ids = json.loads(notes["constrained"]), json.loads(notes["output_ids"])
        salt, watches = bytes.fromhex(notes["salt"]), json.loads(notes.get("watches", "{}"))
        for name, kind in (("stop_below", StopBelow), ("reflect", Reflect)):
            if name in watches.get("asked", {}):
                asked[name] = kind(**watches["asked"][name])
    except (KeyError, ValueError) as error:
        raise StoreError(f"{path} is incomplete: {error}", "use another copy, or ask anew") from error
    if was_constrained != (constraint is not None):
        raise UsageError(
            f"{path} was suspended {'with' if was_constrained else 'without'} a constraint",
            "give the same constraint again" if was_constrained else "resume it without one",
        )
    request = Request(**asked, sampling=SamplingParams(**sampling), salt=salt, constraint=constraint)
    return Saved(
        request=request,
        output_ids=output_ids,
        logprobs=[_logprob(each) for each in logprobs],
        prompt_logprobs=[_logprob(each) for each in prompt_logprobs],
        cached_tokens=cached_tokens,
        watched=watches.get("seen", {}),
        memory=tensors,
    )


def rebuild(live: LiveSequence, saved: Saved) -> None:
    """Bring a new sequence to where the saved one stood, its memory apart."""
    live.retrace(saved.output_ids)
    live.logprobs, live.prompt_logprobs = saved.logprobs, saved.prompt_logprobs
    live.cached_tokens = saved.cached_tokens
    if live.watches is not None:
        live.watches.restore(saved.watched)


def _text(mark: Fingerprint) -> str:
    return " ".join((mark.model, mark.dtype, mark.tokenizer, hashlib.blake2b(mark.rope.encode()).hexdigest()[:16]))


def _logprob(raw: list[Any]) -> TokenLogprob:
    token, logprob, top = raw
    return TokenLogprob(token, logprob, tuple((at, value) for at, value in top))
