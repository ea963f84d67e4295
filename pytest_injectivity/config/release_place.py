"""What is observed of a prompt: states of layers, a block's cache or the logits; at which positions.

::

    place = layer ["and" layer | what] [which]
    what  = "keys" | "values" | "kv" | "cache" | "attention" | "routing" | "experts" | "logits"
    which = "last" | "mean" | "answer" | "every=" integer ["run=" integer]

A layer is written as 0 to L, as ``norm``, or as a negative number that counts back from the last.
Standard library only: options are read on every start of pytest.
"""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from pytest_injectivity.core.layers import Layer, depth, layer_id, resolve_layers
from pytest_injectivity.errors import LayerError

What: TypeAlias = Literal[
    "states", "keys", "values", "kv", "cache", "attention", "routing", "experts", "logits"
]

CACHED: tuple[What, ...] = ("keys", "values", "kv", "cache")
"""What a block caches: keys, values, or both; or what all blocks cache."""

ANSWERED = 8
"""The number of tokens that a model says after a prompt, where its answer is observed."""

NAMED: tuple[What, ...] = (*CACHED, "attention", "routing", "experts", "logits")
"""What is observed only where it is named."""


@dataclass(frozen=True)
class Place:
    """What is observed of a prompt.

    Attributes:
        layer: the layer as it was written; a negative number counts back from the last layer.
        what: the layer's states; the keys, the values or both that its block caches; the keys and values
            of all blocks, of which the layer is the last; the attention weights or the router's
            logits of its block; the experts that all blocks choose; or the logits of the next token,
            which the head makes of ``norm``.
        every: one of so many runs of positions is observed, counted back from the last one; 1: all.
        run: the number of positions of a run.
        last: whether the last token alone is observed.
        also: a second layer whose states are observed; None: there is one. Once both count from the
            first, ``layer`` is the deeper one.
        mean: whether the mean over all positions is observed, which interfaces for embeddings give.
        answer: whether the mean over the first `ANSWERED` tokens that the model says after the prompt
            is observed, and nothing of the prompt itself.

    Example:
        >>> str(Place(-1, "kv", last=True))
        '-1 kv last'
        >>> Place(4, every=2).positions(7)
        (0, 2, 4, 6)
        >>> Place(4, every=3, run=2).positions(9)
        (1, 2, 7, 8)
    """

    layer: Layer
    what: What = "states"
    every: int = 1
    last: bool = False
    run: int = 1
    also: Layer | None = None
    mean: bool = False
    answer: bool = False

    def __str__(self) -> str:
        what = "" if self.what == "states" else f" {self.what}"
        run = f" run={self.run}" if self.run > 1 else ""
        which = f" every={self.every}{run}" if self.every > 1 else ""
        for name in ("last", "mean", "answer"):
            which = f" {name}" if getattr(self, name) else which
        also = "" if self.also is None else f"{self.also} and "
        return f"{also}{self.layer}{what}{which}"

    @property
    def cached(self) -> bool:
        """Whether keys or values are observed."""
        return self.what in CACHED

    @property
    def recorded(self) -> Literal["attention", "routing", "experts"] | None:
        """What of blocks is observed beside their states and their caches, where that is."""
        match self.what:
            case "attention" | "routing" | "experts":
                return self.what
            case _:
                return None

    @property
    def from_states(self) -> bool:
        """Whether what is observed is made of states: these themselves, or logits."""
        return self.what in {"states", "logits"}

    @property
    def of_states(self) -> bool:
        """Whether the states of one layer themselves are observed."""
        return self.what == "states" and self.also is None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers observed, the deeper one first; rows are those of both side by side."""
        return (self.layer,) if self.also is None else (self.layer, self.also)

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks whose keys or values are observed; the layer counts from the first."""
        if not self.cached or self.layer == "norm":
            return ()
        return tuple(range(1, self.layer + 1)) if self.what == "cache" else (self.layer,)

    @property
    def everywhere(self) -> bool:
        """Whether every position is observed."""
        return self.every == 1 and not self.one_row

    @property
    def one_row(self) -> bool:
        """Whether one row is observed of each prompt."""
        return self.last or self.averaged

    @property
    def averaged(self) -> bool:
        """Whether the row of a prompt is a mean over positions."""
        return self.mean or self.answer

    @property
    def name(self) -> str:
        """The name in reports: ``layer08``, ``layer08 kv``, ``norm last``, ``layer08 and layer09``."""
        alone = replace(self, also=None)
        also = "" if self.also is None else f"{layer_id(self.also)} and "
        return f"{also}{layer_id(self.layer)}{str(alone).removeprefix(str(self.layer))}"

    def positions(self, length: int) -> tuple[int, ...]:
        """The positions of the rows of a prompt of ``length`` tokens, in order.

        A mean is at the last one, without which it is not whole, and so is what follows the prompt.
        """
        if self.one_row:
            return (length - 1,)
        back = (length - 1 - position for position in range(length))
        return tuple(length - 1 - at for at in back if at // self.run % self.every == 0)

    def gap(self, length: int) -> int:
        """The most tokens that a row of a prompt of ``length`` tokens is the first to depend on."""
        return length if self.one_row else (self.every - 1) * self.run + 1

    def resolved(self, n_layers: int) -> "Place":
        """The same place with its layer counted from the first.

        Args:
            n_layers: the number of blocks of the model.

        Raises:
            LayerError: the model has no such layer, keys and values are asked for of a layer that
                is no block, or attention, routing or experts; the cache or the experts of all blocks
                of another one than the last, logits of another layer than ``norm``, one layer twice, or
                anything but the states of an answer.
        """
        there = [one for given in self.layers for one in resolve_layers(given, n_layers)]
        layer, also = there[0], there[1] if len(there) > 1 else None
        if also is not None:
            if also == layer:
                raise LayerError(f"{self}: both are layer {layer}: give two layers")
            layer, also = sorted((layer, also), key=depth, reverse=True)
        if self.cached and not (isinstance(layer, int) and layer >= 1):
            raise LayerError(
                f"{self.what} of layer {self.layer}: keys and values are cached by blocks, give a"
                f" layer from 1 to {n_layers}"
            )
        if self.recorded and not (isinstance(layer, int) and layer >= 1):
            raise LayerError(
                f"{self.what} of layer {self.layer}: it is computed by blocks, give a layer from 1 to"
                f" {n_layers}"
            )
        if self.answer and self.what != "states":
            raise LayerError(
                f"{self}: of an answer the states are observed: give {self.layer} answer"
            )
        if self.what == "cache" and layer != n_layers:
            raise LayerError(f"{self}: a cache is of all blocks: give -1 cache, or {layer} kv")
        if self.what == "experts" and layer != n_layers:
            raise LayerError(
                f"{self}: experts are of all blocks: give -1 experts, or {layer} routing"
            )
        if self.what == "logits" and layer != "norm":
            raise LayerError(f"logits of layer {self.layer}: the head reads norm, give norm logits")
        return replace(self, layer=layer, also=also)
