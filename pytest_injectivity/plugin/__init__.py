"""The pytest plugin's options and fixtures; its other hooks are in ``session``.

Pytest imports this file on every start, so it imports the standard library, pytest and this package's
light files only. The state and the hooks of a run are imported when an option is given or a test is
collected; torch, transformers, numpy and rich by the first test that uses an audit.
"""

import argparse
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import Field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_injectivity.config.options import flag, ini_name, off_flag, options

if TYPE_CHECKING:
    from pytest_injectivity.audit.audit import Audit
    from pytest_injectivity.config.audit_config import AuditConfig
    from pytest_injectivity.core.layers import Layer
    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.plugin.session import Run
    from pytest_injectivity.prompts.promptset import PromptSet
    from pytest_injectivity.results.verdict import Verdict

_CHECKS = Path(__file__).parents[1] / "audit" / "checks"
_RUN: "pytest.StashKey[Run]" = pytest.StashKey()


class _Switch(argparse.Action):
    """The action of a boolean option: True by its first flag, False by its second."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's signature
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,  # noqa: ARG002 - argparse's signature
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, option_string == self.option_strings[0])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make a flag and an ini value of every option of `AuditConfig`.

    https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_addoption
    """
    group = parser.getgroup("injectivity", "audit of a causal language model's injectivity")
    for option in options():
        switch, repeatable = "switch" in option.metadata, option.metadata.get("repeatable")
        several = repeatable or option.name == "model"
        described: dict[str, Any] = {"dest": ini_name(option), "help": option.metadata["help"]}
        if switch:
            described |= {"action": _Switch, "nargs": 0}
            group.addoption(flag(option), off_flag(option), default=None, **described)
        else:
            described |= {"action": "append"} if several else {}
            metavar = option.metadata["metavar"]
            group.addoption(flag(option), metavar=metavar, default=None, **described)
        kind: Literal["bool", "linelist", "string"]
        kind = "bool" if switch else "linelist" if repeatable else "string"
        parser.addini(
            ini_name(option),
            f"the default of {flag(option)}",
            type=kind,
            default=False if switch else [] if repeatable else "",
        )
    parser.addini(
        "injx_models",
        "several models: a line NAME model=MODEL for each, with reference=, quantization=, dtype= or"
        " activation_bits= where they differ",
        type="linelist",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Read the options; a value that is not accepted is wrong use of pytest (exit status 4).

    https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_configure
    """
    given = {option.name: config.getoption(ini_name(option)) for option in options()}
    ini = {option.name: _ini(config, option) for option in options()}
    table = config.getini("injx_models")
    anything = table or any(value is not None for value in given.values()) or any(ini.values())
    if anything or _distributed(config) or hasattr(config, "workerinput"):
        from pytest_injectivity.plugin.beginning import begin

        config.stash[_RUN] = begin(config, given, ini, table, distributed=_distributed(config))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Shorten wrong use during collection (by ``injx_layer``) to one paragraph.

    https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_make_collect_report
    """
    report = yield
    excinfo = getattr(getattr(report, "call", None), "excinfo", None)
    if excinfo is not None:
        _run(collector.config).shorten(report, excinfo.value)
    return report


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have the `Run` watch the tests that were collected, also where no option was given.

    https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_collection_finish
    """
    if session.items:
        _run(session.config).number(session.items)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test id for each model of several, layer (``injx_layer``) or release (``injx_release``).

    https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_generate_tests
    """
    given = [_names(mark) for mark in metafunc.definition.iter_markers("parametrize")]
    wanted = set(metafunc.fixturenames).difference(*given)
    if wanted & {"injx_config", "injx_layer", "injx_release"}:
        from pytest_injectivity.plugin.parameters import parametrize

        parametrize(metafunc, wanted, _run(metafunc.config).audits)


def _run(config: pytest.Config) -> "Run":
    """The run's state, with hooks of its own; made here where no option was given."""
    if _RUN not in config.stash:
        from pytest_injectivity.plugin.beginning import begin

        config.stash[_RUN] = begin(config, {}, {}, distributed=False)
    return config.stash[_RUN]


def _distributed(config: pytest.Config) -> bool:
    """Whether pytest-xdist sends tests to workers; it has read its options by now."""
    return bool(config.getoption("dist", "no") != "no")


def _ini(config: pytest.Config, option: "Field[Any]") -> object:
    try:
        return config.getini(ini_name(option))
    except (pytest.UsageError, TypeError, ValueError) as error:  # pytest 8 and 9 differ
        switch, repeatable = "switch" in option.metadata, option.metadata.get("repeatable")
        accepted = "true or false" if switch else "a list of texts" if repeatable else "a text"
        raise pytest.UsageError(f"{ini_name(option)}: {error}: give {accepted}") from None


def _names(mark: pytest.Mark) -> list[str]:
    """The arguments that a ``parametrize`` mark gives values to."""
    given = mark.kwargs.get("argnames", mark.args[0] if mark.args else ())
    return [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)


@pytest.fixture(scope="session")
def injx_config(request: pytest.FixtureRequest) -> "AuditConfig":
    """What is audited and how: of several models each in turn, one test id a model.

    A conftest may have a fixture of this name and scope, which returns or has as parameters what is
    audited instead.
    """
    return _run(request.config).config_of(getattr(request, "param", None))


@pytest.fixture(scope="session")
def injx(injx_config: "AuditConfig", pytestconfig: pytest.Config) -> "Audit":
    """The `Audit` of this session: a model, a prompt set, and everything measured of them."""
    return _run(pytestconfig).audits.of(injx_config)


@pytest.fixture(scope="session")
def injx_audit(injx_config: "AuditConfig", pytestconfig: pytest.Config) -> "Callable[..., Audit]":
    """``injx_audit(config=None, name="", **changes)``: an `Audit` of your own, in all reports.

    Without a config it is that of this session with other values, as in ``injx_audit(seed=1)``. The same
    config is the same audit. Of several one is loaded at a time.
    """

    def made(config: "AuditConfig | None" = None, name: str = "", **changes: Any) -> "Audit":
        own = injx_config if config is None else config
        return _run(pytestconfig).audits.of(replace(own, **changes), name)

    return made


@pytest.fixture(scope="session")
def injx_model(injx: "Audit") -> "Decoder":
    """The model audited, loaded."""
    return injx.decoder


@pytest.fixture(scope="session")
def injx_prompts(injx: "Audit") -> "PromptSet":
    """The prompt set, tokenized for the model."""
    return injx.prompts


@pytest.fixture(scope="session")
def injx_geometry(injx: "Audit") -> "Callable[..., LayerGeometry]":
    """``injx_geometry(layer, bits=None)``: the geometry of one layer, for your own checks."""
    return injx.geometry


@pytest.fixture(scope="session")
def injx_layer(injx_config: "AuditConfig", request: pytest.FixtureRequest) -> "Layer":  # noqa: ARG001 - layers are those of its model
    """Each layer of the config in turn: one test id a layer."""
    from pytest_injectivity.plugin.parameters import layer_of

    layer: Layer = layer_of(request.param)
    _run(request.config).use("layers")
    return layer


@pytest.fixture(scope="session")
def injx_release(request: pytest.FixtureRequest) -> str:
    """Each release of the config in turn: one test id a release; skipped where none is named."""
    release: str = request.param
    _run(request.config).use("release")
    return release


def check_names() -> tuple[str, ...]:
    """The names of the checks, ``no_collisions`` and so on: those of the files in ``audit/checks``.

    The files are not imported: what judges a model takes time to import. Nor are they globbed, because
    compiling the pattern takes longer than the rest of this function.
    """
    names = (file.removesuffix(".py") for file in os.listdir(_CHECKS) if file.endswith(".py"))  # noqa: PTH208 - as above
    return tuple(sorted(name for name in names if not name.startswith("_")))


def _assertion(check: str) -> Any:
    """Make the fixture ``assert_...`` of a check, which returns the method of the session's `Audit`."""

    def method(injx: "Audit") -> "Callable[..., Verdict]":
        asserted: Callable[..., Verdict] = getattr(injx, f"assert_{check}")
        return asserted

    method.__doc__ = (
        f"``Audit.assert_{check}`` of ``injx``: raises unless ``check_{check}`` is PASS."
    )
    return pytest.fixture(scope="session", name=f"assert_{check}")(method)


globals().update({f"assert_{check}": _assertion(check) for check in check_names()})
