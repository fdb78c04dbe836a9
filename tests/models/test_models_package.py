"""The package itself: cheap to import, and its names."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from overwinter.loop import models

SAME_PATH = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_importing_and_configuring_loads_no_http_library() -> None:
    program = (
        "import sys; from overwinter.loop.models import EndpointModel, EndpointConfig, ScriptedModel;"
        "EndpointModel(EndpointConfig(base_url='http://127.0.0.1:9/v1', model='m'));"
        "print([m for m in ('httpx', 'httpcore', 'pydantic', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=SAME_PATH)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in models.__all__:
        assert getattr(models, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = models.Nothing
