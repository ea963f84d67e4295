import pytest

from pytest_injectivity.config.release_spec import parse_place
from pytest_injectivity.errors import LayerError


@pytest.mark.parametrize(
    ("place", "length", "positions"),
    [
        ("4", 5, (0, 1, 2, 3, 4)),
        ("4 last", 5, (4,)),
        ("4 mean", 5, (4,)),
        ("4 answer", 5, (4,)),
        ("4 every=2", 5, (0, 2, 4)),
        ("4 every=2", 6, (1, 3, 5)),
        ("4 every=3", 4, (0, 3)),
        ("4 every=9", 4, (3,)),
        ("4 every=3 run=2", 9, (1, 2, 7, 8)),
        ("4 every=2 run=3", 4, (1, 2, 3)),
    ],
)
def test_positions_count_back_from_the_last(
    place: str, length: int, positions: tuple[int, ...]
) -> None:
    """The last one is always observed: it alone has seen the whole prompt."""
    assert positions == parse_place(place).positions(length)


def test_layers_are_those_of_the_model() -> None:
    """Negative ones count from the last; one that is not there is refused by name."""
    assert "3" == str(parse_place("-2").resolved(4))
    assert "norm last" == str(parse_place("norm last").resolved(4))
    for text in ("5", "-5", "5 kv"):
        with pytest.raises(LayerError, match="out of range"):
            parse_place(text).resolved(4)


@pytest.mark.parametrize("layer", ["0", "norm"])
def test_keys_and_values_are_those_of_a_block(layer: str) -> None:
    """Embeddings and the final norm cache nothing."""
    with pytest.raises(LayerError, match="cached by blocks, give a layer from 1 to 4"):
        parse_place(f"{layer} keys").resolved(4)


def test_logits_are_of_the_final_norm() -> None:
    """The head reads no other layer."""
    assert "norm logits last" == str(parse_place("norm logits last").resolved(4))
    with pytest.raises(LayerError, match="logits of layer 4: the head reads norm"):
        parse_place("4 logits").resolved(4)


@pytest.mark.parametrize("place", ["4 kv answer", "norm logits answer"])
def test_of_an_answer_the_states_are_observed(place: str) -> None:
    """Nothing else is read of it."""
    with pytest.raises(LayerError, match="of an answer the states are observed: give"):
        parse_place(place).resolved(4)


def test_the_name_of_a_place_has_its_layer_id() -> None:
    """Reports show it."""
    assert "layer04 kv last" == parse_place("4 kv last").name
    assert "norm mean" == parse_place("norm mean").name
    assert "layer04 answer" == parse_place("4 answer").name
    assert "norm" == parse_place("norm").name


@pytest.mark.parametrize("text", ["1 and 3", "3 and 1", "-4 and -2", "3 and -4"])
def test_two_layers_are_observed_with_the_deeper_one_first(text: str) -> None:
    """However they are written."""
    place = parse_place(text).resolved(4)
    assert "1 and 3" == str(place) == str(parse_place(str(place)))
    assert (3, 1) == place.layers
    assert "layer01 and layer03" == place.name
    assert not place.of_states


def test_one_layer_twice_is_refused() -> None:
    """Repeated releases of one layer are queries."""
    with pytest.raises(LayerError, match="both are layer 3: give two layers"):
        parse_place("3 and -2").resolved(4)


@pytest.mark.parametrize("what", ["attention", "routing"])
def test_attention_and_routing_are_those_of_a_block(what: str) -> None:
    """Embeddings and the final norm have none."""
    assert f"2 {what}" == str(parse_place(f"2 {what}").resolved(4))
    for layer in ("0", "norm"):
        with pytest.raises(LayerError, match="computed by blocks, give a layer from 1 to 4"):
            parse_place(f"{layer} {what}").resolved(4)


def test_a_cache_is_that_of_all_blocks() -> None:
    """One block's is named by what it caches."""
    assert (1, 2, 3, 4) == parse_place("-1 cache").resolved(4).blocks
    with pytest.raises(LayerError, match="of all blocks: give -1 cache, or 2 kv"):
        parse_place("2 cache").resolved(4)


def test_experts_are_those_of_all_blocks() -> None:
    """One block's router has logits."""
    assert "4 experts" == str(parse_place("-1 experts").resolved(4))
    with pytest.raises(LayerError, match="of all blocks: give -1 experts, or 2 routing"):
        parse_place("2 experts").resolved(4)
