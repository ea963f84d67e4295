"""Reads and writes states captured elsewhere: a safetensors file with metadata.

Tensors, in one of three layouts:

- ``states`` ``(positions, hidden)``: one prompt;
- ``states.0``, ``states.1``, … ``(positions, hidden)`` each: prompts of any lengths;
- ``states`` ``(prompts, positions, hidden)`` with ``lengths`` ``(prompts,)``: padded at the end.

They are float16, bfloat16, float32 or float64, at every position of a prompt from the first on, special
tokens included, in the model's own units. Token ids to judge a recovery by may stand beside them in the
same layout: ``ids``, ``ids.0``, …; integers; of all prompts or of none.

Metadata, texts as the format has them:

- ``layer``: ``0`` (embeddings), ``1`` to ``L`` (after a block, before the final norm) or ``norm``;
- ``observation_error``, optional: how far a state may lie from what the model would give, as Euclidean
  distance in the states' units: a number, or ``[first, second, …]`` by position, the last for all after.

Nothing else may stand there, so that no misspelt name is passed over. `save_states` writes such a file.
The header is checked before any state is read, nothing is ever unpickled, and what does not fit the
model is refused. The file is as sensitive as the prompts: `save_states` lets only its owner read it.
"""

import hashlib
import json
import math
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.shapes import Float
from pytest_injectivity.core.text import one_line
from pytest_injectivity.models.facts import ModelFacts
from pytest_injectivity.states.external_header import (
    FILE_LIMITS,
    FileLimits,
    Header,
    check_shapes,
    layer_of,
    observation_error_of,
    open_header,
)


@dataclass(frozen=True, eq=False)
class ExternalStates:
    """The states of prompts at every position, at one layer of a model, as read from a file.

    Attributes:
        source: where they are from; shown in messages.
        digest: SHA-256 of the file.
        layer: where they were captured.
        states: of each prompt, in the file's dtype, on the CPU; they may hold a NaN.
        ids: of each prompt, to judge by; None where the file has none.
        observation_error: at positions 0, 1, …, the last for all after; None where it is not given.
    """

    source: str
    digest: str
    layer: Layer
    states: tuple[Float[Tensor, "_positions hidden"], ...] = field(repr=False)
    ids: tuple[tuple[int, ...], ...] | None = field(repr=False)
    observation_error: tuple[float, ...] | None

    @property
    def dtype(self) -> str:
        """The dtype of the states, such as ``bfloat16``."""
        return str(self.states[0].dtype).removeprefix("torch.")

    @property
    def finite(self) -> tuple[bool, ...]:
        """For each prompt, whether all its states are finite."""
        return tuple(bool(one.isfinite().all()) for one in self.states)


def save_states(
    path: str | Path,
    states: Sequence[Tensor] | Tensor,
    layer: Layer,
    *,
    ids: Sequence[Sequence[int]] | None = None,
    observation_error: float | Sequence[float] | None = None,
) -> None:
    """Writes hidden states to a file that an audit can read (``--injx-states``).

    The file is written whole or not at all, and only its owner may read it: states give prompts back.

    Args:
        path: of the file; one that is there is replaced.
        states: for each prompt ``(positions, hidden)``, or the tensor of the only prompt. All have one
            dtype: float16, bfloat16, float32 or float64.
        layer: where they were captured: 0 (embeddings) to L, or ``"norm"``.
        ids: the token ids of each prompt, to judge a recovery by.
        observation_error: how far a state may lie from what the model would give, as Euclidean distance
            in the states' units: one number, or one for each position, the last for all after.

    Raises:
        OptionError: something would not be accepted by `read_states`.
        OSError: the file cannot be written.

    >>> import tempfile, torch
    >>> path = Path(tempfile.mkdtemp()) / "states.safetensors"
    >>> save_states(path, torch.randn(3, 8), layer=4, ids=[[5, 1, 2]], observation_error=1e-3)
    >>> path.stat().st_size > 0
    True
    """
    prompts = [states] if isinstance(states, Tensor) else list(states)
    tensors = {f"states.{at}": one.detach().cpu().clone() for at, one in enumerate(prompts)}
    for at, row in enumerate(ids or ()):
        tensors[f"ids.{at}"] = torch.tensor(list(row), dtype=torch.long)
    metadata = {"layer": str(layer)}
    if observation_error is not None:
        given = observation_error
        errors = list(map(float, given)) if isinstance(given, Sequence) else float(given)
        metadata["observation_error"] = json.dumps(errors)
    content = save(tensors, metadata)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
        ) as file:
            file.write(content)
        _read(temporary, str(path), None)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_states(
    path: str | Path, facts: ModelFacts, *, limits: FileLimits = FILE_LIMITS
) -> ExternalStates:
    """Reads a file of states for a model.

    Args:
        path: of the file.
        facts: of the model they are to be inverted with.
        limits: how large the file may be.

    Raises:
        OptionError: it is no such file, or does not fit the model; names the file, the thing and
            what is accepted.
    """
    return _read(Path(path), str(path), facts, limits)


def _read(
    path: Path, source: str, facts: ModelFacts | None, limits: FileLimits = FILE_LIMITS
) -> ExternalStates:
    header = open_header(path, source, limits)
    layer, error = layer_of(header, facts), observation_error_of(header)
    names = header.numbered("states") or ["states"]
    if names[0] not in header.tensors:
        raise header.refuse("there is no tensor 'states', nor 'states.0'")
    ids = [
        one for one in (name.replace("states", "ids") for name in names) if one in header.tensors
    ]
    if ids and len(ids) < len(names):
        raise header.refuse(
            f"ids of {len(ids)} of {len(names)} prompts: give those of all or of none"
        )
    padded = "lengths" in header.tensors
    lengths = ["lengths"] if padded else []
    if unknown := sorted(header.tensors.keys() - {*names, *ids, *lengths}):
        raise header.refuse(
            f"tensor {one_line(unknown[0])!r} is not known: states, ids and, of padded states, lengths"
            " are accepted"
        )
    check_shapes(header, names, ids, facts, padded=padded)
    wanted = [*names, *ids, *lengths]
    found = _tensors(path, header, wanted)
    if padded:
        used = _lengths(header, found["lengths"], found["states"].shape[1])
        for name in ("states", *ids):
            for at, (rows, length) in enumerate(zip(found[name], used, strict=True)):
                found[f"{name}.{at}"] = rows[:length].clone()
        names = [f"states.{at}" for at in range(len(used))]
        ids = [f"ids.{at}" for at in range(len(used))] if ids else []
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ExternalStates(
        source=source,
        digest=digest,
        layer=layer,
        states=tuple(found[name] for name in names),
        ids=_ids(header, [found[name] for name in ids], facts) if ids else None,
        observation_error=error,
    )


def _tensors(path: Path, header: Header, names: list[str]) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise header.refuse(f"it is no safetensors file: {one_line(str(error))}") from None


def _lengths(header: Header, lengths: Tensor, positions: int) -> list[int]:
    found: list[int] = lengths.tolist()
    if wrong := [one for one in found if not 1 <= one <= positions]:
        raise header.refuse(f"a length of {wrong[0]}: 1 to {positions} is accepted")
    return found


def _ids(
    header: Header, found: list[Tensor], facts: ModelFacts | None
) -> tuple[tuple[int, ...], ...]:
    ids = tuple(tuple(one.tolist()) for one in found)
    highest = math.inf if facts is None else facts.vocab_size
    if wrong := [one for row in ids for one in row if not 0 <= one < highest]:
        accepted = "at least 0" if facts is None else f"0 to {facts.vocab_size - 1}"
        raise header.refuse(f"token id {wrong[0]}: {accepted} is accepted")
    return ids
