"""The beginning of a run: its options are read, and its state is made and registered with pytest."""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field
from typing import Any

import pytest

from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.config.options import flag, ini_name, options
from pytest_injectivity.config.run_models import run_models
from pytest_injectivity.errors import MissingExtra, OptionError
from pytest_injectivity.plugin.session import Run


def begin(
    config: pytest.Config,
    given: Mapping[str, object],
    ini: Mapping[str, object],
    table: Sequence[str] = (),
    *,
    distributed: bool,
) -> Run:
    """Make the state of a run, and register its hooks.

    Args:
        config: pytest's config.
        given: values of flags by field name; None was not given.
        ini: values of ini options by field name.
        table: the rows of the ini value ``injx_models``.
        distributed: whether pytest-xdist sends tests to workers.

    Raises:
        pytest.UsageError: a value is not accepted, or not together with workers.
    """
    try:
        models = run_models(_last_typed(config, given), ini, table)
        audited = models.common
        typed = frozenset(option.name for option in options() if _typed(config, option))
        run = Run(config, models, named=audited.require or "model" in typed, typed=typed)
        _check_reports(audited, given)
    except (MissingExtra, OptionError) as error:
        raise pytest.UsageError(str(error)) from None
    if models.names and audited.baseline is not None and audited.baseline.endswith(".json"):
        raise pytest.UsageError(
            f"--injx-baseline={audited.baseline} is one file, and this run has several models"
            f" ({', '.join(models.names)}): give a folder, which has a file for each"
        )
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
    if audited.workers is not None:
        _check_workers(audited, distributed=distributed)
    config.pluginmanager.register(run, "injectivity-run")
    config.pluginmanager.register(run.stops, "injectivity-stops")
    return run


def _check_workers(audited: AuditConfig, *, distributed: bool) -> None:
    """Refuse workers of workers, and those that cannot be started.

    Raises:
        pytest.UsageError: pytest-xdist has workers already, one model takes all devices, or Ray is not
            installed.
    """
    from pytest_injectivity.scale.ray_workers import check_installed

    asked = audited.workers
    if distributed:
        raise pytest.UsageError(
            f"--injx-workers={asked}: workers of pytest-xdist measure side by side already, and each"
            " would have as many of its own: run without -n, or with -n 0"
        )
    if audited.device == "balanced":
        raise pytest.UsageError(
            f"--injx-workers={asked}: each worker loads the model, and --injx-device=balanced takes all"
            " GPUs for one: give auto, which gives each worker a GPU, or leave the workers out"
        )
    try:
        check_installed(f"--injx-workers={asked}")
    except MissingExtra as error:
        raise pytest.UsageError(str(error)) from None


def _typed(config: pytest.Config, option: "Field[Any]") -> bool:
    """Whether a flag was typed on the command line, and not named in an ini or ``addopts``."""
    if config.getoption(ini_name(option)) is None:
        return False
    return _times(option, _arguments(config)) > 0 or not _times(option, config.getini("addopts"))


def _check_reports(audited: AuditConfig, given: Mapping[str, object]) -> None:
    """Refuse reports that could not be written before hours of tests.

    Raises:
        MissingExtra: a report needs a library that is not installed.
        OptionError: a report's file cannot be written; see also `_check_decision`.
    """
    if audited.report:
        from pytest_injectivity.reports.registry import check_report

        for target in audited.report:
            check_report(target, f"--injx-report={target}")
    _check_decision(audited, given)


def _check_decision(audited: AuditConfig, given: Mapping[str, object]) -> None:
    """Refuse files that a decision cannot be made from before hours of tests, and flags without one.

    Raises:
        OptionError: a file is missing or damaged, or nothing is decided by a flag that was given.
    """
    if any(target.kind == "decision" for target in audited.report):
        from pytest_injectivity.plugin.deciding import read_evaluations

        read_evaluations(audited)
        return
    for name in ("decision", "evaluation", "reference_evaluation"):
        if given.get(name) is not None:
            raise OptionError(
                f"--injx-{name.replace('_', '-')} is given, and nothing is decided: give"
                " --injx-report=decision:PATH as well"
            )


def _last_typed(config: pytest.Config, given: Mapping[str, object]) -> Mapping[str, object]:
    """The flags given; models that are typed replace those in ``addopts``.

    What is left is written into pytest's options, which workers of pytest-xdist receive: one model as a
    text, several as a list.
    """
    models = given.get("model")
    if not isinstance(models, list):
        return given
    (option,) = (one for one in options() if one.name == "model")
    models = models[-_times(option, _arguments(config)) :]
    config.option.injx_model = models[0] if len(models) == 1 else models
    return {**given, "model": models}


def _arguments(config: pytest.Config) -> list[str]:
    """The arguments of the command line, and those of the environment."""
    environment = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    return [*map(str, config.invocation_params.args), *environment]


def _times(option: "Field[Any]", arguments: Iterable[object]) -> int:
    """How many times a flag is among arguments."""
    return sum(str(one).partition("=")[0] == flag(option) for one in arguments)
