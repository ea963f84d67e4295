"""What holds of the figures whatever the model is, and what you want of yours.

Copy this folder, run it once on a model you trust, and set the thresholds from its tables. README.md
says where each figure comes from.
"""

import json
import math

import pytest

# Least normalized 1 % quantiles along every curve; about half of what the shipped model has.
MARGIN = 0.02
COLIPSCHITZ = 5e-4

# Rounded to so many bits and more, no two prompts collide.
BITS_WITHOUT_COLLISIONS = 5

# Least one-step margin, in units of the layer's resolution: what SipIt needs to tell tokens apart.
ONE_STEP = 10

NUMBERS = (
    "mean_norm",
    "median_norm",
    "margin",
    "margin_q",
    "colipschitz",
    "colipschitz_q",
    "resolution",
)


@pytest.fixture(params=["by_length", "by_model"])
def points(request):
    """The points of each figure in turn."""
    return request.getfixturevalue(request.param)


def test_no_two_prompts_collide(injx):
    """The prompts as they are, at every layer; the table at the end shows them."""
    injx.assert_no_collisions()


def test_no_two_prompts_of_a_figure_collide(points):
    """Nor do windows of any length, nor the prompts of another model."""
    assert [
        f"{point.model}, length {point.length}, {point.layer}: {point.collisions} collisions"
        for point in points
        if point.collisions or point.not_finite
    ] == []


def test_every_point_has_the_same_number_of_prompts(points):
    """Margins fall as N grows: a curve of different N would show that and nothing else."""
    assert len({point.n for point in points}) == 1


def test_every_layer_has_its_point(points, injx):
    """Of each length, or of each model, each layer once, on one prompt set."""
    curves = {}
    for point in points:
        curves.setdefault((point.model, point.length), []).append(point)
    for curve in curves.values():
        assert len({point.layer for point in curve}) == len(curve)
        assert len({point.prompt_hash for point in curve}) == 1
    assert len(curves[injx.config.model, points[0].length]) == len(injx.layers)


def test_windows_have_their_length(by_length, lengths):
    """Every prompt of a length is exactly as long."""
    assert [point.length for point in by_length] == sorted(
        (point.longest for point in by_length), key=lengths.index
    )


def test_every_number_is_finite(points):
    """Nothing was left out, nothing overflowed."""
    for point in points:
        assert all(math.isfinite(getattr(point, name)) for name in NUMBERS), point


def test_the_constant_lies_between_its_bounds(points):
    """With D the largest prompt distance, at most the longest prompt: m / D <= alpha <= m."""
    if points[0].prompt_metric != "levenshtein":
        pytest.skip("this holds of whole numbers over all pairs: --injx-prompt-metric=levenshtein")
    for point in points:
        assert point.margin / point.longest <= point.colipschitz <= point.margin
        assert point.colipschitz_q <= point.margin_q


def test_a_minimum_is_no_more_than_its_quantile(points):
    """The minimum is the q-quantile at q = 0."""
    for point in points:
        assert point.margin <= point.margin_q
        assert point.colipschitz <= point.colipschitz_q


def test_the_json_has_the_points(points, folder, request):
    """Raw values as measured, normalized ones over the mean norm."""
    name = request.node.callspec.params["points"]
    written = json.loads((folder / f"{name}.json").read_text())["points"]
    assert len(written) == len(points)
    for point, plain in zip(points, written, strict=True):
        for quantity in ("margin", "margin_q", "colipschitz", "colipschitz_q"):
            assert plain[quantity] == getattr(point, quantity)
            assert plain[f"normalized_{quantity}"] == plain[quantity] / plain["mean_norm"]


def test_margins_are_large_enough(points):
    """Your threshold: prompts keep their distance at every layer of every curve."""
    assert below(MARGIN, points, "normalized_margin_q") == []


def test_constants_are_large_enough(points):
    """Your threshold: states move with the prompt at every layer of every curve."""
    assert below(COLIPSCHITZ, points, "normalized_colipschitz_q") == []


def test_rounding_starts_from_the_states_as_they_are(by_bits, injx):
    """Figures 4 and 5: each layer unrounded first, then every grid on the same prompts."""
    full = [point for point in by_bits if point.bits is None]
    assert list(by_bits[: len(full)]) == full
    assert len(full) == len(injx.layers)
    assert not len(by_bits) % len(full)
    assert len({(point.n, point.prompt_hash) for point in by_bits}) == 1


def test_the_json_has_collisions_and_fractions(by_bits, folder):
    """Of every layer and grid, the fraction of pairs within each eps."""
    written = json.loads((folder / "by_bits.json").read_text())
    layers = {point.layer for point in by_bits}
    assert set(written["first_collisions"]) == layers
    for point, plain in zip(by_bits, written["points"], strict=True):
        assert (plain["bits"], plain["collisions"]) == (point.bits, point.collisions)
        pairs = point.n * (point.n - 1) / 2
        fractions = list(plain["near_fractions"].values())
        assert fractions == sorted(fractions, reverse=True)
        assert fractions[-1] * pairs >= point.collisions * (1 - 1e-12)


def test_enough_bits_make_no_collision(by_bits):
    """Your threshold: rounded so finely, all prompts stay apart."""
    found = [point for point in by_bits if point.collisions and enough(point.bits)]
    assert [f"{point.layer}, {point.bits} bits: {point.collisions}" for point in found] == []


def test_continuations_are_told_apart(one_step):
    """Your threshold: no two tokens come near the resolution after any of the prompts."""
    low = [one for one in one_step if not one.minimum >= ONE_STEP * one.resolution]
    assert [f"{one.layer}: {one.minimum}" for one in low] == []


def enough(bits):
    """Whether so many bits are to tell all prompts apart; a grid begins with their number."""
    return bits is None or int(str(bits).split()[0]) >= BITS_WITHOUT_COLLISIONS


def below(bound, points, quantity):
    """The points whose quantity is not at least the bound, in a line each."""
    return [
        f"{point.model}, length {point.length}, {point.layer}: {point[quantity]}"
        for point in points
        if not point[quantity] >= bound
    ]
