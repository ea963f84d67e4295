from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pytest_injectivity import Audit
from pytest_injectivity.testing import additive_decoder
from tests.audits import Ids, audit_of, small_samples


@pytest.fixture(autouse=True, scope="module")
def _small_samples() -> Iterator[None]:
    """The resolution on few prompts says as much about tiny models as that on many."""
    with pytest.MonkeyPatch.context() as patch:
        small_samples(patch)
        yield


@pytest.fixture(autouse=True)
def _shared_store(
    _own_cache: None,
    _caches: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Audits find in the store what other tests of their file measured.

    Models and prompts are often the same there, and a new entry takes a walk through the whole store.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(_caches / f"audit-{request.path.stem}"))


@pytest.fixture
def empty_store(_shared_store: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is said of what is computed or kept: audits find nothing that another test measured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty-store"))


@pytest.fixture
def additive(tmp_path: Path) -> Callable[..., Audit]:
    """Audits of a decoder whose states are known: ``tokens[last id] + positions[last position]``."""

    def audit(tokens: Tensor, ids: Ids, positions: Tensor | None = None, **config: object) -> Audit:
        if positions is None:
            positions = torch.zeros(64, tokens.shape[1], dtype=tokens.dtype)
        return audit_of(tmp_path, additive_decoder(tokens, positions), ids, **config)

    return audit


@pytest.fixture(scope="session")
def random_rows() -> Callable[..., Tensor]:
    """Rows drawn from a seed, well apart."""

    def rows(count: int, *, hidden: int = 16, seed: int = 0) -> Tensor:
        return torch.randn(count, hidden, generator=torch.Generator().manual_seed(seed))

    return rows
