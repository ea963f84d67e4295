"""Checkpoints of every format, written once a session."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.quantized import needs, saved_parent, write


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_parent(tmp_path_factory.mktemp("full") / "llama")


@pytest.fixture(scope="session")
def published(full: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint of a kind, written once."""
    written: dict[str, Path] = {}

    def get(kind: str) -> Path:
        needs(kind)
        if kind not in written:
            written[kind] = write(kind, full, tmp_path_factory.mktemp(kind) / "checkpoint")
        return written[kind]

    return get
