"""What does a server give? Drives one through the endpoint model and prints a table.

Against a server that runs already:

    python recipes/check_endpoint.py --base-url http://127.0.0.1:8000/v1 --model NAME [--api-key-env VAR]

Against llama-cpp-python with the 260,000-parameter stories model, in one command (writes a GGUF file, starts the server
on loopback, checks, stops it):

    python recipes/check_endpoint.py --weights DIR [--server-python PATH]

DIR is described in `make_gguf.py`. PATH is a Python that has llama-cpp-python[server], gguf, numpy and safetensors; by
default the one that runs this recipe. There the greedy text is compared with the one llama2.c documents for these
weights. Exit status: 0 all as expected, 1 an answer differs, 2 something needed is missing.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overwinter.errors import ModelError, OverwinterError
from overwinter.loop.model import Completion, Constraint, Limits, Message, View
from overwinter.loop.models import EndpointConfig, EndpointModel

EXPECTED_TEXT = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park"
OPENING = "Once upon a time"
SERVER_NAME = "stories260K"
SERVER_START_S = 120.0
SERVER_PACKAGES = ("llama_cpp", "uvicorn", "fastapi", "gguf", "numpy", "safetensors")
WATER = {
    "type": "function",
    "function": {
        "name": "water",
        "description": "Water one zone.",
        "parameters": {"type": "object", "properties": {"zone": {"type": "integer"}}, "required": ["zone"]},
    },
}


class Missing(Exception):
    """Something the check needs is not there; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: what was tried, what came back, and False where that is not as it should be."""

    what: str
    came: str
    ok: bool = True


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    try:
        if options.weights is None:
            rows = check(options.base_url, options.model, options.api_key_env, documented_text=False)
        else:
            with serving(options.weights, options.server_python) as base_url:
                rows = check(base_url, SERVER_NAME, "", documented_text=True)
    except (Missing, OverwinterError) as error:
        print(error, file=sys.stderr)
        return 2
    return show(rows, as_json=options.json)


def show(rows: Sequence[Row], *, as_json: bool) -> int:
    """Print what was found; the exit status."""
    if as_json:
        print(json.dumps([vars(row) for row in rows], indent=2))
    else:
        width = max(len(row.what) for row in rows)
        for row in rows:
            print(f"{'  ' if row.ok else '! '}{row.what:<{width}}  {row.came}")
    return 0 if all(row.ok for row in rows) else 1


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--weights", type=Path, help="start llama-cpp-python with these weights")
    where.add_argument("--base-url", help="check a server that runs already")
    parser.add_argument("--model", default="", help="the model's name at --base-url")
    parser.add_argument("--api-key-env", default="", help="environment variable that holds the API key")
    parser.add_argument("--server-python", default=sys.executable, help="Python with llama-cpp-python[server] and gguf")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    return parser.parse_args(argv)


def check(base_url: str, model: str, api_key_env: str, *, documented_text: bool) -> list[Row]:
    """The table for one server."""
    rows: list[Row] = []
    for mode in ("chat", "completions"):
        for stream in (False, True):
            config = EndpointConfig(
                base_url=base_url,
                model=model,
                api_key_env=api_key_env,
                mode=mode,
                stream=stream,
                transcript="plain",
                max_attempts=2,
            )
            endpoint = EndpointModel(config)
            title = f"{mode}, {'streamed' if stream else 'whole'}"
            rows.append(attempt(title, lambda endpoint=endpoint: describe(ask(endpoint))))
            rows.append(attempt(f"{title}, log-probabilities", lambda e=endpoint: logprobs(ask(e, top_logprobs=2))))
            endpoint.close()
    rows += check_extras(base_url, model, api_key_env)
    if documented_text:
        rows += check_documented_text(base_url, model)
    return rows


def check_extras(base_url: str, model: str, api_key_env: str) -> list[Row]:
    """What only some servers do."""
    common: dict[str, Any] = {"base_url": base_url, "model": model, "api_key_env": api_key_env, "max_attempts": 1}
    chat = EndpointModel(EndpointConfig(mode="chat", stream=False, **common))
    objects = EndpointModel(EndpointConfig(mode="chat", stream=False, schema_by="json_object", **common))
    plain = EndpointModel(EndpointConfig(mode="completions", stream=False, transcript="plain", **common))
    exact = EndpointModel(EndpointConfig(count_by="server", **common))
    schema = {"type": "object", "properties": {"zone": {"type": "integer"}}, "required": ["zone"]}

    def requests_for_two() -> str:
        completions = chat.sample(view(), 2, Constraint(), limits(temperature=1.0, seed=1))
        attempts = sum(completion.usage.attempts for completion in completions)
        return f"{len(completions)} completions in {attempts} request{'s' if attempts > 1 else ''}"

    def tool_call() -> str:
        answer = chat.sample(View(messages=view().messages, tools=(WATER,)), 1, Constraint(), limits())[0]
        return f"{len(answer.tool_calls)} calls, text {answer.text[:40]!r}"

    def score() -> str:
        values = plain.score(view(), [", there was", ", there xylophone"])
        likely, unlikely = (sum(value) for value in values)
        return f"{likely:.3f} for a likely text, {unlikely:.3f} for an unlikely one"

    def too_long() -> str:
        try:
            return describe(plain.sample(view("hello world " * 400_000), 1, Constraint(), limits())[0])
        except ModelError as error:
            return error.problem[:160]

    def by_schema(endpoint: EndpointModel) -> str:
        return repr(endpoint.sample(view(), 1, Constraint(json_schema=schema), limits())[0].text[:60])

    def count() -> str:
        text = "There was a little girl."
        return f"{exact.count_tokens(text)} tokens; the estimate is {chat.count_tokens(text)}"

    return [
        attempt("models", lambda: ", ".join(chat.served_models()) or "not listed"),
        attempt("n = 2", requests_for_two),
        attempt("tools", tool_call),
        attempt("JSON schema by response_format", lambda: by_schema(chat)),
        attempt("JSON schema by json_object", lambda: by_schema(objects)),
        attempt("score", score),
        attempt("count_tokens", count),
        attempt("a prompt too long", too_long),
    ]


def check_documented_text(base_url: str, model: str) -> list[Row]:
    """The greedy text of the stories model, whole and streamed, from its opening and from nothing."""
    rows = []
    for prompt in ("", OPENING):
        for stream in (False, True):
            settings = EndpointConfig(
                base_url=base_url, model=model, mode="completions", stream=stream, transcript="plain"
            )
            answer = EndpointModel(settings).sample(view(prompt), 1, Constraint(), limits(max_tokens=60))[0]
            text = (prompt + answer.text).strip()
            what = f"greedy text from {prompt!r}, {'streamed' if stream else 'whole'}"
            same = text.startswith(EXPECTED_TEXT)
            rows.append(Row(what=what, came="as documented" if same else f"differs: {text[:100]!r}", ok=same))
    whole = EndpointConfig(base_url=base_url, model=model, mode="completions", stream=False, transcript="plain")
    answer = EndpointModel(whole).sample(view(""), 1, Constraint(), limits(top_logprobs=2))[0]
    rows.append(Row(what="log-probabilities from ''", came=logprobs(answer)))
    return rows


def attempt(what: str, action: Callable[[], str]) -> Row:
    """A row; a server that cannot do something has that in its row, it does not end the check."""
    try:
        return Row(what=what, came=action())
    except ModelError as error:
        return Row(what=what, came=f"no: {error.problem[:160]}")


def ask(endpoint: EndpointModel, **settings: Any) -> Completion:
    return endpoint.sample(view(), 1, Constraint(), limits(**settings))[0]


def view(text: str = OPENING) -> View:
    return View(messages=(Message(role="user", text=text),))


def limits(**settings: Any) -> Limits:
    return Limits(**({"max_tokens": 12, "timeout_s": 60.0} | settings))


def describe(answer: Completion) -> str:
    usage = answer.usage
    ids = "token ids" if answer.token_ids is not None else "no token ids"
    return f"{answer.text[:40]!r} ({answer.finish_reason}), {usage.prompt_tokens} + {usage.completion_tokens} tokens, {ids}"


def logprobs(answer: Completion) -> str:
    if answer.logprobs is None:
        return "none, or not those of the greedy tokens and therefore left out"
    alternatives = max((len(top) for top in answer.top_logprobs), default=0)
    return f"{len(answer.logprobs)} tokens, sum {sum(answer.logprobs):.3f}, up to {alternatives} alternatives each"


@contextmanager
def serving(weights: Path, python: str, context_tokens: int = 512) -> Iterator[str]:
    """llama-cpp-python's server on loopback with `weights`; its base URL."""
    if not (weights / "hf" / "model.safetensors").exists() or not list(weights.glob("tok*.json")):
        raise Missing(
            f"{weights} holds no hf/model.safetensors and tok*.json\n  → point --weights at the stories260K folder"
        )
    require_packages(python)
    with tempfile.TemporaryDirectory() as folder:
        gguf = Path(folder) / f"{SERVER_NAME}.gguf"
        converter = Path(__file__).with_name("make_gguf.py")
        subprocess.run([python, str(converter), "--weights", str(weights), "--out", str(gguf)], check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [python, "-m", "llama_cpp.server", "--model", str(gguf), "--model_alias", SERVER_NAME]
        command += ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", str(context_tokens), "--n_threads", "1"]
        command += ["--logits_all", "true", "--chat_format", "chatml"]
        log = Path(folder) / "server.log"
        with log.open("wb") as output:
            server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            await_server(server, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(timeout=20)


def require_packages(python: str) -> None:
    program = f"import importlib.util as u; print([p for p in {SERVER_PACKAGES!r} if u.find_spec(p) is None])"
    try:
        found = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise Missing(f"{python} does not run ({error})\n  → give a Python by --server-python") from None
    if found != "[]":
        raise Missing(
            f"{python} lacks the packages {found}\n"
            "  → pip install 'llama-cpp-python[server]' gguf safetensors (it compiles for some minutes), and give that "
            "Python by --server-python"
        )


def await_server(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + SERVER_START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    ending = log.read_text(errors="replace")[-800:]
    raise Missing(f"the server did not start:\n{ending}\n  → read the lines above")


if __name__ == "__main__":
    raise SystemExit(main())
