"""Files of states as serving engines write them, made from small models, and faults planted in them.

`write` has a writer for each layout, `PLANTS` one function for each kind of fault: it changes what an
engine would have written, as the fault would have. The layouts are those of the engines' documentation.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.external import save_states


@dataclass(frozen=True)
class Written:
    """What an engine writes of one prompt.

    Attributes:
        ids: the token ids in the file.
        states: by the layer that is stated, tokens x width.
        dtype: of the values in the file.
        said: what ``states.json`` says beside the layers.
    """

    ids: tuple[int, ...]
    states: Mapping[Layer, Tensor]
    dtype: torch.dtype = torch.float32
    said: Mapping[str, str] = field(default_factory=dict)


def served(decoder: Decoder, ids: Sequence[int], layers: Sequence[Layer]) -> Written:
    """What an engine with the model's own kernels writes of a prompt."""
    return Written(tuple(ids), observe(decoder, ids, layers))


def in_dtype(decoder: Decoder, ids: Sequence[int], layers: Sequence[Layer], dtype: Any) -> Written:
    """What an engine that computes in another dtype writes."""
    return Written(tuple(ids), observe(cast_to(decoder, dtype), ids, layers), dtype)


@cache
def cast_to(decoder: Decoder, dtype: torch.dtype) -> Decoder:
    """A copy of a model that computes in another dtype."""
    return Decoder(decoder.source, copy.deepcopy(decoder.model).to(dtype), decoder.tokenizer)


def write(layout: str, path: Path, written: Written, *, state_layers: bool = True) -> Path:
    """Write what an engine wrote of one prompt, and ``states.json`` beside it.

    Args:
        layout: by its name in the registry.
        path: of the folder the files are written to; made.
        written: the prompt.
        state_layers: say in ``states.json`` which layers they are.
    """
    path.mkdir(parents=True, exist_ok=True)
    layers = list(written.states)
    stated = {**written.said, **({"layers": layers} if state_layers else {})}
    if stated and layout != "own":
        (path / "states.json").write_text(json.dumps(stated))
    whole = torch.stack(list(written.states.values()), dim=1).to(written.dtype)
    return WRITERS[layout](path, written, whole)


def _vllm(path: Path, written: Written, whole: Tensor) -> Path:
    file = path / "cmpl-0-0.safetensors"
    save_file({"hidden_states": whole.contiguous(), "token_ids": torch.tensor(written.ids)}, file)
    (path / f"{file.name}.lock").touch()
    return file


def _speculators(path: Path, written: Written, whole: Tensor) -> Path:
    file, tokens = path / "data_0.safetensors", len(written.ids)
    save_file(
        {
            "input_ids": torch.tensor(written.ids),
            "hidden_states": whole[:, :-1].flatten(1).contiguous(),
            "verifier_last_hidden_states": whole[:, -1].contiguous(),
            "loss_mask": torch.ones(tokens, dtype=torch.bool),
            "lengths": torch.tensor([tokens]),
            "position_ids": torch.arange(tokens),
        },
        file,
    )
    return file


def _sglang(path: Path, written: Written, whole: Tensor) -> Path:
    file, rows = path / "response-0.json", whole[:, -1].float().tolist()
    answer = {
        "text": "",
        "meta_info": {"prompt_tokens": len(written.ids), "hidden_states": [rows, rows[-1]]},
    }
    file.write_text(json.dumps({"input_ids": written.ids, **answer}))
    return file


def _npz(path: Path, written: Written, whole: Tensor) -> Path:
    file = path / "prompt-0.npz"
    states = whole.float().numpy() if whole.dtype == torch.bfloat16 else whole.numpy()
    np.savez(file, token_ids=np.array(written.ids), hidden_states=states)
    return file


def _parquet(path: Path, written: Written, whole: Tensor) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    file = path / "prompts.parquet"
    columns = {"token_ids": [list(written.ids)], "hidden_states": [whole.float().tolist()]}
    nested = pa.list_(pa.list_(pa.list_(pa.float32())))
    schema = pa.schema([("token_ids", pa.list_(pa.int64())), ("hidden_states", nested)])
    parquet.write_table(pa.table(columns, schema=schema), file)
    return file


def _own(path: Path, written: Written, whole: Tensor) -> Path:
    file, (layer, *_) = path / "states.safetensors", written.states
    save_states(file, whole[:, 0], layer, ids=[written.ids])
    return file


WRITERS: dict[str, Callable[[Path, Written, Tensor], Path]] = {
    "vllm": _vllm,
    "speculators": _speculators,
    "sglang": _sglang,
    "npz": _npz,
    "parquet": _parquet,
    "own": _own,
}


def layers_of(layout: str, decoder: Decoder) -> tuple[Layer, ...]:
    """The layers that a file of a layout holds here."""
    last = decoder.n_layers
    if layout == "sglang":
        return ("norm",)
    if layout == "own":
        return (last - 1,)
    return tuple(dict.fromkeys([1, last // 2, last - 1, last]))


def transposed(layout: str, path: Path, written: Written) -> Path:
    """Write a file whose axes of tokens and layers, or of tokens and width, are exchanged."""
    file = write(layout, path, written)
    whole = torch.stack(list(written.states.values()), dim=1).to(written.dtype)
    turned = whole.transpose(0, 1).contiguous()
    if layout == "vllm":
        save_file({"hidden_states": turned, "token_ids": torch.tensor(written.ids)}, file)
    elif layout == "npz":
        np.savez(file, token_ids=np.array(written.ids), hidden_states=turned.float().numpy())
    return file
