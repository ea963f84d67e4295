"""``pytest-injectivity audit``: the whole default audit of a model, without a test file.

It runs pytest on the suite ``default_audit``, which ``pytest-injectivity init`` copies: there is one way
to audit a model, and what the command prints is what pytest prints of that suite.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_injectivity.commands.answer import Answer
from pytest_injectivity.commands.suites import suite_folder
from pytest_injectivity.config.options import flag, ini_name, off_flag, options
from pytest_injectivity.config.report_target import ReportTarget
from pytest_injectivity.errors import OptionError

if TYPE_CHECKING:
    from dataclasses import Field

    from pytest_injectivity.commands.answer import Commands
    from pytest_injectivity.config.run_models import RunModels

PAGE = "injectivity.html"
"""Where the page goes unless a place is named."""

_SUITE = "default_audit"
# The models are arguments; an audit that compares nothing has failed already.
_LEFT_OUT = {"model", "require"}
_QUIET = ("-q", "--tb=short", "-rN", "-p", "no:cacheprovider")
# Pytest would rewrite the assertions of this package, which has none; it was imported by now.
_IMPORTED = ("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning")


def add_audit(commands: "Commands") -> None:
    """Add the command to the parser's."""
    audit = commands.add_parser(
        "audit",
        help="audit a model without a test file: the whole default audit",
        description="Audits a model at every layer: no two prompts collide, all tokens are distinct,"
        " SipIt recovers prompts; with --reference also what a child lost of its parent. Margins and all"
        " that needs a bound of yours is measured without a verdict. Runs pytest on the suite"
        f" {_SUITE}, and takes each of its options with or without the prefix injx-. Exit status:"
        " pytest's, 0 green, 1 red, 2 interrupted, 4 wrong use.",
        allow_abbrev=False,
    )
    audit.add_argument(
        "models", nargs="+", metavar="MODEL", help="one or several, as --injx-model takes them"
    )
    page = audit.add_mutually_exclusive_group()
    page.add_argument(
        "--html",
        metavar="PATH",
        help=f"the page (default: {PAGE}, where the extra html is installed)",
    )
    page.add_argument("--no-html", action="store_true", help="write no page")
    audit.add_argument("--json", metavar="PATH", help="everything that was found, for programs")
    audit.add_argument(
        "-n", "--workers", type=int, metavar="N", help="processes (needs the extra xdist)"
    )
    for option in options():
        if option.name not in _LEFT_OUT:
            _add_option(audit, option)
    audit.set_defaults(command=_audit)


def _add_option(audit: argparse.ArgumentParser, option: "Field[Any]") -> None:
    """An option of the plugin, under its own name and without the prefix."""
    described: dict[str, Any] = {"dest": ini_name(option), "default": None}
    named = option.metadata
    if "switch" in named:
        audit.add_argument(
            *_both(flag(option)), action="store_true", help=named["help"], **described
        )
        off = _both(off_flag(option))
        audit.add_argument(*off, action="store_false", help=argparse.SUPPRESS, **described)
    else:
        action = "append" if named.get("repeatable") else "store"
        described |= {"action": action, "metavar": named["metavar"], "help": named["help"]}
        audit.add_argument(*_both(flag(option)), **described)


def _both(name: str) -> tuple[str, ...]:
    """Its own name without the prefix, unless that is another option's, and with it."""
    own = name.replace("--injx-", "--", 1)
    return (name,) if own == "--workers" else (own, name)


def _audit(given: argparse.Namespace) -> Answer:
    values = {option.name: getattr(given, ini_name(option), None) for option in options()}
    _check_written(given)
    values |= {"model": given.models, "report": _reports(given)}
    if given.workers is not None:
        _check_workers(given.workers)
    from pytest_injectivity.config.run_models import run_models

    _check(run_models(values, {}))
    import pytest

    arguments = [str(suite_folder(_SUITE)), *_QUIET, *_IMPORTED, *_flags(values)]
    arguments += [] if given.workers is None else [f"-n{given.workers}"]
    return Answer("", int(pytest.main(arguments)))


def _check_workers(number: int) -> None:
    if number < 1:  # pytest-xdist would go on without workers
        raise OptionError(f"--workers {number} is not accepted: give at least 1")
    if find_spec("xdist") is None:
        raise OptionError("--workers needs pytest-xdist: install pytest-injectivity[xdist]")


def _check_written(given: argparse.Namespace) -> None:
    """Refuse files that cannot be written, by the names that were typed, before anything is computed.

    Raises:
        OptionError: one cannot be written, or is named by an empty text.
    """
    from pytest_injectivity.reports.registry import check_report

    for kind in ("html", "json"):
        path = getattr(given, kind)
        if path == "":
            raise OptionError(f"--{kind}= names no file: give a path, such as injectivity.{kind}")
        if path is not None:
            check_report(ReportTarget(kind, path), f"--{kind}={path}")


def _reports(given: argparse.Namespace) -> list[str]:
    """The reports to write, as ``TYPE:PATH``."""
    reports: list[str] = list(given.injx_report or ())
    has_page = any(one.startswith("html:") for one in reports)
    if given.html is not None:
        reports.append(f"html:{given.html}")
    elif not (given.no_html or has_page or given.injx_plan) and find_spec("jinja2") is not None:
        reports.append(f"html:{PAGE}")
    return [*reports, f"json:{given.json}"] if given.json is not None else reports


def _flags(values: dict[str, Any]) -> list[str]:
    """The values as flags of pytest."""
    flags = []
    for option in options():
        value = values[option.name]
        if "switch" in option.metadata:
            flags += [] if value is None else [flag(option) if value else off_flag(option)]
        else:
            several = value if isinstance(value, list) else [] if value is None else [value]
            flags += [f"{flag(option)}={one}" for one in several]
    return flags


def _check(models: "RunModels") -> None:
    """Refuse what cannot be audited in one line, before a test could say it many times.

    Raises:
        WrongUse: a model, its parent or a file of states cannot be found or read, or the prompts cannot
            be audited.
    """
    from dataclasses import replace

    from pytest_injectivity.audit.audit import Audit
    from pytest_injectivity.states.external_header import open_header

    for config in models.configs.values():
        audit = Audit(config)
        _ = audit.layers
        if not config.prompts.startswith("builtin:"):
            _ = audit.prompts
        if config.tflops is None:
            _ = audit.target.checkpoint.weights
        if config.states is not None:
            open_header(Path(config.states), f"--states={config.states}")
        if config.reference is not None:
            parent = Audit(replace(config, model=config.reference, reference=None))
            _ = parent.target.checkpoint.weights
