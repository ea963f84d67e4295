"""Saved runs of made-up numbers, as plain data."""

from typing import Any

NUMBERS: dict[str, Any] = {
    "not_finite": 0,
    "collisions": 0,
    "mean_norm": 20.0,
    "median_norm": 19.5,
    "margin": 0.18,
    "margin_q": 1.1875,
    "colipschitz": 0.01,
    "colipschitz_q": 0.0236,
    "resolution": 3.8e-05,
    "near_fractions": {"0.01": 0.0, "0.001": 0.0},
}
RUN: dict[str, Any] = {
    "model": "checkpoints/mine",
    "revision": None,
    "family": "gpt2",
    "n_layers": 2,
    "hidden": 16,
    "vocab": 256,
    "dtype": "float32",
    "device": "cpu",
    "assumptions": "all hold",
    "prompts": "p.jsonl",
    "n": 12,
    "prompt_hash": "0123456789abcdef" * 4,
    "shortest": 1,
    "longest": 9,
    "special_tokens": False,
    "dropped": {"duplicates": 1, "overlong": 0, "empty": 0},
    "prompt_metric": "levenshtein",
    "seed": 0,
    "versions": {"torch": "2.9", "numpy": "2.1"},
    "numbers": "computed",
    "quantized": None,
}


def layer(name: str, bits: int | str | None = None, **numbers: Any) -> dict[str, Any]:
    """A layer as a report has it, with some numbers of one's own."""
    return {"layer": name, "bits": bits, "n": 12, "trend": None, **NUMBERS, **numbers}


def report(*layers: dict[str, Any], **run: Any) -> dict[str, Any]:
    """A report of these layers, of three where none are given."""
    return {
        "schema": 1,
        "tool": "pytest-injectivity",
        "complete": True,
        "run": RUN | run,
        "layers": list(layers or map(layer, ("layer01", "layer02", "norm"))),
        "releases": [],
        "comparisons": [],
        "verdicts": [],
        "said": [],
        "wrong_use": [],
        "outcome": None,
    }
