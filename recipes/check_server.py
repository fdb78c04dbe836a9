"""An evaluation client that nobody here wrote, run against our server to the end: lm-eval's `local-completions`.

    python recipes/check_server.py [--model DIR] [--lm-eval PROGRAM]

The task is made here: eight small questions, each once as a choice between endings (log-probabilities of an echoed prompt) and once to be
continued up to a full stop. What is checked is that everything is asked and answered; a model of 260,000 parameters knows nothing.
lm-eval is installed by hand (`pip install "lm_eval[api]"`, best into an environment of its own); its tokenizer is the model's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from overwinter.model import TextFormat

ITEMS = [
    ("The sun is", " hot", " a spoon"), ("Lily likes to play with her", " ball", " the of"),
    ("The dog says", " woof", " Tuesday"), ("It was a big", " tree", " and to"), ("She was very", " happy", " table"),
    ("They went to the", " park", " very"), ("Once upon a", " time", " dog"), ("Tom ate a red", " apple", " said"),
]  # fmt: skip

CHOICE = """
task: overwinter_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{start}}}}"
doc_to_target: 0
doc_to_choice: "{{{{[right, wrong]}}}}"
target_delimiter: ""
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
CONTINUE = """
task: overwinter_continue
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{start}}}}"
doc_to_target: "{{{{right}}}}"
generation_kwargs: {{until: ["."], max_gen_toks: 24, temperature: 0.0}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


def write_tasks(folder: Path) -> None:
    data = folder / "items.jsonl"
    rows = [{"start": start, "right": right, "wrong": wrong} for start, right, wrong in ITEMS]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, text in (("choice", CHOICE), ("continue", CONTINUE)):
        (folder / f"{name}.yaml").write_text(text.format(data=data))


def write_tokenizer(model: Path, folder: Path) -> Path:
    """The model's tokenizer in a form that transformers reads."""
    target = folder / "tokenizer"
    target.mkdir()
    text = TextFormat.load(model)
    text.tokenizer.save(str(target / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", **text.special_tokens}
    (target / "tokenizer_config.json").write_text(json.dumps(names))
    return target


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=Path("../shared/data/weights/stories260K/hf"))
    parser.add_argument("--lm-eval", default="lm_eval")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tasks(folder)
        tokenizer = write_tokenizer(options.model, folder)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
        serve = [
            "--model",
            str(options.model),
            "--name",
            "model",
            "--port",
            "0",
            "--json",
            "--store",
            str(folder / "serve.db"),
        ]
        server = subprocess.Popen(
            [sys.executable, "-m", "overwinter", "serve", *serve], stdout=subprocess.PIPE, text=True, env=environment
        )
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            settings = (
                f"model=model,base_url={url}/v1/completions,tokenizer={tokenizer},num_concurrent=4,max_length=512"
            )
            command = [
                options.lm_eval,
                "run",
                "--model",
                "local-completions",
                "--model_args",
                settings,
                "--include_path",
                name,
            ]
            command += [
                "--tasks",
                "overwinter_choice,overwinter_continue",
                "--output_path",
                str(folder / "out"),
                "--log_samples",
            ]
            offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
            done = subprocess.run(command, env=offline, check=False)
        finally:
            server.terminate()
            server.wait()
        samples = sum(path.read_text().count("\n") for path in folder.glob("out/**/samples_*.jsonl"))
    print(f"\nlm-eval ended with {done.returncode}; {samples} of {2 * len(ITEMS)} questions answered")
    sys.exit(0 if done.returncode == 0 and samples == 2 * len(ITEMS) else 1)


if __name__ == "__main__":
    main()
