"""Inspect against our server, and its logs back: an evaluation client that nobody here wrote, from beginning to end.

    python recipes/check_inspect.py --model path/to/model --inspect path/to/inspect

It starts the server, writes a small task of letters asked for twice each, lets Inspect evaluate it through its OpenAI-compatible
provider, and reads the log (`.eval`, and `.json`) by `overwinter bench import`. Both forms have to give the same answers, and the
mean that Inspect itself reports. Inspect is installed by hand, in an environment of its own (`pip install inspect-ai openai`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from overwinter.bench.imports import read_log

TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

@task
def letters():
    # Any model says some of these letters, and not all.
    samples = [Sample(id=f"q{n}", input=f"Say {sign}.", target=sign, metadata={"odd": str(n % 2)}) for n, sign in enumerate("aeouktzq")]
    return Task(dataset=samples, solver=generate(max_tokens=48), scorer=includes(), epochs=2)
"""


def evaluate(program: str, url: str, model: str, folder: Path, form: str) -> Path:
    """The log of one evaluation."""
    command = [program, "eval", "task.py", "--model", f"openai-api/overwinter/{model}", "--log-dir", form]
    command += ["--log-format", form, "--display", "none", "--temperature", "1", "--seed", "7"]
    environment = {**os.environ, "OVERWINTER_BASE_URL": url, "OVERWINTER_API_KEY": "none"}
    subprocess.run(command, check=True, env=environment, cwd=folder)
    return next((folder / form).glob(f"*.{form}"))


def reported(path: Path) -> float:
    """The accuracy that Inspect wrote into its own log."""
    scores: list[dict[str, Any]] = json.loads(path.read_text())["results"]["scores"]
    return float(scores[0]["metrics"]["accuracy"]["value"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--inspect", default="inspect")
    chosen = parser.parse_args()
    command = [sys.executable, "-m", "overwinter", "serve", "--model", chosen.model, "--port", "0", "--json"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "task.py").write_text(TASK)
        command += ["--store", str(folder / "journal.db")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                ready = json.loads(server.stdout.readline())
                url = f"{ready['url']}/v1"
                logs = {form: evaluate(chosen.inspect, url, ready["model"], folder, form) for form in ("json", "eval")}
            finally:
                server.terminate()
        theirs = reported(logs["json"])
        read = {form: read_log(path).answers for form, path in logs.items()}
    ours = {form: sum(answer.correct or 0.0 for answer in answers) / len(answers) for form, answers in read.items()}
    print(f"accuracy: Inspect {theirs}, its logs imported {ours}; {len(read['eval'])} answers")
    told = {
        form: [(a.item, a.sample, a.text, a.correct, a.tokens_out) for a in answers] for form, answers in read.items()
    }
    if len(read["eval"]) != 16 or sorted(told["json"]) != sorted(told["eval"]):
        sys.exit("the two forms of the log give different answers")
    if abs(ours["json"] - theirs) > 1e-9:
        sys.exit("they differ: what was imported is not what Inspect counted")


if __name__ == "__main__":
    main()
