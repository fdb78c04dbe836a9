"""Embedders: the encoder in NumPy against the same network in torch, and the endpoint's answers and faults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")

import httpx  # noqa: E402

from overwinter.errors import ModelError, UsageError  # noqa: E402
from overwinter.memory.embed import KEY_VARIABLE, open_embedder  # noqa: E402
from overwinter.memory.embed.endpoint import Config, EndpointEmbedder  # noqa: E402

TEXTS = ["The stove is out of fuel.", "a", "", "Fuel, fuel and again fuel: " * 40, "Café Žižkov 2031"]


WIDTH, HEADS, LAYERS, FEED, LONGEST = 32, 4, 2, 64, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random BERT as sentence-transformers stores one."""
    tokenizers, safetensors = pytest.importorskip("tokenizers"), pytest.importorskip("safetensors.numpy")
    path = tmp_path_factory.mktemp("bert")
    letters = sorted({char for text in TEXTS for char in text.lower()} - {" "})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = tokenizers.BertWordPieceTokenizer(vocab={word: i for i, word in enumerate(vocabulary)})
    tokenizer.save(str(path / "tokenizer.json"))
    shapes = {"word_embeddings": len(vocabulary), "position_embeddings": LONGEST, "token_type_embeddings": 2}
    weights = {f"embeddings.{name}.weight": (rows, WIDTH) for name, rows in shapes.items()}
    weights |= {f"embeddings.LayerNorm.{part}": (WIDTH,) for part in ("weight", "bias")}
    for i in range(LAYERS):
        names = [f"attention.self.{name}" for name in ("query", "key", "value")] + ["attention.output.dense"]
        sizes = dict.fromkeys(names, (WIDTH, WIDTH)) | {
            "intermediate.dense": (FEED, WIDTH),
            "output.dense": (WIDTH, FEED),
        }
        for name, size in sizes.items():
            weights |= {f"encoder.layer.{i}.{name}.weight": size, f"encoder.layer.{i}.{name}.bias": size[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            weights |= {f"encoder.layer.{i}.{name}.{part}": (WIDTH,) for part in ("weight", "bias")}
    dice = np.random.default_rng(0)
    drawn = {f"bert.{name}": (0.4 * dice.normal(size=size)).astype(np.float32) for name, size in weights.items()}
    safetensors.save_file(drawn, path / "model.safetensors")
    config = {"model_type": "bert", "hidden_act": "gelu", "num_attention_heads": HEADS, "num_hidden_layers": LAYERS}
    (path / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-12}))
    return path


def _by_torch(folder: Path, texts: list[str]):
    """The network from torch's own pieces, one text at a time, without padding."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    functional = torch.nn.functional
    weights = {name.removeprefix("bert."): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(LONGEST)

    def linear(x, name):
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x, name):
        return functional.layer_norm(x, (WIDTH,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-12)

    vectors = []
    for text in texts:
        ids = torch.tensor(tokenizer.encode(text).ids)
        embedded = weights["embeddings.word_embeddings.weight"][ids]
        embedded = embedded + weights["embeddings.position_embeddings.weight"][: len(ids)]
        x = norm(embedded + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for i in range(LAYERS):
            layer = f"encoder.layer.{i}"
            q, k, v = (
                linear(x, f"{layer}.attention.self.{name}").view(len(ids), HEADS, -1).transpose(0, 1)
                for name in ("query", "key", "value")
            )
            mixed = functional.scaled_dot_product_attention(q, k, v).transpose(0, 1).reshape(len(ids), WIDTH)
            x = norm(x + linear(mixed, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
            up = functional.gelu(linear(x, f"{layer}.intermediate.dense"))
            x = norm(x + linear(up, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        vectors.append(functional.normalize(x.mean(0), dim=0).numpy())
    return np.stack(vectors)


def test_minilm_equals_torch(folder: Path) -> None:
    embedder = open_embedder(f"minilm:{folder}")
    assert embedder is not None
    assert (embedder.dim, embedder.max_tokens) == (32, 64)
    vectors = embedder.embed(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, _by_torch(folder, TEXTS), atol=3e-6)


def test_minilm_says_what_is_wrong_with_a_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="local folder"):
        open_embedder(f"minilm:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(UsageError, match="not a BERT"):
        open_embedder(f"minilm:{tmp_path}")
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not a file of tensors")
    with pytest.raises(UsageError, match="copy the model's folder again"):
        open_embedder(f"minilm:{tmp_path}")
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(UsageError, match="pools by the mean"):
        open_embedder(f"minilm:{tmp_path}")


def test_other_weights_have_another_name(folder: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor + np.float32(1e-3) for name, tensor in weights.items()}, tmp_path / "model.safetensors")
    first, second = open_embedder(f"minilm:{folder}"), open_embedder(f"minilm:{tmp_path}")
    assert first is not None
    assert second is not None
    assert first.name != second.name


class _Server:
    """Answers as an OpenAI-compatible server does, after the statuses it was told to give first."""

    def __init__(self, *statuses: int, answer: object = None) -> None:
        self.statuses, self.answer = list(statuses), answer
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.statuses:
            return httpx.Response(self.statuses.pop(0), headers={"retry-after": "7"}, text="busy")
        if self.answer is not None:
            return httpx.Response(200, json=self.answer)
        texts = json.loads(request.content)["input"]
        rows = [{"index": i, "embedding": [len(text), 1.0, 0.0]} for i, text in enumerate(texts)]
        return httpx.Response(200, json={"data": rows[::-1]})


def _embedder(server: _Server, **config: object) -> tuple[EndpointEmbedder, list[float]]:
    waits: list[float] = []
    settings = {"base_url": "http://host/v1", "model": "e5", "sleep": waits.append} | config
    return EndpointEmbedder(Config(**settings), httpx.MockTransport(server)), waits


def test_endpoint_vectors_are_in_order_and_of_norm_one() -> None:
    server = _Server()
    embedder, _ = _embedder(server, batch=2, max_tokens=2)
    vectors = embedder.embed(["a", "bbb", "c" * 100])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors[:, 0] / vectors[:, 1], [1, 3, 8], rtol=1e-5)
    assert [str(request.url) for request in server.requests] == ["http://host/v1/embeddings"] * 2
    assert (embedder.dim, embedder.name) == (3, "endpoint-e5")
    assert embedder.embed([]).shape == (0, 3)


def test_endpoint_waits_for_a_busy_server() -> None:
    server = _Server(503, 429)
    embedder, waits = _embedder(server)
    assert embedder.dim == 3
    assert waits == [7.0, 7.0]


def test_endpoint_gives_up() -> None:
    embedder, waits = _embedder(_Server(500, 500, 500), max_attempts=3, max_backoff_s=5.0)
    with pytest.raises(ModelError, match="in 3 attempts: status 500"):
        embedder.embed(["a"])
    assert waits == [5.0, 5.0]


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {"rows": 1},
        [],
        {"data": [{"index": 0, "embedding": "no"}]},
        {"data": [{"index": 0, "embedding": [None]}]},
    ],
)
def test_endpoint_that_answers_something_else(answer: object) -> None:
    embedder, _ = _embedder(_Server(answer=answer))
    with pytest.raises(ModelError, match="cannot be read"):
        embedder.embed(["a"])


def test_endpoint_that_refuses_is_not_asked_again() -> None:
    server = _Server(401)
    embedder, _ = _embedder(server)
    with pytest.raises(ModelError, match="status 401"):
        embedder.embed(["a"])
    assert len(server.requests) == 1


def test_endpoint_sends_the_key_of_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    server = _Server()
    embedder, _ = _embedder(server, api_key_env="A_KEY")
    with pytest.raises(UsageError, match="A_KEY is empty"):
        embedder.embed(["a"])
    monkeypatch.setenv("A_KEY", "secret")
    embedder.embed(["a"])
    assert server.requests[-1].headers["authorization"] == "Bearer secret"
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    opened = open_embedder("endpoint:http://host/v1#e5")
    assert isinstance(opened, EndpointEmbedder)
    assert opened.config.api_key_env == KEY_VARIABLE


@pytest.mark.parametrize(
    "spec", ["minilm", "minilm:", "bert:x", "endpoint:", "endpoint:http://host/v1", "endpoint:x#m"]
)
def test_specs_that_name_nothing(spec: str) -> None:
    with pytest.raises(UsageError):
        open_embedder(spec)


def test_no_embedder() -> None:
    assert open_embedder("none") is None
