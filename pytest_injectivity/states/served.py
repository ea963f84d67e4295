"""States that a serving engine wrote: a file, or a folder of files of one layout.

Which layout it is (`layouts`) is recognized, or stated by ``states.json`` beside the files, which also
says what they do not: the layers, and what the engine computed and cached in. Ids are needed: what the
states are claimed to be is checked with the model before anything is judged (`faults`).
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from pytest_injectivity.core.layers import Layer, depth, layer_id
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.core.strict_json import build, read_object
from pytest_injectivity.core.text import number_of, one_line
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.facts import ModelFacts
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.quantization.stored_tensors import read_safetensors
from pytest_injectivity.states.external import ExternalStates
from pytest_injectivity.states.external_header import FILE_LIMITS, FileLimits
from pytest_injectivity.states.layouts.base import STATEMENT, FilePrompt, Layout, Reading, Stated
from pytest_injectivity.states.layouts.registry import LAYOUTS

_PICKLED = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".npy")
_COMPANIONS = (".lock",)  # vLLM's, empty
_LOOKED_AT = 16  # prompts whose values say what an engine computed in


@dataclass(frozen=True, eq=False)
class ServedStates:
    """The states of prompts at every position, at one or more layers, as an engine wrote them.

    Attributes:
        source: where they are from; shown in messages.
        layout: the name of the files' layout.
        files: how many there are.
        digest: of the contents of the files, and of what is stated of them.
        ids: of each prompt; no two prompts are alike.
        names: of each prompt, the name of its file.
        states: by layer, shallow first, those of each prompt, on the CPU; they may hold a NaN.
        duplicates: prompts left out because an earlier one has the same ids.
        claimed: the dtype that they are said to be computed in; None where nothing says it.
        kv_cache: the dtype that keys and values are said to be cached in; None: that of the states.
    """

    source: str
    layout: str
    files: int
    digest: str
    ids: tuple[tuple[int, ...], ...] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    states: Mapping[Layer, tuple[Float[Tensor, "_tokens width"], ...]] = field(repr=False)
    duplicates: int
    claimed: str | None
    kv_cache: str | None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that there are, shallow first."""
        return tuple(self.states)

    @property
    def dtype(self) -> str:
        """The dtype that the states are stored as, such as ``bfloat16``."""
        return str(self.states[self.layers[0]][0].dtype).removeprefix("torch.")

    @cached_property
    def computed(self) -> str:
        """The dtype that the engine computed in: as claimed, else the coarsest that has all values."""
        if self.claimed is not None:
            return self.claimed
        some = [one for rows in self.states.values() for one in rows[:_LOOKED_AT]]
        for dtype in (torch.bfloat16, torch.float16):
            if all(bool((one.to(dtype).to(one.dtype) == one).all()) for one in some):
                return str(dtype).removeprefix("torch.")
        return self.dtype

    @cached_property
    def prompts(self) -> PromptSet:
        """The prompts."""
        return PromptSet(self.source, self.ids, None, special_tokens=True)

    def last(self, layer: Layer) -> Float[Tensor, "prompts width"]:
        """The last-token state of each prompt at a layer."""
        return torch.stack([one[-1] for one in self.states[layer]])

    def at(self, layer: Layer) -> ExternalStates:
        """The states of one layer, to be inverted."""
        return ExternalStates(
            source=self.source,
            digest=f"{self.digest} {layer_id(layer)}",
            layer=layer,
            states=self.states[layer],
            ids=self.ids,
            observation_error=None,
        )

    @property
    def words(self) -> str:
        """What they are, as a sentence for a report."""
        dropped = f", {number_of(self.duplicates, 'duplicate')} dropped" if self.duplicates else ""
        said = f", computed in {self.computed}" if self.computed != self.dtype else ""
        cached = f", KV cache {self.kv_cache}" if self.kv_cache else ""
        return (
            f"captured elsewhere: {one_line(self.source)}, {number_of(self.files, 'file')} of layout"
            f" {self.layout}; N = {len(self.ids)}{dropped}, {self.dtype}{said}{cached}"
        )


def read_served(
    path: str | Path, facts: ModelFacts, *, limits: FileLimits = FILE_LIMITS
) -> ServedStates:
    """Reads what a serving engine wrote, for a model.

    Args:
        path: of a file, or of a folder of files of one layout.
        facts: of the model.
        limits: how many prompts and bytes may be read.

    Raises:
        OptionError: something is not accepted, or does not fit the model; names the file, the thing and
            what is accepted.
        MissingExtra: the layout needs a library that is not installed.
    """
    root = Path(path)
    try:
        files = _files(root, limits)
    except OSError as error:
        raise _refuse(root, f"it cannot be read: {one_line(error.strerror or '')}") from None
    statement = (root if root.is_dir() else root.parent) / STATEMENT
    stated = _stated(statement)
    layout = _layout(files, stated)
    reading = Reading(facts, stated, limits)
    found: dict[tuple[int, ...], tuple[str, FilePrompt]] = {}
    duplicates = 0
    for name, prompt in _prompts(files, layout, reading):
        duplicates += prompt.ids in found
        found.setdefault(prompt.ids, (name, prompt))
    prompts = [prompt for _, prompt in found.values()]
    layers = sorted(prompts[0].states, key=depth)
    _check_alike(files[0].parent, prompts, layers)
    dtype = str(prompts[0].states[layers[0]].dtype).removeprefix("torch.")
    return ServedStates(
        source=str(path),
        layout=layout.name,
        files=len(files),
        digest=_digest([*files, *([statement] if statement.is_file() else [])]),
        ids=tuple(found),
        names=tuple(name for name, _ in found.values()),
        states={layer: tuple(one.states[layer] for one in prompts) for layer in layers},
        duplicates=duplicates,
        claimed=stated.dtype or (dtype if layout.claims_dtype else None),
        kv_cache=stated.kv_cache_dtype,
    )


def is_served(path: str | Path) -> bool:
    """Whether states are named that `read_served` reads, rather than a file of `save_states`."""
    root = Path(path)
    if root.is_dir():
        return True
    named = [one for one in LAYOUTS if root.suffix in one.suffixes]
    if not named or not root.is_file():
        return False
    try:
        return _recognized(root).name != "own"
    except OptionError:
        return False


def _files(root: Path, limits: FileLimits) -> list[Path]:
    if not root.is_dir():
        found = [root]
        if not root.is_file():
            raise _refuse(root, "there is no such file or folder of states")
    else:
        found = sorted(
            one
            for one in root.iterdir()
            if not one.name.startswith(".")
            and one.name != STATEMENT
            and one.suffix not in _COMPANIONS
        )
    if not found:
        raise _refuse(root, f"it holds no file of states: {_accepted()} are accepted")
    if len(found) > limits.prompts:
        raise _refuse(root, f"{len(found):,} files: at most {limits.prompts:,} are accepted")
    for one in found:
        _check_suffix(one)
    return found


def _check_suffix(one: Path) -> None:
    if one.suffix in _PICKLED:
        raise _refuse(
            one,
            "it would be unpickled, which runs code: read it where it was written, with"
            " torch.load(..., weights_only=True), and write its tensors with"
            " safetensors.torch.save_file",
        )
    if one.suffix == ".zst":
        raise _refuse(one, "it is compressed: unpack it first (zstd -d)")
    if not one.is_file() or not any(one.suffix in layout.suffixes for layout in LAYOUTS):
        raise _refuse(one, f"it is no file of states: {_accepted()} are accepted")


def _accepted() -> str:
    return ", ".join(dict.fromkeys(suffix for one in LAYOUTS for suffix in one.suffixes))


def _stated(path: Path) -> Stated:
    if not path.is_file():
        return Stated()
    try:
        return build(Stated, read_object(path), "it")
    except OptionError as error:
        raise _refuse(path, one_line(str(error))) from None


def _layout(files: list[Path], stated: Stated) -> Layout:
    if stated.layout is not None:
        named = {one.name: one for one in LAYOUTS}
        if stated.layout not in named:
            raise _refuse(
                files[0].parent / STATEMENT,
                f"layout {one_line(repr(stated.layout))}: {', '.join(named)} are accepted",
            )
        chosen = named[stated.layout]
    else:
        chosen = _recognized(files[0])
    if others := [one for one in files if one.suffix not in chosen.suffixes]:
        raise _refuse(
            others[0], f"it is of another layout than {one_line(files[0].name)}: give files of one"
        )
    return chosen


def _recognized(path: Path) -> Layout:
    """The layout of a file, by its name's end and the names of its tensors."""
    named = [one for one in LAYOUTS if path.suffix in one.suffixes]
    if len(named) == 1:
        return named[0]
    try:
        tensors = read_safetensors(path).tensors.keys()
    except (SafetensorError, OSError) as error:
        raise _refuse(path, f"it is no complete safetensors file: {one_line(str(error))}") from None
    return next(one for one in named if one.tensors <= tensors)


def _prompts(
    files: list[Path], layout: Layout, reading: Reading
) -> Iterator[tuple[str, FilePrompt]]:
    for path in files:
        for prompt in layout.read(path, reading):
            yield path.name, prompt


def _check_alike(folder: Path, prompts: list[FilePrompt], layers: list[Layer]) -> None:
    """Refuse prompts of several sets of layers or of several dtypes."""
    if any(sorted(one.states, key=depth) != layers for one in prompts):
        raise _refuse(folder, "its files hold states of several layers: give all of each prompt")
    dtypes = {states.dtype for one in prompts for states in one.states.values()}
    if len(dtypes) > 1:
        raise _refuse(folder, f"states of {len(dtypes)} dtypes: give one")


def _digest(files: list[Path]) -> str:
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _refuse(path: Path, what: str) -> OptionError:
    return OptionError(f"{one_line(str(path))}: {what}")
