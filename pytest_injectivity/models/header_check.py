"""Compares a configuration with the headers of the weights files before anything is built.

SPEC section 8.
A configuration is a few lines of untrusted text. Built as it says, a model of 10^9 blocks or of a
vocabulary of 10^12 tokens would take the machine's time and memory before a missing tensor showed. The
headers say how many numbers there are, and cost kilobytes to read.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from math import prod
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.initialization import no_init_weights

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.families import listed_blocks
from pytest_injectivity.models.leftovers import refuse
from pytest_injectivity.models.towers import auto_class
from pytest_injectivity.quantization.library_calls import refusing
from pytest_injectivity.quantization.stored_tensors import StoredTensor

# Far above what is published (the deepest have some hundreds of blocks), far below what hurts.
_MOST_BLOCKS = 10_000
_MOST_EXPERTS = 100_000
_BLOCKS = {"num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers"}
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
"""The names that configurations have for the number of experts."""
_BLOCK = re.compile(r"(?:[A-Za-z_]+\.){0,4}(?:layers|h|blocks|blk|block)\.(\d+)\.")
_EXPERT = re.compile(r"\.experts\.(\d+)\.")
# Sixteen weights of two bits in a four-byte word are the most that a format packs.
_PACKED = 16
_BUFFERS = 2**30
_STACKED = 3


def refuse_impossible_sizes(config: Mapping[str, Any], source: str) -> None:
    """Refuses numbers of blocks and experts that no checkpoint has, before the library reads them.

    Args:
        config: as it stands in ``config.json``, or as a ``.gguf`` file's metadata says it.
        source: names it in messages.

    Raises:
        ModelError: a number is not an integer from 0 to the most accepted.
    """
    for name, value in _numbers(config):
        most = _MOST_BLOCKS if name in _BLOCKS else _MOST_EXPERTS
        if not 0 <= value <= most:
            raise ModelError(f"{source}: {name} {value} is not accepted: 0 to {most} are")


def refuse_unlike_header(
    config: PreTrainedConfig, tensors: Mapping[str, StoredTensor], source: str, *, packed: bool
) -> Any:
    """Refuses a configuration whose model cannot be what the files hold.

    Args:
        config: the configuration; it stays as it is.
        tensors: of all weights files, by name.
        source: names the checkpoint in messages.
        packed: the files may hold several weights in one number.

    Returns:
        The model that the configuration describes, without memory for its weights.

    Raises:
        ModelError: blocks, experts or numbers are fewer in the files than in the configuration, or
            tensors have other shapes than the parameters of their names.
    """
    refuse_missing_blocks(listed_blocks(config), tensors, source)
    _refuse_missing_experts(config, tensors, source)
    model = as_described(config, source)
    parameters = {name: tuple(one.shape) for name, one in model.named_parameters()}
    if not packed:
        others = [
            name
            for name, shape in parameters.items()
            if name in tensors and tensors[name].shape != shape
        ]
        refuse(source, "weights of another shape for", others)
    described = sum(map(prod, parameters.values()))
    held = sum(prod(tensor.shape) for tensor in tensors.values()) * (_PACKED if packed else 1)
    # Somewhat fewer are missing tensors, which are named once the library has read the files.
    if described > 2 * held:
        raise ModelError(
            f"{source}: its configuration describes {described:,} parameters, and its files hold at"
            f" most {held:,} numbers: a configuration of the same model is accepted"
        )
    tables = sum(one.nbytes for one in model.buffers())
    if tables > max(_BUFFERS, 4 * held):
        raise ModelError(
            f"{source}: its configuration describes tables of {tables:,} bytes beside the weights: a"
            f" configuration with at most {_BUFFERS:,} is accepted"
        )
    return model


def refuse_missing_blocks(n_layers: int, tensors: Mapping[str, Any], source: str) -> None:
    """Refuses more blocks than the files hold tensors of.

    Args:
        n_layers: the blocks that the configuration names.
        tensors: of all weights files, by name.
        source: names the checkpoint in messages.

    Raises:
        ModelError: there are fewer.
    """
    numbered = [int(found[1]) for name in tensors if (found := _BLOCK.match(name))]
    held = max(numbered) + 1 if numbered else len(tensors)
    if n_layers > held:
        raise ModelError(
            f"{source}: its configuration names {n_layers} blocks, and its files hold weights for"
            f" {held}: no weights for the others"
        )


def as_described(config: PreTrainedConfig, source: str) -> Any:
    """The model that a configuration describes, without memory for its weights; it stays as it is.

    Building it takes a quarter of the loading of a small model, and a child has its parent's
    configuration: the last one is kept.

    Raises:
        ModelError: the library cannot build it.
    """
    built, key = _last_built(), (type(config), json.dumps(config.to_dict(), default=str))
    if key not in built:
        built.clear()
        made: Any = auto_class(config).from_config
        # Drawing weights takes half of the time, without memory too; tying is done in the same step.
        with refusing(f"{source} cannot be loaded"), torch.device("meta"):
            with no_init_weights():
                built[key] = made(copy.deepcopy(config))
            built[key].tie_weights(recompute_mapping=False)
    return built[key]


@cache
def _last_built() -> dict[tuple[type, str], Any]:
    return {}


def _refuse_missing_experts(
    config: PreTrainedConfig, tensors: Mapping[str, StoredTensor], source: str
) -> None:
    numbered = [int(found[1]) + 1 for name in tensors if (found := _EXPERT.search(name))]
    stacked = [one.shape[0] for one in tensors.values() if len(one.shape) >= _STACKED]
    held = max([len(tensors), *numbered, *stacked])
    named = dict(_numbers(config.get_text_config().to_dict()))
    experts = max((value for name, value in named.items() if name in EXPERTS), default=0)
    if experts > held:
        raise ModelError(
            f"{source}: its configuration names {experts} experts, and its files hold weights for at"
            f" most {held}"
        )


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The numbers of blocks and experts in a configuration and in the parts of it."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _numbers(value)
        elif (name in _BLOCKS or name in EXPERTS) and isinstance(value, int):
            yield name, value
