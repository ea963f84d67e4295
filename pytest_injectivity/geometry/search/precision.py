"""Who may use the units of a device that drop digits."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import torch

# The settings are those of all threads: devices that multiply side by side wait for each other, on a
# GPU until its product is begun.
_SETTING = RLock()


@contextmanager
def precision_of(dtype: torch.dtype) -> Iterator[None]:
    """Products of float32 values: of bfloat16 ones by the fast units, of any other in full.

    TF32 and bfloat16 units drop digits, which only numbers that have none to lose may be given.
    """
    # Not torch.get_float32_matmul_precision: it raises where one backend has a setting of its own.
    mkldnn: Any = torch.backends.mkldnn
    settings: tuple[tuple[Any, str], ...] = (
        (torch.backends.cuda.matmul, "tf32"),
        (mkldnn.matmul, "bf16"),
    )
    with _SETTING:
        before = [backend.fp32_precision for backend, _ in settings]
        for backend, fast in settings:
            backend.fp32_precision = fast if dtype == torch.bfloat16 else "ieee"
        try:
            yield
        finally:
            for (backend, _), precision in zip(settings, before, strict=True):
                backend.fp32_precision = precision
