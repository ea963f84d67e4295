"""The pytest plugin's options and fixtures; its other hooks are in ``session``.

Pytest imports this file on every start, so it imports the standard library, pytest and this package's
light files only. Torch, transformers, numpy and rich are imported by the first test that uses an audit.
"""

import argparse
import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_injectivity.config.audit_config import (
    config_from,
    flag,
    ini_name,
    off_flag,
    options,
)
from pytest_injectivity.errors import OptionError
from pytest_injectivity.plugin.session import Run

if TYPE_CHECKING:
    from pytest_injectivity.audit.audit import Audit
    from pytest_injectivity.core.layers import Layer
    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.prompts.promptset import PromptSet
    from pytest_injectivity.results.verdict import Verdict

_RUN = pytest.StashKey[Run]()


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
        described: dict[str, Any] = {"dest": ini_name(option), "help": option.metadata["help"]}
        if switch:
            described |= {"action": _Switch, "nargs": 0}
            group.addoption(flag(option), off_flag(option), default=None, **described)
        else:
            described |= {"action": "append"} if repeatable else {}
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


def pytest_configure(config: pytest.Config) -> None:
    """Read the options; a value that is not accepted is wrong use of pytest (exit status 4).

    https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_configure
    """
    given = {option.name: config.getoption(ini_name(option)) for option in options()}
    try:
        ini = {option.name: _ini(config, option) for option in options()}
        audited = config_from(given, ini)
        run = Run(config, audited, named=audited.require or _model_asked_for(config))
    except OptionError as error:
        raise pytest.UsageError(str(error)) from None
    if audited.update_baseline and _distributed(config):
        raise pytest.UsageError(
            "--injx-update-baseline: workers of pytest-xdist measure a part each: run without -n, or"
            " with -n 0"
        )
    config.stash[_RUN] = run
    config.pluginmanager.register(run, "injectivity-run")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test id a layer for tests that use ``injx_layer``, a release for ``injx_release``.

    Reads the model's config, no weights.

    https://docs.pytest.org/en/stable/reference/reference.html#pytest.hookspec.pytest_generate_tests
    """
    given = [_names(mark) for mark in metafunc.definition.iter_markers("parametrize")]
    wanted = set(metafunc.fixturenames).difference(*given)
    run = metafunc.config.stash[_RUN]
    if "injx_layer" in wanted:
        from pytest_injectivity.core.layers import layer_id

        layers = run.audit.layers
        ids = [layer_id(layer) for layer in layers]
        metafunc.parametrize("injx_layer", layers, ids=ids, indirect=True, scope="session")
    if "injx_release" in wanted:
        metafunc.parametrize("injx_release", run.audited.release, indirect=True, scope="session")


def _distributed(config: pytest.Config) -> bool:
    """Whether pytest-xdist sends tests to workers; it has read its options by now."""
    return bool(config.getoption("dist", "no") != "no")


def _model_asked_for(config: pytest.Config) -> bool:
    """Whether somebody typed ``--injx-model``: an ini that names one, by ``addopts`` too, did not."""

    def named(arguments: Iterable[object]) -> bool:
        return any(str(one).partition("=")[0] == "--injx-model" for one in arguments)

    typed = [*config.invocation_params.args, *shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))]
    given = config.getoption("injx_model") is not None
    return given and (named(typed) or not named(config.getini("addopts")))


def _ini(config: pytest.Config, option: "Field[Any]") -> object:
    try:
        return config.getini(ini_name(option))
    except (pytest.UsageError, TypeError, ValueError) as error:  # pytest 8 and 9 differ
        switch, repeatable = "switch" in option.metadata, option.metadata.get("repeatable")
        accepted = "true or false" if switch else "a list of texts" if repeatable else "a text"
        raise OptionError(f"{ini_name(option)}: {error}: give {accepted}") from None


def _names(mark: pytest.Mark) -> list[str]:
    """The arguments that a ``parametrize`` mark gives values to."""
    given = mark.kwargs.get("argnames", mark.args[0] if mark.args else ())
    return [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)


@pytest.fixture(scope="session")
def injx(pytestconfig: pytest.Config) -> "Audit":
    """The `Audit` of this session: a model, a prompt set, and everything measured of them."""
    return pytestconfig.stash[_RUN].audit


@pytest.fixture(scope="session")
def injx_model(injx: "Audit") -> "Decoder":
    """The model audited, loaded."""
    return injx.decoder


@pytest.fixture(scope="session")
def injx_prompts(injx: "Audit") -> "PromptSet":
    """The prompt set, tokenised for the model."""
    return injx.prompts


@pytest.fixture(scope="session")
def injx_geometry(injx: "Audit") -> "Callable[..., LayerGeometry]":
    """``injx_geometry(layer, bits=None)``: the geometry of one layer, for checks of one's own."""
    return injx.geometry


@pytest.fixture(scope="session")
def injx_layer(request: pytest.FixtureRequest) -> "Layer":
    """Each layer of the config in turn: one test id a layer."""
    layer: Layer = request.param
    return layer


@pytest.fixture(scope="session")
def injx_release(request: pytest.FixtureRequest) -> str:
    """Each release of the config in turn: one test id a release; skipped where none is named."""
    release: str = request.param
    return release


@pytest.fixture(scope="session")
def assert_no_collisions(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_no_collisions(layer, eps)``: see `Assertions.check_no_collisions`."""
    return injx.assert_no_collisions


@pytest.fixture(scope="session")
def assert_no_continuation_collisions(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_no_continuation_collisions(layer, eps)``: every token after the closest prompts.

    See `Assertions.check_no_continuation_collisions`.
    """
    return injx.assert_no_continuation_collisions


@pytest.fixture(scope="session")
def assert_one_step_distinct(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_one_step_distinct(layer, eps)``: all tokens, as embedding rows and put first.

    See `Assertions.check_one_step_distinct`.
    """
    return injx.assert_one_step_distinct


@pytest.fixture(scope="session")
def assert_margin_above(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_margin_above(layer, margin)``: see `Assertions.check_margin_above`."""
    return injx.assert_margin_above


@pytest.fixture(scope="session")
def assert_colipschitz_above(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_colipschitz_above(layer, alpha)``: see `Assertions.check_colipschitz_above`."""
    return injx.assert_colipschitz_above


@pytest.fixture(scope="session")
def assert_bilipschitz_within(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_bilipschitz_within(layer, distortion)``: see `Assertions.check_bilipschitz_within`."""
    return injx.assert_bilipschitz_within


@pytest.fixture(scope="session")
def assert_sipit_recovers(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_sipit_recovers(layer)``: see `Assertions.check_sipit_recovers`."""
    return injx.assert_sipit_recovers


@pytest.fixture(scope="session")
def assert_states_recoverable(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_states_recoverable()``: the states of ``--injx-states`` can be read with the model.

    See `Assertions.check_states_recoverable`.
    """
    return injx.assert_states_recoverable


@pytest.fixture(scope="session")
def assert_matches_baseline(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_matches_baseline(layer)``: nothing is worse than ``--injx-baseline`` has it.

    See `Baselines.check_matches_baseline`.
    """
    return injx.assert_matches_baseline


@pytest.fixture(scope="session")
def assert_not_recoverable(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_not_recoverable(release, max_token_rate)``: no attacker reads more of what is shared.

    See `Sharing.check_not_recoverable`.
    """
    return injx.assert_not_recoverable


@pytest.fixture(scope="session")
def assert_utility_kept(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_utility_kept(release, min_agreement)``: what is shared is still of use.

    See `Sharing.check_utility_kept`.
    """
    return injx.assert_utility_kept


@pytest.fixture(scope="session")
def assert_state_drift_below(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_state_drift_below(layer, relative)``: the states lie near the parent's.

    See `Retention.check_state_drift_below`; this one and those below need ``--injx-reference``.
    """
    return injx.assert_state_drift_below


@pytest.fixture(scope="session")
def assert_no_new_collisions(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_no_new_collisions(layer, eps)``: none that the parent has not.

    See `Retention.check_no_new_collisions`.
    """
    return injx.assert_no_new_collisions


@pytest.fixture(scope="session")
def assert_margin_retained(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_margin_retained(layer, fraction)``: see `Retention.check_margin_retained`."""
    return injx.assert_margin_retained


@pytest.fixture(scope="session")
def assert_colipschitz_retained(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_colipschitz_retained(layer, fraction)``.

    See `Retention.check_colipschitz_retained`.
    """
    return injx.assert_colipschitz_retained


@pytest.fixture(scope="session")
def assert_not_read_by_reference(injx: "Audit") -> "Callable[..., Verdict]":
    """``assert_not_read_by_reference(layer, max_rate)``: what somebody with the parent reads.

    See `Retention.check_not_read_by_reference`.
    """
    return injx.assert_not_read_by_reference
