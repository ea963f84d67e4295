"""Walks every causal language model of the installed transformers and prints docs/families.md.

    python scripts/families/families.py > docs/families.md
    python scripts/families/families.py mixtral rwkv

Each model type is built small, with random weights, and seen as an audit sees a checkpoint: refused by
name, or accepted, and then the states of its ways of evaluation are compared in true float64.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import transformers

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.families import REFUSED, refuse_unless_decoder
from pytest_injectivity.models.verification import verify_view
from scripts.families.small_models import KINDS, small_config, small_model
from scripts.families.ways import float32_difference, furthest_ways, narrow_operations

TOLERANCE = 1e-9
Outcome = Literal["accepted", "refused", "not tried", "wrong"]

AS_DECODERS: Mapping[str, Any] = {"is_decoder": True}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one model type.

    Attributes:
        kind: the ``model_type``.
        setting: what its configuration says beside the sizes; empty: the library's default.
        outcome: accepted; refused by name; not tried, where no small model could be built; wrong, where
            it was accepted and should not have been.
        reason: of a refusal, of what was not tried, of what is wrong.
        prefix: how a prefix is continued.
        masks: candidates stand side by side under a mask.
        listed: in the table of families, rather than found by the rule.
        difference: the largest one between two ways of evaluation in true float64, relative.
        float32: of float32 states to those in true float64, relative.
    """

    kind: str
    setting: str = ""
    outcome: Outcome
    reason: str = ""
    prefix: str = ""
    masks: bool = False
    listed: bool = False
    difference: float = 0.0
    float32: float = 0.0


def walked(kinds: Iterable[str]) -> list[Row]:
    """The rows of model types; encoders that can be decoders are walked as both."""
    rows = []
    for kind in kinds:
        row = tried(kind)
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
        if "encoder-only" in row.reason:
            rows.append(tried(kind, AS_DECODERS))
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def tried(kind: str, settings: Mapping[str, Any] = {}) -> Row:
    """Builds a model type small and compares its ways of evaluation."""
    named = ", ".join(f"{name}={value}" for name, value in settings.items())
    row = Row(kind=kind, setting=named, outcome="not tried")
    if kind in REFUSED:  # some of them cannot be built small
        return replace(row, outcome="refused", reason=REFUSED[kind])
    try:
        config = small_config(kind, settings)
    except Exception as error:  # noqa: BLE001 - the library's, of any kind
        return replace(row, reason=_words(error))
    try:
        refuse_unless_decoder(config, kind)
    except ModelError as error:
        return replace(row, outcome="refused", reason=str(error))
    except Exception as error:  # noqa: BLE001 - whatever else is raised is wrong, and is listed
        return replace(row, outcome="wrong", reason=_words(error))
    try:
        model = small_model(config)
    except Exception as error:  # noqa: BLE001 - the library's, of any kind
        return replace(row, reason=_words(error))
    try:
        decoder = Decoder(kind, model)
        verify_view(decoder)
    except ModelError as error:
        return replace(row, outcome="refused", reason=str(error))
    except Exception as error:  # noqa: BLE001 - whatever else is raised is wrong, and is listed
        return replace(row, outcome="wrong", reason=_words(error))
    return _compared(decoder, row)


def _compared(decoder: Decoder, row: Row) -> Row:
    row = replace(
        row,
        prefix=decoder.family.prefix,
        masks=decoder.masks,
        listed=decoder.family.known,
    )
    try:
        wide = decoder.as_float64()
        narrow = narrow_operations(wide)
        ways = furthest_ways(wide)
        float32 = float32_difference(decoder, wide)
    except Exception as error:  # noqa: BLE001 - whatever is raised here is wrong, and is listed
        return replace(row, outcome="wrong", reason=_words(error))
    worst = next((w for w in ways if not w.difference <= TOLERANCE), ways[0])
    worst = max([worst, *ways], key=lambda way: way.difference)
    row = replace(row, difference=worst.difference, float32=float32, outcome="accepted")
    if any(not way.difference <= TOLERANCE for way in ways):
        words = ", ".join(f"{w.name} {w.difference:.1e} at {w.layer}" for w in ways)
        return replace(row, outcome="wrong", reason=words)
    if narrow:
        return replace(row, outcome="wrong", reason=f"narrower than float64: {', '.join(narrow)}")
    return row


def _words(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:200]


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    print(Counter(row.outcome for row in walked(sys.argv[1:] or KINDS)))
