"""The beginning of a run: its options are read, and its state is made and registered with pytest."""

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import Field
from typing import Any

import pytest

from pytest_injectivity.config.audit_config import config_from
from pytest_injectivity.config.options import flag, ini_name, options
from pytest_injectivity.errors import OptionError
from pytest_injectivity.plugin.session import Run


def begin(
    config: pytest.Config,
    given: Mapping[str, object],
    ini: Mapping[str, object],
    *,
    distributed: bool,
) -> Run:
    """Make the state of a run, and register its hooks.

    Args:
        config: pytest's config.
        given: values of flags by field name; None was not given.
        ini: values of ini options by field name.
        distributed: whether pytest-xdist sends tests to workers.

    Raises:
        pytest.UsageError: a value is not accepted, or not together with workers.
    """
    try:
        audited = config_from(given, ini)
        typed = frozenset(option.name for option in options() if _typed(config, option))
        run = Run(config, audited, named=audited.require or "model" in typed, typed=typed)
    except OptionError as error:
        raise pytest.UsageError(str(error)) from None
    if audited.update_baseline and distributed:
        raise pytest.UsageError(
            "--injx-update-baseline: workers of pytest-xdist measure a part each: run without -n, or"
            " with -n 0"
        )
    if audited.plan and distributed:
        raise pytest.UsageError(
            "--injx-plan: a plan is of all tests, and workers of pytest-xdist have a part each: run"
            " without -n, or with -n 0"
        )
    config.pluginmanager.register(run, "injectivity-run")
    config.pluginmanager.register(run.stops, "injectivity-stops")
    return run


def _typed(config: pytest.Config, option: "Field[Any]") -> bool:
    """Whether a flag was typed on the command line, and not named in an ini or ``addopts``."""

    def named(arguments: Iterable[object]) -> bool:
        return any(str(one).partition("=")[0] == flag(option) for one in arguments)

    if config.getoption(ini_name(option)) is None:
        return False
    typed = [*config.invocation_params.args, *shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))]
    return named(typed) or not named(config.getini("addopts"))
