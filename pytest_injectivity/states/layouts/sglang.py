"""Responses of SGLang with ``return_hidden_states``: JSON, with the request's ``input_ids`` added.

``meta_info.hidden_states`` is a list: first the rows of the prompt, ``[tokens, width]``, then one row
``[width]`` for each token of the answer, which are left out. They are what the head multiplies, after
the final norm. A file holds one object, a list of them, or one a line.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pytest_injectivity.core.shapes import Float
from pytest_injectivity.core.text import number_of, one_line
from pytest_injectivity.states.layouts.base import FilePrompt, Layout, Reading, refusal

_LARGEST = 2**29
_NEEDED = "an object with input_ids, as requested, and meta_info, as answered, is accepted"


def read_sglang(path: Path, reading: Reading) -> Iterator[FilePrompt]:
    """The prompts of one file.

    Raises:
        OptionError: the file is not accepted.
    """
    layers = reading.layers(path, ("norm",))
    if len(layers) > 1:
        raise refusal(path, f"{len(layers)} layers are stated: the engine gives one, the last")
    for one in _objects(path):
        ids, rows = _ids(path, one), _rows(path, one)
        if len(rows) < len(ids):
            raise refusal(
                path,
                f"{number_of(len(rows), 'row')} for {number_of(len(ids), 'token id')}: what was cached"
                " is not computed again, so start the engine with --disable-radix-cache",
            )
        # Python's floats are those of a list before they are a tensor.
        reading.take(path, 4 * len(rows) * reading.facts.hidden_size)
        states = _tensor(path, rows)
        reading.check_axes(path, "hidden_states[0]", states.shape, tokens=len(ids), layers=None)
        yield reading.prompt(path, ids, {layers[0]: states})


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    size = path.stat().st_size
    if size > _LARGEST:
        raise refusal(
            path,
            f"{size:,} bytes of JSON: at most {_LARGEST:,} are accepted, so write several files",
        )
    try:
        text = path.read_text("utf-8")
        lines = [line for line in text.splitlines() if line.strip()]
        found = (
            [json.loads(line) for line in lines] if path.suffix == ".jsonl" else json.loads(text)
        )
    except OSError as error:
        raise refusal(path, f"it cannot be read: {one_line(error.strerror or '')}") from None
    except (ValueError, RecursionError) as error:
        raise refusal(path, f"it is no JSON: {one_line(str(error))}") from None
    for one in found if isinstance(found, list) else [found]:
        if not isinstance(one, dict) or not isinstance(one.get("meta_info"), dict):
            raise refusal(path, f"it holds {type(one).__name__} without meta_info: {_NEEDED}")
        yield one


def _ids(path: Path, one: dict[str, Any]) -> list[int]:
    ids = one.get("input_ids")
    if not isinstance(ids, list) or not ids or not all(type(token) is int for token in ids):
        raise refusal(path, f"there are no input_ids, a list of integers: {_NEEDED}")
    return ids


def _rows(path: Path, one: dict[str, Any]) -> list[Any]:
    """The rows of the prompt."""
    given = one["meta_info"].get("hidden_states")
    if not isinstance(given, list) or not given:
        raise refusal(
            path,
            "there are no meta_info.hidden_states: ask for them with return_hidden_states=True",
        )
    if not isinstance(given[0], list) or not given[0] or not isinstance(given[0][0], list):
        raise refusal(
            path,
            "meta_info.hidden_states hold the last token's row alone: tokens x width is accepted, which"
            " return_hidden_states=True gives",
        )
    return given[0]


def _tensor(path: Path, rows: list[Any]) -> Float[Tensor, "rows width"]:
    widths = {len(row) if isinstance(row, list) else -1 for row in rows}
    if len(widths) > 1:
        raise refusal(path, f"rows of {len(widths)} widths: give rows of one")
    try:
        return torch.tensor(rows, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise refusal(path, f"hidden_states hold no numbers: {one_line(str(error))}") from None


SGLANG = Layout(
    name="sglang",
    suffixes=(".json", ".jsonl"),
    tensors=frozenset(),
    read=read_sglang,
    words="responses of SGLang",
    claims_dtype=False,
)
