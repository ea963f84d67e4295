"""The check of weights: parents of other parts, and layers without weights of their own."""

from pathlib import Path

import pytest

from pytest_injectivity import OptionError
from pytest_injectivity.testing import round_weights, tiny_decoder
from tests.audits import audit_against

IDS = [[at, 5 * at % 64, 7, at * at % 64] for at in range(8)]


def test_a_parent_of_other_parts_is_refused_by_name(tmp_path: Path) -> None:
    """Its shape is the model's; a failure of another check says it in the place of blame."""
    audit = audit_against(tmp_path, tiny_decoder("llama"), tiny_decoder("qwen3"), IDS)
    wanted = "has other parts than .*: layer01 has no self_attn.q_norm; give the checkpoint"
    for asked in (audit.check_weight_error_below, lambda: audit.blame(1)):
        with pytest.raises(OptionError, match=wanted):
            asked()
    drift = audit.check_state_drift_below(relative=0.01)
    assert not drift.passed
    assert (
        "blame: the parts of both models cannot be exchanged: layer01 has no self_attn.q_norm"
        in drift.text
    )


def test_what_would_have_passed_does(tmp_path: Path) -> None:
    """Each tensor within a bound of its own passes, and just below its error fails by name."""
    child = round_weights(tiny_decoder("llama"), 8)
    audit = audit_against(tmp_path, child, tiny_decoder("llama"), IDS)
    worst = max(audit.check_weight_error_below(1, relative=1.0).reasons[0].figures.values())
    assert 0 < worst < 0.01
    assert audit.check_weight_error_below(1, relative=worst).passed
    failed = audit.check_weight_error_below(1, relative=worst * (1 - 1e-9))
    assert not failed.passed
    assert f"would have passed: relative of at least {worst!r}" in failed.text
