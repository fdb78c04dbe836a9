"""The seam of token mixing: what a layer's mixer must offer, and the table from pattern letters to mixers.

Everything else in a block looks at one token at a time. A mixer is the part that looks at others, so it alone has positions
and a memory. A new kind is a module with these two methods and a memory that is a `LayerCache`; it plugs in as one letter in
`config.LETTERS` and one row in `MIXERS`. Nothing else in the package knows the letters.

Shapes: B batch, L tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from overwinter.model.attention import Attention
from overwinter.model.cache import LayerCache
from overwinter.model.config import Config
from overwinter.model.mamba2 import Mamba2


@runtime_checkable
class Mixer(Protocol):
    """Looks at the tokens before. With a cache it continues them and remembers the new ones."""

    def forward(self, x_BLD: Tensor, positions_BL: Tensor, cache: LayerCache | None) -> Tensor: ...

    def new_cache(self, *, rollback: int = 0) -> LayerCache:
        """An empty memory that can take back at least `rollback` tokens."""
        ...


def _mamba(config: Config) -> nn.Module:
    assert config.mamba is not None, "Config asks for `mamba` where there are M layers"
    return Mamba2(config.d_model, config.mamba, config.noble)


MIXERS: dict[str, Callable[[Config], nn.Module]] = {
    "A": lambda config: Attention(config, window=None),
    "W": lambda config: Attention(config, window=config.window),
    "M": _mamba,
}


def build_mixer(letter: str, config: Config) -> nn.Module:
    mixer = MIXERS[letter.upper()](config)
    assert isinstance(mixer, Mixer), f"letter {letter} does not build a mixer"
    return mixer
