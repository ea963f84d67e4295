import json

import pytest

from tests.integration.conftest import Run
from tests.integration.support import cases, properties


def test_values_are_properties_of_their_test(audited: Run, pytester: pytest.Pytester) -> None:
    """A number a layer and check, with its status; numbers are those of the verdict."""
    audited(
        """
        def test_gate(injx):
            injx.check_no_collisions("all")
            verdict = injx.check_margin_above(margin={1: 1e-12, "2:": 1e9, "norm": 1e-12})
            print("VALUES", [r.value for r in verdict.reasons])

        def test_unit():
            pass
        """,
        "--junitxml=junit.xml",
        "-o",
        "junit_logging=system-out",
    )
    found = cases(pytester.path / "junit.xml")
    own = properties(found["test_gate"])
    assert {"0 PASS"} == {own[f"no_collisions.{name}"] for name in ("layer01", "layer02", "norm")}
    values = [own[f"margin_above.{name}"].split() for name in ("layer01", "layer02", "norm")]
    assert ["PASS", "FAIL", "PASS"] == [status for _, status in values]
    printed = found["test_gate"].find("system-out").text.partition("VALUES ")[2].splitlines()[0]
    assert json.loads(printed) == [float(value) for value, _ in values]
    assert {} == properties(found["test_unit"])


def test_a_gates_failure_is_its_verdict(audited: Run, pytester: pytest.Pytester) -> None:
    """The message of the failure is the first line, its text the whole verdict."""
    audited(
        "def test_gate(injx):\n    injx.assert_margin_above('all', 1e9)\n", "--junitxml=junit.xml"
    )
    failure = cases(pytester.path / "junit.xml")["test_gate"].find("failure")
    assert failure.attrib["message"].startswith("FAIL margin_above layer01: separation margin")
    assert "would have passed" in failure.text
    assert "reproduce: pytest test_suite.py::test_gate" in failure.text


def test_each_layer_is_an_item_of_its_own(audited: Run, pytester: pytest.Pytester) -> None:
    """A gate decided at session end is invisible to JUnit; these count as failures."""
    audited(
        "def test_gate(injx, injx_layer):\n    injx.assert_no_collisions(injx_layer)\n",
        "--junitxml=junit.xml",
        model="nan-from-layer-3",
    )
    found = cases(pytester.path / "junit.xml")
    failed = [name for name, case in found.items() if case.find("failure") is not None]
    assert [f"test_gate[{layer}]" for layer in ("layer03", "layer04", "norm")] == failed


def test_nothing_compared_is_a_failure_of_its_own(audited: Run, pytester: pytest.Pytester) -> None:
    """JUnit sees what only the end of the run could tell."""
    audited("def test_unit():\n    pass\n", "--junitxml=junit.xml")
    text = (pytester.path / "junit.xml").read_text()
    assert 'failures="1"' in text
    failure = cases(pytester.path / "junit.xml")["nothing was compared"].find("failure")
    assert "no test measured or judged anything" in failure.text


def test_wrong_use_is_a_paragraph_in_junit_too(audited: Run, pytester: pytest.Pytester) -> None:
    """Its failure holds the message and no traceback."""
    result = audited(
        "def test_gate(injx):\n    injx.assert_margin_above('all', -1.0)\n",
        "--junitxml=junit.xml",
    )
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    failure = cases(pytester.path / "junit.xml")["test_gate"].find("failure")
    assert failure.text.startswith("OptionError: margin=-1.0 is not a bound: give a finite number")
    assert "\n" not in failure.text.strip()
