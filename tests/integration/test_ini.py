import pytest

from tests.integration.support import output, said

UNIT = "def test_unit():\n    pass\n"


@pytest.mark.parametrize(
    ("ini", "message"),
    [
        ("injx_seed = -1", "injx_seed: -1 is not accepted: give an integer of at least 0"),
        ("injx_dtype = int8", "injx_dtype: 'int8' is not accepted: give one of auto"),
        ("injx_report = xml:a", "injx_report: 'xml:a' is not a report: give json:PATH"),
        ("injx_require = maybe", "injx_require: invalid truth value 'maybe': give true or false"),
    ],
)
def test_a_value_that_is_not_accepted_is_wrong_use(
    pytester: pytest.Pytester, ini: str, message: str
) -> None:
    """The error names the ini value; exit status 4."""
    pytester.makeini(f"[pytest]\n{ini}\n")
    pytester.makepyfile(UNIT)
    result = pytester.runpytest_inprocess()
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert message in said(result)
    assert "Traceback" not in output(result)


@pytest.mark.parametrize(
    ("toml", "name"),
    [
        ("injx_seed = 3", "injx_seed"),
        ('injx_require = "yes"', "injx_require"),
        ('injx_report = "json:a"', "injx_report"),
    ],
)
def test_toml_of_another_type_is_wrong_use(pytester: pytest.Pytester, toml: str, name: str) -> None:
    """Pytest's native TOML has types: another one is refused under the value's name."""
    pytester.makepyprojecttoml(f"[tool.pytest]\n{toml}\n")
    pytester.makepyfile(UNIT)
    result = pytester.runpytest_inprocess()
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert f"{name}: " in said(result)
    assert "expects" in said(result)
    assert "Traceback" not in output(result)


def test_an_empty_ini_value_was_not_given(pytester: pytest.Pytester) -> None:
    """Pytest cannot tell it from one that is not there."""
    pytester.makeini("[pytest]\ninjx_model =\ninjx_max_prompts =\ninjx_report =\n")
    pytester.makepyfile(UNIT)
    result = pytester.runpytest_inprocess()
    assert pytest.ExitCode.OK == result.ret
    assert "injectivity:" not in output(result)
