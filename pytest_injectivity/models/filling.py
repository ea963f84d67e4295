"""Fills the model of a configuration from tensors that are at hand, every one of them taken."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from pytest_injectivity.models.leftovers import Loaded, refuse_leftovers
from pytest_injectivity.quantization.library_calls import refusing


class Lazy:
    """A tensor that is computed when the library takes it, and not kept.

    Args:
        compute: computes it.
    """

    def __init__(self, compute: Callable[[], Tensor]) -> None:
        self._compute = compute

    def __getitem__(self, part: Any) -> Tensor:
        """The library reads a tensor of a file by taking a part of it, in most cases all."""
        # The library writes no views.
        return self._compute()[part].contiguous()


def filled_model(
    source: str,
    config: PreTrainedConfig,
    described: Any,
    state: Mapping[str, Lazy | Tensor],
    dtype: str | torch.dtype,
    **placed: Any,
) -> Any:
    """The model, renamed, merged and filled by the library as from a checkpoint in full precision.

    Args:
        source: what the user named.
        config: the configuration.
        described: the model of the configuration, without memory for its weights; it stays as it is.
        state: the tensors, by the names of a checkpoint in full precision.
        dtype: of the parameters.
        placed: what else the library is asked for (`placement`).

    Raises:
        ModelError: a tensor is left over, a parameter is not filled, or the library cannot load it.
    """
    loader: Any = type(described).from_pretrained
    with refusing(f"{source} cannot be loaded"):
        model, info = loader(
            None,
            config=config,
            state_dict=dict(state),
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, with their names
            **placed,
        )
    refuse_leftovers(
        Loaded.of(source, model, described, info), state, lambda name: state[name][...]
    )
    return model
