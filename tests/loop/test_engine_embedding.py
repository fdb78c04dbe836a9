"""Vectors of our own decoder: the same alone and together, of norm 1, and named by the weights."""

from __future__ import annotations

from pathlib import Path

import pytest

np = pytest.importorskip("numpy", reason="vectors need overwinter[memory]")

from overwinter.errors import UsageError  # noqa: E402
from overwinter.loop.models.embedding import EngineEmbedder, open_embedder  # noqa: E402

TEXTS = ["the heating is on", "", "fuel", "the storm will come tomorrow, says the radio, and the vents are open"]


def test_padding_changes_nothing(tiny_model: Path) -> None:
    embedder = EngineEmbedder(str(tiny_model))
    together = embedder.embed(TEXTS)
    assert together.shape == (4, embedder.dim)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-6)
    for row, text in enumerate(TEXTS):
        np.testing.assert_allclose(embedder.embed([text])[0], together[row], atol=1e-5)
    assert abs(float(together[0] @ together[3])) < 0.9999


def test_a_long_text_is_cut(tiny_model: Path) -> None:
    embedder = EngineEmbedder(str(tiny_model), max_tokens=8)
    long = " ".join(["heating"] * 200)
    assert embedder.max_tokens == 8
    np.testing.assert_allclose(embedder.embed([long]), embedder.embed([long + " vents"]), atol=1e-6)


def test_specs(tiny_model: Path) -> None:
    opened = open_embedder(f"engine:{tiny_model}")
    assert opened is not None
    assert opened.name == EngineEmbedder(str(tiny_model)).name
    assert open_embedder("") is None
    with pytest.raises(UsageError):
        open_embedder("engine:")
    with pytest.raises(UsageError):
        open_embedder("engine:/nowhere/at/all")
