"""Keeps the libraries' progress bars, reports and warnings off the terminal.

`quiet` silences everything for as long as a checkpoint is read or written. `hush` concerns what two
libraries log while they are imported, before there is anything to surround, and `import_quietly` what
they warn of meanwhile. The module imports neither torch nor transformers, because `hush` must run before
they are imported.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Where torchao is installed, transformers imports it with every model: torchao logs that it lacks
# kernels for GPUs, and torch warns of an interface that torchao uses.
_TALKATIVE = ("torchao", "torch.utils._pytree")


def hush() -> None:
    """Lets libraries that log while they are imported log errors only; a level already set is kept."""
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.ERROR)


def import_quietly() -> None:
    """Imports transformers' models, and with them torchao where it is installed, without their warnings.

    Python warns of what it compiles, and libraries of each other. Under ``-W error`` such a warning
    would end the import in the middle, in the first run after an installation only: later ones compile
    nothing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers.modeling_utils  # noqa: F401 - imported for what it imports


@contextmanager
def quiet() -> Iterator[None]:
    """Silences transformers while a checkpoint is read or written; puts its settings back after."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging as library_logging

    library: Any = library_logging  # its functions carry no annotations
    verbosity, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    below = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.set_verbosity_error()
        library.disable_progress_bar()
        # The libraries of quantization log, as they are imported, which kernels they do without.
        logging.disable(max(below, logging.WARNING))
        try:
            yield
        finally:
            logging.disable(below)
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()
            # The library's switch turns the hub's bars too, which may have stood otherwise.
            (enable_progress_bars if hub_bars else disable_progress_bars)()
