"""Fills a model from the tensors of a ``.gguf`` file.

Each tensor is made dense at once, put into the library's order of rows by the library's own processors,
and given to the parameter that its name stands for (``gguf``'s table of names). The library's loader
does the same, but builds that table once a module, which takes longer than all else together. A tensor
whose name stands for no parameter is refused; the library drops it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedConfig

from pytest_injectivity.models.filling import Lazy, filled_model
from pytest_injectivity.models.gguf.rotary import FACTORS
from pytest_injectivity.models.gguf.second_scales import scales_of_inputs, second_scales, whole
from pytest_injectivity.models.leftovers import Loaded, refuse, refuse_leftovers
from pytest_injectivity.quantization.gguf_header import GgufHeader
from pytest_injectivity.quantization.gguf_values import dense
from pytest_injectivity.quantization.library_calls import refusing

State = dict[str, Tensor]

_BLOCK = re.compile(r"^(blk\.\d+)\..*|.*")


def load_gguf_model(
    header: GgufHeader, config: PreTrainedConfig, described: Any, dtype: torch.dtype, **placed: Any
) -> Any:
    """The model of a file, every tensor of it taken and every parameter filled.

    Args:
        header: the file's.
        config: as `read_gguf_config` gives it.
        described: the model of the configuration, without memory for its weights; it stays as it is.
        dtype: of the parameters.
        placed: what else the library is asked for (`placement`); the tensors of one block are then
            made dense at a time.

    Raises:
        ModelError: a tensor is left over, a parameter is not filled, or the library cannot load it.
    """
    if _by_library(header):
        return _whole(header, config, described, dtype, **placed)
    source = str(header.path)
    with refusing(f"{source} cannot be loaded"):
        names = parameter_names(header, described)
        scales = second_scales(header)
    beside = {*FACTORS, *scales.values(), *scales_of_inputs(header)}
    refuse(
        source,
        "tensors that no parameter of the model takes:",
        set(header.tensors) - set(names) - beside,
    )
    if placed:
        lazy = _by_block(names, lambda some: dense_state(header, some, config, dtype))
        return filled_model(source, config, described, lazy, dtype, **placed)
    with refusing(f"{source} cannot be loaded"):
        state = dense_state(header, names, config, dtype)
    return filled_model(source, config, described, state, dtype)


def parameter_names(header: GgufHeader, described: Any) -> dict[str, str]:
    """The parameter that each tensor of a file stands for, by the tensor's name.

    Args:
        header: the file's.
        described: the model.

    Raises:
        ValueError: the library gguf does not know the architecture.
    """
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor

    known = {name: arch for arch, name in MODEL_ARCH_NAMES.items()}
    if header.architecture not in known:
        raise ValueError(f"the library gguf knows no architecture {header.architecture!r}")
    table = get_tensor_name_map(
        known[header.architecture], described.config.get_text_config().num_hidden_layers
    )
    made: Any = TENSOR_PROCESSORS.get(header.architecture, TensorProcessor)
    found: dict[str, str] = {}
    for start, name in _named(described):
        short = made().preprocess_name(name)
        stem, dot, end = short.rpartition(".")
        suffix = f"{dot}{end}" if end in {"weight", "bias"} else ""
        stem = stem if suffix else short
        target = table.get_name(stem)
        if target is None:
            more: dict[str, str] = {}
            made().perform_fallback_tensor_mapping(more, suffix, start, short)
            for one, whole in more.items():
                found.setdefault(one, whole)
        else:
            found.setdefault(target + suffix, start + short)
    return {name: found[name] for name in header.tensors if name in found}


def dense_state(
    header: GgufHeader, names: Mapping[str, str], config: PreTrainedConfig, dtype: torch.dtype
) -> State:
    """The tensors of a file in float, by the parameters they stand for.

    Args:
        header: the file's.
        names: as `parameter_names` gives them.
        config: the model's.
        dtype: of the result.

    Raises:
        ValueError: a tensor holds integers, or a type that is not decoded.
    """
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor

    processor: Any = TENSOR_PROCESSORS.get(header.architecture, TensorProcessor)
    process = processor(config=config.get_text_config().to_dict()).process
    scales = second_scales(header)
    stacked: dict[str, State] = {"tensors": {}}
    # Experts are found under the name without its end.
    stems = {name.removesuffix(".weight"): target for name, target in names.items()}
    mapping = {**stems, **names}
    blob = np.memmap(header.path, np.uint8, "r")
    state: State = {}
    for name, target in names.items():
        found = process(
            weights=whole(blob, header, name, scales),
            name=name,
            tensor_key_mapping=mapping,
            parsed_parameters=stacked,
        )
        # Processors that merge several tensors into one keep it themselves.
        if found.name is not None:
            values = np.require(found.weights, requirements=["C", "W"])
            state[target] = torch.from_numpy(values).to(dtype)
    return state | {name: tensor.to(dtype) for name, tensor in stacked["tensors"].items()}


def _by_block(
    names: Mapping[str, str], dense: Callable[[Mapping[str, str]], State]
) -> dict[str, Lazy]:
    """The tensors of a file, of which those of one block are in memory at a time.

    Args:
        names: as `parameter_names` gives them.
        dense: makes some of the tensors dense.
    """
    blocks: dict[str, dict[str, str]] = {}
    for name, target in names.items():
        blocks.setdefault(_BLOCK.sub(r"\1", name), {})[name] = target

    @lru_cache(maxsize=1)
    def of_block(block: str) -> State:
        return dense(blocks[block])

    return {
        target: Lazy(partial(lambda one, name: of_block(one)[name], block, target))
        for block, some in blocks.items()
        for target in some.values()
    }


def _by_library(header: GgufHeader) -> bool:
    """Whether the library loads the architecture by its newer way, which reports what it drops."""
    try:
        from transformers.integrations.gguf.utils import is_gguf_arch_supported
    except ImportError:
        return False
    return bool(is_gguf_arch_supported(header.architecture))


def _whole(
    header: GgufHeader, config: PreTrainedConfig, described: Any, dtype: torch.dtype, **placed: Any
) -> Any:
    """The model, loaded by the library."""
    source = str(header.path)
    loader: Any = AutoModelForCausalLM.from_pretrained
    with refusing(f"{source} cannot be loaded"):
        model, info = loader(
            header.path.parent,
            gguf_file=header.path.name,
            config=config,
            dtype=dtype,
            quantization_config=GgufConfig(dequantize=True),
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **placed,
        )

    def read(name: str) -> Tensor:
        values = dense(np.memmap(header.path, np.uint8, "r"), header.tensors[name])
        return torch.from_numpy(np.array(values))

    refuse_leftovers(Loaded.of(source, model, described, info), (), read)
    return model


def _named(model: nn.Module, start: str = "") -> Iterator[tuple[str, str]]:
    """Every parameter and buffer that is saved, by its name in the model and in each part it is in.

    Yields:
        The beginning that the part's name adds, and the name within the part; the whole model first.
    """
    for name in model.state_dict():
        yield start, name
    for child, module in model.named_children():
        yield from _named(module, f"{start}{child}.")
