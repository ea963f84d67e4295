import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_injectivity.audit.checks.matches_baseline import judge_recorded
from pytest_injectivity.core.strict_json import build
from pytest_injectivity.errors import OptionError
from pytest_injectivity.geometry.layer import LayerGeometry
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
from pytest_injectivity.reports.comparison import compare, comparison_text
from pytest_injectivity.reports.json import write_report
from pytest_injectivity.reports.markdown import markdown
from pytest_injectivity.reports.terminal import summary_lines
from pytest_injectivity.results import metrics
from pytest_injectivity.results.changes import read_tolerances
from pytest_injectivity.results.measured import Measured, flat
from pytest_injectivity.results.metrics import (
    METRICS,
    MeasuredLayer,
    Metric,
    by_metric,
    measure,
    metric_of,
    recorded,
    title_of,
)
from pytest_injectivity.results.outcome import Outcome
from pytest_injectivity.results.run_results import RunResults
from pytest_injectivity.results.saved_runs import (
    Recorded,
    Stamp,
    baseline_text,
    numbers_of,
    read_recorded,
)
from pytest_injectivity.results.summary import LayerSummary, RunSummary
from tests.recordings import RUN


def _geometry(rows: list[list[float]], ids: list[list[int]]) -> LayerGeometry:
    distances = PairDistances(PromptMetric.LEVENSHTEIN, ids)
    return LayerGeometry(1, torch.tensor(rows, dtype=torch.float64), distances)


# Two rows one apart, of norms 3 and 4, of prompts that differ in one token.
GEOMETRY = _geometry([[3.0], [4.0]], [[1, 2], [1, 3]])
TWO_ROWS = MeasuredLayer(GEOMETRY, not_finite=3, resolution=1e-6)
EXTRA = Metric("entropy", "ent.", "entropy", "nats", "more", 0.1, lambda _layer: 7.25)


def test_every_metric_of_a_layer_is_measured() -> None:
    """The metrics are measured by name, in the order of the table."""
    found = measure(TWO_ROWS)
    expected = {
        "not_finite": 3,
        "mean_norm": 3.5,
        "median_norm": 3.5,
        "collisions": 0,
        "resolution": 1e-6,
        "margin": 1.0,
        "margin_q": 1.0,
        "normalized_margin": 1 / 3.5,
        "normalized_margin_q": 1 / 3.5,
        "colipschitz": 1.0,
        "colipschitz_q": 1.0,
        "normalized_colipschitz": 1 / 3.5,
        "normalized_colipschitz_q": 1 / 3.5,
    }
    assert expected == {name: found[name] for name in expected}
    assert {0.0} == set(found["near_fractions"].values())
    assert [metric.name for metric in METRICS] == list(found)


def test_a_layer_without_a_pair_has_its_lost_rows_alone() -> None:
    """No distance, no norm and no resolution."""
    assert {"not_finite": 9} == flat(measure(MeasuredLayer(None, not_finite=9, resolution=1e-6)))


def test_a_layer_without_partners_has_no_colipschitz_constant() -> None:
    """The hamming metric compares prompts of one length only."""
    alone = LayerGeometry(1, GEOMETRY.rows, PairDistances(PromptMetric.HAMMING, [[1], [1, 3]]))
    found = measure(replace(TWO_ROWS, geometry=alone))
    assert [None] * 4 == [found[name] for name in found if "colipschitz" in name]
    assert 1.0 == found["margin"]


def test_how_states_lie_is_said_where_it_is_known() -> None:
    """Two rows have a mean cosine and no dimension; of rounded states neither is measured."""
    found = measure(TWO_ROWS)
    assert (1.0, None) == (found["anisotropy"], found["intrinsic_dimension"])
    rounded = measure(replace(TWO_ROWS, resolution=None))
    assert (None, None) == (rounded["anisotropy"], rounded["intrinsic_dimension"])


def test_a_layer_that_is_zero_has_no_normalized_numbers() -> None:
    """Nothing is divided by the mean norm of rows that are all zero."""
    found = measure(replace(TWO_ROWS, geometry=_geometry([[0.0], [0.0]], [[1, 2], [1, 3]])))
    assert [None] * 4 == [found[name] for name in found if name.startswith("normalized")]
    assert 0.0 == found["mean_norm"]


def test_names_and_titles_are_unique() -> None:
    """A column is found by its title, and a number by its name."""
    assert len(METRICS) == len({one.name for one in METRICS}) == len({one.title for one in METRICS})


def test_a_number_has_its_metric_and_its_title() -> None:
    """One of a ladder with its rung; ladders go from wide to narrow."""
    assert ("margin_q", "m 1%") == (metric_of("margin_q").name, title_of("margin_q"))
    assert "near 1e-05" == title_of("near_fractions 1e-05")
    mixed = ["near_fractions 1e-05", "margin", "near_fractions 0.01", "not_finite"]
    assert [mixed[3], mixed[1], mixed[2], mixed[0]] == sorted(mixed, key=by_metric)


@pytest.mark.parametrize("name", ["margn", "margin 0.01", "near_fractions", "near_fractions ", ""])
def test_what_is_no_number_is_refused(name: str) -> None:
    """With the names of the metrics."""
    with pytest.raises(OptionError, match=r"is no number of a layer: .*mean_norm,"):
        metric_of(name)


def test_numbers_are_attributes_and_items() -> None:
    """By the metric's name, or a rung's."""
    layer = LayerSummary("norm", None, 9, numbers={"margin": 0.5, "near_fractions": {"0.01": 0.25}})
    assert (0.5, None) == (layer.margin, layer.resolution)
    assert (0.5, 0.25, None) == (
        layer["margin"],
        layer["near_fractions 0.01"],
        layer["near_fractions 0.1"],
    )
    with pytest.raises(AttributeError, match="LayerSummary has no 'margn'"):
        _ = layer.margn


@pytest.mark.parametrize("numbers", [{"margn": 1.0}, {"margin": {}}, {"near_fractions": 0.5}])
def test_numbers_of_no_metric_are_refused(numbers: dict[str, Any]) -> None:
    """So is a ladder where one number is, and the reverse."""
    with pytest.raises(OptionError, match=f"{next(iter(numbers))}.* (is no metric|has )"):
        Measured(numbers=numbers)


def test_only_numbers_of_their_own_are_recorded() -> None:
    """What follows from two others would be judged twice."""
    assert {"normalized_margin", "normalized_margin_q"} < {one.name for one in METRICS} - {
        one.name for one in recorded()
    }


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> RunResults:
    """What a run found that measured a metric more."""
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, EXTRA))
    layer = LayerSummary("layer01", None, 2, numbers=measure(TWO_ROWS))
    return RunResults(run=build(RunSummary, RUN), layers=(layer,), outcome=Outcome(0))


def test_a_new_metric_is_in_the_tables(findings: RunResults) -> None:
    """The terminal's and Markdown's, with its meaning in the legend: a row of `METRICS` is enough."""
    printed = "\n".join(summary_lines(findings, 200, color=False))
    written = markdown(findings)
    for text in (printed, written):
        assert "ent." in text
        assert "7.25" in text
        assert "ent.: entropy" in text


def test_a_new_metric_is_in_the_json_report(findings: RunResults, tmp_path: Path) -> None:
    """And `compare` reads it from there."""
    write_report(tmp_path / "r.json", findings)
    (layer,) = json.loads((tmp_path / "r.json").read_text())["layers"]
    assert 7.25 == layer["entropy"]
    run = read_recorded(tmp_path / "r.json")
    layers = compare(run, run, read_tolerances(None))
    text = comparison_text(run, run, layers, width=100, color=False)
    assert "+0.0" in text
    assert "ent.: entropy" in text


def test_a_new_metric_is_held_against_a_baseline(findings: RunResults, tmp_path: Path) -> None:
    """By its own tolerance and in its own direction."""
    layer = LayerSummary("layer01", None, 2, numbers=measure(TWO_ROWS))
    path = tmp_path / "b.json"
    path.write_text(
        baseline_text(Recorded(Stamp.of(build(RunSummary, RUN)), {"layer01": numbers_of(layer)}))
    )
    was = read_recorded(path).layers["layer01"]
    assert 7.25 == was["entropy"]
    lower = numbers_of(layer.with_numbers(entropy=6.0))
    reason, _ = judge_recorded(layer, was, lower, read_tolerances(None))
    assert "entropy was 7.25, is 6, wants >= 6.525" == reason.summary
    assert findings.layers
