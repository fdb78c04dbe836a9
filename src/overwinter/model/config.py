"""The switches of the decoder, as one frozen value.

Every field is a number of the shape or a switch; every switch is off by default, and off means exactly the plain decoder:
RMS norm before each part, causal grouped-query attention with rotary positions, a SwiGLU MLP, separate output head. A field
is here because it works: there are none for what is planned. Unknown keys in a file are an error, never ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields
from functools import partial
from typing import Any, ClassVar, Literal

from overwinter.errors import UsageError
from overwinter.model.checks import SEE_DOCS, check_types
from overwinter.model.embedding import LowrankConfig
from overwinter.model.loop import LoopConfig
from overwinter.model.mamba_state import MambaConfig
from overwinter.model.noble import NobleConfig
from overwinter.model.residual import AttnResConfig

LETTERS = {"A": "attention over everything before", "W": "attention over the last `window` tokens", "M": "Mamba-2"}
"""The letters of `Config.pattern`. `mixer.py` holds what each stands for. A small letter is the same mixer without an MLP."""


@dataclass(frozen=True, kw_only=True)
class Llama3Scaling:
    """Llama 3.1: slow rotations are divided by `factor`, fast ones kept, a ramp between."""

    kind: ClassVar[str] = "llama3"
    factor: float
    original_context: int
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    def __post_init__(self) -> None:
        check_types(self)
        if self.high_freq_factor <= self.low_freq_factor:
            raise UsageError("llama3 scaling needs high_freq_factor above low_freq_factor", SEE_DOCS)


@dataclass(frozen=True, kw_only=True)
class YarnScaling:
    """YaRN (arXiv 2309.00071): the ramp goes by rotations within `original_context`; cos and sin grow by `attention_factor`."""

    kind: ClassVar[str] = "yarn"
    factor: float
    original_context: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    """None takes the paper's 0.1·ln(factor) + 1."""
    truncate: bool = True
    """Round the ramp's ends to whole dimensions."""

    def __post_init__(self) -> None:
        check_types(self)


RopeScaling = Llama3Scaling | YarnScaling


@dataclass(frozen=True, kw_only=True)
class Config:
    """The shape and the switches of one decoder."""

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_mlp: int
    context: int = 2048
    """Tokens the weights were trained for. Not a limit of the code: the engine decides what to admit."""

    pattern: str = "A"
    """One letter of `LETTERS` per layer, repeated until there are `n_layers`; a small letter for a layer without an MLP."""
    window: int | None = None
    """How many tokens a `W` layer sees, its own included."""
    mamba: MambaConfig | None = None
    """The sizes of the `M` layers."""
    rope_base: float | None = 10_000.0
    """None leaves attention without positions, as hybrids may: the layers before it know the order."""
    rope_scaling: RopeScaling | None = None
    rope_fraction: float = 1.0
    """Part of each head that is turned, from its first coordinate on."""
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    attention_scale: float | None = None
    """Factor on the attention logits; None is 1/√d_head."""
    attn_softcap: float | None = None
    logit_softcap: float | None = None
    mlp: Literal["swiglu", "relu2"] = "swiglu"
    norm: Literal["pre", "sandwich"] = "pre"
    norm_eps: float = 1e-6
    tied: bool = False
    noble: NobleConfig | None = None
    """Nonlinear branches beside linear layers."""
    lowrank_orthogonal: LowrankConfig | None = None
    """The embedding as a thin table on an orthonormal basis."""
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    """Factor on what each part adds to the stream."""
    logit_divisor: float = 1.0
    attnres: AttnResConfig | None = None
    """Each part mixes the outputs of all parts before it, where the plain stream adds them up."""
    loop: LoopConfig | None = None
    """Layers that are run several times."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.n_heads % self.n_kv_heads:
            raise UsageError(f"{self.n_heads} heads cannot share {self.n_kv_heads} key heads evenly", SEE_DOCS)
        _check_rope(self)
        unknown = sorted(set(self.pattern.upper()) - set(LETTERS))
        if unknown or not self.pattern:
            raise UsageError(
                f"pattern {self.pattern!r} has unknown letters {unknown}", f"use letters of {sorted(LETTERS)}"
            )
        if len(self.pattern) > self.n_layers:
            raise UsageError(f"pattern {self.pattern!r} is longer than {self.n_layers} layers", "shorten the pattern")
        if ("W" in self.letters.upper()) != (self.window is not None):
            raise UsageError(
                f"pattern {self.pattern!r} and window {self.window} do not fit",
                "give `window` if and only if there are W layers",
            )
        if ("M" in self.letters.upper()) != (self.mamba is not None):
            raise UsageError(
                f"pattern {self.pattern!r} and {'no ' if self.mamba is None else ''}`mamba` do not fit",
                "give `mamba` if and only if there are M layers",
            )
        if self.attnres is not None and self.residual_scale != 1:
            raise UsageError(
                f"attnres and residual_scale {self.residual_scale} do not fit: its mixing bounds the stream already",
                "leave residual_scale at 1",
            )
        if self.loop is not None and self.loop.prelude + self.loop.coda >= self.n_layers:
            raise UsageError(
                f"prelude {self.loop.prelude} and coda {self.loop.coda} leave no layer of {self.n_layers} to loop",
                "shorten prelude or coda",
            )

    @property
    def d_rope(self) -> int:
        """How many coordinates of a head are turned."""
        return 0 if self.rope_base is None else int(self.d_head * self.rope_fraction)

    @property
    def letters(self) -> str:
        """The pattern written out: one letter per layer."""
        return (self.pattern * self.n_layers)[: self.n_layers]

    @property
    def looped(self) -> LoopConfig | None:
        """The loop, if it is one: once through is the plain decoder."""
        return self.loop if self.loop is not None and self.loop.n_loops > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` gives the same config back."""
        values = asdict(self)
        if self.rope_scaling is not None:
            values["rope_scaling"]["kind"] = self.rope_scaling.kind
        return values

    def given(self) -> dict[str, Any]:
        """`to_dict` without what is as in the plain decoder: says the same, whatever switches are added later."""
        plain = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in self.to_dict().items() if getattr(self, name) != plain[name]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        _check_keys(cls, values)
        made = {name: read(values[name]) for name, read in _PARTS.items() if values.get(name) is not None}
        return cls(**{**values, **made})


def _check_rope(config: Config) -> None:
    if config.rope_base is None:
        if config.rope_scaling is not None or config.rope_fraction != 1:
            raise UsageError(
                "rope_scaling or rope_fraction without rope_base", "leave them out, or give rope_base a number"
            )
    elif config.rope_fraction > 1 or config.d_rope < 2 or config.d_rope % 2:
        raise UsageError(
            f"rotary positions cannot turn {config.rope_fraction} of a head of {config.d_head}: they turn pairs",
            "let d_head · rope_fraction be even, and rope_fraction at most 1",
        )


def _scaling_from_dict(values: Any) -> RopeScaling:
    kinds: dict[str, type[RopeScaling]] = {"llama3": Llama3Scaling, "yarn": YarnScaling}
    kind = values.get("kind") if isinstance(values, Mapping) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise UsageError(f"unknown rope_scaling {values!r}", f"its `kind` is one of {sorted(kinds)}")
    rest = {key: value for key, value in values.items() if key != "kind"}
    _check_keys(kinds[kind], rest)
    return kinds[kind](**rest)


def part_from_dict(cls: type[Any], values: Any) -> Any:
    """A dataclass of switches that belong together, from the JSON object that holds its fields."""
    if not isinstance(values, Mapping):
        raise UsageError(f"{cls.__name__} cannot be {values!r}", "give an object of its fields, or null for off")
    _check_keys(cls, values)
    # JSON has no tuples, and a frozen value no lists.
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


_PARTS: Mapping[str, Callable[[Any], Any]] = {
    "rope_scaling": _scaling_from_dict,
    "noble": partial(part_from_dict, NobleConfig),
    "lowrank_orthogonal": partial(part_from_dict, LowrankConfig),
    "mamba": partial(part_from_dict, MambaConfig),
    "attnres": partial(part_from_dict, AttnResConfig),
    "loop": partial(part_from_dict, LoopConfig),
}
"""Fields of `Config` that are dataclasses themselves: name → how to read one from JSON."""


def _check_keys(cls: type[Any], values: Mapping[str, Any]) -> None:
    known = {field.name: field for field in fields(cls)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UsageError(f"{cls.__name__} has no {', '.join(map(repr, unknown))}", f"known are {', '.join(known)}")
    missing = sorted(name for name, field in known.items() if name not in values and _required(field))
    if missing:
        raise UsageError(f"{cls.__name__} needs {', '.join(missing)}", SEE_DOCS)


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
