"""The yardstick of the benchmarks, for tests: skipped, with a reason, where it cannot be had."""

from pathlib import Path

import pytest

from benchmarks.yardstick import NoYardstickError
from benchmarks.yardstick import yardstick as published


def yardstick() -> Path:
    """The file; skips the test, with a reason, where it is not here and cannot be fetched."""
    try:
        return published()
    except NoYardstickError as error:
        pytest.skip(str(error))
    except ValueError as error:
        pytest.fail(str(error))
