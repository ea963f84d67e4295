"""A digest of the weights of a loaded model, whatever files, shards and configuration they come from."""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch

from pytest_injectivity.quantization.stored_tensors import Read


@dataclass(frozen=True)
class WeightDigest:
    """The digest of the names, dtypes, shapes and bytes of a model's tensors.

    A bias of zeros is left out: a model with it is the one without.

    Attributes:
        text: in hexadecimal.
    """

    text: str

    @classmethod
    def of(
        cls,
        model: Any,
        *,
        sample: int | None = None,
        rows: int | None = None,
        stored: Read | None = None,
    ) -> "WeightDigest":
        """Compute the digest of a model.

        Args:
            model: loaded, its weights plain tensors.
            sample: read about so many numbers of each tensor, evenly spaced; None: all.
            rows: of tensors with a row for each token, the first rows alone; None: all.
            stored: reads the weights that are on disk, by name.

        Example:
            >>> from pytest_injectivity.testing import tiny_decoder
            >>> digests = [WeightDigest.of(tiny_decoder(seed=seed).model) for seed in (0, 0, 1)]
            >>> digests[0] == digests[1], digests[0] == digests[2]
            (True, False)
        """
        digest = hashlib.blake2b(digest_size=16)
        # Tied tensors count by each name, so that a head of its own with equal numbers is no other one.
        tokens = getattr(model.config.get_text_config(), "vocab_size", None)
        for name, held in sorted(model.state_dict().items()):
            whole = stored(name) if stored is not None and held.is_meta else held
            if name.endswith("bias") and not whole.any():
                continue
            tensor = whole[:rows] if whole.ndim and len(whole) == tokens else whole
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
            flat = tensor.detach().reshape(-1)
            step = 1 if sample is None else max(1, flat.numel() // sample)
            read: Any = flat[::step].contiguous().view(torch.uint8).cpu().numpy()
            digest.update(read)
        return cls(digest.hexdigest())
