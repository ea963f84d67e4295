import pytest

from tests.integration.conftest import Run
from tests.integration.support import output

GATE = """
def test_gate(injx, injx_layer):
    injx.assert_no_collisions(injx_layer)

def test_red(injx):
    injx.assert_margin_above("all", 1e9)
"""


EVERYDAY = (
    ["-p", "no:logging"],
    ["-p", "no:xdist"],
    ["-s"],
    ["-W", "error"],
    ["-vv", "--full-trace"],
)
RARE = (
    ["-p", "no:cacheprovider"],
    ["-p", "no:junitxml"],
    ["-p", "no:warnings"],
    ["-p", "no:faulthandler"],
    ["--capture=sys"],
    ["-q"],
    ["--strict-config", "--strict-markers"],
    ["--import-mode=importlib"],
    ["--durations=2", "-rA"],
)


@pytest.mark.parametrize(
    "flags",
    [*EVERYDAY, *(pytest.param(one, marks=pytest.mark.slow) for one in RARE)],
    ids=" ".join,
)
def test_the_audit_runs_with(audited: Run, flags: list[str]) -> None:
    """Other plugins away, other ways to capture and report: verdicts and table are the same."""
    result = audited(GATE, *flags)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    text = output(result)
    assert "1 of 4 verdicts is not PASS" in text
    assert "FAIL margin_above layer01: " in text
    assert "INTERNALERROR" not in text


def test_it_runs_without_a_terminal(audited: Run) -> None:
    """With ``-p no:terminal`` nobody reads a table: the exit status is the verdict."""
    result = audited(GATE, "-p", "no:terminal")
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert "INTERNALERROR" not in output(result)


def test_it_can_be_switched_off(pytester: pytest.Pytester) -> None:
    """``-p no:injectivity`` takes flags and fixtures away."""
    pytester.makepyfile("def test_gate(injx):\n    pass\n")
    result = pytester.runpytest_inprocess("-p", "no:injectivity")
    result.assert_outcomes(errors=1)
    assert "fixture 'injx' not found" in output(result)
    refused = pytester.runpytest_inprocess("-p", "no:injectivity", "--injx-require")
    assert pytest.ExitCode.USAGE_ERROR == refused.ret


def test_gates_in_subtests_count(audited: Run) -> None:
    """A gate in a subtest fails it under its verdict, and the test goes on."""
    result = audited("""
        def test_gates(injx, subtests):
            for layer in (1, "norm"):
                with subtests.test(layer=layer):
                    injx.assert_margin_above(layer, 1e9)
    """)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    text = output(result)
    assert "FAIL margin_above layer01: " in text
    assert "FAIL margin_above norm: " in text
    assert "2 of 2 verdicts are not PASS" in text


def test_gates_in_unittest_cases_count(audited: Run) -> None:
    """A TestCase gets the audit by an autouse fixture."""
    result = audited("""
        import unittest
        import pytest

        class TestGate(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def audit(self, injx):
                self.injx = injx

            def test_red(self):
                self.injx.assert_margin_above("norm", 1e9)
    """)
    result.assert_outcomes(failed=1)
    assert "FAIL margin_above norm: " in output(result)


def test_an_expected_failure_is_no_failure(audited: Run) -> None:
    """A gate known to be red may be marked so; its verdict is in the summary all the same."""
    result = audited("""
        import pytest

        @pytest.mark.xfail(strict=True)
        def test_known(injx):
            injx.assert_margin_above("norm", 1e9)
    """)
    result.assert_outcomes(xfailed=1)
    assert pytest.ExitCode.OK == result.ret
    assert "1 of 1 verdict is not PASS" in output(result)


def test_a_users_own_properties_are_left_alone(audited: Run, pytester: pytest.Pytester) -> None:
    """Whatever else a test records is not taken for ours."""
    result = audited(
        """
        def test_gate(injx, record_property, request):
            record_property("injectivity", "mine")
            request.node.user_properties.append((1, 2))
            injx.assert_no_collisions("norm")
        """,
        *("--junitxml=j.xml", "-o", "junit_family=xunit1"),
    )
    result.assert_outcomes(passed=1)
    assert pytest.ExitCode.OK == result.ret
    assert 'name="injectivity" value="mine"' in (pytester.path / "j.xml").read_text()


def test_stopping_at_the_first_failure_reports_what_was_found(audited: Run) -> None:
    """-x after the first red layer: the summary has what was measured until then."""
    result = audited(
        "def test_gate(injx, injx_layer):\n    injx.assert_margin_above(injx_layer, 1e9)\n", "-x"
    )
    result.assert_outcomes(failed=1)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert "1 of 1 verdict is not PASS" in output(result)
