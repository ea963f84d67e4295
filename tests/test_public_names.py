import ast
import importlib
from pathlib import Path

import pytest

import pytest_injectivity
from pytest_injectivity import errors


def test_the_names_are_sorted_and_complete() -> None:
    """``__all__`` is what ``dir`` shows, in order, and each name is there."""
    names = pytest_injectivity.__all__
    assert sorted(names) == names
    assert names == dir(pytest_injectivity)
    for name in names:
        assert getattr(pytest_injectivity, name) is not None


def test_every_error_is_public() -> None:
    """Whoever audits from a script can catch each by name."""
    raised = {name for name, one in vars(errors).items() if isinstance(one, type)}
    assert set() == raised - set(pytest_injectivity.__all__)


def test_lazy_names_are_those_of_their_modules() -> None:
    """The public name and the module's are one object."""
    assert pytest_injectivity._LAZY
    for name, module in pytest_injectivity._LAZY.items():
        found = getattr(importlib.import_module(f"pytest_injectivity.{module}"), name)
        assert found is getattr(pytest_injectivity, name)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="'pytest_injectivity' has no attribute 'audti'"):
        pytest_injectivity.audti  # noqa: B018 - the access is the test
    with pytest.raises(ImportError, match="cannot import name 'audti'"):
        exec("from pytest_injectivity import audti")  # noqa: S102 - the import is the test


def test_the_star_import_works() -> None:
    """Lazy names and all."""
    names: dict[str, object] = {}
    exec("from pytest_injectivity import *", names)  # noqa: S102 - the import is the test
    assert set() == set(pytest_injectivity.__all__) - names.keys()


def test_wrong_use_and_gate_failures_are_told_apart() -> None:
    """The first are ValueErrors, the second AssertionErrors, both of one base."""
    for name in ("OptionError", "LayerError", "PromptError", "ModelError", "MissingExtra"):
        error = getattr(pytest_injectivity, name)
        assert issubclass(error, pytest_injectivity.WrongUse)
        assert issubclass(error, ValueError)
        assert issubclass(error, pytest_injectivity.InjectivityError)
    assert issubclass(pytest_injectivity.GateFailure, AssertionError)
    assert issubclass(pytest_injectivity.GateFailure, pytest_injectivity.InjectivityError)
    assert not issubclass(pytest_injectivity.GateFailure, pytest_injectivity.WrongUse)


SUITES = sorted((Path(__file__).parents[1] / "example_suites").rglob("*.py"))


@pytest.mark.parametrize("path", SUITES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_example_suites_import_public_names_only(path: Path) -> None:
    """From the package and from ``pytest_injectivity.testing``: what users copy goes on working."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    modules = {one.module or "" for one in nodes if isinstance(one, ast.ImportFrom)}
    modules |= {name.name for one in nodes if isinstance(one, ast.Import) for name in one.names}
    own = {module for module in modules if module.startswith("pytest_injectivity")}
    assert own <= {"pytest_injectivity", "pytest_injectivity.testing"}


def test_there_are_example_suites() -> None:
    """The test above has something to look at."""
    names = {"default_audit", "paper_figures", "privacy_audit", "quantization_gate"}
    assert {*names, "training_trajectory"} == {path.parent.name for path in SUITES}
