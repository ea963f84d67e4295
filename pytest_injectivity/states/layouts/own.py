"""Files of `save_states`: this package's own layout, one layer a file, with the ids of the prompts."""

from collections.abc import Iterator
from pathlib import Path

from pytest_injectivity.states.external import read_states
from pytest_injectivity.states.layouts.base import FilePrompt, Layout, Reading, refusal


def read_own(path: Path, reading: Reading) -> Iterator[FilePrompt]:
    """The prompts of one file.

    Raises:
        OptionError: the file is not accepted, or holds no ids.
    """
    found = read_states(path, reading.facts, limits=reading.limits)
    reading.take(path, sum(one.nbytes for one in found.states))
    if found.ids is None:
        raise refusal(
            path, "there are no ids: what states are of is checked with those of all prompts"
        )
    for ids, states in zip(found.ids, found.states, strict=True):
        yield reading.prompt(path, ids, {found.layer: states})


OWN = Layout(
    name="own",
    suffixes=(".safetensors",),
    tensors=frozenset(),
    read=read_own,
    words="a file of save_states",
    claims_dtype=True,
)
