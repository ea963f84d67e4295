"""Tests of the lines of text files."""

import gzip
import io
from pathlib import Path

import pytest

from pytest_injectivity.errors import PromptError
from pytest_injectivity.prompts.files.lines import Expanded
from tests.prompts.files.support import read, written


def test_a_gzip_file_that_expands_beyond_proportion(tmp_path: Path) -> None:
    """A line that would fill the memory is refused before it is read to its end."""
    path = written(tmp_path / "a.txt.gz", gzip.compress(b"a" * 10**7))
    size = path.stat().st_size

    with io.BufferedReader(Expanded(path, times=10, more=1000)) as file:
        message = rf"a.txt.gz holds more than {10 * size + 1000:,} bytes, {size:,} compressed"
        with pytest.raises(PromptError, match=message):
            file.readline()

    assert 10**7 == len(read(path)[0])
