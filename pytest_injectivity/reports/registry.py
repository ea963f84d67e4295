"""Finds the report of each kind: the module of its name in this room, loaded when it is asked for.

A report kind is a row of `REPORT_KINDS` and a module ``pytest_injectivity.reports.<kind>`` with a
function ``write_report(path, results)``, which writes the file whole or not at all and raises `OSError`
where it cannot. One that needs an extra has ``check_installed()`` too, which raises `MissingExtra`; one
that does not always replace its file has ``check_writable(path)``, which raises `OSError`.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from pytest_injectivity.config.parsers import REPORT_KINDS
from pytest_injectivity.config.report_target import ReportTarget
from pytest_injectivity.core import files
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.run_results import RunResults

Writer = Callable[[Path, RunResults], None]


def writer(kind: str) -> Writer:
    """The function that writes reports of a kind, one of `REPORT_KINDS`."""
    module = import_module(f"pytest_injectivity.reports.{kind}")
    write: Writer = module.write_report
    return write


def check_report(target: ReportTarget, named: str) -> None:
    """Refuse a report that cannot be written before hours of tests.

    Args:
        target: its kind and its file.
        named: the option that names it, as it was given.

    Raises:
        MissingExtra: a library that the report needs is not installed.
        OptionError: a file cannot be written.
    """
    module = import_module(f"pytest_injectivity.reports.{target.kind}")
    if check := getattr(module, "check_installed", None):
        check()
    check_writable = getattr(module, "check_writable", files.check_writable)
    for file in target.files:
        try:
            check_writable(file)
        except OSError as error:
            raise OptionError(
                f"{named} cannot be written: {error.strerror or type(error).__name__}:"
                f" {error.filename}: give a file in a folder that can be written to"
            ) from None


def write_report(target: ReportTarget, results: RunResults) -> None:
    """Write one report.

    Args:
        target: its kind and its file.
        results: what the tests found, and how the run ended.

    Raises:
        OSError: the file cannot be written.
    """
    writer(target.kind)(Path(target.path), results)


__all__ = ["REPORT_KINDS", "Writer", "check_report", "write_report", "writer"]
