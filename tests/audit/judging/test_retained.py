import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pytest_injectivity import Audit, OptionError, Status
from pytest_injectivity.audit.judging.retained import Limits
from pytest_injectivity.testing import additive_decoder, plant_nan, tiny_decoder
from tests.audits import Ids, audit_against

IDS: Ids = [[token] for token in range(40)]


def _pair(folder: Path, own: Tensor, parents: Tensor, ids: Ids = IDS, **config: object) -> Audit:
    """States at position 0 are the rows of these tables.

    The folder above has one store for all tests: the same parent's numbers are measured once.
    """
    config = {"cache_dir": str(folder.parent / "store"), **config}
    zeros = torch.zeros(8, own.shape[1])
    decoders = (additive_decoder(rows, zeros) for rows in (own, parents))
    return audit_against(folder, *decoders, ids, **config)


@pytest.fixture
def rows() -> Tensor:
    """The parent's states."""
    return torch.randn(40, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("check", ["check_margin_retained", "check_colipschitz_retained"])
def test_what_is_kept_is_the_ratio_of_both_models_numbers(
    check: str, tmp_path: Path, rows: Tensor
) -> None:
    """Scaled states keep their scale; normalized they keep all."""
    audit = _pair(tmp_path, 1.5 * rows, rows)
    (reason,) = getattr(audit, check)(1, 0.5).reasons
    assert 1.5 == pytest.approx(reason.value, rel=1e-6)
    assert reason.interval is not None
    assert reason.interval.low <= reason.value <= reason.interval.high
    assert 1.5 == pytest.approx(reason.figures["model"] / reason.figures["reference"], rel=1e-6)
    (reason,) = getattr(audit, check)(1, 0.5, normalized=True).reasons
    assert 1.0 == pytest.approx(reason.value, rel=1e-6)


@pytest.mark.parametrize(
    ("check", "scale", "line"),
    [
        ("margin_retained", 1.9, ""),
        ("margin_retained", 0.4, "0.4, wants >= 0.5"),
        ("colipschitz_retained", 0.6, ""),
        ("colipschitz_retained", 2.5, "2.5, wants <= 2"),
    ],
)
def test_both_sides_have_a_limit(
    check: str, scale: float, line: str, tmp_path: Path, rows: Tensor
) -> None:
    """A margin that more than doubled fails like one that was more than halved."""
    audit = _pair(tmp_path, scale * rows, rows)
    verdict = getattr(audit, f"check_{check}")(1, 0.5)
    assert verdict.passed == (not line)
    if line:
        assert f"FAIL {check} layer01: " in verdict.first_line
        assert verdict.first_line.endswith(line)
        assert "first bad layer: layer01; worst: layer01" in verdict.text
        assert f"against {tmp_path / 'parent'} (float32, cpu)" in verdict.text
        name, bound = verdict.reasons[0].would_pass.split(" of at ")
        given = {name: float(bound.split()[1])}
        given |= {"fraction": 0.5} if name == "at_most" else {}
        assert getattr(audit, f"check_{check}")(1, **given).passed
    assert getattr(audit, f"check_{check}")(1, fraction=0.3, at_most=math.inf).passed


def test_the_upper_limit_is_the_lower_ones_reciprocal() -> None:
    """Unless it is given; infinity is no limit."""
    assert Limits(0.25, 4.0) == Limits.of(0.25, None)
    assert Limits(0.25, 1.5) == Limits.of(0.25, 1.5)
    assert math.inf == Limits.of(1.0, math.inf).high


@pytest.mark.parametrize("fraction", [0.0, 1.1, math.nan, -1.0, math.inf])
def test_a_share_that_is_none_is_refused(fraction: float) -> None:
    """Above 0, at most 1."""
    with pytest.raises(OptionError, match="is not a share to be kept"):
        Limits.of(fraction, None)


@pytest.mark.parametrize("at_most", [0.9, math.nan, -1.0, True])
def test_an_upper_limit_below_the_parent_is_refused(at_most: float) -> None:
    """The parent itself must pass."""
    with pytest.raises(OptionError, match="is not an upper limit"):
        Limits.of(0.5, at_most)


def test_a_sample_decides_or_does_not(tmp_path: Path, rows: Tensor) -> None:
    """Scaled states have no spread; noisy ones near a limit are undecided, far off they fail."""
    noise = torch.randn(40, 16, generator=torch.Generator().manual_seed(1))
    audit = _pair(tmp_path, rows + 0.3 * noise, rows)
    (near,) = audit.check_margin_retained(1, fraction=0.5).reasons
    limits = {"fraction": 1.0, "at_most": near.value + 1e-9}
    undecided = audit.check_margin_retained(1, **limits, confidence=0.95)
    assert Status.INSUFFICIENT is undecided.status
    assert audit.check_margin_retained(1, 0.2, confidence=0.95).passed
    (tmp_path / "far").mkdir()
    far = _pair(tmp_path / "far", 9 * rows, rows)
    assert Status.FAIL is far.check_margin_retained(1, fraction=0.5, confidence=0.95).status


def test_colliding_rows_keep_nothing(tmp_path: Path, rows: Tensor) -> None:
    """A margin of 0 fails, with confidence too, and no limit would have passed."""
    child = rows.clone()
    child[::2] = child[1::2]
    verdict = _pair(tmp_path, child, rows).check_margin_retained(1, fraction=0.5)
    assert verdict.first_line.endswith("kept (q=0.01) 0, wants >= 0.5")
    assert "would have passed: no limits" in verdict.text
    audit = Audit(_pair(tmp_path, child, rows).config)
    assert Status.FAIL is audit.check_margin_retained(1, fraction=0.5, confidence=0.9).status


def test_a_parent_without_a_margin_fails(tmp_path: Path, rows: Tensor) -> None:
    """There is no share of nothing."""
    parent = rows.clone()
    parent[::2] = parent[1::2]
    (reason,) = _pair(tmp_path, rows, parent).check_margin_retained(1, fraction=0.5).reasons
    assert Status.FAIL is reason.status
    assert math.isinf(reason.value)


@pytest.mark.parametrize("whose", ["model", "parent"])
def test_rows_that_are_not_finite_fail(whose: str, tmp_path: Path) -> None:
    """With whose they are."""
    decoders = [tiny_decoder(seed=0), tiny_decoder(seed=1)]
    plant_nan(decoders[whose == "parent"], 2)
    audit = audit_against(tmp_path, *decoders, [[i, 2 * i % 64] for i in range(8)])
    verdict = audit.check_margin_retained("all", fraction=0.5)
    words = "of the parent " if whose == "parent" else ""
    assert f"layer02: {words}8 of 8 rows are not finite" in verdict.first_line
    assert "PASS" not in verdict.first_line
    assert ">=" == verdict.reasons[-1].relation
    assert audit.comparison(2).drift_median is None


def test_too_few_prompts_are_refused(tmp_path: Path, rows: Tensor) -> None:
    """Half of four is a pair."""
    audit = _pair(tmp_path, 1.5 * rows, rows, [[1], [2], [3]])
    with pytest.raises(OptionError, match="3 prompts: at least 4"):
        audit.check_margin_retained(1, fraction=0.5)
    audit.check_state_drift_below(1, relative=0.35)
    (told,) = audit.news().comparisons
    assert (None, 0) == (told.margin, told.new_collisions)


@pytest.mark.slow
def test_every_layer_is_judged_and_the_first_and_worst_are_named(tmp_path: Path) -> None:
    """Limits may differ by layer."""
    parent, child = tiny_decoder(layers=3), tiny_decoder(layers=3)
    for layer, factor in ((2, 6.0), (3, 40.0)):
        for parameter in child.parts.blocks[layer - 1].parameters():
            parameter.mul_(factor)
    audit = audit_against(tmp_path, child, parent, [[i, i * i % 64, 3] for i in range(30)])
    verdict = audit.check_margin_retained(":", 0.5)
    assert ("layer01", "layer02", "layer03") == tuple(one.where for one in verdict.reasons)
    assert Status.PASS is verdict.reasons[0].status
    assert "margin_retained layer02" in verdict.first_line
    assert "first bad layer: layer02; worst: layer03" in verdict.text
    by_layer = audit.check_margin_retained(None, {1: 0.9, 2: 0.001, 3: 0.00001})
    assert by_layer.passed


def test_the_quantity_says_how_the_number_was_taken(tmp_path: Path, rows: Tensor) -> None:
    """The share of prompts that are below it, and that rows were normalized."""
    audit = _pair(tmp_path, 1.5 * rows, rows)
    (plain,) = audit.check_margin_retained(1, 0.5).reasons
    assert plain.quantity.endswith("kept (q=0.01)")
    (other,) = audit.check_margin_retained(1, 0.5, q=0.0, normalized=True).reasons
    assert other.quantity.endswith("kept (min, normalized)")


def test_a_number_like_the_parents_is_held_against_the_lower_limit(
    tmp_path: Path, rows: Tensor
) -> None:
    """A ratio of 1, as rows of the other sign have, is the middle of a share and its reciprocal."""
    (reason,) = _pair(tmp_path, -rows, rows).check_margin_retained(1, 0.5).reasons
    assert (1.0, 0.5, ">=") == (reason.value, reason.bound, reason.relation)
