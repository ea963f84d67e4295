"""The model's states behind a cache of keys and values that is rounded to another dtype."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.shapes import Float64
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import Prefix

_DTYPES = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "fp8": torch.float8_e4m3fn,
    "fp8_e4m3": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}

_Cache: Any = DynamicCache  # carries no annotations


class RoundedCache(_Cache):  # type: ignore[misc] # an Any
    """A cache that rounds keys and values before it keeps them; the pass attends to what is kept.

    Values beyond the dtype's range are cut to it. Scales are 1, as engines have them where no others
    were calibrated.
    """

    def __init__(self, config: Any, dtype: str) -> None:
        super().__init__(config=config)
        self.rounded_to = _DTYPES[dtype]

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Keep rounded keys and values, and return all that is kept."""
        return super().update(self._rounded(keys), self._rounded(values), *args, **kwargs)

    def _rounded(self, one: Tensor) -> Tensor:
        most = torch.finfo(self.rounded_to).max
        return one.clamp(-most, most).to(self.rounded_to).to(one.dtype)


def states_behind_cache(
    decoder: Decoder, ids: Sequence[int], layers: Sequence[Layer], dtype: str
) -> dict[Layer, Float64[Tensor, "tokens width"]] | None:
    """The states of a prompt whose keys and values are rounded as they are cached.

    Args:
        decoder: the model.
        ids: the prompt.
        layers: those wanted.
        dtype: what the cache is rounded to.

    Returns:
        In float64 on the CPU; None where the model caches no keys and values.
    """
    if decoder.family.prefix == "recompute":
        return None
    # The blocks cache nothing where layer 0 alone is asked for.
    deepest = max([*layers, 1], key=depth)
    none = torch.empty(0, dtype=torch.long, device=decoder.device)
    cache = RoundedCache(decoder.parts.base.config, dtype)
    wanted = list(dict.fromkeys([*layers, deepest]))
    found = decoder.states(
        torch.tensor([list(ids)], dtype=torch.long), wanted, prefix=Prefix(none, deepest, cache)
    )
    return {layer: found[layer][0].cpu().double() for layer in layers}
