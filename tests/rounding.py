"""Audits of models that round their activations as they run."""

import random
from pathlib import Path
from typing import Any

from pytest_injectivity import Audit
from pytest_injectivity.testing import tiny_decoder
from tests.audits import audit_of


def drawn_prompts(count: int = 30, shortest: int = 3, seed: int = 0) -> list[list[int]]:
    """Prompts of random tokens and of ten different lengths."""
    drawn = random.Random(seed)  # noqa: S311 - a few prompts
    lengths = [drawn.randint(shortest, shortest + 9) for _ in range(count)]
    return [[drawn.randrange(64) for _ in range(length)] for length in lengths]


def rounding_audit(folder: Path, grid: Any, ids: Any = None, **config: Any) -> Audit:
    """An audit of a model that rounds its activations to a grid; None: that does not."""
    decoder = config.pop("decoder", None) or tiny_decoder("llama")
    return audit_of(folder, decoder, ids or drawn_prompts(), activation_bits=grid, **config)
