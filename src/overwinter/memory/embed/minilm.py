"""A small BERT sentence encoder in NumPy: all-MiniLM-L6-v2 and its relatives, from a local folder, without torch.

The folder is what sentence-transformers writes: `config.json`, `model.safetensors`, `tokenizer.json`, and
`1_Pooling/config.json` where the pooling is not the mean. The forward pass is BERT (arXiv 1810.04805) with post-norm
layers, the sentence vector the mean over the tokens (Sentence-BERT, arXiv 1908.10084), scaled to norm 1.

One BLAS thread is as fast as two for single questions and far cheaper on a busy machine: set OPENBLAS_NUM_THREADS=1.

Shapes: B sentences, T tokens, H heads, D width of a head, W = H·D width, F width of the feed-forward layer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overwinter.errors import UsageError

Array = NDArray[np.float32]

_BATCH = 32
_MASKED = np.float32(-1e9)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layer:
    """Weights of one layer; matrices are [in, out], query, key and value side by side."""

    qkv: Array
    qkv_bias: Array
    out: Array
    out_bias: Array
    norm: tuple[Array, Array]
    up: Array
    up_bias: Array
    down: Array
    down_bias: Array
    norm_2: tuple[Array, Array]


class MiniLM:
    """An `Embedder` from a local folder.

    Args:
        folder: see the module docstring.
        max_tokens: longer texts are cut; 256 is what all-MiniLM-L6-v2 was trained with.

    Raises:
        UsageError: the folder, a file or a package is missing, or it holds another architecture.
    """

    def __init__(self, folder: str | Path, *, max_tokens: int = 256) -> None:
        folder = Path(folder)
        config = _read_json(folder / "config.json")
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise UsageError(
                f"{folder} holds a {config.get('model_type')!r} model, not a BERT encoder with GELU",
                "give the folder of all-MiniLM-L6-v2 or a relative, or serve the model and use endpoint:URL#MODEL",
            )
        self._pool_first = _pools_first(folder / "1_Pooling" / "config.json")
        self._heads = int(config["num_attention_heads"])
        self._eps = np.float32(config["layer_norm_eps"])
        weights, digest = _read_weights(folder / "model.safetensors")
        try:
            self._words = weights["embeddings.word_embeddings.weight"]
            self._positions = weights["embeddings.position_embeddings.weight"]
            self._positions = self._positions + weights["embeddings.token_type_embeddings.weight"][0]
            self._norm = _norm_of(weights, "embeddings.LayerNorm")
            self._layers = [_layer(weights, i) for i in range(int(config["num_hidden_layers"]))]
        except KeyError as missing:
            raise UsageError(
                f"{folder} lacks the tensor {missing}", "give a folder with the weights of a BERT encoder"
            ) from None
        self.dim = int(self._words.shape[1])
        self.max_tokens = min(max_tokens, len(self._positions))
        self.name = f"minilm-{digest[:12]}-{self.max_tokens}"
        self._tokenizer = _read_tokenizer(folder / "tokenizer.json", self.max_tokens)

    def embed(self, texts: Sequence[str]) -> Array:
        """[len(texts), dim] float32, each of norm 1. Texts of like length share a batch, whose padding costs the rest."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        vectors = np.empty((len(ids), self.dim), np.float32)
        for first in range(0, len(order), _BATCH):
            chosen = order[first : first + _BATCH]
            longest = max(len(ids[i]) for i in chosen)
            ids_BT = np.zeros((len(chosen), longest), np.int64)
            mask_BT = np.zeros((len(chosen), longest), np.float32)
            for row, i in enumerate(chosen):
                ids_BT[row, : len(ids[i])] = ids[i]
                mask_BT[row, : len(ids[i])] = 1
            vectors[chosen] = self._forward(ids_BT, mask_BT)
        return vectors

    def _forward(self, ids_BT: NDArray[np.int64], mask_BT: Array) -> Array:
        B, T = ids_BT.shape
        x_BTW = self._normed(self._words[ids_BT] + self._positions[:T], self._norm)
        hidden_BTW = x_BTW
        bias_B11T = ((1 - mask_BT) * _MASKED)[:, None, None, :]
        for layer in self._layers:
            attended_BTW = self._attend(hidden_BTW, bias_B11T, layer)
            hidden_BTW = self._normed(hidden_BTW + attended_BTW, layer.norm)
            up_XF = _gelu(hidden_BTW.reshape(B * T, -1) @ layer.up + layer.up_bias)
            down_BTW = (up_XF @ layer.down + layer.down_bias).reshape(B, T, -1)
            hidden_BTW = self._normed(hidden_BTW + down_BTW, layer.norm_2)
        mean_BW = (hidden_BTW * mask_BT[:, :, None]).sum(1) / mask_BT.sum(1, keepdims=True)
        pooled_BW = hidden_BTW[:, 0] if self._pool_first else mean_BW
        lengths_B1 = np.sqrt((pooled_BW * pooled_BW).sum(1, keepdims=True))
        return np.asarray(pooled_BW / np.maximum(lengths_B1, 1e-12), np.float32)

    def _attend(self, x_BTW: Array, bias_B11T: Array, layer: _Layer) -> Array:
        B, T, W = x_BTW.shape
        H, D = self._heads, W // self._heads
        qkv_BT3HD = (x_BTW.reshape(B * T, W) @ layer.qkv + layer.qkv_bias).reshape(B, T, 3, H, D)
        q_BHTD, k_BHTD, v_BHTD = (qkv_BT3HD[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
        weights_BHTT = np.matmul(q_BHTD, k_BHTD.transpose(0, 1, 3, 2))
        weights_BHTT *= np.float32(D**-0.5)
        weights_BHTT += bias_B11T
        weights_BHTT -= weights_BHTT.max(-1, keepdims=True)
        np.exp(weights_BHTT, out=weights_BHTT)
        weights_BHTT /= weights_BHTT.sum(-1, keepdims=True)
        mixed_XW = np.matmul(weights_BHTT, v_BHTD).transpose(0, 2, 1, 3).reshape(B * T, W)
        return np.asarray(mixed_XW @ layer.out + layer.out_bias, np.float32).reshape(B, T, W)

    def _normed(self, x: Array, weights: tuple[Array, Array]) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True)
        return np.asarray(centred / np.sqrt(variance + self._eps) * weights[0] + weights[1], np.float32)


def _gelu(x: Array) -> Array:
    """x·Φ(x) with erf by Abramowitz and Stegun 7.1.26, off by 1.5e-7 at most; NumPy has no erf."""
    z = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    erf = np.copysign(1 - series * np.exp(-z * z), x)
    return np.asarray(0.5 * x * (1 + erf), np.float32)


def _layer(weights: dict[str, Array], i: int) -> _Layer:
    def matrix(name: str) -> Array:
        return np.ascontiguousarray(weights[f"encoder.layer.{i}.{name}.weight"].T)

    def bias(name: str) -> Array:
        return weights[f"encoder.layer.{i}.{name}.bias"]

    parts = [f"attention.self.{name}" for name in ("query", "key", "value")]
    return _Layer(
        qkv=np.ascontiguousarray(np.concatenate([matrix(part) for part in parts], axis=1)),
        qkv_bias=np.concatenate([bias(part) for part in parts]),
        out=matrix("attention.output.dense"),
        out_bias=bias("attention.output.dense"),
        norm=_norm_of(weights, f"encoder.layer.{i}.attention.output.LayerNorm"),
        up=matrix("intermediate.dense"),
        up_bias=bias("intermediate.dense"),
        down=matrix("output.dense"),
        down_bias=bias("output.dense"),
        norm_2=_norm_of(weights, f"encoder.layer.{i}.output.LayerNorm"),
    )


def _norm_of(weights: dict[str, Array], name: str) -> tuple[Array, Array]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def _read_weights(path: Path) -> tuple[dict[str, Array], str]:
    """Tensors as float32, without a leading "bert.", and the digest of the file."""
    try:
        from safetensors.numpy import load
    except ModuleNotFoundError:
        raise _not_installed("safetensors") from None
    try:
        data = path.read_bytes()
        tensors = load(data)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error})", _FOLDER_HELP) from None
    except Exception as error:  # safetensors has an exception class of its own, outside ValueError
        if type(error).__name__ != "SafetensorError":
            raise
        raise UsageError(f"{path} is damaged ({error})", "copy the model's folder again") from None
    weights = {name.removeprefix("bert."): np.asarray(tensor, np.float32) for name, tensor in tensors.items()}
    return weights, hashlib.sha256(data).hexdigest()


def _read_tokenizer(path: Path, max_tokens: int) -> Any:
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise _not_installed("tokenizers") from None
    if not path.exists():
        raise UsageError(f"{path} does not exist", _FOLDER_HELP)
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return tokenizer


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error})", _FOLDER_HELP) from None
    return content if isinstance(content, dict) else {}


def _pools_first(path: Path) -> bool:
    """Whether the first token's vector is the sentence's; refuses poolings other than that and the mean."""
    if not path.exists():
        return False
    config = _read_json(path)
    chosen = {name for name, on in config.items() if name.startswith("pooling_mode_") and on}
    if chosen == {"pooling_mode_cls_token"}:
        return True
    if chosen not in (set(), {"pooling_mode_mean_tokens"}):
        raise UsageError(f"{path} asks for the pooling {sorted(chosen)}", "use a model that pools by the mean or CLS")
    return False


def _not_installed(package: str) -> UsageError:
    return UsageError(f"{package} is not installed", "pip install 'overwinter[memory]'")


_FOLDER_HELP = "give the local folder of the model, as sentence-transformers stores it (docs/memory.md)"
