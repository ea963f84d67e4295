"""Measures the resolution of layers on a sample (SPEC section 2)."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float, Float64
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.evaluations import Evaluation, evaluate_prompts, evaluate_singles
from pytest_injectivity.states.resolution import LayerResolution, Resolution
from pytest_injectivity.states.resolution_sample import Ids, Sample
from pytest_injectivity.states.scaled import Scale

# Tokens whose states are held at once, at all layers and in all ways.
_TOGETHER = 512
# Single tokens evaluated at once, the rows of their passes, and how many of them are also run in passes
# of few rows, which take long.
_SINGLES = 512
_HEIGHTS = (512, 96)
_LOW_HEIGHTS = (512, 10, 1)
_FEW = 10
# The quantile that is called usual: the largest of some thousand distances is often several times it.
_USUAL = 0.99

_ONE_ROUNDING = "one rounding of a state"


def measure_resolution(
    decoder: Decoder,
    exact: Decoder | None,
    sample: Sample,
    layers: Sequence[Layer],
    *,
    progress: Callable[[int], None] | None = None,
) -> dict[Layer, LayerResolution]:
    """Measures the resolution of each layer, all layers in the same passes.

    Args:
        decoder: the model audited.
        exact: the same weights in float64; None where there is no such copy.
        sample: what is evaluated.
        layers: the layers measured.
        progress: told how many prompts of the sample are done.
    """
    measurement = _Measurement(decoder, tuple(layers), progress or (lambda _done: None))
    measurement.widen(sample.prompts, sample.singles)
    if exact is not None:
        measurement.compare(exact, sample.prompts[: sample.exact])
    measurement.measure(sample.held_out, sample.held_out_singles)
    return measurement.resolutions()


class _Measurement:
    """Evaluates the parts of a sample, and keeps what was seen of each layer."""

    def __init__(
        self, decoder: Decoder, layers: tuple[Layer, ...], progress: Callable[[int], None]
    ) -> None:
        self.decoder = decoder
        self.layers = layers
        self.groups = {layer: (_Group(0), _Group(1)) for layer in layers}
        self.done = 0
        self._progress = progress

    def widen(self, prompts: Sequence[Ids], singles: Ids) -> None:
        """Evaluates what makes the resolution of each coordinate."""
        for layer, ways in self._evaluated(prompts, thorough=True):
            for group in self.groups[layer]:
                group.widen(ways)
        for layer, ways in _singles(self.decoder, singles, self.layers, low=True):
            self.groups[layer][0].widen(ways, first=True)

    def measure(self, prompts: Sequence[Ids], singles: Ids) -> None:
        """Evaluates what the radius is measured on."""
        for layer, ways in self._evaluated(prompts, thorough=False):
            for group in self.groups[layer]:
                group.measure(ways)
        for layer, ways in _singles(self.decoder, singles, self.layers, low=False):
            self.groups[layer][0].measure(ways, first=True)

    def compare(self, exact: Decoder, prompts: Sequence[Ids]) -> None:
        """Evaluates prompts alone, and in float64."""
        for prompt in prompts:
            ids = torch.tensor([list(prompt)])
            own, truth = (one.states(ids, self.layers) for one in (self.decoder, exact))
            for layer in self.layers:
                for group in self.groups[layer]:
                    group.compare(
                        Evaluation("", 0, own[layer][0]), Evaluation("", 0, truth[layer][0])
                    )

    def resolutions(self) -> dict[Layer, LayerResolution]:
        """What was measured."""
        return {layer: _of_layer(*self.groups[layer], self.done) for layer in self.layers}

    def _evaluated(
        self, prompts: Sequence[Ids], *, thorough: bool
    ) -> Iterator[tuple[Layer, list[Evaluation]]]:
        for together in _together(prompts):
            found = evaluate_prompts(self.decoder, together, self.layers, thorough=thorough)
            for one in found:
                yield from one.items()
            self.done += len(together)
            self._progress(self.done)


class _Group:
    """What has been seen at one layer, at position 0 or at all later ones."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.stop = None if start else 1
        self.largest = 0.0
        self.between = _ONE_ROUNDING
        self.unit = 0.0
        self.spread: Tensor | None = None
        self.sizes: Tensor | None = None
        self.rows = 0
        self.away: list[Tensor] = []
        self.scaled: list[Tensor] = []
        self.evaluations = 0
        self.error = math.nan
        self._scale: Scale | None = None

    def widen(self, ways: Sequence[Evaluation], *, first: bool = False) -> None:
        """Takes evaluations that make the resolution of each coordinate.

        Args:
            ways: of positions one after the other.
            first: of first positions throughout instead.
        """
        ways = self._here(ways, every=first)
        if not ways:
            return
        self._seen(ways)
        rows = ways[0].states
        sizes, widest = rows.abs().sum(dim=0), torch.zeros_like(rows[0])
        for one, other in combinations(ways, 2):
            if len(off := _difference(one, other)):
                widest = torch.maximum(widest, off.abs().amax(dim=0))
        self.sizes = sizes if self.sizes is None else self.sizes + sizes
        self.spread = widest if self.spread is None else torch.maximum(self.spread, widest)
        self.rows += len(rows)

    def measure(self, ways: Sequence[Evaluation], *, first: bool = False) -> None:
        """Takes evaluations that the radius is measured on, once the scale is made; see `widen`."""
        ways = self._here(ways, every=first)
        if not ways:
            return
        self._seen(ways)
        scale = self.scale()
        away = self.unit * scale.norms(ways[0].states)
        for one, other in combinations(ways, 2):
            if len(off := _difference(one, other)):
                _raise(away, scale.norms(off), max(one.start, other.start) - ways[0].start)
        self.scaled.append(away.cpu())
        self.evaluations += sum(len(one.states) for one in ways)

    def compare(self, own: Evaluation, exact: Evaluation) -> None:
        """Takes an evaluation and the same states in float64."""
        for one, truth in zip(self._here([own]), self._here([exact]), strict=True):
            error = _largest(torch.linalg.vector_norm(_difference(one, truth), dim=1))
            self.error = error if math.isnan(self.error) else _larger(self.error, error)

    def scale(self) -> Scale:
        """``sigma_l``: what was seen of each coordinate, and at least one rounding of its usual size."""
        if self._scale is None:
            if self.spread is None or self.sizes is None:
                raise ValueError("no evaluation has made a scale")
            usual = self.sizes / self.rows
            usual = torch.where(usual == 0, usual.mean(), usual)
            sigma = torch.maximum(self.spread, self.unit * usual)
            # States that are 0 in every coordinate have no resolution; no distance is divided by 0.
            sigma = torch.where(sigma == 0, 1.0, sigma)
            self._scale = Scale(sigma.cpu().numpy())
        return self._scale

    def resolution(self) -> Resolution:
        """What was measured."""
        away, scaled = (torch.cat(one) for one in (self.away, self.scaled))
        return Resolution(
            distance=_largest(away),
            between=self.between,
            scale=self.scale(),
            radius=_largest(scaled),
            usual=float(torch.quantile(away, _USUAL)),
            usual_radius=float(torch.quantile(scaled, _USUAL)),
            evaluations=self.evaluations,
            error=self.error,
        )

    def _seen(self, ways: Sequence[Evaluation]) -> None:
        """Takes the Euclidean distances of evaluations."""
        away = self.unit * torch.linalg.vector_norm(ways[0].states, dim=1)
        self._note(_largest(away), _ONE_ROUNDING)
        for one, other in combinations(ways, 2):
            if len(off := _difference(one, other)):
                apart = torch.linalg.vector_norm(off, dim=1)
                self._note(_largest(apart), f"{one.way} / {other.way}")
                _raise(away, apart, max(one.start, other.start) - ways[0].start)
        self.away.append(away.cpu())

    def _note(self, largest: float, between: str) -> None:
        """Remembers which ways are farthest apart."""
        if largest > self.largest:
            self.largest, self.between = largest, between

    def _here(self, ways: Sequence[Evaluation], *, every: bool = False) -> list[Evaluation]:
        """The evaluations of this group's positions, in float64."""
        found: list[Evaluation] = []
        for one in ways:
            start = max(self.start, one.start)
            stop = None if every or self.stop is None else max(self.stop - one.start, 0)
            rows = one.states[start - one.start : stop]
            if len(rows):
                unit = torch.finfo(rows.dtype).eps / 2
                self.unit = max(self.unit, unit)
                found.append(Evaluation(one.way, start, _exact(rows)))
        return found


def _difference(one: Evaluation, other: Evaluation) -> Float64[Tensor, "positions hidden"]:
    """What two evaluations of the same positions differ by, where both evaluated them."""
    start = max(one.start, other.start)
    left, right = (each.states[start - each.start :] for each in (one, other))
    return left[: len(right)] - right[: len(left)]


def _singles(
    decoder: Decoder, tokens: Ids, layers: tuple[Layer, ...], *, low: bool
) -> Iterator[tuple[Layer, list[Evaluation]]]:
    """Evaluations of single tokens, a part of the tokens at a time; the first few in low passes too."""
    every = torch.tensor(tokens)
    parts: list[tuple[Tensor, tuple[int, ...]]] = [
        (part, _HEIGHTS) for part in torch.split(every, _SINGLES)
    ]
    if low:
        parts.append((every[:_FEW], _LOW_HEIGHTS))
    for part, heights in parts:
        for layer, ways in evaluate_singles(decoder, part, layers, heights):
            # A token whose states are not finite is in no prompt measured: other checks name it.
            finite = torch.stack([way.states.isfinite().all(dim=1) for way in ways]).all(dim=0)
            if finite.any():
                yield layer, [way._replace(states=way.states[finite]) for way in ways]


def _together(prompts: Iterable[Ids]) -> Iterator[list[Ids]]:
    """Groups of prompts whose states are held at once."""
    group: list[Ids] = []
    for prompt in prompts:
        if group and sum(map(len, group)) + len(prompt) > _TOGETHER:
            yield group
            group = []
        group.append(prompt)
    yield group


def _of_layer(first: "_Group", later: "_Group", prompts: int) -> LayerResolution:
    at_first = first.resolution()
    return LayerResolution(at_first, later.resolution() if later.rows else at_first, prompts)


def _exact(rows: Float[Tensor, "n hidden"]) -> Float64[Tensor, "n hidden"]:
    # Apple's GPUs have no float64.
    return (rows.cpu() if rows.device.type == "mps" else rows).double()


def _raise(away: Float64[Tensor, " n"], apart: Float64[Tensor, " some"], start: int) -> None:
    """Raises distances to larger ones of the same positions, from ``start`` on; a NaN stays."""
    some = away[start : start + len(apart)]
    away[start : start + len(apart)] = torch.maximum(some, apart[: len(some)])


def _largest(values: Float64[Tensor, " n"]) -> float:
    return float(values.max())


def _larger(one: float, other: float) -> float:
    """The larger number; NaN where either is NaN."""
    return float(np.maximum(one, other))
