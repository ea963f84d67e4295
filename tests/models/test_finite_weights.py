"""Weights that are not finite are found by name, in the dtypes that models are stored in."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_injectivity.models.facts import ModelFacts
from pytest_injectivity.models.finite_weights import weights_not_finite
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.testing import plant_nan, save_checkpoint, tiny_decoder, untie_head


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_number_is_enough(dtype: torch.dtype, bad: float) -> None:
    """Wherever it lies; the other tensors are not named."""
    decoder = untie_head(tiny_decoder("gpt2", dtype=dtype))
    assert () == weights_not_finite(decoder.model)
    model: Any = decoder.model
    model.lm_head.weight[63, 15] = bad
    model.transformer.h[1].ln_2.bias[0] = bad
    found = weights_not_finite(decoder.model)
    assert ("transformer.h.1.ln_2.bias", "lm_head.weight") == found


def test_a_tied_head_is_named_once() -> None:
    """By the embedding, which it is."""
    decoder = tiny_decoder("gpt2")
    model: Any = decoder.model
    model.lm_head.weight[3, 3] = math.nan
    assert ("transformer.wte.weight",) == weights_not_finite(decoder.model)


def test_they_are_among_the_facts_of_a_file(tmp_path: Path) -> None:
    """The model is loaded all the same: its verdicts fail, and name them."""
    decoder = plant_nan(tiny_decoder("llama", layers=2), 2)
    facts = ModelFacts.of(load_decoder(str(save_checkpoint(decoder, tmp_path))))
    assert 9 == len(facts.not_finite)
    assert all(name.startswith("model.layers.1.") for name in facts.not_finite)
    assert "self_attn.q_proj.weight" in facts.not_finite_line
    assert facts.not_finite_line.endswith(" and 4 more tensors")
    assert "" == ModelFacts.of(tiny_decoder("llama")).not_finite_line


def test_empty_parameters_are_finite() -> None:
    """They have no smallest number."""
    module = torch.nn.Module()
    module.nothing = torch.nn.Parameter(torch.empty(0))
    assert () == weights_not_finite(module)
