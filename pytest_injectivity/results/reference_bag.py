"""The reference bag: numbers of models that were measured before, which say whether a number is low.

The bag is a file of this package. ``scripts/reference_bag.py`` writes it; it holds no text and no
weights. Numbers compare only with those of the same set of prompts, N and prompt metric, and only
numbers without a unit of length are kept: those over the layer's mean norm.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pytest_injectivity.core import strict_json as strict
from pytest_injectivity.core.numbers import show
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.metrics import METRICS

COMPARED = tuple(one.name for one in METRICS if one.unit == "mean norms")
"""The numbers that the bag keeps of each layer."""
FEWEST = 4
"""Other models from which on a number is called low or high."""

_FILE = Path(__file__).with_name("reference_bag.json")
_FEW = 0.25  # of the models: below this rank a number is low


@dataclass(frozen=True)
class BagModel:
    """A model that was measured.

    Attributes:
        name: a short one; never a path.
        family: as the table of families calls it.
        n_layers, hidden, vocab: its layers, width and rows of its embedding.
        parameters: how many numbers its weights stand for.
        positions: how it tells positions: ``learned``, ``rotary`` or ``other``.
        dtype: what it computed in.
        quantized: how its weights were rounded; None for full precision.
        prompt_hash: of the token ids, which are others for each tokenizer.
        special_tokens: whether BOS and the like were added.
        longest: tokens of the longest prompt.
        layers: the numbers by layer, ``1`` to ``n_layers`` and ``norm``.
    """

    name: str
    family: str
    n_layers: int
    hidden: int
    vocab: int
    parameters: int
    positions: str
    dtype: str
    quantized: str | None
    prompt_hash: str
    special_tokens: bool
    longest: int
    layers: Mapping[str, Mapping[str, float]]

    def at(self, depth: float | None, number: str) -> float | None:
        """A number at a relative depth, between two layers on the line through both.

        Args:
            depth: the layer over the number of layers; None: after the final norm.
            number: its name, one of `COMPARED`.
        """
        if depth is None:
            return self.layers.get("norm", {}).get(number)
        place = max(1.0, depth * self.n_layers)
        low, high = math.floor(place), math.ceil(place)
        ends = [self.layers.get(str(layer), {}).get(number) for layer in (low, high)]
        if ends[0] is None or ends[1] is None:
            return None
        return ends[0] + (place - low) * (ends[1] - ends[0])


@dataclass(frozen=True)
class LayerNumber:
    """A number that is held against the bag.

    Attributes:
        prompts, n, prompt_metric: what it was measured on.
        family, n_layers, hidden, vocab: of its model.
        layer: a number from 1 on, or ``norm``.
        number: its name, one of `COMPARED`.
        value: the number.
    """

    prompts: str
    n: int
    prompt_metric: str
    family: str
    n_layers: int
    hidden: int
    vocab: int
    layer: int | str
    number: str
    value: float

    @property
    def depth(self) -> float | None:
        """Its relative depth; None after the final norm."""
        return None if isinstance(self.layer, str) else self.layer / self.n_layers

    def is_of(self, model: BagModel) -> bool:
        """Whether it is of this model, or of one of its shape, such as a child of it."""
        own = (self.family, self.n_layers, self.hidden, self.vocab)
        return own == (model.family, model.n_layers, model.hidden, model.vocab)


@dataclass(frozen=True)
class Bag:
    """Models measured on one set of prompts.

    Attributes:
        prompts, n, prompt_metric, seed: what they were measured on.
        date: the day.
        version: of this package.
        models: by width.
    """

    prompts: str
    n: int
    prompt_metric: str
    seed: int
    date: str
    version: str
    models: tuple[BagModel, ...]

    def says(self, given: LayerNumber) -> str | None:
        """A sentence on where a number lies among those of other models; None where none compare.

        Numbers compare where the set of prompts, N and the prompt metric are the bag's. Layer 0 sees
        one token alone and compares with nothing.
        """
        asked = (given.prompts, given.n, given.prompt_metric)
        if asked != (self.prompts, self.n, self.prompt_metric) or given.layer == 0:
            return None
        others = [one for one in self.models if not given.is_of(one)]
        found = [
            (one, value)
            for one in others
            if (value := one.at(given.depth, given.number)) is not None
        ]
        if len(found) < FEWEST or not math.isfinite(given.value):
            return None
        below = sum(value < given.value for _, value in found)
        widths = [one.hidden for one, _ in found]
        where = "after the final norm" if given.depth is None else "at this relative depth"
        values = [value for _, value in found]
        return (
            f"{given.number} {show(given.value)}: {_word(below, len(found))} among {len(found)} other"
            f" models of width {min(widths)} to {max(widths)} {where} (rank {below + 1} of"
            f" {len(found) + 1} from below; theirs: {show(min(values))} to {show(max(values))})"
        )


@cache
def reference_bag() -> Bag:
    """The bag of this package."""
    return read_bag(_FILE)


def read_bag(path: Path) -> Bag:
    """Read a bag from its file.

    Raises:
        OptionError: the file is damaged, or has a number that the bag does not keep.
    """
    bag = strict.build(Bag, strict.read_object(path))
    for where, number in _numbers(bag):
        if number not in COMPARED:
            raise OptionError(
                f"{where}: {number} is no number of the bag: {', '.join(COMPARED)} are"
            )
    return bag


def _numbers(bag: Bag) -> Iterator[tuple[str, str]]:
    for model in bag.models:
        for layer, numbers in model.layers.items():
            for number in numbers:
                yield f"{model.name}, layer {layer}", number


def _word(below: int, others: int) -> str:
    if below == 0:
        return "lowest"
    if below == others:
        return "highest"
    share = (below + 0.5) / (others + 1)
    return "low" if share < _FEW else "high" if share > 1.0 - _FEW else "usual"
