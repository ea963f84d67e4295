"""Sees every causal language model of the installed transformers as an audit sees a checkpoint.

Each model type is built small, with random weights. It is refused by name, or accepted, and then the
states of its ways of evaluation are compared in true float64.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isnan
from typing import Any, Literal

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.families import REFUSED, refuse_unless_decoder
from pytest_injectivity.models.verification import verify_view
from scripts.families.small_models import small_config, small_model
from scripts.families.ways import float32_difference, furthest_ways, narrow_operations

TOLERANCE = 1e-9
Outcome = Literal["accepted", "refused", "not tried", "wrong"]

# What a model type is refused for whose default is an encoder, and which can be a decoder.
_NO_DECODERS = ("encoder-only", "depends on tokens that follow")
AS_DECODER: Mapping[str, Any] = {"is_decoder": True}


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


def walked(kinds: Iterable[str]) -> Iterator[Row]:
    """The rows of model types; encoders that can be decoders are walked as both."""
    for kind in kinds:
        row = tried(kind)
        yield row
        if any(words in row.reason for words in _NO_DECODERS):
            yield tried(kind, AS_DECODER)


def tried(kind: str, settings: Mapping[str, Any] = {}) -> Row:
    """Builds a model type small and compares its ways of evaluation."""
    named = ", ".join(f"{name}={value}" for name, value in settings.items())
    row = Row(kind=kind, setting=named, outcome="not tried")
    if kind in REFUSED:  # some of them cannot be built small
        return replace(row, outcome="refused", reason=REFUSED[kind])
    try:
        config = small_config(kind, settings)
        refuse_unless_decoder(config, kind)
        model = small_model(config)
    except ModelError as error:
        return replace(row, outcome="refused", reason=_refusal(error, kind))
    except Exception as error:  # noqa: BLE001 - the library's, of any kind
        return replace(row, reason=_words(error))
    return _seen(model, row)


def _seen(model: Any, row: Row) -> Row:
    try:
        decoder = Decoder(row.kind, model)
        verify_view(decoder)
        return _compared(decoder, row)
    except ModelError as error:
        return replace(row, outcome="refused", reason=_refusal(error, row.kind))
    except Exception as error:  # noqa: BLE001 - whatever else is raised is wrong, and is listed
        return replace(row, outcome="wrong", reason=_words(error))


def _compared(decoder: Decoder, row: Row) -> Row:
    wide = decoder.as_float64()
    narrow, ways = narrow_operations(wide), furthest_ways(wide)
    row = replace(
        row,
        prefix=decoder.family.prefix,
        masks=decoder.masks,
        listed=decoder.family.known,
        difference=max((way.difference for way in ways), key=lambda one: (isnan(one), one)),
        float32=float32_difference(decoder, wide),
    )
    if not row.difference <= TOLERANCE:
        words = ", ".join(f"{way.name} {way.difference:.1e} at {way.layer}" for way in ways)
        return replace(row, outcome="wrong", reason=words)
    if narrow:
        words = ", ".join(narrow)
        return replace(row, outcome="wrong", reason=f"narrower than float64: {words}")
    return replace(row, outcome="accepted")


def _refusal(error: ModelError, kind: str) -> str:
    """The reason in the words of the error, without what it says of any model."""
    words = re.sub(r"^( \(.*?\))?:? ?", "", str(error).removeprefix(kind))
    for end in (": a causal decoder is needed", "; a causal decoder is needed", "; known families"):
        words = words.partition(end)[0]
    return words.removesuffix(f" ({kind})")


def _words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines()] or [""]
    return f"{type(error).__name__}: {' '.join(lines)}"[:200]
