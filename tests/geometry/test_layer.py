"""A layer's geometry: every number equals brute force over all pairs in float64."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.dimension import anisotropy, intrinsic_dimension
from pytest_injectivity.geometry.layer import LADDER, LayerGeometry, partnered_ratios
from pytest_injectivity.geometry.search.ratios import Ratios
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
from tests import brute_force
from tests.adversaries import DTYPES, SEEDS, any_rows, draw_prompts, draw_rows
from tests.executors import InTurn
from tests.repetitions import mostly_slow
from tests.shared_searches import SMALL, same

QUANTILES = st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 1.0])


def geometry(
    rows: Tensor, ids: brute_force.Ids | None = None, metric: str = "levenshtein"
) -> LayerGeometry:
    """The geometry of rows under a metric; prompts are drawn where none are given."""
    ids = draw_prompts(len(rows)) if ids is None else ids
    return LayerGeometry(3, rows, PairDistances(PromptMetric.parse(metric), ids))


@given(rows=any_rows(), q=QUANTILES)
def test_margins_equal_the_reference(rows: Tensor, q: float) -> None:
    """The lower quantile of the neighbors' distances, and divided by the mean norm."""
    layer = geometry(rows)
    expected = brute_force.lower_quantile(brute_force.nearest(rows)[0], q)
    assert expected == pytest.approx(layer.margin(q), rel=1e-14)
    assume(brute_force.norms(rows).mean() > 0)
    normalized = expected / brute_force.norms(rows).mean()
    assert normalized == pytest.approx(layer.margin(q, normalized=True), rel=1e-14)


@given(rows=any_rows(), q=QUANTILES, seed=SEEDS)
def test_lipschitz_constants_equal_the_reference(rows: Tensor, q: float, seed: int) -> None:
    """Quantiles from below and from above, and divided by the mean norm."""
    ids = draw_prompts(len(rows), seed)
    layer, table = geometry(rows, ids), brute_force.ratios(rows, ids, "levenshtein")
    lower = brute_force.lower_quantile(table.smallest()[0], q)
    upper = brute_force.upper_quantile(table.largest()[0], q)
    assert lower == pytest.approx(layer.colipschitz(q), rel=1e-14)
    assert upper == pytest.approx(layer.upper_lipschitz(q), rel=1e-14)
    scale = brute_force.norms(rows).mean()
    assume(scale > 0)
    assert lower / scale == pytest.approx(layer.colipschitz(q, normalized=True), rel=1e-14)
    assert upper / scale == pytest.approx(layer.upper_lipschitz(q, normalized=True), rel=1e-14)


@given(rows=any_rows())
def test_counted_distances_are_the_nearest_ones(rows: Tensor) -> None:
    """Each row once, between the ends of its tenth of a decade."""
    layer = geometry(rows)
    counts = layer.nearest_counts()
    distances = layer.nearest.distance
    assert np.isfinite(distances).sum() == sum(counts.values())
    assert int((distances == 0).sum()) == counts.pop(0.0, 0)
    assert [
        int(((edge * (1 - 1e-9) <= distances) & (distances < edge * 10**0.1 * (1 - 1e-9))).sum())
        for edge in counts
    ] == list(counts.values())


def test_an_end_belongs_to_what_begins_there() -> None:
    """Whatever its logarithm is rounded to."""
    rows = torch.tensor([[0.0], [0.001], [1.0], [11.0]], dtype=torch.float64)
    assert {0.001: 2, 0.794: 1, 10.0: 1} == {
        float(f"{edge:.3g}"): count for edge, count in geometry(rows).nearest_counts().items()
    }


def _apart(count: int) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(0)) + 0.5


def test_how_states_lie_is_that_of_all_rows() -> None:
    """Of few; in float64, whatever order the prompts are in."""
    rows = _apart(60)
    layer, turned = geometry(rows), geometry(rows.flip(0))
    assert anisotropy(rows) == pytest.approx(layer.anisotropy, abs=1e-12)
    assert intrinsic_dimension(rows) == layer.dimension
    assert (turned.anisotropy, turned.dimension) == (layer.anisotropy, layer.dimension)


def test_how_many_states_lie_is_that_of_an_even_sample() -> None:
    """Of a thousand of them, short and long ones alike."""
    rows = _apart(3000)
    layer = geometry(rows, [[one] for one in range(3000)])
    chosen = rows[rows.double().norm(dim=1).argsort()][::3]
    assert anisotropy(chosen) == pytest.approx(layer.anisotropy, abs=1e-12)
    assert intrinsic_dimension(chosen) == pytest.approx(layer.dimension, rel=1e-12)


@pytest.mark.parametrize(
    ("rows", "known"),
    [
        ([[1.0, 0.0], [2.0, 0.0]], (True, False)),  # no third row
        ([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]], (False, True)),  # one without a direction
        ([[1.0, 0.0]], (False, False)),
    ],
)
def test_where_states_lie_nowhere_nothing_is_said(
    rows: list[list[float]], known: tuple[bool, bool]
) -> None:
    """A mean cosine needs two directions, a dimension three rows."""
    layer = geometry(torch.tensor(rows))
    assert known == tuple(not np.isnan(one) for one in (layer.anisotropy, layer.dimension))


@given(rows=any_rows())
def test_norms_equal_the_reference(rows: Tensor) -> None:
    """Mean and median."""
    layer = geometry(rows)
    assert brute_force.norms(rows).mean() == pytest.approx(layer.mean_norm, rel=1e-14)
    assert np.median(brute_force.norms(rows)) == pytest.approx(layer.median_norm, rel=1e-14)


@given(rows=any_rows(), factor=st.floats(0, 2))
def test_near_fractions_equal_the_reference(rows: Tensor, factor: float) -> None:
    """The share of all unordered pairs, at any tolerance."""
    ladder = [factor * float(np.median(brute_force.distances(rows))) * (1 + 1e-9), *LADDER]
    expected = {
        eps: len(brute_force.near(rows, eps)) / len(brute_force.pairs(len(rows))) for eps in ladder
    }
    assert expected == geometry(rows).near_fractions(ladder)


def test_the_ladder_is_that_of_the_paper() -> None:
    """1e-2 to 1e-6 ([VS] figure 5), and reported unless told otherwise."""
    assert (1e-2, 1e-3, 1e-4, 1e-5, 1e-6) == LADDER
    assert list(LADDER) == list(geometry(torch.ones(3, 2)).near_fractions())


@given(rows=any_rows(), seed=SEEDS)
def test_prompt_order_changes_no_number(rows: Tensor, seed: int) -> None:
    """Shuffled with their prompts, to the bit."""
    ids = draw_prompts(len(rows), seed)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    plain, shuffled = geometry(rows, ids), geometry(rows[order], [ids[at] for at in order])
    eps = float(np.median(plain.nearest.distance))
    assert plain.margin(0.1) == shuffled.margin(0.1)
    assert plain.colipschitz(0.1) == shuffled.colipschitz(0.1)
    assert plain.upper_lipschitz(0.1) == shuffled.upper_lipschitz(0.1)
    assert plain.near(eps).count == shuffled.near(eps).count
    assert plain.equal.pairs == shuffled.equal.pairs
    assert plain.median_norm == shuffled.median_norm
    assert plain.mean_norm == shuffled.mean_norm


@pytest.mark.parametrize("normalized", [False, True])
@given(seed=SEEDS, d=st.integers(1, 12))
def test_rotation_changes_rounding_only(*, normalized: bool, seed: int, d: int) -> None:
    """Distance-based numbers are those of the space, not of its coordinates (SPEC section 3)."""
    rows, ids = draw_rows("gaussian", 25, d, torch.float64, seed), draw_prompts(25, seed)
    rotation, _ = torch.linalg.qr(draw_rows("gaussian", d, d, torch.float64, seed + 1))
    plain, rotated = geometry(rows, ids), geometry(rows @ rotation, ids)
    assert plain.margin(0.1, normalized=normalized) == pytest.approx(
        rotated.margin(0.1, normalized=normalized), rel=1e-11
    )
    assert plain.colipschitz(0.1, normalized=normalized) == pytest.approx(
        rotated.colipschitz(0.1, normalized=normalized), rel=1e-11
    )


@given(rows=any_rows(), power=st.integers(-8, 8), seed=SEEDS)
def test_normalized_values_have_no_unit(rows: Tensor, power: int, seed: int) -> None:
    """Scaling by a power of two scales the values exactly and the normalized ones not at all."""
    rows, ids = rows.double(), draw_prompts(len(rows), seed)
    assume(float(rows.abs().max()) > 0)
    plain, scaled = geometry(rows, ids), geometry(rows * 2.0**power, ids)
    assert plain.margin() * 2.0**power == scaled.margin()
    assert plain.colipschitz() * 2.0**power == scaled.colipschitz()
    assert plain.margin(normalized=True) == scaled.margin(normalized=True)
    assert plain.colipschitz(normalized=True) == scaled.colipschitz(normalized=True)
    assert plain.upper_lipschitz(normalized=True) == scaled.upper_lipschitz(normalized=True)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows_that_are_not_finite_take_part_in_nothing(dtype: torch.dtype, bad: float) -> None:
    """The numbers are those of the finite rows alone, and `prompt_of` leads back."""
    rows, ids = draw_rows("gaussian", 12, 4, dtype), draw_prompts(12)
    rows[5] = rows[2]
    rows[3, 1], rows[7] = bad, bad
    kept = [row for row in range(12) if row not in (3, 7)]
    layer, alone = geometry(rows, ids), geometry(rows[kept], [ids[row] for row in kept])
    assert [row in kept for row in range(12)] == layer.finite.tolist()
    assert kept == layer.prompt_of.tolist()
    assert (10, 12) == (len(layer), len(layer.finite))
    assert alone.mean_norm == layer.mean_norm
    np.testing.assert_array_equal(alone.nearest.index, layer.nearest.index)
    np.testing.assert_array_equal(alone.colipschitz_rows.ratio, layer.colipschitz_rows.ratio)
    assert [(2, 5)] == [
        tuple(layer.prompt_of[[left, right]].tolist()) for left, right in layer.equal.list_pairs(10)
    ]
    assert alone.quantized(4).equal.pairs == layer.quantized(4).equal.pairs


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("kind", ["gaussian", "sink", "equal classes", "offset 1e3"])
def test_quantized_numbers_are_those_of_the_codes(kind: str, bits: int) -> None:
    """Collisions of codes, and distances between the values that they stand for."""
    rows, ids = draw_rows(kind, 40, 3), draw_prompts(40)
    levels = 2 ** (bits - 1) - 1
    step = float(rows.abs().max()) / levels
    codes = torch.from_numpy(np.clip(np.round(rows.double().numpy() / step), -levels, levels))
    layer = geometry(rows, ids).quantized(bits)
    assert len(brute_force.colliding(codes)) == layer.equal.pairs
    margin = brute_force.lower_quantile(brute_force.nearest(codes * step)[0], 0.1)
    assert margin == pytest.approx(layer.margin(0.1), rel=1e-14)
    alpha = brute_force.ratios(codes * step, ids, "levenshtein").smallest()[0]
    assert brute_force.lower_quantile(alpha, 0.1) == pytest.approx(
        layer.colipschitz(0.1), rel=1e-14
    )
    assert layer.near(0.0).count == layer.equal.pairs


def test_each_number_is_computed_once() -> None:
    """Asked twice, the very same object answers."""
    layer = geometry(draw_rows("gaussian", 20, 4))
    assert layer.nearest is layer.nearest
    assert layer.colipschitz_rows is layer.colipschitz_rows
    assert layer.norms is layer.norms


def test_the_dtype_of_the_states_is_kept() -> None:
    """Distances are float64, and the report says what the states were."""
    assert torch.bfloat16 == geometry(torch.ones(2, 2, dtype=torch.bfloat16)).dtype


@pytest.mark.parametrize("finite", [0, 1])
def test_fewer_than_two_finite_rows_are_an_error(finite: int) -> None:
    """A margin of nothing is not a margin: the message says how many rows there are."""
    rows = torch.full((4, 2), torch.nan)
    rows[:finite] = 1.0
    layer = geometry(rows)
    message = f"layer 3: {finite} of 4 rows are finite; at least 2"
    for ask in (layer.margin, lambda: layer.near(1.0), layer.near_fractions):
        with pytest.raises(OptionError, match=message):
            ask()
    with pytest.raises(OptionError, match=f"0 of {finite} prompts have an admissible partner"):
        layer.colipschitz()


def test_a_layer_of_zeros_normalizes_to_nan() -> None:
    """0 / 0 is no number, so that a gate on it fails, and no traceback."""
    layer = geometry(torch.zeros(3, 2))
    assert 0.0 == layer.margin()
    assert np.isnan(layer.margin(normalized=True))
    assert np.isnan(layer.colipschitz(normalized=True))


def test_as_many_states_as_prompts_are_needed() -> None:
    """Row i is prompt i."""
    prompts = PairDistances(PromptMetric.LEVENSHTEIN, [[1], [2]])
    with pytest.raises(OptionError, match="3 states for 2 prompts"):
        LayerGeometry(0, torch.ones(3, 2), prompts)


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("number", ["margin", "colipschitz", "upper_lipschitz"])
def test_a_quantile_outside_0_to_1_is_refused(number: str, q: float) -> None:
    """The message names the value."""
    layer = geometry(draw_rows("gaussian", 5, 2))
    with pytest.raises(OptionError, match=f"q={q!r} is not a fraction"):
        getattr(layer, number)(q)


def test_hamming_without_two_comparable_prompts_is_an_error() -> None:
    """The message counts them and names the flags that help."""
    layer = geometry(torch.eye(3), [[1], [1, 2], [1, 2, 3]], "hamming")
    with pytest.raises(OptionError, match=r"0 of 3 prompts .*--injx-length.*-metric="):
        layer.colipschitz()


def test_rows_without_a_partner_are_left_out_of_the_quantile() -> None:
    """A NaN among the rows is a prompt that could not be compared, not a failure of the layer."""
    ratios = Ratios(np.array([3.0, np.nan, 1.0]), np.array([2, -1, 0]), 4)
    np.testing.assert_array_equal([3.0, 1.0], partnered_ratios(ratios))


@pytest.mark.parametrize("made", mostly_slow(["plain", "rounded", "taken"], "plain"))
def test_workers_find_the_numbers_of_one_process(made: str) -> None:
    """Also of rounded rows and of some of the rows."""
    rows, executor = draw_rows("twins", 200, 12), InTurn()
    prompts = PairDistances(PromptMetric.LEVENSHTEIN, draw_prompts(200))
    alone, shared = (
        {
            "plain": lambda layer: layer,
            "rounded": lambda layer: layer.quantized(4),
            "taken": lambda layer: layer.take(np.arange(150)),
        }[made](LayerGeometry(3, rows, prompts, **among))
        for among in ({}, {"executor": executor, "limits": SMALL})
    )
    assert same(alone.nearest, shared.nearest)
    assert same(alone.closest, shared.closest)
    assert same(alone.colipschitz_rows, shared.colipschitz_rows)
    assert same(alone.upper_rows, shared.upper_rows)
    assert same(alone.near(1.0), shared.near(1.0))
    assert executor.ran > 10
