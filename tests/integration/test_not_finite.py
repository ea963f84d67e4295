import re

import pytest

from tests.integration.conftest import Run
from tests.integration.support import cases, output, properties

GATES = """
def test_collisions(injx, injx_layer):
    injx.assert_no_collisions(injx_layer)

def test_margin(injx, injx_layer):
    injx.assert_margin_above(injx_layer, margin=1e-12)

def test_colipschitz(injx, injx_layer):
    injx.assert_colipschitz_above(injx_layer, alpha=1e-12)

def test_distortion(injx, injx_layer):
    injx.assert_bilipschitz_within(injx_layer, 1e300)

def test_confidence(injx, injx_layer):
    injx.assert_margin_above(injx_layer, margin=1e-12, q=0.5, confidence=0.5)

def test_bits(injx, injx_layer):
    injx.assert_no_collisions(injx_layer, bits=16)
"""


def test_nan_fails_every_gate_from_its_layer_on_and_not_before(
    audited: Run, pytester: pytest.Pytester
) -> None:
    """A model that yields NaN at layer 3: exit status 1, its own reason, layers 1 and 2 pass."""
    result = audited(GATES, "--junitxml=junit.xml", model="nan-from-layer-3")
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    found = cases(pytester.path / "junit.xml")
    failed = {
        name: failure.attrib["message"]
        for name, case in found.items()
        if (failure := case.find("failure")) is not None
    }
    lost = "12 of 12 rows are not finite"
    reasons = {
        "collisions": f"no_collisions LAYER: {lost}",
        "margin": f"margin_above LAYER: {lost}",
        "colipschitz": f"colipschitz_above LAYER: {lost}",
        "distortion": f"bilipschitz_within LAYER: {lost}",
        "confidence": f"margin_above LAYER: {lost}",
        "bits": f"no_collisions LAYER: {lost}",
    }
    expected = {
        f"test_{gate}[{layer}]": "FAIL " + reason.replace("LAYER", layer)
        for gate, reason in reasons.items()
        for layer in ("layer03", "layer04", "norm")
    }
    assert expected == failed
    assert 6 * 5 == len(found)


def test_nan_fails_sipit_from_its_layer_on_and_not_before(audited: Run) -> None:
    """Exit status 1 and the layers' own reason; the states before it are inverted."""
    result = audited(
        """
        def test_sipit(injx, injx_layer):
            injx.assert_sipit_recovers(injx_layer, prompts=2, tokens=2)
        """,
        model="nan-from-layer-3",
    )
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.assert_outcomes(passed=2, failed=3)
    assert "FAIL sipit_recovers layer03: 12 of 12 rows are not finite" in output(result)


def test_nan_before_the_last_token_fails_the_layer(audited: Run) -> None:
    """At layer 0 a NaN stays at its position: the rows are finite, the resolution is not."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_margin_above(0, margin=1e-12)\n",
        model="nan-token",
        prompts=["five", "1 % of", "six", "seven"],
    )
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert "FAIL margin_above layer00: the resolution is not finite" in output(result)


def test_the_worst_value_of_a_nan_layer_is_nan_in_junit(
    audited: Run, pytester: pytest.Pytester
) -> None:
    """No number is made up for a layer that has none."""
    audited(
        "def test_gate(injx):\n    injx.assert_margin_above('all', margin=1e-12)\n",
        "--junitxml=junit.xml",
        model="nan-from-layer-3",
    )
    values = properties(cases(pytester.path / "junit.xml")["test_gate"])
    assert "nan FAIL" == values["margin_above.layer03"]
    assert values["margin_above.layer02"].endswith(" PASS")


def test_the_table_says_how_many_rows_are_lost(audited: Run) -> None:
    """Layers without numbers are in the table, with dashes and the count."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_no_collisions('all')\n", model="nan-from-layer-3"
    )
    table = output(result).rpartition(" injectivity =")[2]
    assert 3 == table.count("(12 not")
    assert "nan" not in table.partition("columns: ")[0].partition("layer01")[2]


def test_a_few_lost_rows_are_named_and_the_rest_is_measured(audited: Run) -> None:
    """Prompts with the NaN token fail the layer under their names; the finite ones have numbers."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_no_collisions('all')\n",
        model="nan-token",
        prompts=["5 %", "five", "six", "6 % of", "seven"],
    )
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    text = output(result)
    assert "FAIL no_collisions layer01: 2 of 5 rows are not finite (+2 more)" in text
    assert 3 == len(
        re.findall(
            r"infinity in the states of prompt 0 \(\w+, 3 .*\), prompt 3 \(\w+, 6 .*\)", text
        )
    )
    assert "collision, " not in text


@pytest.mark.parametrize("bits", [2, 8, 16])
def test_rounding_does_not_hide_lost_rows(audited: Run, bits: int) -> None:
    """Only finite rows can be rounded: a gate on rounded states fails by the lost ones first."""
    result = audited(
        f"""
        def test_gate(injx):
            for check, bound in ((injx.check_no_collisions, 0.0), (injx.check_margin_above, 0.1),
                                 (injx.check_colipschitz_above, 0.1)):
                verdict = check("all", bound, bits={bits})
                assert 3 * ["2 of 5 rows are not finite"] == [r.headline for r in verdict.failing]
        """,
        model="nan-token",
        prompts=["five", "%", "six", "a %", "seven"],
    )
    result.assert_outcomes(passed=1)


def test_a_nan_prompt_does_not_spoil_its_neighbors(audited: Run) -> None:
    """A row is lost by its own tokens only, wherever it stands in the file."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_margin_above('all', margin=1e-12)\n",
        model="nan-token",
        prompts=["%", "a %", "six", "seven"],
    )
    assert "2 of 4 rows are not finite" in output(result)


def test_rows_that_are_not_finite_are_no_collisions(audited: Run) -> None:
    """Two NaN rows are not equal rows: they fail under their own reason."""
    result = audited(
        """
        def test_gate(injx):
            (reason,) = injx.check_no_collisions(1).reasons
            assert reason.headline == "2 of 4 rows are not finite"
            assert injx.layer_summary(1).collisions == 0
            assert injx.layer_summary(1).not_finite == 2
        """,
        model="nan-token",
        prompts=["six", "%", "a %", "seven"],
    )
    result.assert_outcomes(passed=1)


def test_one_finite_row_is_no_pair(audited: Run) -> None:
    """Where fewer than two rows are finite there is nothing to measure, and the gate is red."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_margin_above('all', margin=1e-12)\n",
        model="nan-token",
        prompts=["six", "%", "a %"],
    )
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert "2 of 3 rows are not finite" in output(result)
