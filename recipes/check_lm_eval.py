"""An evaluation client that nobody here wrote, against our server, from beginning to end: lm-eval's `local-completions`.

python recipes/check_lm_eval.py --model path/to/model --lm-eval path/to/lm_eval

It starts the server, writes a small task (which of four endings follows a sentence, and text until a full stop), runs lm-eval on it, and
computes the same log-probabilities with the engine itself. Both have to choose the same endings; and the samples that lm-eval wrote,
read by `overwinter bench import`, have to give its scores. lm-eval is installed by hand, in an environment of its own
(`pip install "lm_eval[api]"`): it brings more packages than all of overwinter.
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
from overwinter.engine import Engine

SENTENCES = [
    ("Once upon a time, there was a little", [" girl", " engine", " seventeen", " because"], 0),
    ("Lily liked to play in the", [" is", " park", " said", " and"], 1),
    ("The dog was very happy and wagged its", [" a", " moon", " tail", " he"], 2),
    ("Tom and his mom went to the", [" the", " was", " big", " store"], 3),
    ('She said, "Thank you,', [" mom", " of", " were", " a"], 0),
    ("The sun was shining and the sky was", [" dog", " blue", " you", " Lily"], 1),
]
CHOICE = {
    "task": "endings",
    "dataset_path": "json",
    "output_type": "multiple_choice",
    "test_split": "train",
    "doc_to_text": "{{text}}",
    "doc_to_choice": "choices",
    "doc_to_target": "answer",
    "target_delimiter": "",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
UNTIL = {
    "task": "goes_on",
    "dataset_path": "json",
    "output_type": "generate_until",
    "test_split": "train",
    "doc_to_text": "{{text}}",
    "doc_to_target": "{{choices[answer]}}",
    "generation_kwargs": {"until": ["."], "max_gen_toks": 24, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}


def write_tasks(folder: Path) -> None:
    data = folder / "sentences.jsonl"
    lines = [json.dumps({"text": text, "choices": choices, "answer": answer}) for text, choices, answer in SENTENCES]
    data.write_text("\n".join(lines) + "\n")
    for task in (CHOICE, UNTIL):
        with_data = {**task, "dataset_kwargs": {"data_files": str(data)}}
        (folder / f"{task['task']}.yaml").write_text(json.dumps(with_data))  # JSON is YAML


def write_tokenizer(engine: Engine, folder: Path) -> None:
    """The server's tokenizer in the form that transformers reads."""
    assert engine.text is not None
    folder.mkdir()
    engine.text.tokenizer.save(str(folder / "tokenizer.json"))
    names = {name: token for name, token in engine.text.special_tokens.items() if name in {"bos_token", "eos_token"}}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def own_choices(engine: Engine) -> list[int]:
    """The likeliest ending of each sentence, by the engine itself."""
    assert engine.text is not None
    found = []
    for text, choices, _ in SENTENCES:
        sums = []
        for choice in choices:
            context, whole = engine.text.encode(text), engine.text.encode(text + choice)
            sums.append(sum(engine.score(whole[: len(context)], whole[len(context) :])))
        found.append(sums.index(max(sums)))
    return found


def run_lm_eval(program: str, url: str, name: str, folder: Path) -> dict[str, Any]:
    arguments = (
        f"model={name},base_url={url}/v1/completions,num_concurrent=4,tokenizer={folder / 'tokenizer'},max_retries=1"
    )
    command = [program, "--model", "local-completions", "--model_args", arguments, "--tasks", "endings,goes_on"]
    command += ["--include_path", str(folder), "--output_path", str(folder / "out"), "--log_samples"]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "OPENAI_API_KEY": "none",
    }
    subprocess.run(command, check=True, env=environment)
    results = json.loads(next((folder / "out").rglob("results_*.json")).read_text())
    samples = next((folder / "out").rglob("samples_endings_*.jsonl")).read_text().splitlines()
    chosen = {}
    for line in samples:
        sample = json.loads(line)
        sums = [float(answer[0]) for answer in sample["filtered_resps"]]
        chosen[sample["doc_id"]] = sums.index(max(sums))
    imported = {}
    for path in (folder / "out").rglob("samples_*.jsonl"):
        recording = read_log(path)
        imported[recording.header.suite] = sum(answer.correct or 0.0 for answer in recording.answers) / len(
            recording.answers
        )
    order = [chosen[at] for at in range(len(SENTENCES))]
    return {"results": results["results"], "chosen": order, "imported": imported}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--lm-eval", default="lm_eval")
    chosen = parser.parse_args()
    command = [sys.executable, "-m", "overwinter", "serve", "--model", chosen.model, "--port", "0", "--json"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command += ["--store", str(folder / "journal.db")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                ready = json.loads(server.stdout.readline())
                engine = Engine.load(chosen.model)
                write_tasks(folder)
                write_tokenizer(engine, folder / "tokenizer")
                theirs = run_lm_eval(chosen.lm_eval, ready["url"], ready["model"], folder)
                ours = own_choices(engine)
            finally:
                server.terminate()
    for task, scores in theirs["results"].items():
        print(task, {key: value for key, value in scores.items() if isinstance(value, float)})
    print(f"endings chosen: lm-eval over HTTP {theirs['chosen']}, the engine itself {ours}")
    scores = {task: made.get("acc,none", made.get("exact_match,none")) for task, made in theirs["results"].items()}
    print(f"scores: lm-eval {scores}, its samples imported {theirs['imported']}")
    if scores != theirs["imported"]:
        sys.exit("they differ: what was imported is not what lm-eval counted")
    if theirs["chosen"] != ours:
        sys.exit("they differ: the server's log-probabilities are not the engine's")


if __name__ == "__main__":
    main()
