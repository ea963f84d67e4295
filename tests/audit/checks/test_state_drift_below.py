import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pytest_injectivity import OptionError
from pytest_injectivity.testing import additive_decoder, double_block, tiny_decoder
from tests.audits import audit_against

IDS = [[token] for token in range(40)]


def _additive(rows: torch.Tensor) -> object:
    return additive_decoder(rows, torch.zeros(8, rows.shape[1]))


@pytest.fixture
def rows() -> torch.Tensor:
    """The parent's states."""
    return torch.randn(40, 16, generator=torch.Generator().manual_seed(0))


def test_the_quantile_the_rest_and_the_worst_prompt(tmp_path: Path, rows: torch.Tensor) -> None:
    """The share left out is of those that drift most; what would have passed does."""
    child = rows * torch.linspace(1.0, 1.39, 40)[:, None]
    audit = audit_against(tmp_path, _additive(child), _additive(rows), IDS)
    verdict = audit.check_state_drift_below(1, 0.25, q=0.1)
    (reason,) = verdict.reasons
    assert 0.36 == pytest.approx(reason.value, rel=1e-5)
    assert "FAIL state_drift_below layer01: drift (90 %) 0.36, wants <= 0.25" == verdict.first_line
    assert "max 0.39" in verdict.text
    assert f"most drifted, 0.39: {audit.name_of(39)}" in verdict.text
    assert "cosine: mean 1, min 1" in verdict.text
    assert 0.195 == pytest.approx(reason.figures["median"], rel=1e-5)
    assert audit.check_state_drift_below(1, reason.value, q=0.1).passed
    assert not audit.check_state_drift_below(1, np.nextafter(reason.value, 0), q=0.1).passed
    (largest,) = audit.check_state_drift_below(1, relative=0.35, q=0.0).reasons
    assert 0.39 == pytest.approx(largest.value, rel=1e-5)
    assert "drift (max)" == largest.quantity


def test_the_embedding_is_looked_at_too(tmp_path: Path, rows: torch.Tensor) -> None:
    """Where no layer is named; its drift is that of the prompts' last tokens."""
    audit = audit_against(tmp_path, _additive(1.5 * rows), _additive(rows), IDS)
    layers = [reason.where for reason in audit.check_state_drift_below(relative=1.0).reasons]
    assert ["layer00", "layer01", "layer02", "norm"] == layers
    assert ["norm"] == [
        one.where for one in audit.check_state_drift_below("norm", relative=0.35).reasons
    ]


def test_the_first_bad_layer_is_the_damaged_block(tmp_path: Path) -> None:
    """Those before it have not drifted at all."""
    parent = tiny_decoder(layers=4)
    child = double_block(tiny_decoder(layers=4), 3)
    audit = audit_against(tmp_path, child, parent, [[i, i * i % 64, 3] for i in range(30)])
    verdict = audit.check_state_drift_below(relative=0.1)
    assert "state_drift_below layer03: " in verdict.first_line
    assert "PASS at layer00, layer01, layer02" in verdict.text
    assert "first bad layer: layer03; worst: " in verdict.text


def test_a_state_of_nothing_has_no_drift_to_be_measured_by(
    tmp_path: Path, rows: torch.Tensor
) -> None:
    """Infinite where only the parent's is zero."""
    parent = rows.clone()
    parent[5] = 0
    audit = audit_against(tmp_path, _additive(rows), _additive(parent), IDS)
    verdict = audit.check_state_drift_below(1, 1e9, q=0.0)
    assert math.isinf(verdict.reasons[0].value)
    assert not verdict.passed
    assert "no bound" in verdict.text


@pytest.mark.parametrize(
    ("given", "message"),
    [({"relative": -0.1}, "relative=-0.1"), ({"q": 1.5}, "q=1.5"), ({"relative": math.nan}, "nan")],
)
def test_numbers_that_are_none_are_refused(
    given: dict[str, float], message: str, tmp_path: Path, rows: torch.Tensor
) -> None:
    """Before anything is measured."""
    audit = audit_against(tmp_path, _additive(1.5 * rows), _additive(rows), IDS)
    with pytest.raises(OptionError, match=message):
        audit.check_state_drift_below(1, **given)
