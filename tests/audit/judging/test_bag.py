from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_injectivity.audit.judging.bag import bag_lines
from pytest_injectivity.audit.judging.quantiles import Quantile
from pytest_injectivity.quantization.grid import Grid

NORM = 4.0
ASKED = Quantile(0.01, normalized=True, confidence=None, grid=None)


class Prompts(list[int]):
    """So many prompts of a set of this name."""

    name = "builtin:stdlib"


def _lines(asked: Quantile = ASKED, n: int = 1000, **config: Any) -> tuple[str, ...]:
    """What is said of a layer in the middle of a model whose margins are all 2, half of its norm."""
    settings = {"length": None, "prompt_metric": "levenshtein", **config}
    facts = SimpleNamespace(family="mine", n_layers=8, hidden_size=32, vocab_size=99)
    target = SimpleNamespace(
        config=SimpleNamespace(**settings), prompts=Prompts(range(n)), facts=facts
    )
    geometry = SimpleNamespace(mean_norm=NORM, layer=4)
    measured: Any = SimpleNamespace(target=target)
    return bag_lines(measured, geometry, "margin", np.full(n, 2.0), asked)  # type: ignore[arg-type] # stands for one


@pytest.mark.parametrize(("q", "name"), [(0.01, "normalized_margin_q"), (0.0, "normalized_margin")])
def test_a_number_has_its_place(q: float, name: str) -> None:
    """In units of the mean norm, whether the gate is or not."""
    (line,) = _lines(Quantile(q, normalized=False, confidence=None, grid=None))
    assert line.startswith(f"{name} 0.5: ")
    assert "other models of width 64 to " in line


@pytest.mark.parametrize(
    "asked",
    [
        Quantile(0.05, normalized=True, confidence=None, grid=None),
        Quantile(0.01, normalized=True, confidence=None, grid=Grid.parse(8)),
    ],
)
def test_other_quantiles_and_rounded_states_have_none(asked: Quantile) -> None:
    """The bag has no such numbers."""
    assert () == _lines(asked)


def test_other_prompts_have_none() -> None:
    """Another N, windows of the texts, another metric."""
    assert () == _lines(n=999)
    assert () == _lines(length=32)
    assert () == _lines(prompt_metric="hamming")
