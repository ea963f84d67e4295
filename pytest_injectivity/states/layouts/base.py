"""A layout of files of states: what is stated of the files, what is read of one, and common refusals."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from math import prod
from pathlib import Path
from typing import Literal

from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.core.text import number_of, one_line
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.facts import ModelFacts
from pytest_injectivity.states.external_header import FILE_LIMITS, FileLimits

STATEMENT = "states.json"
"""The file beside the states that says what their own files do not."""

AXES = ("tokens", "layers", "width")


@dataclass(frozen=True)
class Stated:
    """What ``states.json`` says of the files beside it.

    Attributes:
        layout: the name of their layout; None: it is recognized.
        layers: the layers of the model along the axis of layers: numbers or ``"norm"``.
        dtype: what the engine computed in.
        kv_cache_dtype: what its cache of keys and values was rounded to; None: as it computed.
    """

    layout: str | None = None
    layers: tuple[int | str, ...] | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    kv_cache_dtype: Literal["bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2"] | None = None


@dataclass(frozen=True, eq=False)
class FilePrompt:
    """One prompt of a file.

    Attributes:
        ids: its token ids.
        states: by layer, its states at every position.
    """

    ids: tuple[int, ...] = field(repr=False)
    states: Mapping[Layer, Float[Tensor, "tokens width"]] = field(repr=False)


class Reading:
    """A reading of files of states for a model: what may be in them, and how much of it.

    Args:
        facts: of the model.
        stated: what ``states.json`` says.
        limits: how many prompts and bytes may be read, of all files together.
    """

    def __init__(
        self, facts: ModelFacts, stated: Stated | None = None, limits: FileLimits = FILE_LIMITS
    ) -> None:
        self.facts, self.stated, self.limits = facts, stated or Stated(), limits
        self._left, self._prompts = limits.size, limits.prompts

    def take(self, path: Path, size: int) -> None:
        """Count bytes that are about to be read.

        Raises:
            OptionError: they are more than may be read.
        """
        self._left -= size
        if self._left < 0:
            raise refusal(
                path,
                f"more than {self.limits.size:,} bytes of states: give fewer prompts or layers",
            )

    def layers(self, path: Path, usual: Sequence[Layer] | None = None) -> tuple[Layer, ...]:
        """The layers of the model that the states are stated to be of.

        Args:
            path: of the file, for errors.
            usual: what the layout says where nothing is stated.

        Raises:
            OptionError: nothing is stated, or the model has no such layer.
        """
        given = self.stated.layers if self.stated.layers is not None else usual
        deepest = self.facts.n_layers
        if not given:
            raise refusal(
                path,
                f"its layers are not stated: write {STATEMENT} beside it, such as"
                f' {{"layers": [1, {deepest}]}}, 0 to {deepest} or "norm", as the engine was asked for',
            )
        found: list[Layer] = []
        for one in given:
            if one == "norm":
                found.append("norm")
            elif isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= deepest:
                found.append(one)
            else:
                raise refusal(
                    path, f'layer {one!r} is stated: 0 to {deepest} or "norm" is accepted'
                )
        if len({*found}) < len(found):
            raise refusal(path, f"layers {list(given)} are stated: each once is accepted")
        return tuple(found)

    def check_axes(
        self, path: Path, name: str, shape: Sequence[int], *, tokens: int, layers: int | None
    ) -> None:
        """Refuse an array of states that is not tokens x layers x width, or tokens x width.

        Args:
            path: of the file.
            name: of the array.
            shape: of the array.
            tokens: how many token ids there are.
            layers: how many layers are stated; None: the array has no axis of layers.

        Raises:
            OptionError: the shape is another; where its axes stand in another order, that is said.
        """
        sizes = {"tokens": tokens, "layers": layers or 1, "width": self.facts.hidden_size}
        axes = [axis for axis in AXES if axis != "layers" or layers is not None]
        wanted, found = tuple(sizes[axis] for axis in axes), tuple(shape)
        if found == wanted:
            context = self.facts.context
            if context is not None and tokens > context:
                raise refusal(path, f"{tokens} tokens: the model's context is {context}")
            return
        named = f"{name} has shape {one_line(str(list(shape)))}"
        for order in permutations(axes):
            if found == tuple(sizes[axis] for axis in order):
                raise refusal(
                    path,
                    f"transposed axes: {named}, which is {' x '.join(order)}:"
                    f" {' x '.join(axes)} is accepted, {_shown(wanted)}",
                )
        raise refusal(path, f"{named}: {_shown(wanted)} is accepted, {self._why(found, sizes)}")

    def _why(self, found: tuple[int, ...], sizes: Mapping[str, int]) -> str:
        """What a shape that fits in no order looks like."""
        tokens, width = sizes["tokens"], sizes["width"]
        if width not in found:
            return f"because the model's states have width {width}: are these of another model?"
        if found[0] > tokens:
            return (
                f"one row for each of {number_of(tokens, 'token id')}: the others look like padding,"
                " or like tokens of an answer"
            )
        if found[0] < tokens:
            return f"one row for each of {number_of(tokens, 'token id')}: rows are missing"
        return f"{' x '.join(AXES)} with {number_of(sizes['layers'], 'layer')} stated"

    def prompt(
        self, path: Path, ids: Sequence[int], states: Mapping[Layer, Float[Tensor, "tokens width"]]
    ) -> FilePrompt:
        """A prompt as read.

        Raises:
            OptionError: there are too many prompts, or an id is none of the model's.
        """
        self._prompts -= 1
        if self._prompts < 0:
            raise refusal(path, f"more than {number_of(self.limits.prompts, 'prompt')}: give fewer")
        highest = self.facts.vocab_size
        if wrong := [one for one in ids if not 0 <= one < highest]:
            raise refusal(
                path,
                f"token id {wrong[0]}: 0 to {highest - 1} is accepted (are these of another model?)",
            )
        return FilePrompt(tuple(ids), states)


@dataclass(frozen=True)
class Layout:
    """One layout of files of states.

    Attributes:
        name: as ``states.json`` may name it.
        suffixes: of its files' names.
        tensors: of a safetensors file, those that it is known by.
        read: the prompts of one file.
        words: what it is, for people.
        claims_dtype: the type that values are stored as says what the engine computed in.
    """

    name: str
    suffixes: tuple[str, ...]
    tensors: frozenset[str]
    read: Callable[[Path, Reading], Iterator[FilePrompt]]
    words: str
    claims_dtype: bool


def refusal(path: Path, what: str) -> OptionError:
    """The error to raise for something in a file that is not accepted."""
    return OptionError(f"{one_line(str(path))}: {what}")


def nbytes(shape: Sequence[int], itemsize: int) -> int:
    """The bytes of an array that was not read yet."""
    return prod(shape) * itemsize


def by_layer(
    layers: Sequence[Layer], states: Float[Tensor, "tokens layers width"]
) -> dict[Layer, Float[Tensor, "tokens width"]]:
    """The states of each layer, each in memory of its own."""
    return {layer: states[:, at].contiguous() for at, layer in enumerate(layers)}


def _shown(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
