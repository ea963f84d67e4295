"""Loads a model while a watcher is told of it, before and during a load that may be long."""

from typing import TYPE_CHECKING, Unpack

from pytest_injectivity.core.durations import size
from pytest_injectivity.core.progress import UNCOUNTED, Watcher
from pytest_injectivity.core.text import one_line
from pytest_injectivity.results.plan import Phase

if TYPE_CHECKING:
    from pytest_injectivity.models.checkpoint import Checkpoint
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.models.loading import LoadSettings

BYTES_A_SECOND = 1e8
"""How fast weights are assumed to be read and checked."""


def load_told(
    checkpoint: "Checkpoint",
    watcher: Watcher,
    *,
    rate: float = BYTES_A_SECOND,
    **settings: "Unpack[LoadSettings]",
) -> "Decoder":
    """Loads a checkpoint as `models.loading.load` does, within a watcher's progress.

    Args:
        checkpoint: as `resolve` gives it.
        watcher: told before a load that is expected to be long, and that the load goes on.
        rate: bytes a second, assumed.
        settings: dtype, device, quantization and mode.
    """
    from pytest_injectivity.models.loading import load

    with watcher.progress(f"loading {one_line(checkpoint.source)}", UNCOUNTED):
        # The files of a checkpoint on the hub are fetched here.
        bytes_ = checkpoint.weights.bytes
        source = one_line(checkpoint.source)
        phase = Phase(
            name="loading",
            what=f"{source}, {size(bytes_)} of weights, {size(rate)} a second assumed",
            seconds=bytes_ / rate,
        )
        if phase.is_long:
            watcher.foretell(phase.sentence)
        decoder = load(checkpoint, **settings)
    if decoder.streamed is not None and settings.get("mode") == "auto":
        watcher.announce(
            f"injectivity: the weights of {source} do not fit into memory: each block is read from disk"
            " when it runs (--injx-load=stream)"
        )
    return decoder
