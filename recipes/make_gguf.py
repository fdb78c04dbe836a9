"""Writes a GGUF file from a small Llama in safetensors with a llama2.c vocabulary, for tests against llama.cpp's
servers.

    python recipes/make_gguf.py --weights DIR --out stories260K.gguf

DIR holds `hf/config.json`, `hf/model.safetensors` (any float type; written as f32) and a `tok*.json`: a list of [piece,
score] in the order of the ids, SentencePiece's byte-pair form as llama2.c exports it. Needs the packages gguf, numpy
and safetensors.

Two things differ between the formats:
- Hugging Face keeps the rotary halves of a query or key head apart (x0..x3 | x4..x7), llama.cpp side by side (x0 x4 x1
  x5 ...), so rows of q and k are reordered;
- llama2.c exports pieces with spaces and dresses the control tokens in line breaks; llama.cpp wants U+2581 and bare
  names.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

BLOCK_TENSORS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
WHOLE_TENSORS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
SPACE_MARK = "\u2581"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="folder with hf/ and tok*.json")
    parser.add_argument("--out", type=Path, required=True, help="GGUF file to write")
    options = parser.parse_args(argv)
    try:
        write_gguf(options.weights, options.out)
    except ImportError as missing:
        print(f"this recipe needs the package {missing.name!r}\n  → pip install gguf safetensors", file=sys.stderr)
        return 2
    print(f"wrote {options.out} ({options.out.stat().st_size:,} bytes)")
    return 0


def write_gguf(weights: Path, out: Path) -> None:
    import gguf

    config = json.loads((weights / "hf" / "config.json").read_text())
    writer = gguf.GGUFWriter(str(out), "llama")
    add_shape(writer, config)
    add_vocabulary(writer, next(iter(sorted(weights.glob("tok*.json")))), config)
    add_tensors(writer, weights / "hf" / "model.safetensors", config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_shape(writer: Any, config: dict[str, Any]) -> None:
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    rope = config.get("rope_parameters") or config
    writer.add_name("overwinter-check")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10000.0)))
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(0)  # all f32


def add_vocabulary(writer: Any, path: Path, config: dict[str, Any]) -> None:
    import gguf

    pieces = json.loads(path.read_text())
    tokens: list[bytes] = []
    types: list[int] = []
    for token_id, (piece, _) in enumerate(pieces):
        if token_id == 0:
            kind = gguf.TokenType.UNKNOWN
        elif token_id in {config["bos_token_id"], config["eos_token_id"]}:
            kind, piece = gguf.TokenType.CONTROL, piece.strip()  # noqa: PLW2901 - "\n<s>\n" is llama2.c's dress of
            "<s>"
        elif len(piece) == 6 and piece.startswith("<0x"):
            kind = gguf.TokenType.BYTE
        else:
            kind = gguf.TokenType.NORMAL
        tokens.append(piece.replace(" ", SPACE_MARK).encode())
        types.append(int(kind))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([float(score) for _, score in pieces])
    writer.add_token_types(types)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)


def add_tensors(writer: Any, path: Path, config: dict[str, Any]) -> None:
    import numpy as np
    from safetensors.numpy import load_file

    for name, array in sorted(load_file(path).items()):
        target = gguf_name(name)
        if target == "output.weight" and config.get("tie_word_embeddings"):
            continue  # llama.cpp takes the embedding where there is no output matrix
        tensor = array.astype(np.float32)
        if ".q_proj." in name:
            tensor = interleave_halves(tensor, config["num_attention_heads"])
        elif ".k_proj." in name:
            tensor = interleave_halves(tensor, config["num_key_value_heads"])
        writer.add_tensor(target, np.ascontiguousarray(tensor))


def gguf_name(name: str) -> str:
    """The name llama.cpp knows a Hugging Face tensor by."""
    stem, _, kind = name.rpartition(".")
    if stem in WHOLE_TENSORS:
        return f"{WHOLE_TENSORS[stem]}.{kind}"
    _, _, block, rest = stem.split(".", 3)
    return f"blk.{block}.{BLOCK_TENSORS[rest]}.{kind}"


def interleave_halves(rows: Any, heads: int) -> Any:
    """Rows of each head from (first half | second half) to pairs (first, second), ..."""
    out_dim, in_dim = rows.shape
    return rows.reshape(heads, 2, out_dim // heads // 2, in_dim).swapaxes(1, 2).reshape(out_dim, in_dim)


if __name__ == "__main__":
    raise SystemExit(main())
