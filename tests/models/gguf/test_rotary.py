"""Rotary scaling of files, against the configuration that says the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.testing import tiny_decoder
from tests.gguf_files import Value, write_gguf

CONTEXT, WIDTH, BASE = 64, 16, 10000.0
IDS = torch.randint(64, (2, CONTEXT), generator=torch.Generator().manual_seed(0))
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.5],
    "long_factor": [1.0, 2.5],
    "attention_factor": 1.25,
    "original_max_position_embeddings": 32,
}


def _llama(rope: dict[str, Any], family: str = "llama", **settings: Any) -> Decoder:
    said = {"rope_theta": BASE, **rope}
    return tiny_decoder(
        family, hidden=WIDTH, context=CONTEXT, rope_parameters=said, layers=2, **settings
    )


def _file(decoder: Decoder, folder: Path, **more: Any) -> Decoder:
    return load_decoder(str(write_gguf(decoder, folder / "model.gguf", **more)), device="cpu")


SCALINGS: dict[str, tuple[dict[str, Any], dict[str, Value]]] = {
    "plain": ({"rope_type": "default"}, {}),
    "none": ({"rope_type": "default"}, {"rope.scaling.type": "none"}),
    "linear of one": (
        {"rope_type": "default"},
        {"rope.scaling.type": "linear", "rope.scaling.factor": 1.0},
    ),
    "linear": (
        {"rope_type": "linear", "factor": 4.0},
        {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    ),
    "linear without a type": (
        {"rope_type": "linear", "factor": 4.0},
        {"rope.scaling.factor": 4.0},
    ),
    "linear as older files say it": (
        {"rope_type": "linear", "factor": 4.0},
        {"rope.scale_linear": 4.0},
    ),
    "yarn": (
        YARN,
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 16,
        },
    ),
    "yarn with its own bounds": (
        {**YARN, "beta_fast": 16.0, "beta_slow": 2.0},
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 16,
            "rope.scaling.yarn_beta_fast": 16.0,
            "rope.scaling.yarn_beta_slow": 2.0,
            "rope.scaling.yarn_ext_factor": 1.0,
        },
    ),
    "yarn with a factor of attention": (
        {**YARN, "attention_factor": 0.5 * (0.1 * float(np.log(4)) + 1)},
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 16,
            "rope.scaling.attn_factor": 0.5,
        },
    ),
}


@pytest.mark.parametrize("kind", SCALINGS)
def test_a_scaling_is_that_of_the_configuration(kind: str, tmp_path: Path) -> None:
    """The same weights in float32, as a folder and as a file, have the same states."""
    rope, entries = SCALINGS[kind]
    expected = _llama(rope).states(IDS, ["norm"])["norm"]
    found = _file(_llama(rope), tmp_path, entries=entries).states(IDS, ["norm"])["norm"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    plain = _llama({"rope_type": "default"}).states(IDS, ["norm"])["norm"]
    scaled = rope["rope_type"] != "default"
    assert scaled == bool((found - plain).norm() > 1e-2 * plain.norm())


def test_longrope_is_that_of_the_configuration(tmp_path: Path) -> None:
    """Two tensors of factors, and a factor of attention in the metadata."""
    family = _llama(LONGROPE, "phi3", original_max_position_embeddings=32)
    ids = IDS[:, :32]
    expected = family.states(ids, ["norm"])["norm"]
    file = _file(
        family,
        tmp_path,
        entries={
            "rope.scaling.type": "longrope",
            "rope.scaling.attn_factor": 1.25,
            "rope.scaling.original_context_length": 32,
        },
        tensors={
            "rope_factors_short.weight": np.array([1.0, 1.5], np.float32),
            "rope_factors_long.weight": np.array([1.0, 2.5], np.float32),
        },
    )
    torch.testing.assert_close(file.states(ids, ["norm"])["norm"], expected, rtol=0, atol=1e-5)
    assert 32 == file.context


def test_factors_by_frequency_are_those_of_llama3(tmp_path: Path) -> None:
    """Files of Llama 3.1 and later hold a tensor of what each frequency is divided by."""
    rope = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    }
    parent = _llama(rope, head_dim=16)
    base: Any = parent.parts.base
    plain = 1 / BASE ** (np.arange(0, 16, 2) / 16)
    factors = (plain / base.rotary_emb.inv_freq.double().numpy()).astype(np.float32)
    assert len(set(factors.tolist())) > 2
    file = _file(parent, tmp_path, tensors={"rope_freqs.weight": factors})
    expected = parent.states(IDS, ["norm"])["norm"]
    torch.testing.assert_close(file.states(IDS, ["norm"])["norm"], expected, rtol=0, atol=1e-5)
    assert CONTEXT == file.context


def test_factors_of_one_change_nothing(tmp_path: Path) -> None:
    """Then the configuration stays the plain one."""
    ones = np.ones(2, np.float32)
    file = _file(_llama({"rope_type": "default"}), tmp_path, tensors={"rope_freqs.weight": ones})
    assert "default" == file.model.config.rope_parameters["rope_type"]


def test_a_family_with_windows_scales_its_full_attention(tmp_path: Path) -> None:
    """Positions inside windows are not scaled."""
    entries: dict[str, Value] = {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}
    kinds = [*["sliding_attention"] * 5, "full_attention"]
    parent = tiny_decoder("gemma3_text", layers=6, layer_types=kinds)
    rope = _file(parent, tmp_path, entries=entries).model.config.rope_parameters
    assert ("linear", 8.0) == (
        rope["full_attention"]["rope_type"],
        rope["full_attention"]["factor"],
    )
    assert "default" == rope["sliding_attention"]["rope_type"]


REFUSED: dict[str, tuple[dict[str, Value], dict[str, np.ndarray], str]] = {
    "an unknown kind": ({"rope.scaling.type": "spiral", "rope.scaling.factor": 2.0}, {}, "spiral"),
    "a factor of zero below": (
        {"rope.scaling.type": "linear", "rope.scaling.factor": -2.0},
        {},
        "factor -2",
    ),
    "a factor that is no number": (
        {"rope.scaling.type": "linear", "rope.scaling.factor": float("nan")},
        {},
        "factor nan",
    ),
    "yarn of deepseek": (
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 2.0,
            "rope.scaling.yarn_log_multiplier": 0.1,
        },
        {},
        "yarn_log_multiplier",
    ),
    "an entry nobody knows": ({"rope.scaling.spin": 2.0}, {}, r"rope\.scaling\.spin"),
    "a factor of attention of linear": (
        {
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 2.0,
            "rope.scaling.attn_factor": 2.0,
        },
        {},
        "attn_factor 2",
    ),
    "a factor of attention of plain positions": (
        {"rope.scaling.attn_factor": 1.5},
        {},
        "attn_factor 1.5",
    ),
    "longrope without its tensors": (
        {"rope.scaling.type": "longrope"},
        {},
        r"longrope without rope_factors_short",
    ),
    "one tensor of longrope": (
        {},
        {"rope_factors_long.weight": np.ones(2, np.float32)},
        r"longrope without rope_factors_short",
    ),
    "factors beside yarn": (
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0},
        {"rope_freqs.weight": np.full(2, 2, np.float32)},
        r"rope_freqs\.weight beside",
    ),
    "factors that are no factors": (
        {},
        {"rope_freqs.weight": np.array([1, -1], np.float32)},
        "must hold positive factors",
    ),
    "factors in two rows": (
        {},
        {"rope_freqs.weight": np.ones((2, 2), np.float32)},
        "must hold positive factors",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_scaling_that_cannot_be_said_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    """Plain positions in its place would be another function."""
    entries, tensors, message = REFUSED[kind]
    with pytest.raises(ModelError, match=message):
        _file(_llama({"rope_type": "default"}), tmp_path, entries=entries, tensors=tensors)
