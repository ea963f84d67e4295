"""Rotary scaling of a ``.gguf`` file, said in the terms of transformers.

Metadata name a kind (``rope.scaling.type``: linear, yarn, longrope) and its numbers. Tensors hold what
each frequency is divided by: ``rope_freqs.weight``, which files of Llama 3.1 and later have, and
``rope_factors_short.weight`` and ``rope_factors_long.weight`` of longrope. transformers' loader drops
all of them. Here they become ``rope_parameters``; what these cannot say is refused by name.

The factors of ``rope_freqs.weight`` hold at every length. Where llama3's parameters give them, these
become the configuration's; other factors are applied as they are, as longrope whose two lists are one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Any, NoReturn

import numpy as np
from transformers import PreTrainedConfig

from pytest_injectivity.core.shapes import Float64
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.gguf.llama3 import llama3_parameters
from pytest_injectivity.models.gguf.metadata import changed, rotated_numbers
from pytest_injectivity.quantization.gguf_header import GgufHeader
from pytest_injectivity.quantization.gguf_values import dense
from pytest_injectivity.quantization.library_calls import refusing

FREQUENCIES = "rope_freqs.weight"
SHORT, LONG = "rope_factors_short.weight", "rope_factors_long.weight"
FACTORS = (FREQUENCIES, SHORT, LONG)
"""Tensors of rotary factors, which `apply_rotary` takes."""

_START = "rope.scaling."
_NONE = ("none", "")
_LINEAR = "linear"
_OLD_LINEAR = "rope.scale_linear"
# By the end of the name in the file: the name in rope_parameters.
_YARN = {"yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow"}
_ATTENTION = ("attn_factor", "yarn_attn_factor")
# Entries that say how a file was made, or what llama.cpp does anyway.
_SILENT = {"type", "factor", "finetuned", "original_context_length", *_ATTENTION}
_NEUTRAL = {"yarn_ext_factor": (1.0, -1.0), "yarn_log_multiplier": (0.0,), "alpha": (0.0, 1.0)}


@dataclass(frozen=True)
class _Said:
    """What a file says of its rotary scaling.

    Attributes:
        header: the file's.
        kind: the name of the scaling.
        factor: what positions are divided by.
        attention: what the file multiplies the rotated queries and keys by, beyond its kind's own.
        original: the context before scaling; None where the file does not say.
    """

    header: GgufHeader
    kind: str
    factor: float
    attention: float
    original: int | None

    @classmethod
    def of(cls, header: GgufHeader) -> "_Said":
        found = {
            name.removeprefix(_START): value
            for name, value in header.described.items()
            if name.startswith(_START)
        }
        factor = found.get("factor", header.described.get(_OLD_LINEAR, 0.0))
        kind = str(found.get("type", _LINEAR if factor else "none"))
        for name, value in found.items():
            if name in _NEUTRAL and value not in _NEUTRAL[name]:
                _refuse(header, f"{_START}{name} {value!r}")
            if name not in {*_SILENT, *_NEUTRAL} and not (kind == "yarn" and name in _YARN):
                _refuse(header, f"{_START}{name} {value!r}")
        attention = next((found[name] for name in _ATTENTION if found.get(name)), 1.0)
        original = found.get("original_context_length")
        return cls(
            header,
            kind,
            float(str(factor or 1.0)),
            float(str(attention)),
            original if isinstance(original, int) and original > 0 else None,
        )


def apply_rotary(config: PreTrainedConfig, header: GgufHeader) -> PreTrainedConfig:
    """The configuration with the rotary scaling that a file says.

    Args:
        config: as it is without scaling.
        header: the file's.

    Raises:
        ModelError: the scaling cannot be said by the configuration, or its factors are no factors.
    """
    said, text = _Said.of(header), config.get_text_config()
    if not np.isfinite(said.factor) or said.factor <= 0:
        _refuse(header, f"{_START}factor {said.factor:g}")
    scaling = _scaling(said, text)
    if not scaling:
        return config
    rope = getattr(text, "rope_parameters", None)
    if not isinstance(rope, dict):
        _refuse(header, f"rotary scaling ({scaling['rope_type']})")
    original = scaling.get("original_max_position_embeddings")
    # Some families keep it in a second place, which wins.
    second = {"original_max_position_embeddings": original} if original else {}
    second = second if hasattr(text, "original_max_position_embeddings") else {}
    # Families with two kinds of attention scale the positions of the full one.
    if isinstance(full := rope.get("full_attention"), Mapping):
        return changed(config, {"rope_parameters": {**rope, "full_attention": {**full, **scaling}}})
    return changed(config, {"rope_parameters": {**rope, **scaling}, **second})


def _scaling(said: _Said, text: Any) -> dict[str, Any]:
    """The entries of ``rope_parameters``; none where nothing is scaled."""
    tensors, context = said.header.tensors, text.max_position_embeddings
    if FREQUENCIES in tensors:
        return _by_frequency(said, text)
    if SHORT in tensors or LONG in tensors or said.kind == "longrope":
        return _longrope(said, text)
    unscaled = said.kind in _NONE or (said.kind == _LINEAR and said.factor == 1)
    if unscaled and said.attention == 1:
        return {}
    if said.kind == _LINEAR and said.attention == 1:
        return {"rope_type": "linear", "factor": said.factor}
    if said.kind != "yarn":
        _refuse(said.header, f"{_START}type {said.kind!r} with attn_factor {said.attention:g}")
    return _yarn(said, context)


def _yarn(said: _Said, context: int) -> dict[str, Any]:
    given = {
        target: said.header.described[_START + name]
        for name, target in _YARN.items()
        if _START + name in said.header.described
    }
    found = {
        "rope_type": "yarn",
        "factor": said.factor,
        "original_max_position_embeddings": said.original or context,
        **given,
    }
    if said.attention != 1:
        found["attention_factor"] = said.attention * (0.1 * log(said.factor) + 1)
    return found


def _longrope(said: _Said, text: Any) -> dict[str, Any]:
    if not {SHORT, LONG} <= set(said.header.tensors):
        _refuse(said.header, f"rotary scaling longrope without {SHORT} and {LONG}")
    original = said.original or text.max_position_embeddings
    return {
        "rope_type": "longrope",
        "short_factor": _factors(said.header, SHORT, text).tolist(),
        "long_factor": _factors(said.header, LONG, text).tolist(),
        "attention_factor": said.attention,
        "factor": text.max_position_embeddings / original,
        "original_max_position_embeddings": original,
    }


def _by_frequency(said: _Said, text: Any) -> dict[str, Any]:
    """A factor for each frequency, whatever the length."""
    if said.kind not in (*_NONE, _LINEAR):
        _refuse(said.header, f"{FREQUENCIES} beside {_START}type {said.kind!r}")
    factors = _factors(said.header, FREQUENCIES, text) * said.factor
    if said.attention == 1:
        if bool((factors == 1).all()):
            return {}
        base = (getattr(text, "rope_parameters", None) or {}).get("rope_theta")
        if base and (found := llama3_parameters(factors, float(base), said.original)):
            return found
    return {
        "rope_type": "longrope",
        "short_factor": factors.tolist(),
        "long_factor": factors.tolist(),
        "attention_factor": said.attention,
        "factor": 1.0,
        "original_max_position_embeddings": text.max_position_embeddings,
    }


def _factors(header: GgufHeader, name: str, text: Any) -> Float64[np.ndarray, " frequencies"]:
    with refusing(f"{header.path}: {name} cannot be read"):
        found = dense(np.memmap(header.path, np.uint8, "r"), header.tensors[name])
    if found.ndim != 1 or not bool(np.isfinite(found).all()) or not bool((found > 0).all()):
        raise ModelError(f"{header.path}: {name} must hold positive factors in one row")
    wanted = rotated_numbers(text)
    if wanted is not None and 2 * len(found) != wanted:
        raise ModelError(
            f"{header.path}: {name} holds {len(found)} factors, where {wanted} numbers of a head are"
            f" rotated: one factor for each pair of them, {wanted // 2} in all, is needed"
        )
    return found.astype(np.float64)


def _refuse(header: GgufHeader, what: str) -> NoReturn:
    raise ModelError(
        f"{header.path}: {what} is not one that is read: rotary scaling by rope.scaling.type linear,"
        f" yarn or longrope, or by the tensors {', '.join(FACTORS)}, of a family whose configuration has"
        " rope_parameters, is accepted"
    )
