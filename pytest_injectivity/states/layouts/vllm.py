"""Files of vLLM's ``ExampleHiddenStatesConnector``, which speculators' offline data are too.

A safetensors file a request: ``token_ids [tokens]`` and ``hidden_states [tokens, layers, width]``, in
the dtype of the engine. Layer ``k`` is the residual stream after ``k`` blocks, so that the number of
blocks names the last one before the final norm. The file does not say which layers they are.
"""

from collections.abc import Iterator
from pathlib import Path

from pytest_injectivity.states.layouts.base import FilePrompt, Layout, Reading, by_layer
from pytest_injectivity.states.layouts.tensors import INTEGERS, STATES, opened, read_tensors

_NAMES = ("hidden_states", "token_ids")


def read_vllm(path: Path, reading: Reading) -> Iterator[FilePrompt]:
    """The prompt of one file.

    Raises:
        OptionError: the file is not accepted.
    """
    header = opened(path, reading, _NAMES)
    tokens = header.shape("token_ids", INTEGERS, 1)[0]
    layers = reading.layers(path)
    shape = header.shape("hidden_states", STATES, 3)
    reading.check_axes(path, "hidden_states", shape, tokens=tokens, layers=len(layers))
    found = read_tensors(path, header, _NAMES, reading)
    yield reading.prompt(
        path, found["token_ids"].tolist(), by_layer(layers, found["hidden_states"])
    )


VLLM = Layout(
    name="vllm",
    suffixes=(".safetensors",),
    tensors=frozenset(_NAMES),
    read=read_vllm,
    words="vLLM's hidden-states connector",
    claims_dtype=True,
)
