"""Typed keys of a store's entries: everything that captured rows depend on. A key is complete or wrong.

Left out on purpose: thresholds (they judge numbers and change none), the layers (stored one by one) and
the number of threads (batches have canonical shapes, in which a row's bits do not depend on it).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_injectivity.core.number_keys import Key
from pytest_injectivity.quantization.grid import Rounded


@dataclass(frozen=True)
class LoadedKey(Key):
    """A checkpoint and how it is loaded, whatever dtype it computes in.

    Attributes:
        checkpoint: the hash of its files (`contents.checkpoint_hash`).
        quantization: what is done to its weights while they are loaded; None: nothing.
        machine: what computes (`provenance.machine`).
        device: where.
        libraries: the versions of the libraries (`provenance.libraries`).
        code: of the rooms that states depend on (`provenance.code`).
    """

    checkpoint: str
    quantization: str | None
    machine: tuple[str, ...]
    device: str
    libraries: tuple[str, ...]
    code: str


@dataclass(frozen=True)
class ModelKey(Key):
    """A model as it computes.

    Attributes:
        loaded: the checkpoint and how it is loaded.
        dtype: what the config asks for, such as ``auto``.
        activations: how activations are rounded as it runs; None: they are not.
    """

    loaded: LoadedKey
    dtype: str
    activations: Rounded | None = None


@dataclass(frozen=True)
class PromptsKey(Key):
    """A model on a prompt set.

    Attributes:
        model: the model.
        prompts: the hash of the prompts in their order (`in_order`): row i is prompt i.
        special_tokens: whether special tokens were added to the prompts.
        batch_tokens: the tokens of a batch.
    """

    model: ModelKey
    prompts: str
    special_tokens: bool
    batch_tokens: int


def in_order(hashes: Sequence[str]) -> str:
    """The hash of prompts in their order, from the hash of each."""
    return hashlib.sha256("".join(hashes).encode("ascii")).hexdigest()
