"""Reads and checks the header of a file of states, before any state is read (see `external`)."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.facts import ModelFacts
from pytest_injectivity.quantization.stored_tensors import StoredTensor, read_safetensors


@dataclass(frozen=True)
class FileLimits:
    """How large a file of states may be; what is read is held in memory.

    Attributes:
        prompts: how many.
        size: bytes of the file.
    """

    prompts: int = 10_000
    size: int = 2**33


FILE_LIMITS = FileLimits()

_LENGTH_BYTES = 8
_LONGEST_HEADER = 2**21  # 10,000 prompts' names, shapes and offsets, twice
STATES = ("F16", "BF16", "F32", "F64")
INTEGERS = ("I32", "I64")
_KNOWN_METADATA = frozenset(
    {"layer", "observation_error", "format"}
)  # the last is a habit of writers
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class Header:
    """The header of a file of states; its methods check what they return.

    Attributes:
        source: names the file in errors.
        tensors: by name, as the header has them.
        metadata: texts by name.
        limits: how large the file may be.
    """

    source: str
    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]
    limits: FileLimits = FILE_LIMITS

    def refuse(self, what: str) -> OptionError:
        """The error to raise for something that is not accepted."""
        return OptionError(f"{one_line(self.source)}: {what}")

    def shape(self, name: str, dtypes: tuple[str, ...], rank: int) -> tuple[int, ...]:
        """The shape of a tensor, of one of these dtypes and this many dimensions, none of them 0.

        Raises:
            OptionError: it is of another.
        """
        dtype, shape = self.tensors[name].dtype, self.tensors[name].shape
        if dtype not in dtypes:
            raise self.refuse(f"tensor {name!r} is {dtype}: {', '.join(dtypes)} are accepted")
        if len(shape) != rank or not all(shape):
            padded = "; padded states need a tensor 'lengths'" if len(shape) > rank else ""
            raise self.refuse(
                f"tensor {name!r} has shape {one_line(str(list(shape)))}: {rank} dimensions are"
                f" accepted, each at least 1{padded}"
            )
        return shape

    def numbered(self, name: str) -> list[str]:
        """``name.0``, ``name.1``, … without a gap; none where there are none."""
        count = sum(re.fullmatch(rf"{name}\.\d{{1,9}}", one) is not None for one in self.tensors)
        names = [f"{name}.{at}" for at in range(count)]
        if missing := [one for one in names if one not in self.tensors]:
            raise self.refuse(
                f"tensor {missing[0]!r} is missing: numbers count from 0 without a gap"
            )
        return names


def open_header(
    path: Path,
    source: str,
    limits: FileLimits = FILE_LIMITS,
    *,
    metadata: frozenset[str] | None = _KNOWN_METADATA,
) -> Header:
    """Reads the header of a file and checks what can be checked without the model.

    Args:
        path: of the file.
        source: names it in errors.
        limits: how large it may be.
        metadata: the names that are accepted there; None: any.

    Raises:
        OptionError: it cannot be read, is no safetensors file, or its metadata are not known.
    """
    empty = Header(source, {}, {})
    if path.exists() and not path.is_file():
        raise empty.refuse("it is no file: a safetensors file is accepted")
    try:
        with path.open("rb") as file:
            start = file.read(_LENGTH_BYTES)
        size = path.stat().st_size
        if start.startswith(_PICKLES):
            raise empty.refuse(
                "it would be unpickled, which runs code: a safetensors file is accepted"
                " (pytest_injectivity.save_states writes one)"
            )
        if size > limits.size:
            raise empty.refuse(f"{size:,} bytes of states: at most {limits.size:,} are accepted")
        if _LONGEST_HEADER < (length := int.from_bytes(start, "little")) < size:
            raise empty.refuse(
                f"a header of {length:,} bytes: at most {_LONGEST_HEADER:,} are accepted, which"
                f" {limits.prompts:,} prompts do not need"
            )
        read = read_safetensors(path)
    except OSError as error:
        raise empty.refuse(f"it cannot be read: {error.strerror or one_line(str(error))}") from None
    except SafetensorError as error:
        raise empty.refuse(f"it is no complete safetensors file: {one_line(str(error))}") from None
    if metadata is not None and (unknown := sorted(read.metadata.keys() - metadata)):
        raise empty.refuse(
            f"metadata {one_line(unknown[0])!r} are not known: layer and observation_error are accepted"
        )
    return Header(source, read.tensors, read.metadata, limits)


def layer_of(header: Header, facts: ModelFacts | None) -> Layer:
    """The layer that the states were captured at.

    Raises:
        OptionError: the metadata do not say, or the model has no such layer.
    """
    given = header.metadata.get("layer", "")
    deepest = "L" if facts is None else facts.n_layers
    if given == "norm":
        return "norm"
    if re.fullmatch(r"\d{1,6}", given, re.ASCII) and (
        facts is None or int(given) <= facts.n_layers
    ):
        return int(given)
    said = f"layer {one_line(given)!r} in its metadata" if given else "no layer in its metadata"
    raise header.refuse(f"{said}: 0 to {deepest} or norm is accepted")


def observation_error_of(header: Header) -> tuple[float, ...] | None:
    """The observation error at positions 0, 1, …, the last for all after; None where none is stated.

    Raises:
        OptionError: it is no number, nor a list of numbers, finite and at least 0.
    """
    given = header.metadata.get("observation_error")
    if given is None:
        return None
    try:
        read = json.loads(given)
    except (ValueError, RecursionError):
        read = None
    errors = read if isinstance(read, list) else [read]
    numbers = [one for one in errors if isinstance(one, (int, float)) and not isinstance(one, bool)]
    if not errors or numbers != errors or not all(0 <= one < math.inf for one in numbers):
        raise header.refuse(
            f"observation_error {one_line(given)!r} in its metadata: a finite number of at least 0 is"
            " accepted, or a list of them by position"
        )
    return tuple(float(one) for one in numbers)


def check_shapes(
    header: Header, names: list[str], ids: list[str], facts: ModelFacts | None, *, padded: bool
) -> None:
    """Refuses shapes and dtypes that do not go together or are not the model's.

    Args:
        header: of the file.
        names: the tensors of states.
        ids: those of ids, in the same order; none where there are none.
        facts: of the model; None: any model's.
        padded: ``states`` holds all prompts, and ``lengths`` says how long each is.

    Raises:
        OptionError: one is not accepted.
    """
    rank = 3 if padded else 2
    prompts = header.shape("states", STATES, 3)[0] if padded else len(names)
    if prompts > header.limits.prompts:
        raise header.refuse(f"{prompts} prompts: at most {header.limits.prompts} are accepted")
    widths, dtypes = set(), set()
    for name in names:
        *_, positions, hidden = header.shape(name, STATES, rank)
        widths.add(hidden)
        dtypes.add(header.tensors[name].dtype)
        if facts is not None and hidden != facts.hidden_size:
            raise header.refuse(
                f"tensor {name!r} has states of width {hidden}: the model's have {facts.hidden_size}"
            )
        if facts is not None and facts.context is not None and positions > facts.context:
            raise header.refuse(
                f"tensor {name!r} has {positions} positions: the model's context is {facts.context}"
            )
    if len(widths) > 1 or len(dtypes) > 1:
        raise header.refuse(f"states of {len(widths)} widths and {len(dtypes)} dtypes: give one")
    for one, name in zip(ids, names, strict=False):
        of_states = header.shape(name, STATES, rank)[:-1]
        shape = header.shape(one, INTEGERS, rank - 1)
        if shape != of_states:
            raise header.refuse(
                f"tensor {one!r} has {_shown(shape)} ids for {_shown(of_states)} positions:"
                " one a position is accepted"
            )
    if padded and header.shape("lengths", INTEGERS, 1) != (prompts,):
        raise header.refuse(f"tensor 'lengths' must have one integer for each of {prompts} prompts")


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
