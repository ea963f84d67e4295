import pytest

from tests.integration.conftest import Run
from tests.integration.support import output

RANDOM = ("--injx-prompts=builtin:random", "--injx-length=8", "--injx-seed=1")


def test_too_few_prompts_are_insufficient_and_red(audited: Run, pytester: pytest.Pytester) -> None:
    """12 prompts cannot prove a 1 % quantile: INSUFFICIENT, exit status 1, and it says why."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_margin_above('all', 1e-12, confidence=0.95)\n",
        "--injx-report=json:r.json",
    )
    result.assert_outcomes(failed=1)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    text = output(result)
    assert "FAILED test_suite.py::test_gate - INSUFFICIENT margin_above layer01: " in text
    assert "the sample does not decide at 95%: more prompts would" in text
    assert "would have passed: no bound: 12 prompts prove none at 95%" in text
    assert '"status": "INSUFFICIENT"' in (pytester.path / "r.json").read_text()


def test_enough_prompts_pass_and_fail(audited: Run) -> None:
    """What the sample proves is PASS or FAIL, and between them lies INSUFFICIENT."""
    result = audited(
        """
        def statuses(injx, bound, check="margin_above", q=0.1, confidence=0.95):
            verdict = getattr(injx, f"check_{check}")("norm", bound, q=q, confidence=confidence)
            return [str(r.status) for r in verdict.reasons]

        def test_gate(injx):
            for check in ("margin_above", "colipschitz_above"):
                value = getattr(injx, f"check_{check}")("norm", 1e-12, q=0.1).reasons[0].value
                assert ["PASS"] == statuses(injx, 1e-12, check)
                assert ["FAIL"] == statuses(injx, 1e9, check)
                assert ["INSUFFICIENT"] == statuses(injx, value, check)

        def test_point_value_without_confidence(injx):
            value = injx.check_margin_above("norm", margin=1e-12, q=0.1).reasons[0].value
            assert injx.check_margin_above("norm", value, q=0.1).passed
        """,
        *(*RANDOM, "--injx-max-prompts=200"),
    )
    result.assert_outcomes(passed=2)


def test_what_is_said_to_pass_passes(audited: Run) -> None:
    """Of one layer alone: the bound in the failure does pass at that confidence; more does not."""
    result = audited(
        """
        import math
        import pytest

        @pytest.mark.parametrize("normalized", [False, True])
        @pytest.mark.parametrize("check", ["margin_above", "colipschitz_above"])
        @pytest.mark.parametrize("q, confidence", [(0.05, 0.95), (0.5, 0.999), (0.1, 0.5)])
        def test_gate(injx, injx_layer, check, normalized, q, confidence):
            run = getattr(injx, f"check_{check}")
            asked = {"q": q, "confidence": confidence, "normalized": normalized}
            (reason,) = run(injx_layer, 1e9, **asked).reasons
            words = reason.would_pass.split()
            assert words[-4:] == ["for", "this", "layer", "alone"]
            bound = float(words[5])
            assert 0 < bound <= reason.value
            assert run(injx_layer, bound, **asked).passed
            assert not run(injx_layer, bound * (1 + 2e-3), **asked).passed
        """,
        *(*RANDOM, "--injx-max-prompts=200", "--injx-layers=1,norm"),
    )
    result.assert_outcomes(passed=24)


def test_several_layers_are_judged_together(audited: Run) -> None:
    """Holm over the layers: what one layer alone proves at 95 %, ten at once may not."""
    result = audited(
        """
        def test_gate(injx):
            alone = injx.check_margin_above(1, 1e9, q=0.1, confidence=0.95).reasons[0]
            bound = float(alone.would_pass.split()[5])
            assert injx.check_margin_above(1, bound, q=0.1, confidence=0.95).passed
            # The other layers prove nothing, so the first has to prove it at 95 % of a third.
            joint = injx.check_margin_above(
                margin={1: bound, 2: 1e9, "norm": 1e9}, q=0.1, confidence=0.95)
            assert ["INSUFFICIENT", "FAIL", "FAIL"] == [str(r.status) for r in joint.reasons]
        """,
        *(*RANDOM, "--injx-max-prompts=200"),
    )
    result.assert_outcomes(passed=1)


def test_sipit_with_confidence(audited: Run) -> None:
    """12 of 12 recovered proves a rate of 0.7 at 95 %, and not one of 0.9."""
    result = audited("""
        def test_gate(injx):
            asked = {"prompts": 12, "tokens": 3, "confidence": 0.95}
            assert injx.check_sipit_recovers("norm", min_rate=0.7, **asked).passed
            verdict = injx.check_sipit_recovers("norm", min_rate=0.9, **asked)
            assert "INSUFFICIENT" == str(verdict.status)
            assert injx.check_sipit_recovers("norm", prompts=12, tokens=3).passed
    """)
    result.assert_outcomes(passed=1)
