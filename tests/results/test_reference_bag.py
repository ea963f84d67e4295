import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity.core import strict_json as strict
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.reference_bag import (
    COMPARED,
    FEWEST,
    Bag,
    BagModel,
    LayerNumber,
    read_bag,
    reference_bag,
)

NUMBER = "normalized_margin_q"


def _model(hidden: int, *values: float, norm: float = 1.0, **given: Any) -> BagModel:
    """A model of this width with these values layer by layer."""
    layers = {str(at): {NUMBER: value} for at, value in enumerate(values, 1)}
    made = BagModel(
        name=f"m{hidden}",
        family="gpt2",
        n_layers=len(values),
        hidden=hidden,
        vocab=100,
        parameters=1000,
        positions="learned",
        dtype="float32",
        quantized=None,
        prompt_hash="0" * 64,
        special_tokens=False,
        longest=9,
        layers={**layers, "norm": {NUMBER: norm}},
    )
    return replace(made, **given)


BAG = Bag(
    prompts="builtin:stdlib",
    n=1000,
    prompt_metric="levenshtein",
    seed=0,
    date="2026-11-30",
    version="0.1.0",
    models=tuple(_model(64 * at, 0.1 * at, 0.2 * at) for at in range(1, 6)),
)
MINE = LayerNumber(
    prompts="builtin:stdlib",
    n=1000,
    prompt_metric="levenshtein",
    family="llama",
    n_layers=4,
    hidden=48,
    vocab=100,
    layer=4,
    number=NUMBER,
    value=0.5,
)


def test_a_number_has_a_place_among_other_models() -> None:
    """Its rank, their number and widths, and theirs from and to."""
    said = BAG.says(MINE)
    assert (
        "normalized_margin_q 0.5: usual among 5 other models of width 64 to 320 at this relative depth"
        " (rank 3 of 6 from below; theirs: 0.2 to 1)"
    ) == said


@pytest.mark.parametrize(
    ("value", "word"), [(0.1, "lowest"), (0.3, "usual"), (0.9, "usual"), (2.0, "highest")]
)
def test_words_go_by_the_rank(value: float, word: str) -> None:
    """Of six models the second is no low one yet."""
    assert f": {word} among 5" in str(BAG.says(replace(MINE, value=value)))


def test_of_more_models_a_low_one_is_low() -> None:
    """The second and the last but one of ten."""
    bag = replace(BAG, models=tuple(_model(64 * at, 0.1 * at) for at in range(1, 10)))
    assert ": low among 9" in str(bag.says(replace(MINE, value=0.15)))
    assert ": high among 9" in str(bag.says(replace(MINE, value=0.85)))


def test_a_depth_between_two_layers_is_on_the_line_through_both() -> None:
    """Layer 3 of 4 is where layer 1.5 of 2 would be; before the first layer there is none."""
    model = _model(64, 0.1, 0.2)
    found = [model.at(depth, NUMBER) for depth in (0.25, 0.5, 0.75, 1.0)]
    assert pytest.approx([0.1, 0.1, 0.15, 0.2]) == found
    assert 1.0 == model.at(None, NUMBER)
    assert model.at(0.5, "normalized_colipschitz") is None


def test_a_model_is_not_held_against_itself() -> None:
    """Nor against a model of its shape, which may be its parent."""
    own = replace(MINE, family="gpt2", n_layers=2, hidden=64, layer=2)
    assert "among 4 other models of width 128 to 320" in str(BAG.says(own))


@pytest.mark.parametrize(
    "other",
    [
        {"n": 999},
        {"prompts": "builtin:random"},
        {"prompt_metric": "hamming"},
        {"layer": 0},
        {"number": "normalized_colipschitz"},
        {"value": float("nan")},
    ],
)
def test_what_does_not_compare_has_no_place(other: dict[str, Any]) -> None:
    """Other prompts, another N, a number that no model of the bag has."""
    assert BAG.says(replace(MINE, **other)) is None


def test_few_models_say_nothing() -> None:
    """Of fewer than four others a rank means little."""
    assert BAG.says(MINE) is not None
    assert replace(BAG, models=BAG.models[: FEWEST - 1]).says(MINE) is None


def test_the_bag_of_the_package_is_read() -> None:
    """Numbers of layers of models whose names are no paths."""
    bag = reference_bag()
    assert ("builtin:stdlib", 1000) == (bag.prompts, bag.n)
    assert len(bag.models) >= FEWEST
    assert not any("/" in one.name for one in bag.models)
    assert {one.n_layers + 1 for one in bag.models} == {len(one.layers) for one in bag.models}


def test_a_bag_with_unknown_numbers_is_refused(tmp_path: Path) -> None:
    """With the place and what is known."""
    plain = json.loads(strict.dumps(BAG))
    plain["models"][0]["layers"]["norm"]["margin"] = 1.0
    (tmp_path / "bag.json").write_text(json.dumps(plain))
    with pytest.raises(OptionError, match=f"m64, layer norm: margin is no number .*{COMPARED[0]}"):
        read_bag(tmp_path / "bag.json")
