import pytest

from tests.integration.conftest import Run
from tests.integration.support import output


def test_a_threshold_may_differ_by_layer(audited: Run) -> None:
    """A mapping holds each layer to its own number; without ``layer`` its keys are the layers."""
    result = audited("""
        def test_gate(injx):
            verdict = injx.check_margin_above(margin={1: 1e9, "2:": 1e-12, "norm": 1e9})
            assert ["layer01", "layer02", "norm"] == [r.where for r in verdict.reasons]
            assert [1e9, 1e-12, 1e9] == [r.bound for r in verdict.reasons]
            assert ["layer01", "norm"] == [r.where for r in verdict.failing]

        def test_a_part(injx):
            verdict = injx.check_colipschitz_above("norm", {"all": 1e-12})
            assert ["norm"] == [r.where for r in verdict.reasons]

        def test_each_argument(injx):
            assert not injx.check_no_collisions(eps={1: 1e9, "norm": "1e-9 rel"}).passed
            assert injx.check_no_collisions(layer=["norm"], eps={1: 1e9, "norm": 0}).passed
            assert not injx.check_bilipschitz_within(None, {1: 1e9, 2: 1e-12}).passed
    """)
    result.assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("injx.assert_margin_above('all', {1: 1e-12})", "margin has no value for layer02, norm"),
        ("injx.assert_margin_above(margin={1: 1e-12, -2: 1.0})", "margin names layer01 twice"),
        ("injx.assert_margin_above(margin={3: 1e-12})", "layer 3 is out of range"),
        ("injx.assert_margin_above(margin={1: -1.0})", "margin=-1.0 is not a bound"),
        ("injx.assert_no_collisions(eps={1: float('nan')})", "eps=nan is not a tolerance"),
        ("injx.assert_margin_above(margin={})", "name no layer"),
    ],
)
def test_a_mapping_that_does_not_fit_is_wrong_use(audited: Run, call: str, message: str) -> None:
    """Layers without a number, with two, or not of the model: one paragraph, exit status 4."""
    result = audited(f"def test_x(injx):\n    {call}\n")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert message in output(result)
    assert "pytest_injectivity/" not in output(result)
