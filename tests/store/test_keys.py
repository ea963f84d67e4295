"""The keys of a store's entries: other rows, another key."""

from dataclasses import replace
from typing import Any

import pytest

from pytest_injectivity.quantization.grid import Rounded
from pytest_injectivity.store.keys import LoadedKey, ModelKey, PromptsKey, in_order

LOADED = LoadedKey("hash", None, ("cpu", "x86"), "cpu", ("torch 2",), "1+2")
MODEL = ModelKey(LOADED, "auto")
PROMPTS = PromptsKey(MODEL, "hash", special_tokens=True, batch_tokens=100)


@pytest.mark.parametrize(
    "changed",
    [
        {"checkpoint": "other"},
        {"quantization": "int8"},
        {"machine": ("cpu",)},
        {"device": "cuda"},
        {"libraries": ("torch 3",)},
        {"code": "1+3"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_each_part_of_a_loaded_checkpoint_counts(changed: dict[str, Any]) -> None:
    """For the model and for its prompts."""
    model = replace(MODEL, loaded=replace(LOADED, **changed))
    assert MODEL.digest != model.digest
    assert PROMPTS.digest != replace(PROMPTS, model=model).digest


@pytest.mark.parametrize(
    "changed",
    [
        {"dtype": "float32"},
        {"activations": Rounded("4")},
        {"activations": Rounded("4", 8, "hash")},
        {"activations": Rounded("4", 8, "other")},
    ],
)
def test_each_part_of_a_model_counts(changed: dict[str, Any]) -> None:
    """How its activations are rounded, and on which prompts the scales come from."""
    model = replace(MODEL, **changed)
    assert MODEL.digest != model.digest
    assert PROMPTS.digest != replace(PROMPTS, model=model).digest


@pytest.mark.parametrize(
    "changed", [{"prompts": "other"}, {"special_tokens": False}, {"batch_tokens": 200}]
)
def test_each_part_of_prompts_counts(changed: dict[str, Any]) -> None:
    """And a model alone is another entry than a model on prompts."""
    assert 3 == len({PROMPTS.digest, replace(PROMPTS, **changed).digest, MODEL.digest})


def test_a_digest_is_a_folders_name() -> None:
    """Forty hexadecimal digits, the same for equal keys."""
    assert PROMPTS.digest == replace(PROMPTS).digest
    assert 40 == len(f"{int(PROMPTS.digest, 16):040x}")
    assert PROMPTS.digest == f"{int(PROMPTS.digest, 16):040x}"


def test_the_order_of_prompts_counts() -> None:
    """Row i is prompt i."""
    assert in_order(["a", "b"]) != in_order(["b", "a"])
