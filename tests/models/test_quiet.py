import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from transformers.utils import logging as library_logging

from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.models.quiet import hush
from pytest_injectivity.testing import save_checkpoint, tiny_decoder

NAMES = ("torchao", "torch.utils._pytree")


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    before = {name: logging.getLogger(name).level for name in NAMES}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("name", NAMES)
def test_warnings_of_an_import_are_not_shown(name: str) -> None:
    """Warnings of the two loggers are off, and their errors are shown."""
    logging.getLogger(name).setLevel(logging.NOTSET)
    hush()
    assert not logging.getLogger(name).isEnabledFor(logging.WARNING)
    assert logging.getLogger(name).isEnabledFor(logging.ERROR)


@pytest.mark.parametrize("name", NAMES)
def test_a_level_that_was_set_is_kept(name: str) -> None:
    """A logger that somebody has given a level stays at it."""
    logging.getLogger(name).setLevel(logging.INFO)
    hush()
    assert logging.INFO == logging.getLogger(name).level


@pytest.fixture
def settings() -> Iterator[None]:
    """Puts the library's progress bars and verbosity back after a test that sets them."""
    bars, hub_bars = library_logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    verbosity = library_logging.get_verbosity()
    yield
    library_logging.set_verbosity(verbosity)
    (library_logging.enable_progress_bar if bars else library_logging.disable_progress_bar)()
    (enable_progress_bars if hub_bars else disable_progress_bars)()


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("hub_bars", [True, False])
@pytest.mark.parametrize("bars", [True, False])
def test_loading_is_quiet_and_leaves_the_settings_alone(
    tmp_path: Path, *, bars: bool, hub_bars: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is printed or logged, and the library's verbosity and bars are as they were."""
    (library_logging.enable_progress_bar if bars else library_logging.disable_progress_bar)()
    (enable_progress_bars if hub_bars else disable_progress_bars)()
    library_logging.set_verbosity_info()
    load_decoder(str(save_checkpoint(tiny_decoder("llama"), tmp_path)))
    assert bars == library_logging.is_progress_bar_enabled()
    assert hub_bars != are_progress_bars_disabled()
    assert logging.INFO == library_logging.get_verbosity()
    assert ("", "") == capfd.readouterr()
    with pytest.warns(UserWarning, match="still heard"):
        warnings.warn("still heard", UserWarning, stacklevel=1)
