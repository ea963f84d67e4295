"""The library's progress bars, reports and warnings, off for a moment."""

import logging as standard_logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from transformers.utils import logging

_logging: Any = logging  # its functions carry no annotations


@contextmanager
def quiet() -> Iterator[None]:
    """Silences transformers while a checkpoint is read or written; puts its settings back after."""
    verbosity, bars = _logging.get_verbosity(), _logging.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    below = standard_logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _logging.set_verbosity_error()
        _logging.disable_progress_bar()
        # What the libraries of quantization say when they are imported, of kernels they do without.
        standard_logging.disable(max(below, standard_logging.WARNING))
        try:
            yield
        finally:
            standard_logging.disable(below)
            _logging.set_verbosity(verbosity)
            if bars:
                _logging.enable_progress_bar()
            # The library's switch turns the hub's bars too, which may have stood otherwise.
            (enable_progress_bars if hub_bars else disable_progress_bars)()
