"""The grammar of layers, by tables of valid and invalid texts."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.core.layers import (
    Layer,
    LayerSpec,
    depth,
    layer_id,
    resolve_layers,
    spread_over,
)
from pytest_injectivity.errors import LayerError

VALID: list[tuple[LayerSpec, tuple[Layer, ...]]] = [
    # Of a model with 6 blocks.
    (0, (0,)),
    (1, (1,)),
    (6, (6,)),
    (-1, (6,)),
    (-6, (1,)),
    ("0", (0,)),
    ("6", (6,)),
    ("+3", (3,)),
    ("-1", (6,)),
    ("-6", (1,)),
    (" 3 ", (3,)),
    ("norm", ("norm",)),
    ("all", (1, 2, 3, 4, 5, 6, "norm")),
    (":", (1, 2, 3, 4, 5, 6)),
    ("4:", (4, 5, 6)),
    (":2", (1,)),
    ("0:2", (0, 1)),
    ("2:4", (2, 3)),
    ("6:7", (6,)),
    ("2:99", (2, 3, 4, 5, 6)),
    ("-2:", (5, 6)),
    ("-9:3", (1, 2)),
    (":-1", (1, 2, 3, 4, 5)),
    ("::2", (1, 3, 5)),
    ("0::2", (0, 2, 4, 6)),
    ("1::3", (1, 4)),
    ("1,2", (1, 2)),
    ("2, 1", (1, 2)),
    ("norm,0", (0, "norm")),
    ("-1,6,5:", (5, 6)),
    ("all,0", (0, 1, 2, 3, 4, 5, 6, "norm")),
    ("norm,norm", ("norm",)),
    ([3, 1], (1, 3)),
    ((1, -1), (1, 6)),
    ([1, "4:", "norm"], (1, 4, 5, 6, "norm")),
    (["1,2", "5"], (1, 2, 5)),
    (["norm", "all"], (1, 2, 3, 4, 5, 6, "norm")),
]

OUT_OF_RANGE: list[LayerSpec] = [7, -7, "7", "-7", "1,7", [1, -7], "999999", ["all", 7]]

NOT_OF_THE_GRAMMAR: list[LayerSpec] = [
    "",
    " ",
    ",",
    "1,",
    ",1",
    "1,,2",
    "last",
    "ALL",
    "Norm",
    "layer04",
    "1.0",
    "1e1",
    "--1",
    "- 1",
    "1 2",
    "1-3",
    "1..3",
    "::",
    "1:3:",
    "1:2:3:4",
    "a:b",
    "1 : 3",
    "0x1",
    "1_0",
    "nan",
    "1234567",
    "[1]",
    True,
    False,
    [1, True],
    ["1", ""],
]

EMPTY: list[LayerSpec] = ["7:", "3:3", "4:2", [], (), ["9:", "3:3"]]


@pytest.mark.parametrize(("spec", "layers"), VALID, ids=repr)
def test_valid_specs(spec: LayerSpec, layers: tuple[Layer, ...]) -> None:
    """Shallow first, each once, ``"norm"`` last."""
    assert layers == resolve_layers(spec, 6)


@pytest.mark.parametrize("spec", OUT_OF_RANGE, ids=repr)
def test_a_layer_out_of_range_is_named_with_what_there_is(spec: LayerSpec) -> None:
    """The message gives the model's layers, both ways to count."""
    with pytest.raises(LayerError, match=r'is out of range: .* 0 to 6 .* -6 to -1 .* "norm"'):
        resolve_layers(spec, 6)


@pytest.mark.parametrize("spec", NOT_OF_THE_GRAMMAR, ids=repr)
def test_what_is_not_of_the_grammar_is_refused_with_the_grammar(spec: LayerSpec) -> None:
    """The message repeats the part, the whole spec and what is accepted."""
    with pytest.raises(LayerError, match=r'not of the grammar: give an integer, "all"') as caught:
        resolve_layers(spec, 6)
    assert repr(spec) in str(caught.value)


@pytest.mark.parametrize("spec", EMPTY, ids=repr)
def test_a_spec_that_names_no_layer_is_refused(spec: LayerSpec) -> None:
    """A gate over no layer would pass for nothing."""
    with pytest.raises(LayerError, match=r"name no layer of a model with 6"):
        resolve_layers(spec, 6)


@pytest.mark.parametrize("spec", ["::0", "1:4:0", "5:2:-1"])
def test_a_step_below_one_is_refused(spec: str) -> None:
    """Zero would name a layer for ever, and layers have one order."""
    with pytest.raises(LayerError, match=f"'{spec}': the step of a slice is at least 1"):
        resolve_layers(spec, 6)


def test_all_leaves_layer_0_out() -> None:
    """Its collisions are structural; it is measured when named (SPEC section 1)."""
    assert 0 not in resolve_layers("all", 6)


@given(n_layers=st.integers(1, 200), data=st.data())
def test_a_negative_layer_counts_back_from_the_last(n_layers: int, data: st.DataObject) -> None:
    """-1 is L and -L is 1; an int and its text are one thing."""
    back = data.draw(st.integers(1, n_layers))
    assert (n_layers + 1 - back,) == resolve_layers(-back, n_layers)
    assert (n_layers + 1 - back,) == resolve_layers(str(-back), n_layers)


@given(
    n_layers=st.integers(1, 30),
    bounds=st.lists(st.none() | st.integers(-40, 40), min_size=2, max_size=2),
    step=st.none() | st.integers(1, 5),
)
def test_a_slice_is_pythons_over_0_to_the_last(
    n_layers: int, bounds: list[int | None], step: int | None
) -> None:
    """Half-open and clipped; without a start it begins at 1, and an empty one is refused."""
    start, stop = bounds
    parts = ["" if bound is None else str(bound) for bound in bounds]
    first = 1 if start is None else max(1, n_layers + 1 + start) if start < 0 else start
    expected = list(range(n_layers + 1)[first:stop:step])
    text = ":".join(parts if step is None else [*parts, str(step)])
    try:
        found = resolve_layers(text, n_layers)
    except LayerError:
        found = ()
    assert tuple(expected) == found


@given(layers=st.lists(st.sampled_from([*range(13), "norm"]), min_size=1), data=st.data())
def test_order_and_repetition_do_not_matter(layers: list[Layer], data: st.DataObject) -> None:
    """A list, its shuffle and its text name the same layers."""
    shuffled = data.draw(st.permutations(layers))
    expected = resolve_layers(layers, 12)
    assert expected == resolve_layers([*shuffled, *layers], 12)
    assert expected == resolve_layers(",".join(map(str, shuffled)), 12)
    assert list(expected) == sorted(set(layers), key=depth)


@pytest.mark.parametrize(
    ("layer", "name"), [(0, "layer00"), (4, "layer04"), (12, "layer12"), (123, "layer123")]
)
def test_layers_have_ids(layer: Layer, name: str) -> None:
    """Two digits, so that they sort as they lie."""
    assert name == layer_id(layer)


def test_norm_is_its_own_id_and_deepest() -> None:
    """After any block."""
    assert "norm" == layer_id("norm")
    assert depth(10**6) < depth("norm")
    assert depth(0) < depth(1)


@pytest.mark.parametrize("most", range(2, 12))
def test_layers_are_spread_from_the_first_to_the_last(most: int) -> None:
    """As many as asked for, and neighbors about as far apart."""
    found = spread_over(range(11), most)
    gaps = {after - before for before, after in pairwise(map(int, found))}
    assert (most, 0, 10) == (len(found), found[0], found[-1])
    assert max(gaps) - min(gaps) <= 1


def test_few_layers_are_all_kept() -> None:
    """In their order."""
    assert (1, 2, "norm") == spread_over((1, 2, "norm"), 12)
