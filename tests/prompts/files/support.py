"""What the tests of readers share."""

from pathlib import Path

from pytest_injectivity.prompts.fields import FieldRule
from pytest_injectivity.prompts.files.reading import read_rows
from pytest_injectivity.prompts.rows import Content


def read(path: Path, field: str | None = None, *, prefer_ids: bool = False) -> list[Content]:
    return [row.content for row in read_rows(path, FieldRule(field, prefer_ids))]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
