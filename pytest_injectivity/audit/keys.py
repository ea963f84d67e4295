"""The names of what an audit measures beside the geometry of single layers (see `core.number_keys`).

The numbers of one check are named in that check's file.
"""

from dataclasses import dataclass

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.number_keys import NumberKey

_Pair = tuple[int, int]


@dataclass(frozen=True)
class ModelFactsKey(NumberKey):
    """What is known of a model without running it."""


@dataclass(frozen=True)
class AssumptionsKey(NumberKey):
    """What theory assumes of the architecture, looked up in the model."""


@dataclass(frozen=True)
class WeightDigestKey(NumberKey):
    """The digest of a model's weights as they were loaded.

    Attributes:
        rows: of the vocabulary, the first alone that are read.
    """

    rows: int


@dataclass(frozen=True)
class StdlibPromptsKey(NumberKey):
    """The prompts of ``builtin:stdlib``.

    Attributes:
        files: a name for the library's files as they are on this machine.
        field, length, overlong, special_tokens, sample, seed: as in the config.
    """

    files: str
    field: str | None
    length: int | None
    overlong: str | None
    special_tokens: str
    sample: int | None
    seed: int


@dataclass(frozen=True)
class ActivationScalesKey(NumberKey):
    """The scales of activations that are rounded as the model runs.

    Attributes:
        grid: as `Grid.parse` reads it.
        prompts: the hash of the prompts that the scales are calibrated on.
    """

    grid: str
    prompts: str


@dataclass(frozen=True)
class MinimalEditExistsKey(NumberKey):
    """Whether two prompts of the set are one edit apart.

    Attributes:
        same_length: whether only prompts of equal length are compared.
    """

    same_length: bool


@dataclass(frozen=True)
class TokenClassesKey(NumberKey):
    """The classes of tokens with equal embedding rows, which depend on the model alone."""


@dataclass(frozen=True)
class ResolutionKey(NumberKey):
    """The resolution of a layer, with the error beside it.

    Attributes:
        layer: the layer.
        first: at position 0; else at all positions from 1 on.
        sample: how much it is measured on, as text.
        float64: whether the error was measured against a float64 copy of the model.
    """

    together = ("layer",)

    layer: Layer
    first: bool
    sample: str
    float64: bool


@dataclass(frozen=True)
class MinimalEditsKey(NumberKey):
    """How far one changed token moves the states of a sample of prompts.

    Attributes:
        layer: the layer.
        metric: the prompt metric.
        seed: draws the prompts and the edits.
    """

    together = ("layer",)

    layer: Layer
    metric: str
    seed: int


@dataclass(frozen=True)
class DoubtfulPairsKey(NumberKey):
    """The pairs near the resolution of a layer, decided by evaluation.

    Attributes:
        layer: the layer.
        most: how many pairs are evaluated at most.
    """

    together = ("layer",)

    layer: Layer
    most: int


@dataclass(frozen=True)
class ExactDistanceKey(NumberKey):
    """The distance of two prompts in true float64.

    Attributes:
        layer: the layer.
        pair: indexes of the prompts.
    """

    together = ("layer", "pair")

    layer: Layer
    pair: _Pair


@dataclass(frozen=True)
class DiagnosisKey(NumberKey):
    """Whether the architecture or the checkpoint makes two prompts collide.

    Attributes:
        layer: the layer.
        pair: indexes of the prompts.
        seed: draws the weights that the checkpoint's are compared with.
    """

    together = ("layer", "pair")

    layer: Layer
    pair: _Pair
    seed: int


@dataclass(frozen=True)
class TrendKey(NumberKey):
    """How margin and co-Lipschitz constant fall with the number of prompts.

    Attributes:
        layer: the layer.
        metric: the prompt metric.
    """

    layer: Layer
    metric: str


@dataclass(frozen=True)
class AgainstKey(NumberKey):
    """A number of a model and of its parent.

    Attributes:
        number: which number.
        parent: the key of the parent's entry in the store.
    """

    number: NumberKey
    parent: str


@dataclass(frozen=True)
class DriftKey(NumberKey):
    """How far each prompt's state lies from the parent's."""

    layer: Layer


@dataclass(frozen=True)
class QuantileKeptKey(NumberKey):
    """How much of a margin or a co-Lipschitz constant a model keeps of its parent's.

    Attributes:
        quantity: ``margin`` or ``co-Lipschitz``.
        layer: the layer.
        metric: the prompt metric.
        q: the quantile.
        normalized: whether the constants are divided by the mean norm of the states.
        sample: how many prompts at most the spread is measured on.
        seed: draws the halves of these prompts.
    """

    quantity: str
    layer: Layer
    metric: str
    q: float
    normalized: bool
    sample: int
    seed: int


@dataclass(frozen=True)
class ReleaseResultKey(NumberKey):
    """What every attacker reads of a release, and what use is left of it.

    Attributes:
        release: its text.
        prompts: how many prompts.
        tokens: their length.
        free_running: how many prompts attackers also read behind their own answers.
        practice: how many prompts of their own attackers learn to read.
        known: how many prompts attackers know with what was released of them.
        queries: how many times each prompt is released.
        budget: about how many candidates may be run; None: the whole vocabulary is.
        seed: of the release and of the attackers.
        libraries: the optional ones by which answers are judged, with their versions.
    """

    together = ("release",)

    release: str
    prompts: int
    tokens: int
    free_running: int
    practice: int
    known: int
    queries: int
    budget: int | None
    seed: int
    libraries: tuple[str, ...]


@dataclass(frozen=True)
class CollidingChangeKey(NumberKey):
    """The smallest change of weights found at which a pair collides.

    Attributes:
        layer: where it collides.
        pair: of prompts.
        over: the weights that may change.
        bits: of the roundings beside it.
    """

    together = ("layer", "pair", "over")

    layer: Layer
    pair: _Pair
    over: str | int
    bits: tuple[int, ...]


@dataclass(frozen=True)
class StepScalesKey(NumberKey):
    """The extreme singular values of the one-step maps at some positions.

    Attributes:
        layer: whose states.
        places: indexes of prompts, each with a position.
    """

    together = ("layer",)

    layer: Layer
    places: tuple[_Pair, ...]
