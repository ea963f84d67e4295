"""How a layer's numbers fall as prompts are added, against brute force over the subsets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_injectivity import Audit
from pytest_injectivity.audit.measurements.trend import measure_trend
from pytest_injectivity.core.strict_json import dumps, loads
from pytest_injectivity.geometry.layer import LayerGeometry
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.results.summary import Fall, LayerSummary, Trend
from pytest_injectivity.testing import tiny_decoder
from tests import brute_force
from tests.audits import audit_of

pytestmark = pytest.mark.usefixtures("empty_store")

Ids = tuple[tuple[int, ...], ...]


def _prompts(n: int, *, equal_lengths: bool = False) -> PromptSet:
    generator = np.random.default_rng(n)
    lengths = [4] * n if equal_lengths else generator.integers(1, 6, n).tolist()
    ids = {tuple(generator.integers(0, 50, length).tolist()) for length in lengths}
    return PromptSet("p", tuple(sorted(ids)), None, special_tokens=False)


def _rows(prompts: PromptSet) -> torch.Tensor:
    """A row of each prompt's own, whatever its place is."""
    generator = np.random.default_rng
    drawn = [generator(int(digest, 16) % 2**63).standard_normal(6) for digest in prompts.hashes]
    return torch.tensor(np.array(drawn))


def _trend(prompts: PromptSet, rows: torch.Tensor, metric: str = "levenshtein") -> Trend:
    distances = PairDistances(PromptMetric.parse(metric), prompts.ids)
    return measure_trend(LayerGeometry(1, rows, distances), prompts.hashes)


@pytest.mark.parametrize("n", [50, 61, 130])
@pytest.mark.parametrize("metric", ["levenshtein", "hamming"])
def test_the_numbers_are_those_of_brute_force(n: int, metric: str) -> None:
    """Over the prompts of smallest hash, with their nearest neighbors among themselves."""
    prompts = _prompts(n, equal_lengths=metric == "hamming")
    rows = _rows(prompts)
    n = len(prompts)
    found = _trend(prompts, rows, metric)
    assert ((n // 4, n // 2, n), "") == (found.n, found.reason)
    for at, size in enumerate(found.n):
        place = {ids: row for row, ids in enumerate(prompts.ids)}
        subset = prompts.subset(size)
        chosen = rows[[place[ids] for ids in subset.ids]]
        nearest = brute_force.nearest(chosen)[0]
        smallest = brute_force.ratios(chosen, subset.ids, metric).smallest()[0]
        for fall, values, q in (
            (found.margin, nearest, 0.0),
            (found.margin_q, nearest, 0.01),
            (found.colipschitz, smallest, 0.0),
            (found.colipschitz_q, smallest, 0.01),
        ):
            assert fall is not None
            assert brute_force.lower_quantile(values, q) == pytest.approx(
                fall.values[at], rel=1e-12
            )


@given(order=st.permutations(range(48)))
@settings(max_examples=10)
def test_the_order_of_prompts_does_not_matter(order: list[int]) -> None:
    """To the last bit."""
    prompts = _prompts(60)
    prompts = prompts.take(range(48), "p")
    other = prompts.take(order, "p")
    assert _trend(prompts, _rows(prompts)) == _trend(other, _rows(other))


def test_margins_never_rise_as_prompts_are_added() -> None:
    """A subset of a set: its closest pair is no closer."""
    prompts = _prompts(120)
    found = _trend(prompts, _rows(prompts))
    for fall in (found.margin, found.colipschitz):
        assert fall is not None
        assert list(fall.values) == sorted(fall.values, reverse=True)
        assert fall.per_doubling is not None
        assert fall.per_doubling <= 1


def test_rows_that_are_not_finite_take_no_part() -> None:
    """The subsets are of the prompts that are left."""
    prompts = _prompts(90)
    rows = _rows(prompts)
    lost = np.argsort(prompts.hashes)[:9]
    kept = np.setdiff1d(np.arange(len(prompts)), lost)
    expected = _trend(prompts.take(kept.tolist(), "p"), rows[kept])
    rows[lost] = torch.nan
    assert expected == _trend(prompts, rows)


def test_a_set_of_39_prompts_has_no_trend_and_says_why() -> None:
    """A quarter of it would be fewer than ten."""
    prompts = _prompts(60).take(range(39), "p")
    expected = Trend((), reason="39 finite rows: a trend needs at least 40")
    assert expected == _trend(prompts, _rows(prompts))


def test_a_set_of_40_prompts_has_a_trend() -> None:
    """The quarter of 40 is ten."""
    prompts = _prompts(60).take(range(40), "p")
    found = _trend(prompts, _rows(prompts))
    assert ((10, 20, 40), "") == (found.n, found.reason)


def test_without_partners_there_is_no_constant() -> None:
    """Hamming compares equal lengths only: in the quarter nobody may be left to compare with."""
    ids: Ids = tuple(tuple(range(length)) for length in range(1, 60))
    prompts = PromptSet("p", ids, None, special_tokens=False)
    found = _trend(prompts, _rows(prompts), "hamming")
    assert (None, None) == (found.colipschitz, found.colipschitz_q)
    assert "fewer than two prompts of a set have an admissible partner" == found.reason
    assert found.margin is not None


@pytest.mark.parametrize(
    ("sizes", "values", "per_doubling"),
    [
        ((25, 50, 100), (4.0, 3.0, 1.0), 0.5),
        ((25, 50, 100), (4.0, 2.0, 4.0), 1.0),
        ((25, 50, 100), (4.0, 1.0, 0.0), 0.0),
        ((25, 50, 100), (0.0, 0.0, 0.0), None),
        ((25, 50, 100), (float("nan"), 1.0, 1.0), None),
        ((10, 21, 43), (8.0, 4.0, 2.0), 0.25 ** (1 / np.log2(4.3))),
    ],
)
def test_the_share_left_by_a_doubling(
    sizes: tuple[int, ...], values: tuple[float, ...], per_doubling: float | None
) -> None:
    """The geometric mean of both doublings; unknown where there is nothing left to lose."""
    found = Fall.of(sizes, values)
    assert values == pytest.approx(found.values, nan_ok=True)
    assert per_doubling == (
        None if found.per_doubling is None else pytest.approx(found.per_doubling)
    )


def test_a_trend_survives_json() -> None:
    """Inside a layer's summary, as it travels from a worker."""
    prompts = _prompts(60)
    for trend in (_trend(prompts, _rows(prompts)), Trend((), reason="too few")):
        layer = LayerSummary("layer01", None, 60, trend=trend)
        assert layer == loads(LayerSummary, dumps(layer))
        assert trend == loads(Trend, dumps(trend))


@pytest.fixture
def ids() -> list[list[int]]:
    return [[at, (7 * at) % 60, 3] for at in range(44)]


def test_an_audit_has_the_trend_of_its_layers(tmp_path: Path, ids: list[list[int]]) -> None:
    """Computed once, and part of the layer's summary; rounded states have none."""
    audit = audit_of(tmp_path, tiny_decoder("llama"), ids)
    found = audit.trend(-1)
    assert (11, 22, 44) == found.n
    assert found is audit.trend(2)
    assert found == audit.layer_summary(2).trend
    assert audit.layer_summary(2, bits=4).trend is None
    assert _trend(audit.prompts, audit.states(2)) == found


def test_no_subset_is_searched_before_it_is_asked_for(
    tmp_path: Path, ids: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate needs no trend."""
    taken: list[int] = []
    take: Callable[..., LayerGeometry] = LayerGeometry.take

    def watched(self: LayerGeometry, rows: np.ndarray) -> LayerGeometry:
        taken.append(len(rows))
        return take(self, rows)

    monkeypatch.setattr(LayerGeometry, "take", watched)
    audit = audit_of(tmp_path, tiny_decoder("llama"), ids)
    audit.check_margin_above("all", margin=1e-12)
    assert [] == taken
    audit.trend(1)
    assert [11, 22] == taken


def test_a_second_audit_searches_nothing(
    tmp_path: Path, ids: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trend is in the store, bit for bit."""
    first = audit_of(tmp_path, tiny_decoder("llama"), ids)
    expected = first.trend("norm")
    monkeypatch.setattr(LayerGeometry, "take", None)
    again = Audit(first.config)
    assert expected == again.trend("norm")
    assert not again.target.loaded
