"""What is observed of a prompt: a layer's states, its block's cache or the logits; at which positions.

::

    place = layer ["keys" | "values" | "kv" | "logits"] ["last" | "every=" integer]

The layer is written as 0 to L, as ``norm``, or as a negative number that counts back from the last.
Standard library only: options are read on every start of pytest.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_injectivity.core.layers import Layer, layer_id, resolve_layers
from pytest_injectivity.errors import LayerError

What: TypeAlias = Literal["states", "keys", "values", "kv", "logits"]

CACHED: tuple[What, ...] = ("keys", "values", "kv")
"""What a block caches: keys, values, or both."""

NAMED: tuple[What, ...] = (*CACHED, "logits")
"""What is observed only where it is named."""


@dataclass(frozen=True)
class Place:
    """What is observed of a prompt.

    Attributes:
        layer: the layer as it was written; a negative number counts back from the last layer.
        what: the layer's states; the keys, the values or both that its block caches; or the logits of
            the next token, which the head makes of ``norm``.
        every: the distance of observed positions, which are counted back from the last one; 1: all.
        last: whether the last token alone is observed.

    Example:
        >>> str(Place(-1, "kv", last=True))
        '-1 kv last'
        >>> Place(4, every=2).positions(7)
        (0, 2, 4, 6)
    """

    layer: Layer
    what: What = "states"
    every: int = 1
    last: bool = False

    def __str__(self) -> str:
        what = "" if self.what == "states" else f" {self.what}"
        which = " last" if self.last else f" every={self.every}" if self.every > 1 else ""
        return f"{self.layer}{what}{which}"

    @property
    def cached(self) -> bool:
        """Whether keys or values are observed."""
        return self.what in CACHED

    @property
    def of_states(self) -> bool:
        """Whether the states themselves are observed."""
        return self.what == "states"

    @property
    def everywhere(self) -> bool:
        """Whether every position is observed."""
        return self.every == 1 and not self.last

    @property
    def name(self) -> str:
        """The name in reports: ``layer08``, ``layer08 kv``, ``norm last``."""
        return f"{layer_id(self.layer)}{str(self).removeprefix(str(self.layer))}"

    def positions(self, length: int) -> tuple[int, ...]:
        """The positions observed of a prompt of ``length`` tokens, in order."""
        if self.last:
            return (length - 1,)
        return tuple(range((length - 1) % self.every, length, self.every))

    def resolved(self, n_layers: int) -> "Place":
        """The same place with its layer counted from the first.

        Args:
            n_layers: the number of blocks of the model.

        Raises:
            LayerError: the model has no such layer, keys and values are asked for of a layer that
                is no block, or logits of another layer than ``norm``.
        """
        (layer,) = resolve_layers(self.layer, n_layers)
        if self.cached and not (isinstance(layer, int) and layer >= 1):
            raise LayerError(
                f"{self.what} of layer {self.layer}: keys and values are cached by blocks, give a"
                f" layer from 1 to {n_layers}"
            )
        if self.what == "logits" and layer != "norm":
            raise LayerError(f"logits of layer {self.layer}: the head reads norm, give norm logits")
        return Place(layer, self.what, self.every, self.last)
