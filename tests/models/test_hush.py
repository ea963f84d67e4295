import logging
from collections.abc import Iterator

import pytest

from pytest_injectivity.models.hush import hush

NAMES = ("torchao", "torch.utils._pytree")


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    before = {name: logging.getLogger(name).level for name in NAMES}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("name", NAMES)
def test_warnings_of_an_import_are_not_shown(name: str) -> None:
    """Errors are."""
    logging.getLogger(name).setLevel(logging.NOTSET)
    hush()
    assert not logging.getLogger(name).isEnabledFor(logging.WARNING)
    assert logging.getLogger(name).isEnabledFor(logging.ERROR)


@pytest.mark.parametrize("name", NAMES)
def test_a_level_that_was_set_is_kept(name: str) -> None:
    """Whoever wants to hear them does."""
    logging.getLogger(name).setLevel(logging.INFO)
    hush()
    assert logging.INFO == logging.getLogger(name).level
