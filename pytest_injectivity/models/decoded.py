"""Loads a quantized checkpoint as a plain model of the weights that its codes and scales stand for.

Matrices are decoded one by one and given to the library under the names of the parameters that they
fill. The library renames, merges experts and fills as it does for a checkpoint in full precision.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from pytest_injectivity.core.tower_names import TOWERS
from pytest_injectivity.models.filling import Lazy, filled_model
from pytest_injectivity.models.leftovers import refuse
from pytest_injectivity.quantization.decoding.decoding import Decoding
from pytest_injectivity.quantization.formats.registry import is_codes


def load_decoded_model(
    source: str,
    config: PreTrainedConfig,
    described: Any,
    dtype: str | torch.dtype,
    decoding: Decoding,
    **placed: Any,
) -> Any:
    """The model of decoded weights, every tensor of the files taken and every parameter filled.

    Args:
        source: what the user named.
        config: the configuration, which says nothing of a quantization any more.
        described: the model of the configuration, without memory for its weights; it stays as it is.
        dtype: of the parameters; ``"auto"``: the configuration's.
        decoding: the matrices that are decoded.
        placed: what else the library is asked for (`placement`).

    Raises:
        ModelError: a tensor is left over, a parameter is not filled, or the library cannot load it.
    """
    # Merged and renamed, they would be taken for numbers. Tables of indices are of 64 bits.
    codes = (
        name
        for name, tensor in decoding.headers.items()
        if is_codes(name, tensor) and tensor.dtype != "I64" and not TOWERS.match(name)
    )
    refuse(source, "codes of a quantization where the model has numbers:", codes)
    wanted = (config.dtype or torch.float32) if isinstance(dtype, str) else dtype
    matrices = {one.name: one for one in decoding.matrices}
    read = decoding.stored.read

    def tensor(name: str) -> Tensor:
        return matrices[name].values(read).to(wanted) if name in matrices else read(name)

    state = {name: Lazy(partial(tensor, name)) for name in decoding.headers}
    return filled_model(source, config, described, state, wanted, **placed)
