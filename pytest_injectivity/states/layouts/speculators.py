"""Samples of speculators' training: the layers of one prompt side by side.

A safetensors file a sample: ``input_ids [tokens]``, ``hidden_states [tokens, layers * width]`` and
``verifier_last_hidden_states [tokens, width]``, which is the last layer before the final norm; beside
them ``loss_mask``, ``lengths`` and ``position_ids``, which say nothing of the states and are not read.
"""

from collections.abc import Iterator
from pathlib import Path

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.text import number_of
from pytest_injectivity.states.layouts.base import FilePrompt, Layout, Reading, by_layer
from pytest_injectivity.states.layouts.tensors import INTEGERS, STATES, opened, read_tensors

_NAMES = ("hidden_states", "input_ids", "verifier_last_hidden_states")
_OTHERS = ("loss_mask", "lengths", "position_ids", "document_ids")


def read_speculators(path: Path, reading: Reading) -> Iterator[FilePrompt]:
    """The prompt of one file.

    Raises:
        OptionError: the file is not accepted.
    """
    header = opened(path, reading, (*_NAMES, *_OTHERS))
    if missing := [name for name in _NAMES if name not in header.tensors]:
        raise header.refuse(f"there is no tensor {missing[0]!r}: {', '.join(_NAMES)} are needed")
    facts = reading.facts
    tokens = header.shape("input_ids", INTEGERS, 1)[0]
    layers = reading.layers(path, usual_layers(facts.n_layers))
    if layers[-1] != facts.n_layers:
        raise header.refuse(
            f"layer {layers[-1]!r} is stated last: verifier_last_hidden_states are those of layer"
            f" {facts.n_layers}, so that it is accepted there"
        )
    shape = header.shape("hidden_states", STATES, 2)
    wanted = (tokens, (len(layers) - 1) * facts.hidden_size)
    if shape != wanted:
        turned = "transposed axes: " if shape == wanted[::-1] else ""
        raise header.refuse(
            f"{turned}hidden_states has shape {list(shape)}: {wanted[0]} x {wanted[1]} is accepted, for"
            f" {number_of(tokens, 'token id')} {number_of(len(layers) - 1, 'layer')} side by side, where"
            f" the model's states have width {facts.hidden_size}"
        )
    last = header.shape("verifier_last_hidden_states", STATES, 2)
    reading.check_axes(path, "verifier_last_hidden_states", last, tokens=tokens, layers=None)
    found = read_tensors(path, header, _NAMES, reading)
    states = by_layer(layers[:-1], found["hidden_states"].view(tokens, len(layers) - 1, -1))
    states[layers[-1]] = found["verifier_last_hidden_states"]
    yield reading.prompt(path, found["input_ids"].tolist(), states)


def usual_layers(n_layers: int) -> tuple[Layer, ...] | None:
    """The layers that speculators asks vLLM for where none are given; None of too few blocks."""
    found = (2, n_layers // 2, n_layers - 3, n_layers)
    return found if sorted({*found}) == list(found) else None


SPECULATORS = Layout(
    name="speculators",
    suffixes=(".safetensors",),
    tensors=frozenset({"hidden_states", "input_ids"}),
    read=read_speculators,
    words="a sample of speculators' training",
    claims_dtype=True,
)
