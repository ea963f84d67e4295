"""Layers whose resolution does not tell their states apart."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pytest_injectivity.audit.measurements.doubtful_pairs import Doubts, blur_of
from pytest_injectivity.audit.measurements.resolutions import Resolutions
from pytest_injectivity.states.resolution import LayerResolution, Resolution
from pytest_injectivity.states.scaled import Scale
from pytest_injectivity.testing import tiny_decoder
from tests.audits import Audit, audit_of

# Corners of a simplex: every nearest neighbor is at the square root of 2.
CORNERS = torch.eye(12)


def resolution_at(distance: float, radius: float) -> LayerResolution:
    """A usual resolution of so much, one state far more; the scaled distance is in units of 1."""
    one = Resolution(
        9.0, "alone / padded", 9.0, 1.0, Scale(np.ones(12)), 9.0, 9.0, distance, radius, 1, 0.0
    )
    return LayerResolution(one, lambda: one, 1)


@pytest.mark.parametrize(
    ("distance", "radius", "blurred"),
    [(0.8, 0.8, True), (0.6, 0.8, False), (0.8, 0.6, False), (0.6, 0.6, False)],
)
def test_both_distances_must_be_blurred(distance: float, radius: float, blurred: bool) -> None:  # noqa: FBT001 - a parameter
    """Half of the median nearest neighbor is below the resolution, Euclidean and scaled."""
    found = blur_of(CORNERS, resolution_at(distance, radius), [4] * 12, np.full(12, 2**0.5))
    assert blurred == (found is not None)


class _Known(Resolutions):
    """Resolutions that are given, not measured."""

    def __init__(self, resolution: LayerResolution) -> None:
        self._given = resolution

    def of(self, layer: object) -> LayerResolution:  # noqa: ARG002 - the same at every layer
        return self._given


def test_a_blurred_layer_without_a_pair_in_the_resolution_is_found(tmp_path: Path) -> None:
    """The resolution is below every distance and above half of the median."""
    decoder = tiny_decoder("gpt2")
    audit: Audit = audit_of(tmp_path, decoder, [[at, at + 1, 5] for at in range(12)])
    states = audit.measurements.layers
    geometry = states.geometry(2)
    distance = float(geometry.closest.distance) * 0.99
    median = float(np.median(geometry.nearest.distance))
    assert median / 2 < distance
    one = Resolution(
        *(distance, "alone / padded", distance, 1e9),
        *(Scale(np.ones(16)), distance, distance, distance, distance, 1, 0.0),
    )
    doubts = Doubts(states, _Known(LayerResolution(one, lambda: one, 1)))
    assert doubts.of([2])[2].blur is not None
