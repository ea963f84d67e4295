"""Finds from how many repetitions of a token on its states are equal (SPEC section 10).

The state after ``n`` repetitions of a token is compared with that after ``n + 1``, with or without a
fixed beginning and a fixed end. In a causal model one pass over the longest repetition holds the states
of all shorter ones, where nothing follows them. It lists the steps whose states are near each other, and
these are decided as all pairs are (`states.pair_decisions`): both prompts padded to one length, in eight
ways.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.errors import OptionError, PromptError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.candidate_pairs import far_distance, far_radius
from pytest_injectivity.states.capture import capture
from pytest_injectivity.states.diagnosis import EQUAL
from pytest_injectivity.states.pair_decisions import Kind, decide_pairs
from pytest_injectivity.states.resolution import LayerResolution

Ids = tuple[int, ...]

# Steps decided together: their prompts share one padded length.
_TOGETHER = 64


@dataclass(frozen=True)
class Repetition:
    """A token to repeat, and what stands around it.

    Attributes:
        token: its id.
        beginning: ids before the first.
        end: ids after the last.

    Example:
        >>> Repetition(7, beginning=(1,)).prompt(3)
        (1, 7, 7, 7)
    """

    token: int
    beginning: Ids = ()
    end: Ids = ()

    def prompt(self, n: int) -> Ids:
        """The prompt of ``n`` repetitions."""
        return (*self.beginning, *[self.token] * n, *self.end)

    def most(self, context: int) -> int:
        """The largest ``n`` whose ``n + 1`` repetitions fit a context window."""
        return context - len(self.prompt(1))


@dataclass(frozen=True)
class Collapse:
    """At which ``n`` the states of ``n`` and ``n + 1`` repetitions are alike, in some sense.

    Attributes:
        first: the first such ``n``; None: there is none.
        share: of all ``n``.
        lasting: the first ``n`` from which on all are; None: the largest ``n`` is none.
    """

    first: int | None
    share: float
    lasting: int | None

    @classmethod
    def of(cls, alike: Sequence[bool]) -> "Collapse":
        """Sums up the steps 1, 2, ….

        Example:
            >>> Collapse.of([False, True, False, True, True])
            Collapse(first=2, share=0.6, lasting=4)
        """
        first = next((n for n, one in enumerate(alike, 1) if one), None)
        last_apart = max((n for n, one in enumerate(alike, 1) if not one), default=0)
        lasting = last_apart + 1 if last_apart < len(alike) else None
        return cls(first, sum(alike) / len(alike), lasting)


@dataclass(frozen=True)
class Ladder:
    """What is found of a repeated token at one layer, step by step.

    Attributes:
        kinds: of ``n = 1, 2, …``: whether the states of ``n`` and ``n + 1`` repetitions are equal,
            unresolved or resolved; None: one of them is not finite.
        apart: their distance as listed.
    """

    kinds: tuple[Kind | None, ...]
    apart: tuple[float, ...]

    @property
    def equal(self) -> Collapse:
        """Where the states are equal."""
        return Collapse.of([kind is Kind.COLLISION for kind in self.kinds])

    @property
    def unresolved(self) -> Collapse:
        """Where evaluation does not tell the states apart: unresolved or equal."""
        alike = {Kind.COLLISION, Kind.UNRESOLVED}
        return Collapse.of([kind in alike for kind in self.kinds])

    @property
    def not_finite(self) -> tuple[int, ...]:
        """The ``n`` at which a state is not finite: nothing is said of them."""
        return tuple(n for n, kind in enumerate(self.kinds, 1) if kind is None)


def measure_repetition(
    decoder: Decoder,
    repetition: Repetition,
    n: int,
    layers: Sequence[Layer],
    resolutions: Mapping[Layer, LayerResolution],
) -> dict[Layer, Ladder]:
    """Compares the states of 1, 2, …, ``n + 1`` repetitions, each with the next.

    Args:
        decoder: the model, in the dtype and with the rounding that are asked about.
        repetition: what is repeated.
        n: the last step.
        layers: which layers; all share the passes.
        resolutions: of the same model at these layers.

    Raises:
        LayerError: the model has no such layer.
        OptionError: ``n`` is less than 1, or ``n + 1`` repetitions exceed the context.
        PromptError: an id is not in the vocabulary.
    """
    check_repetition(decoder, repetition, n)
    states = repeated_states(decoder, repetition, n, layers)
    near = {layer: _near(states[layer], repetition, resolutions[layer]) for layer in layers}
    decided = _decided(decoder, repetition, near, resolutions)
    return {layer: _ladder(states[layer], decided[layer]) for layer in layers}


def equal_exactly(
    exact: Decoder, repetition: Repetition, n: int, layers: Sequence[Layer]
) -> dict[Layer, Collapse]:
    """As `exact_steps`, summed up."""
    steps = exact_steps(exact, repetition, n, layers)
    return {layer: Collapse.of(alike) for layer, alike in steps.items()}


def exact_steps(
    exact: Decoder, repetition: Repetition, n: int, layers: Sequence[Layer]
) -> dict[Layer, list[bool]]:
    """Which steps the same weights in true float64 do not tell apart.

    Args:
        exact: the copy in float64.
        repetition: what is repeated.
        n: the last step.
        layers: which layers.

    Returns:
        By layer, of each step from 1 on, whether its states are within 1e-12 of the norm of each other
        (SPEC section 3).

    Raises:
        LayerError, OptionError, PromptError: as for `measure_repetition`.
    """
    check_repetition(exact, repetition, n)
    states = repeated_states(exact, repetition, n, layers)
    return {layer: _within(rows, EQUAL) for layer, rows in states.items()}


def check_repetition(decoder: Decoder, repetition: Repetition, n: int) -> None:
    """Refuses what a model cannot be asked.

    Raises:
        OptionError: ``n`` is less than 1, or ``n + 1`` repetitions exceed the context.
        PromptError: an id is not in the vocabulary.
    """
    if n < 1:
        raise OptionError(f"n={n!r}: give an integer of at least 1")
    for token in repetition.prompt(1):
        if not 0 <= token < decoder.vocab_size:
            raise PromptError(
                f"token {token!r} is no id of the model: give an integer from 0 to"
                f" {decoder.vocab_size - 1}"
            )
    if decoder.context is not None and n > (most := repetition.most(decoder.context)):
        raise OptionError(
            f"n={n}: {n + 1} repetitions with their beginning and end are"
            f" {len(repetition.prompt(n + 1))} tokens, and the model's context is {decoder.context}:"
            f" give at most {most}"
        )


def repeated_states(
    decoder: Decoder, repetition: Repetition, n: int, layers: Sequence[Layer]
) -> dict[Layer, Float[Tensor, "repetitions hidden"]]:
    """The last state of 1, 2, …, ``n + 1`` repetitions; of one causal pass where nothing follows."""
    if repetition.end:
        prompts = [repetition.prompt(one) for one in range(1, n + 2)]
        return dict(capture(decoder, prompts, layers).rows)
    ids = torch.tensor([repetition.prompt(n + 1)])
    states = decoder.states(ids, layers)
    return {layer: rows[0, len(repetition.beginning) :].cpu() for layer, rows in states.items()}


def _within(rows: Float[Tensor, "repetitions hidden"], share: float) -> list[bool]:
    """Whether each state is within a share of its norm of the next one."""
    apart, norms = _apart(rows), torch.linalg.vector_norm(rows.double(), dim=1)
    near: list[bool] = (apart <= share * torch.maximum(norms[1:], norms[:-1])).tolist()
    return near


def _apart(rows: Float[Tensor, "repetitions hidden"]) -> Float64[Tensor, " steps"]:
    apart: Tensor = torch.linalg.vector_norm(rows.double().diff(dim=0), dim=1)
    return apart


def _near(
    rows: Float[Tensor, "repetitions hidden"], repetition: Repetition, resolution: LayerResolution
) -> list[int]:
    """The steps near the resolution in both distances, as pairs of prompts are listed."""
    norms = torch.linalg.vector_norm(rows.double(), dim=1).tolist()
    own = [
        resolution.of(len(repetition.prompt(n)) - 1).of_norm(norm)
        for n, norm in enumerate(norms, 1)
    ]
    apart = _apart(rows).tolist()
    near = []
    for n, ((one, other), distance) in enumerate(zip(pairwise(own), apart, strict=True), 1):
        scaled = float(one.scale.joined(other.scale).norms(rows[n].double() - rows[n - 1].double()))
        if distance <= max(map(far_distance, (one, other))) and scaled <= max(
            map(far_radius, (one, other))
        ):
            near.append(n)
    return near


def _decided(
    decoder: Decoder,
    repetition: Repetition,
    near: Mapping[Layer, Sequence[int]],
    resolutions: Mapping[Layer, LayerResolution],
) -> dict[Layer, dict[int, Kind]]:
    """What evaluation says of the steps listed; all layers share the passes."""
    found: dict[Layer, dict[int, Kind]] = {layer: {} for layer in near}
    every = sorted({n for some in near.values() for n in some})
    for start in range(0, len(every), _TOGETHER):
        some = every[start : start + _TOGETHER]
        # Each step has two prompts of its own, so that no other step changes what it is padded to.
        prompts = [repetition.prompt(more) for n in some for more in (n, n + 1)]
        steps = {layer: [n for n in some if n in set(near[layer])] for layer in near}
        pairs = {
            layer: [(2 * some.index(n), 2 * some.index(n) + 1) for n in chosen]
            for layer, chosen in steps.items()
        }
        for layer, decisions in decide_pairs(decoder, prompts, pairs, resolutions).items():
            found[layer] |= dict(zip(steps[layer], [one.kind for one in decisions], strict=True))
    return found


def _ladder(rows: Float[Tensor, "repetitions hidden"], decided: Mapping[int, Kind]) -> Ladder:
    finite = rows.isfinite().all(dim=1)
    both = (finite[1:] & finite[:-1]).tolist()
    kinds = [decided.get(n, Kind.RESOLVED) if one else None for n, one in enumerate(both, 1)]
    return Ladder(tuple(kinds), tuple(_apart(rows).tolist()))
