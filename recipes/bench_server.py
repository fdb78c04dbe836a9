"""The server beside its own engine: 64 streaming clients, and a short prompt behind long ones. Prints the tables of docs/serve.md.

    python recipes/bench_server.py [--size 25m] [--clients 64] [--tokens 64] [--rounds 3]

The engine and the server are measured in turn: the engine alone steps the same requests as fast as it can; the server is a process
of its own that is asked by as many connections as there are clients, each reading its stream to the end. Beside the wall's clock,
which the clients and whatever else runs on the machine slow down, stands the processor time of engine and server alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import torch

from overwinter.engine import Config, Engine, Request, SamplingParams
from overwinter.model import Config as Shape
from overwinter.model import fresh, save

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"d_model": 64, "d_mlp": 172, "n_layers": 5, "n_heads": 8, "n_kv_heads": 4, "d_head": 8},
    "25m": {"d_model": 384, "d_mlp": 1024, "n_layers": 12, "n_heads": 6, "n_kv_heads": 2, "d_head": 64},
    "100m": {"d_model": 768, "d_mlp": 2048, "n_layers": 12, "n_heads": 12, "n_kv_heads": 4, "d_head": 64},
}
VOCABULARY, CONTEXT = 32_000, 2048


def tokenizer() -> Any:
    """A tokenizer with the width of the shapes' heads: bytes, and pieces that nothing is ever cut into."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*signs, *(f"piece{number}" for number in range(VOCABULARY - len(signs) - 1)), "</s>"]
    made = Tokenizer(models.BPE(vocab={piece: at for at, piece in enumerate(pieces)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def model_folder(path: Path, size: str) -> Path:
    shape = Shape(vocab_size=VOCABULARY, context=CONTEXT, tied=True, **SHAPES[size])
    save(fresh(shape, seed=1), path, tokenizer=tokenizer())
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": VOCABULARY - 1}))
    return path


def prompts(count: int) -> list[list[int]]:
    draw = random.Random(7)
    return [[draw.randrange(VOCABULARY - 1) for _ in range(draw.randrange(16, 129))] for _ in range(count)]


def engine_alone(engine: Engine, asked: list[list[int]], tokens: int) -> tuple[float, float]:
    """Tokens per second, and processor seconds."""
    requests = [
        Request(prompt_ids=tuple(ids), max_tokens=tokens, sampling=SamplingParams(temperature=0), ignore_end=True)
        for ids in asked
    ]
    began, used = time.perf_counter(), time.process_time()
    results = engine.run(requests)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - used
    return sum(len(result.output_ids) for result in results) / seconds, cpu_s


class Server:
    def __init__(self, model: Path, folder: Path) -> None:
        options = ["--model", str(model), "--port", "0", "--json", "--store", str(folder / "serve.db")]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "overwinter", "serve", *options], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["url"]

    def cpu_s(self, *, loop_only: bool = False) -> float:
        """Processor seconds so far, of all its threads or of the one that speaks with clients."""
        pid = self.process.pid
        path = Path(f"/proc/{pid}/task/{pid}/stat" if loop_only else f"/proc/{pid}/stat")
        fields = path.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


async def stream(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> tuple[int, float, bool]:
    """Tokens received, seconds to the first, and whether the stream ended as it should."""
    began, first, last = time.perf_counter(), 0.0, ""
    async with client.stream(
        "POST", f"{url}/v1/completions", json={**body, "stream": True, "temperature": 0}
    ) as answer:
        usage = 0
        async for line in answer.aiter_lines():
            first = first or (time.perf_counter() - began if '"text":' in line else 0.0)
            if '"usage":{' in line:
                usage = json.loads(line.removeprefix("data: "))["usage"]["completion_tokens"]
            last = line or last
        return usage, first, answer.status_code == 200 and last == "data: [DONE]"


async def served(url: str, asked: list[list[int]], tokens: int) -> tuple[float, int]:
    """Tokens per second and failed streams."""
    body = {"model": "model", "max_tokens": tokens, "ignore_eos": True, "stream_options": {"include_usage": True}}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=600, limits=limits) as client:
        began = time.perf_counter()
        done = await asyncio.gather(*(stream(client, url, {**body, "prompt": ids}) for ids in asked))
        seconds = time.perf_counter() - began
    return sum(count for count, _, _ in done) / seconds, sum(not well for _, _, well in done)


async def first_token_s(url: str, long: int) -> float:
    """Seconds to the first token of a short prompt that comes while `long` prompts of 1,500 tokens are being read."""
    draw = random.Random(long + int(time.time()))
    body = {"model": "model", "max_tokens": 8, "ignore_eos": True}
    async with httpx.AsyncClient(timeout=600) as client:
        others = [
            asyncio.ensure_future(
                stream(client, url, {**body, "prompt": [draw.randrange(VOCABULARY - 1) for _ in range(1500)]})
            )
            for _ in range(long)
        ]
        await asyncio.sleep(0.05)
        ids = [draw.randrange(VOCABULARY - 1) for _ in range(16)]
        _, first, _ = await stream(client, url, {**body, "prompt": ids})
        await asyncio.gather(*others)
    return first


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", choices=SHAPES, default="25m")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = model_folder(folder / "model", options.size)
        asked = prompts(options.clients)
        server = Server(model, folder)
        try:
            rates: dict[str, list[float]] = {"engine": [], "server": []}
            cpu: dict[str, list[float]] = {"engine": [], "server": [], "loop": []}
            failed = 0
            for _ in range(options.rounds):
                engine = Engine.load(model, Config())  # fresh: no prompt of the round before is in memory
                rate, cpu_s = engine_alone(engine, asked, options.tokens)
                rates["engine"].append(rate)
                cpu["engine"].append(cpu_s)
                used, loop_used = server.cpu_s(), server.cpu_s(loop_only=True)
                rate, wrong = asyncio.run(served(server.url, asked, options.tokens))
                rates["server"].append(rate)
                cpu["server"].append(server.cpu_s() - used)
                cpu["loop"].append(server.cpu_s(loop_only=True) - loop_used)
                failed += wrong
                asked = [[(token + 1) % (VOCABULARY - 1) for token in ids] for ids in asked]
            waits = {
                long: statistics.median(asyncio.run(first_token_s(server.url, long)) for _ in range(options.rounds))
                for long in (0, 1, 8)
            }
        finally:
            server.close()
    alone, behind = (statistics.median(rates[name]) for name in ("engine", "server"))
    cpu_alone, cpu_behind, cpu_loop = (statistics.median(cpu[name]) for name in ("engine", "server", "loop"))
    print(
        f"\n{options.size}, {options.clients} clients, {options.tokens} tokens each, {torch.get_num_threads()} threads"
    )
    print("\n| | tokens/s, median | processor s, median |\n|---|---|---|")
    print(f"| engine alone | {alone:.0f} | {cpu_alone:.2f} |\n| server, streaming | {behind:.0f} | {cpu_behind:.2f} |")
    print(f"| of it the event loop | | {cpu_loop:.2f} |")
    print(f"| server / engine | {behind / alone:.0%} | {cpu_behind / cpu_alone:.0%} |")
    print(f"\nfailed streams: {failed} of {options.rounds * options.clients}; rounds: {rates}, {cpu}")
    print("\n| long prompts before it | first token of a short one, s |\n|---|---|")
    for long, seconds in waits.items():
        print(f"| {long} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
