import pytest
import torch

from pytest_injectivity import Audit, OptionError
from pytest_injectivity.results.metrics import metric_of, recorded
from pytest_injectivity.testing import additive_decoder
from tests.audits import audit_of

IDS = [[token] for token in range(12)]


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """Twelve prompts whose states are known."""
    rows = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    return audit_of(
        tmp_path_factory.mktemp("audit"), additive_decoder(rows, torch.zeros(4, 8)), IDS
    )


@pytest.mark.parametrize("name", [one.name for one in recorded() if not one.rungs])
def test_every_recorded_metric_is_judged_by_its_number(audit: Audit, name: str) -> None:
    """The value is the summary's, and a bound at the value passes."""
    expected = audit.layer_summary(1)[name]
    assert expected is not None
    verdict = audit.check_metric_bounded(1, name, at_most=expected)
    assert expected == verdict.reasons[0].value
    assert verdict.passed


def test_a_value_on_the_wrong_side_fails(audit: Audit) -> None:
    """The first line shows the value and the bound."""
    value = audit.layer_summary(1)["margin"]
    assert value is not None
    assert not audit.check_metric_bounded(1, "margin", at_least=2 * value)
    assert not audit.check_metric_bounded(1, "margin", at_most=value / 2)
    line = audit.check_metric_bounded(1, "margin", at_least=1e6).first_line
    assert line.startswith("FAIL metric_bounded layer01: margin ")
    assert line.endswith("wants >= 1e+06")


def test_a_rung_of_a_ladder_is_named_with_it(audit: Audit) -> None:
    """No pair of these rows lies within a hundredth of the norm."""
    verdict = audit.check_metric_bounded(1, "near_fractions 0.01", at_most=0.0)
    assert 0.0 == verdict.reasons[0].value
    assert verdict.passed


def test_rounded_states_are_judged_where_bits_are_given(audit: Audit) -> None:
    """Two bits merge rows."""
    assert audit.check_metric_bounded(1, "collisions", at_most=0)
    merged = audit.check_metric_bounded(1, "collisions", at_most=0, bits=2)
    assert merged.reasons[0].value == audit.layer_summary(1, 2)["collisions"]


def test_a_number_that_was_not_measured_fails(audit: Audit) -> None:
    """Rounded states have no resolution."""
    verdict = audit.check_metric_bounded(1, "resolution", at_most=1e9, bits=8)
    assert "FAIL metric_bounded layer01: resolution was not measured" == verdict.first_line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"metric": "margins", "at_least": 1.0}, "margins.*margin_q"),
        ({"metric": "near_fractions", "at_most": 1.0}, "near_fractions"),
        ({"at_least": 1.0}, "names no metric: give one of not_finite"),
        ({"metric": "margin"}, "give exactly one"),
        ({"metric": "margin", "at_least": 1.0, "at_most": 2.0}, "give exactly one"),
        ({"metric": "margin", "at_least": 0.0}, "passes whatever is measured"),
        ({"metric": "margin", "at_most": float("nan")}, "not a bound"),
    ],
)
def test_wrong_use_names_what_is_accepted(
    audit: Audit, arguments: dict[str, object], said: str
) -> None:
    """Neither a metric that does not exist nor a bound that nothing fails is taken."""
    with pytest.raises(OptionError, match=said):
        audit.check_metric_bounded(1, **arguments)  # type: ignore[arg-type] # wrong on purpose


def test_the_evidence_says_what_the_number_means(audit: Audit) -> None:
    """With the number of prompts that it is of."""
    (reason,) = audit.check_metric_bounded(1, "margin", at_least=1e-9).reasons
    assert (f"{metric_of('margin').meaning}, N = 12",) == reason.evidence
