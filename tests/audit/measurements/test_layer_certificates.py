"""What is proved of layers, what is estimated, and what is unknown."""

import re
from pathlib import Path

import pytest

from pytest_injectivity import Audit
from pytest_injectivity.results.certificates import Basis, Certificate
from pytest_injectivity.testing import plant_nan, tiny_decoder
from tests.audits import audit_of, small_samples

IDS = [[0, 1, 5], [0, 2, 5], [1, 2, 3], [7, 7, 8]]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    small_samples(monkeypatch)


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    """A model with two prompts that end in the same token."""
    return audit_of(tmp_path, tiny_decoder("llama"), IDS)


def _certificate(audit: Audit, layer: int) -> Certificate:
    found = audit.measurements.layer_summary(layer).certificate
    assert found is not None
    return found


def test_captured_states_are_proved_to_differ(audit: Audit) -> None:
    """Whatever hangs on a sample is estimated at most, and what nobody evaluated is unknown."""
    found = _certificate(audit, 2)
    assert found.captured.proved
    words = r"4 states compared bit for bit; closest pair 0\.\d+, right to a relative 2e-15"
    assert re.fullmatch(words, found.captured.why)
    assert Basis.UNKNOWN == found.batched.basis
    assert "not evaluated: assert_no_collisions would" == found.batched.why
    assert found.exact.estimated


def test_evaluated_pairs_say_more_of_batches(audit: Audit) -> None:
    """The layer is told again by the test that had its pairs decided."""
    audit.check_margin_above(2, 1e-9)
    first = audit.news().layers
    audit.check_no_collisions(2)
    (second,) = audit.news().layers
    assert [Basis.UNKNOWN] == [one.certificate.batched.basis for one in first if one.certificate]
    assert second.certificate is not None
    assert second.certificate.batched.estimated
    assert () == audit.news().layers


def test_equal_states_are_proved_to_be_equal(audit: Audit) -> None:
    """As captured and so in one batch; of exact arithmetic that says nothing."""
    found = _certificate(audit, 0)
    assert (True, True) == (found.captured.refuted, found.batched.refuted)
    assert "1 pair equal bit for bit" == found.captured.why
    assert Basis.UNKNOWN == found.exact.basis


def test_states_that_are_not_finite_prove_nothing(tmp_path: Path) -> None:
    """Of a layer with one, nothing is known."""
    found = _certificate(audit_of(tmp_path, plant_nan(tiny_decoder("llama"), 1), IDS), 2)
    assert {Basis.UNKNOWN} == {one.basis for one in (found.captured, found.batched, found.exact)}
    assert "4 states are not finite" == found.captured.why


def test_without_float64_exact_arithmetic_is_unknown(tmp_path: Path) -> None:
    """A model that rounds activations has no float64 copy."""
    found = _certificate(audit_of(tmp_path, tiny_decoder("llama"), IDS, activation_bits=8), 2)
    assert found.captured.proved
    assert (Basis.UNKNOWN, "no distance to float64 was measured") == (
        found.exact.basis,
        found.exact.why,
    )


def test_rounded_states_have_no_certificate(audit: Audit) -> None:
    """They are codes, which are equal or not."""
    assert audit.measurements.layer_summary(2, 4).certificate is None
