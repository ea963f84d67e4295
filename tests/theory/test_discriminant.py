import math

import pytest
import torch
from torch import Tensor

from pytest_injectivity.errors import ModelError, OptionError, PromptError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import additive_decoder, plant_nan, tiny_decoder
from pytest_injectivity.theory.changed_weights import rounding_of, weights_of
from pytest_injectivity.theory.discriminant import CollidingChange, colliding_change

PAIR = ([7, 1, 2], [7, 1, 3])


def _additive(scale: float = 1.0, placed: float = 1.0) -> Decoder:
    """A model of one block whose states are the sums of two tables."""
    draw = torch.Generator().manual_seed(0)
    tokens = scale * torch.randn(16, 8, generator=draw, dtype=torch.float64)
    positions = placed * torch.randn(6, 8, generator=draw, dtype=torch.float64)
    return additive_decoder(tokens, positions, layers=1).as_float64()


def _states(decoder: Decoder, layer: int) -> list[Tensor]:
    return [decoder.states(torch.tensor([ids]), [layer])[layer][0, -1] for ids in PAIR]


@pytest.mark.parametrize("layer", [0, 1])
def test_two_embedding_rows_meet_halfway(layer: int) -> None:
    """Each moves by half of what parts them: together by the root of a half."""
    decoder = _additive()
    tokens = decoder.embedding_matrix()
    found = colliding_change(decoder, PAIR, layer, "embedding")
    assert float((tokens[2] - tokens[3]).norm()) / math.sqrt(2) == pytest.approx(
        found.norm, rel=1e-9
    )
    assert found.norm == pytest.approx(found.first_order, rel=1e-9)
    assert found.reached


def test_a_blocks_last_matrix_takes_the_change() -> None:
    """Where the attention's is zero and the MLP is off: by what goes into it, within 1 %."""
    decoder, seen = _additive(scale=1e-3, placed=0.0), []
    block = decoder.parts.blocks[0]
    block.mlp.c_fc.weight.data.zero_()
    block.mlp.c_fc.bias.data.zero_()
    block.attn.c_proj.register_forward_pre_hook(lambda _module, args: seen.append(args[0][0, -1]))
    both = [decoder.states(torch.tensor([ids]), [1])[1][0, -1] for ids in ([2], [3])]
    expected = float((both[0] - both[1]).norm() / (seen[0] - seen[1]).norm())
    found = colliding_change(decoder, ([2], [3]), 1, 1)
    assert expected == pytest.approx(found.norm, rel=0.01)
    assert found.reached


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A tiny model in float64."""
    return tiny_decoder("gpt2", hidden=16).as_float64()


@pytest.fixture(
    scope="module",
    params=[("gpt2", "all"), ("gpt2", 2), ("llama", "embedding")],
    ids=lambda param: "-".join(map(str, param)),
)
def changed(request: pytest.FixtureRequest) -> tuple[Decoder, CollidingChange]:
    """A tiny model, and the nearest collision of a pair at its last layer."""
    family, over = request.param
    decoder = tiny_decoder(family, hidden=16).as_float64()
    return decoder, colliding_change(decoder, PAIR, 2, over)


def test_the_change_that_is_found_makes_the_pair_collide(
    changed: tuple[Decoder, CollidingChange],
) -> None:
    """Applied to another copy of the model, and evaluated as prompts are."""
    decoder, found = changed
    other = tiny_decoder(decoder.family.name, hidden=16).as_float64()
    weights = dict(other.parts.base.named_parameters())
    for name, one in found.change.items():
        weights[name].data.add_(one)
    one, two = _states(other, 2)
    assert float((one - two).norm()) <= 1.1e-9 * max(float(one.norm()), float(two.norm()))
    assert found.norm == pytest.approx(
        math.sqrt(sum(float(one.square().sum()) for one in found.change.values()))
    )


def test_the_models_weights_stay_as_they_are(changed: tuple[Decoder, CollidingChange]) -> None:
    """And need no gradient afterwards."""
    decoder, found = changed
    fresh = tiny_decoder(decoder.family.name, hidden=16).as_float64()
    assert all(map(torch.equal, _states(decoder, 2), _states(fresh, 2)))
    assert found.distance == pytest.approx(
        float((_states(fresh, 2)[0] - _states(fresh, 2)[1]).norm())
    )
    assert not any(one.requires_grad for one in decoder.model.parameters())


@pytest.fixture(scope="module")
def small() -> Decoder:
    """One block of width 8."""
    return tiny_decoder("llama", hidden=8, layers=1).as_float64()


@pytest.mark.slow
def test_what_is_held_at_once_changes_no_number(small: Decoder) -> None:
    """Tensors one by one, or all together."""
    # Of the MLP two tokens matter, the last ones, and 16 outputs.
    least = 8 * 8 * 2 * 16
    found = [colliding_change(small, PAIR, 1, 1, held_bytes=held).norm for held in (least, 2**30)]
    assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_a_tensor_with_too_many_derivatives_is_refused(small: Decoder) -> None:
    """The message says how much they are, and what would be less."""
    message = "over='layer01': the derivatives of 8 coordinates by .* take 0 MiB, and 0 may be held"
    with pytest.raises(OptionError, match=message):
        colliding_change(small, PAIR, 1, 1, held_bytes=8 * 8 * 2 * 16 - 1)


def test_of_an_embedding_the_rows_of_the_prompts_are_held(small: Decoder) -> None:
    """However long its table is."""
    assert colliding_change(small, PAIR, 1, "embedding", held_bytes=8 * 8 * 4 * 8).reached


@pytest.mark.slow
def test_the_row_of_padding_changes_as_others_do() -> None:
    """Libraries give its row no gradient."""
    decoder, whole = (tiny_decoder("llama", hidden=8, layers=1).as_float64() for _ in range(2))
    decoder.parts.embeddings.padding_idx = PAIR[0][-1]
    found, same = (colliding_change(one, PAIR, 1, "embedding") for one in (decoder, whole))
    assert found.norm == same.norm
    assert PAIR[0][-1] == decoder.parts.embeddings.padding_idx


@pytest.mark.slow
def test_more_weights_have_a_nearer_collision(small: Decoder) -> None:
    """Than some of them alone."""
    norms = [colliding_change(small, PAIR, 1, over).norm for over in ("all", "embedding")]
    assert norms[0] < min(norms[1:])


def test_prompts_of_equal_length_collide_where_their_rows_are_one() -> None:
    """Where steps find no collision, that is the bound."""
    decoder = tiny_decoder("llama", hidden=8)
    found = colliding_change(decoder.as_float64(), ([0, 1, 5], [0, 2, 5]), 1, "embedding")
    rows = decoder.embedding_matrix()
    assert (True, True, 0.0) == (found.merged, found.reached, found.left)
    assert float((rows[1] - rows[2]).norm()) / math.sqrt(2) == pytest.approx(found.norm)


def test_a_rounding_moves_hardly_along_what_matters(small: Decoder) -> None:
    """Its projection on the row space of J is a small part of it."""
    roundings = {"4 bits": rounding_of(small, "all", 4)}
    found = colliding_change(small, PAIR, 1, roundings=roundings)
    size = found.roundings["4 bits"]
    assert 0 < size.projected < size.norm / 4
    assert found.norm / size.projected == size.roundings(found.norm)


def test_a_change_within_the_row_space_is_its_own_projection() -> None:
    """The embedding rows of the pair, moved apart."""
    decoder = _additive()
    moved = torch.zeros_like(decoder.parts.embeddings.weight)
    moved[2] += 1.0
    moved[3] -= 1.0
    whole = dict.fromkeys(weights_of(decoder, "embedding")[1], moved)
    size = colliding_change(decoder, PAIR, 0, "embedding", roundings={"it": whole}).roundings["it"]
    assert 4.0 == pytest.approx(size.norm)
    assert 4.0 == pytest.approx(size.projected)


def test_prompts_that_collide_need_no_change() -> None:
    """Two tokens with one embedding row."""
    decoder = _additive()
    decoder.parts.embeddings.weight.data[3] = decoder.parts.embeddings.weight.data[2]
    found = colliding_change(decoder, PAIR, 1)
    assert (0.0, 0.0, 0, True) == (found.norm, found.left, found.steps, found.reached)


def test_prompts_that_no_weight_parts_need_none_either() -> None:
    """As at layer 0, where two prompts end in the same token: no rounding brings them nearer."""
    roundings = {"4 bits": rounding_of(_additive(), "embedding", 4)}
    found = colliding_change(
        _additive(placed=0.0), ([2, 1], [3, 1]), 0, "embedding", roundings=roundings
    )
    assert (0.0, 0.0, True) == (found.norm, found.first_order, found.reached)
    size = found.roundings["4 bits"]
    assert (0.0, math.inf) == (size.roundings(found.norm), size.roundings(1.0))


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (([], [1]), "a prompt of no token: give ids from 0 to 63"),
        (([1], [64]), "a prompt of token id 64: give ids from 0 to 63"),
        (([1], [-1]), "a prompt of token id -1"),
        (([1, 2], [1, 2]), "both prompts are the same"),
    ],
)
def test_a_pair_that_is_none_is_refused(
    decoder: Decoder, pair: tuple[list[int], list[int]], message: str
) -> None:
    """The message names what is wrong."""
    with pytest.raises(PromptError, match=message):
        colliding_change(decoder, pair, 1)


@pytest.mark.parametrize("over", ["head", "", 0, 3, True, 1.0])
def test_what_cannot_change_is_refused(decoder: Decoder, over: object) -> None:
    """The message lists what is accepted."""
    with pytest.raises(OptionError, match="give all, embedding, or the number of a block, 1 to 2"):
        colliding_change(decoder, PAIR, 1, over)  # type: ignore[arg-type] # wrong on purpose


def test_a_block_behind_the_layer_is_refused(decoder: Decoder) -> None:
    """No weight of it moves the states."""
    with pytest.raises(OptionError, match=r"over='layer02': no weight of it changes .* at layer01"):
        colliding_change(decoder, PAIR, 1, 2)


def test_float32_is_refused() -> None:
    """A collision to 1e-9 of the norm is none there."""
    with pytest.raises(ModelError, match=r"computes in torch.float32: give Decoder.as_float64"):
        colliding_change(tiny_decoder("gpt2"), PAIR, 1)


def test_states_that_are_not_finite_are_refused() -> None:
    """And the weights are as they were."""
    decoder = plant_nan(tiny_decoder("gpt2"), 1).as_float64()
    with pytest.raises(ModelError, match="a state at layer02 is not finite"):
        colliding_change(decoder, PAIR, 2)
    assert not any(one.requires_grad for one in decoder.model.parameters())
