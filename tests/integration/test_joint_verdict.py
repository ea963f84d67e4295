import pytest

from tests.integration.conftest import Run
from tests.integration.support import output


def test_several_layers_give_one_verdict_that_names_every_failing_one(audited: Run) -> None:
    """One failure for all layers: those that fail, each with its evidence, and those that pass."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_no_collisions('all')\n", model="nan-from-layer-3"
    )
    result.assert_outcomes(failed=1)
    text = output(result)
    assert "FAIL no_collisions layer03: 12 of 12 rows are not finite (+2 more)" in text
    for layer in ("layer03", "layer04", "norm"):
        assert f"{layer}: FAIL: 12 of 12 rows are not finite" in text
    assert "PASS at layer01, layer02" in text
    assert "1 of 1 verdict is not PASS" in text


def test_all_failing_layers_of_a_margin_gate_are_named(audited: Run) -> None:
    """A bound between the layers' margins fails exactly the layers below it."""
    result = audited("""
        def test_gate(injx):
            measured = injx.check_margin_above("all", margin=1e-12, q=0.0)
            margins = {reason.where: reason.value for reason in measured.reasons}
            bound = sorted(margins.values())[1]
            verdict = injx.check_margin_above("all", bound, q=0.0)
            below = [layer for layer, margin in margins.items() if margin < bound]
            assert len(below) == 1
            assert below == [reason.where for reason in verdict.failing]
            assert not verdict.passed
    """)
    result.assert_outcomes(passed=1)
    assert pytest.ExitCode.OK == result.ret
