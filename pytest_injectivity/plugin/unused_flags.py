"""Finds flags of the command line whose values no test of the run used."""

from collections.abc import Collection

import pytest

from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.config.options import options
from pytest_injectivity.core.text import one_line

_LONGEST = 300
_CHOOSING = ("keyword", "markexpr", "deselect", "lf")


def unused_flags(audited: AuditConfig, unused: Collection[str]) -> list[str]:
    """A sentence for each flag that was given for nothing.

    Options that everything measured uses, or that change no number, are left out.

    Args:
        audited: the values of the options.
        unused: the names of the options that are given and were not used.
    """
    told = []
    for option in options():
        used_by, flags = option.metadata.get("used_by"), audited.flags(option)
        # A run that was to record a baseline and did not says so itself.
        recorded = option.name == "baseline" and audited.update_baseline
        if option.name in unused and used_by and flags and not recorded:
            given = one_line(" ".join(flags), _LONGEST)
            told.append(
                f"{given} was given, and no test of this run used it: it is for {used_by};"
                " run a test that uses it, or leave the flag out"
            )
    return told


def some_left_out(config: pytest.Config) -> bool:
    """Whether the command line chooses among the tests of a file (``-k``, ``-m``, ``file::test``)."""
    by_name = any("::" in str(one) for one in config.option.file_or_dir)
    return by_name or any(config.getoption(name, None) for name in _CHOOSING)
