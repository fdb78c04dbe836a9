"""docs/stability.md is true: its code runs, and it names every detector and signal there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from overwinter.learn.stability import GuardConfig, PolicyBatch, build_detectors, policy_signals

PAGE = (Path(__file__).parents[3] / "docs" / "stability.md").read_text()


def test_the_example_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    names: dict[str, Any] = {"__name__": "stability_page"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"docs/stability.md, block {number}", "exec", dont_inherit=True), names)


def test_every_detector_has_its_row() -> None:
    rows = set(re.findall(r"^\| `([\w.*]+)` \|", PAGE, re.MULTILINE))
    names = {detector.name for detector in build_detectors(GuardConfig())}
    assert not [name for name in names if name not in rows and f"{name.split('.')[0]}.*" not in rows]


def test_every_signal_is_named() -> None:
    flat_R, flat_RT = torch.ones(4), torch.zeros(4, 2)
    columns = {
        name: flat_RT if "logprob" in name or name in ("mask", "entropy", "top") else flat_R
        for name in PolicyBatch.__dataclass_fields__
        if not name.startswith("clip_")
    }
    found = policy_signals(PolicyBatch(**columns | {"mask": torch.ones(4, 2)}))
    assert len(found) > 30
    known = set(re.findall(r"`(\w+)`", PAGE))
    assert not [name for name in found if name not in known and name not in ("k1_reference", "k3_reference")]
