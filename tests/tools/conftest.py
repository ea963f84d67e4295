"""Checkpoints that tools make, each once a session."""

from pathlib import Path

import pytest

from pytest_injectivity.testing import byte_tokenizer, save_checkpoint, tiny_decoder
from tests.tools.schemes import Scheme
from tests.tools.support import TRAINED, Made, environment, make, widened


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parent of all: a small trained Qwen3, or where it is not at hand a random one."""
    folder = tmp_path_factory.mktemp("trained") / "parent"
    if TRAINED.exists():
        return widened(TRAINED, folder)
    shape = {"hidden": 128, "vocab": 256, "context": 256, "intermediate_size": 384, "std": 0.1}
    return save_checkpoint(tiny_decoder("qwen3", **shape, tokenizer=byte_tokenizer()), folder)


@pytest.fixture(scope="session")
def made(
    request: pytest.FixtureRequest, trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> Made:
    """What a tool makes of the parent."""
    scheme: Scheme = request.param
    if environment(scheme.tool) is None:
        pytest.skip(f"no environment of {scheme.tool}: ./dev tools {scheme.tool} makes it")
    folder = tmp_path_factory.mktemp("made") / scheme.id.replace(":", "-").replace("=", "-")
    return make(scheme.tool, scheme.name, trained, folder)
