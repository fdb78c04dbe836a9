"""`model info`, `model convert`, `model bench`: look at a model folder, write it in another format, measure it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overwinter.cli.flags import Plain
from overwinter.cli.output import Output, Progress, note
from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.engine.facts import Facts
    from overwinter.engine.speed import Speed
    from overwinter.loop.models.chat import ChatForm
    from overwinter.loop.models.local import Config
    from overwinter.model import TextFormat

FORMATS = ("hf", "overwinter")
Folder = Annotated[str, typer.Argument(metavar="PATH", help="A model folder, or a name on the hub.")]
Dtype = Annotated[
    str | None, typer.Option("--dtype", metavar="NAME", help="float32, bfloat16 or float16; default: as in the files.")
]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is measured."""

    batch: Annotated[
        list[int] | None, typer.Option("--batch", metavar="NUMBER", min=1, help="Sequences at once; repeat it.")
    ] = None
    prompt_tokens: Annotated[int, typer.Option("--prompt-tokens", metavar="NUMBER", min=1, help="Of each.")] = 256
    new_tokens: Annotated[int, typer.Option("--new-tokens", metavar="NUMBER", min=2, help="Of each.")] = 64
    repeats: Annotated[int, typer.Option("--repeats", metavar="NUMBER", min=1, help="Their median counts.")] = 5
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="NUMBER", min=1, help="Default: torch's choice.")
    ] = None


def info(path: Folder, *, dtype: Dtype = None, common: Plain) -> None:
    """Say what is in a model folder, and what the engine makes of it here."""
    from overwinter.engine.facts import facts
    from overwinter.loop.models.chat import ChatForm
    from overwinter.loop.models.local import load
    from overwinter.model.hub import find_folder

    config = _config(path, dtype)
    engine, text = load(config)
    found, form = facts(engine), ChatForm.of(text)
    files = sum(each.stat().st_size for each in find_folder(config.path).glob("*.safetensors"))
    out = Output(as_json=common.json)
    identity = f"{engine.name}@{engine.fingerprint.model[:12]}"
    record = {"path": config.path, "model": identity, "file_bytes": files, **dataclasses.asdict(found)}
    out.record({**record, "text": _text_record(text, form)})
    rows = [["folder", config.path], ["model", identity], *_fact_rows(found, files), *_text_rows(text, form)]
    out.table(["WHAT", "VALUE"], rows)


def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A model folder.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="A folder that is not there yet, or is empty.")],
    *,
    to: Annotated[
        str, typer.Option("--to", metavar="FORMAT", help="hf: a published family, for transformers; or overwinter.")
    ],
    dtype: Dtype = None,
    common: Plain,
) -> None:
    """Write a model folder in another format, tokenizer and chat template included."""
    if to not in FORMATS:
        raise UsageError(f"--to {to!r} is no format", f"use one of: {', '.join(FORMATS)}")
    config = _config(source, dtype)
    from overwinter.model.converting import convert as convert_folder

    written = convert_folder(config.path, target, to=to, dtype=config.dtype)
    out = Output(as_json=common.json)
    out.record({"source": config.path, "target": str(target.absolute()), **dataclasses.asdict(written)})
    out.line(f"wrote {target} as {written.family}: {written.parameters:,} parameters in {written.dtype}")
    for name in written.text_files:
        out.line(f"  {name}", "dim")


def bench(path: Folder, *, load: Load, dtype: Dtype = None, common: Plain) -> None:
    """Measure prefill and decoding at a few batch sizes, and how much of the memory's reading speed that is."""
    from overwinter.engine import Config as EngineConfig
    from overwinter.engine.speed import sweep, weight_bytes
    from overwinter.loop.models.local import load as load_model

    batches = sorted(set(load.batch or (1, 4, 16)))
    config = dataclasses.replace(_config(path, dtype), threads=load.threads)
    engine, _ = load_model(
        config,
        EngineConfig(
            context=load.prompt_tokens + load.new_tokens,
            max_running=batches[-1],
            kv_bytes=None,
            share_prefixes=False,
        ),
    )
    out, progress, done = Output(as_json=common.json), Progress("repetitions"), 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, len(batches) * load.repeats)

    lengths = {"prompt_tokens": load.prompt_tokens, "new_tokens": load.new_tokens, "repeats": load.repeats}
    out.line(_HEADER, "dim")
    try:
        for speed in sweep(engine, batches, tick=tick, **lengths):
            progress.done()
            out.record({"model": engine.name, **dataclasses.asdict(speed)})
            out.line(_speed_row(speed))  # at once: whoever breaks off keeps what was measured
    finally:
        progress.done()
    if not common.json:
        note(
            f"medians of {load.repeats}; prompts of {load.prompt_tokens}, answers of {load.new_tokens} tokens;"
            f" weights {weight_bytes(engine) / 1e6:.1f} MB a step; OF is what a plain read reached beside it"
        )


def _config(path: str, dtype: str | None) -> Config:
    from overwinter.cli.setup import model_path
    from overwinter.loop.models.local import Config

    return Config(path=model_path(path.removeprefix("local:")), dtype=dtype or "")  # type: ignore[arg-type]


_HEADER = "BATCH           PREFILL            DECODE        STEP   READS          OF"


def _speed_row(speed: Speed) -> str:
    step_s = speed.batch / speed.decode_tokens_s if speed.decode_tokens_s else 0.0
    prefill, decode = f"{speed.prefill_tokens_s:.0f} tokens/s", f"{speed.decode_tokens_s:.1f} tokens/s"
    step, read = f"{step_s * 1e3:.2f} ms", f"{speed.read_bytes_s / 1e9:.1f} GB/s"
    return f"{speed.batch:5}  {prefill:>16}  {decode:>16}  {step:>10}  {speed.read_fraction:6.1%}  {read:>10}"


def _fact_rows(found: Facts, file_bytes: int) -> Iterator[list[str]]:
    yield ["shape", ", ".join(f"{name} {value}" for name, value in found.shape.items())]
    yield ["switches", ", ".join(f"{name}={value!r}" for name, value in found.switches.items()) or "all off"]
    yield ["parameters", f"{found.parameters:,}, {found.dtype}, {found.weight_bytes:,} bytes ({file_bytes:,} in files)"]
    yield ["context", f"{found.context_tokens:,} tokens"]
    state = f", and {found.state_bytes:,} of recurrent state per sequence" if found.state_bytes else ""
    yield ["cache", f"{found.cache_bytes_token:,} bytes per token{state}"]
    plain = f"; not packed: {', '.join(found.plain)}" if found.plain else ""
    yield ["linears", f"{found.packed} packed{plain}"]
    yield [
        "exact here",
        "yes: the same last bits in any batch" if found.is_exact else "no: last bits depend on company",
    ]


def _text_record(text: TextFormat, form: ChatForm) -> dict[str, Any]:
    return {
        "tokenizer": type(text.tokenizer.model).__name__,
        "vocab_size": text.vocab_size,
        "template": None if text.template.is_plain else sorted(text.template.sources),
        "form": dataclasses.asdict(form),
        "bos_id": text.bos_id,
        "adds_bos": text.adds_bos,
        "end_tokens": {str(token): text.tokenizer.id_to_token(token) for token in sorted(text.end_ids)},
    }


def _text_rows(text: TextFormat, form: ChatForm) -> Iterator[list[str]]:
    said = _text_record(text, form)
    yield ["tokenizer", f"{said['tokenizer']} of {said['vocab_size']:,} tokens" + ", begins with bos" * text.adds_bos]
    shown = [name for name in ("system", "tools", "calls") if said["form"][name]]
    written = ", ".join(shown) or "plain turns only"
    names = "none; plain lines 'role: text'" if said["template"] is None else ", ".join(said["template"])
    yield ["template", f"{names} (shows {written})"]
    ends = ", ".join(f"{token} {name!r}" for token, name in said["end_tokens"].items())
    yield ["end tokens", ends or "none: answers end at their longest, and nothing can be constrained"]
