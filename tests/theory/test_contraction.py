import pytest
import torch

from pytest_injectivity.errors import LayerError, ModelError, OptionError, PromptError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.families import TABLE
from pytest_injectivity.testing import additive_decoder, plant_nan, tiny_decoder
from pytest_injectivity.theory.contraction import step_jacobians, step_scales

IDS = torch.tensor([5, 9, 2, 7])


def test_blocks_that_add_nothing_contract_nothing() -> None:
    """The state is the embedding row and its position's: both extremes are 1."""
    tokens, positions = torch.eye(16, 8, dtype=torch.float64), torch.ones(6, 8, dtype=torch.float64)
    found = step_scales(additive_decoder(tokens, positions).as_float64(), IDS, [0, 1, 2])
    assert [(at, layer) for at in range(4) for layer in (0, 1, 2)] == [
        (one.position, one.layer) for one in found
    ]
    assert [1.0] * 24 == pytest.approx(
        [x for one in found for x in (one.smallest, one.largest)], abs=1e-8
    )


def test_a_linear_step_has_the_singular_values_of_its_matrix() -> None:
    """A block whose MLP is the only thing that it adds, where its activation is a straight line."""
    decoder = additive_decoder(torch.eye(16, 8), torch.zeros(6, 8), layers=1)
    added = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    # The row itself, and a matrix times the row behind its norm.
    decoder.parts.blocks[0].register_forward_hook(
        lambda _module, args, out: out + args[0] @ added.to(out)
    )
    exact = decoder.as_float64()
    expected = torch.linalg.svdvals(torch.eye(8).double() + added.double())
    (found,) = step_scales(exact, IDS, [1], [3])
    assert (float(expected[-1]), float(expected[0])) == pytest.approx(
        (found.smallest, found.largest), abs=1e-8
    )


@pytest.mark.parametrize("family", TABLE)
def test_jacobians_are_those_of_central_differences(family: str) -> None:
    """Of every family, behind a prefix, at the first block and the norm."""
    decoder = tiny_decoder(family, hidden=8 if family != "mamba" else 16).as_float64()
    found = step_jacobians(decoder, IDS, [1, "norm"])
    rows, step = decoder.embedding_matrix()[IDS], 1e-6
    moved = torch.eye(decoder.hidden_size, dtype=torch.float64)[:, None] * step
    moved = torch.cat([torch.zeros(decoder.hidden_size, 3, decoder.hidden_size), moved], dim=1)
    ends = [decoder.states_from_embeddings(rows + way * moved, [1, "norm"]) for way in (1, -1)]
    for layer in (1, "norm"):
        slopes = ((ends[0][layer] - ends[1][layer])[:, -1] / (2 * step)).T
        assert torch.allclose(slopes, found[layer].matrix, atol=1e-6, rtol=1e-5), layer


def test_rows_of_a_pass_change_no_number() -> None:
    """One by one or all together."""
    decoder = tiny_decoder("llama").as_float64()
    one, every = (step_jacobians(decoder, IDS, [2], rows=rows)[2].matrix for rows in (1, 99))
    assert torch.allclose(one, every, atol=1e-12)


def test_a_long_prefix_is_held_in_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row of a pass has keys and values of its own; the numbers are the same."""
    decoder = tiny_decoder("llama").as_float64()
    every = step_jacobians(decoder, IDS, [2])[2].matrix
    seen: list[int] = []
    run = decoder.states_from_embeddings
    monkeypatch.setattr(
        decoder,
        "states_from_embeddings",
        lambda rows, *a, **k: seen.append(len(rows)) or run(rows, *a, **k),
    )
    three = 3 * decoder.prefix(IDS[:-1], 2).nbytes
    few = step_jacobians(decoder, IDS, [2], most_bytes=three)[2].matrix
    assert {3, 1} == set(seen)
    assert torch.allclose(few, every, atol=1e-12)


def test_a_smallest_value_below_its_floor_is_not_known() -> None:
    """Of a Jacobian of rank 1, in float32."""
    decoder = additive_decoder(torch.eye(16, 8), torch.zeros(6, 8), layers=1)
    flat = torch.ones(8, 8) - torch.eye(8)
    decoder.parts.blocks[0].register_forward_hook(
        lambda _module, _args, out: out @ flat[:, :1] @ flat[:1]
    )
    (found,) = step_scales(decoder, IDS, [1], [3])
    assert found.smallest <= found.floor < 1e-5 * found.largest
    assert not found.known


@pytest.mark.parametrize("gain", [1, 1000])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_singular_step_is_not_known_whatever_blocks_draw_out_and_take_back(
    at: int, gain: int
) -> None:
    """Two shears that are inverse in exact arithmetic, and a matrix with two equal rows among them."""
    there, back = _shears(gain)
    flat = torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat[1] = flat[0]
    matrices = [there, back]
    matrices.insert(at, flat)
    (found,) = step_scales(_of_products(matrices), IDS, [3], [0])
    assert 0 <= found.smallest < found.floor
    # What is well conditioned is known far below: the floor is that of the factors, not a constant.
    assert found.floor < 1e-12 * gain**4 * found.largest


def test_what_is_drawn_out_and_taken_back_within_a_block_counts() -> None:
    """The module between is one of the block."""
    there, back = _shears(1000)
    flat = torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat[1] = flat[0]
    decoder = _of_products([torch.eye(8, dtype=torch.float64)] * 3)
    linear = [torch.nn.Linear(8, 8, bias=False).double() for _ in range(3)]
    with torch.no_grad():
        for one, matrix in zip(linear, (there, back, flat), strict=True):
            one.weight.copy_(matrix.T)
    decoder.parts.blocks[0].more = torch.nn.Sequential(*linear)
    decoder.parts.blocks[0].register_forward_hook(lambda block, args, _out: block.more(args[0]))
    (found,) = step_scales(decoder, IDS, [3], [0])
    assert not found.known


def _shears(gain: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An integer matrix of determinant 1, and its inverse."""
    one, other = torch.eye(8, dtype=torch.float64), torch.eye(8, dtype=torch.float64)
    one[0, 1] = other[1, 0] = gain
    there = one @ other
    one[0, 1] = other[1, 0] = -gain
    return there, other @ one


def _of_products(matrices: list[torch.Tensor]) -> Decoder:
    """A float64 model whose blocks each multiply states with a matrix."""
    decoder = additive_decoder(torch.eye(16, 8), torch.zeros(6, 8), layers=len(matrices))
    for block, matrix in zip(decoder.parts.blocks, matrices, strict=True):
        block.register_forward_hook(lambda _block, args, _out, by=matrix: args[0] @ by.to(args[0]))
    return decoder.as_float64()


def test_the_floor_is_the_same_each_time() -> None:
    """Its noise is drawn by a fixed seed, which leaves that of torch alone."""
    decoder = tiny_decoder("llama").as_float64()
    before = torch.get_rng_state()
    one, other = (step_scales(decoder, IDS, [1, 2], [3]) for _ in range(2))
    assert one == other
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("family", TABLE)
def test_the_floor_of_a_model_is_near_that_of_a_product(family: str) -> None:
    """Of every family, at random weights: what is known of them stays known."""
    hidden = 16 if family == "mamba" else 8
    found = step_scales(tiny_decoder(family, hidden=hidden).as_float64(), IDS, [1], [3])
    product = torch.finfo(torch.float64).eps * hidden**0.5
    assert product < found[0].floor_ratio < 100 * product
    assert found[0].known


@pytest.mark.parametrize("family", ["gpt2", "falcon"])
def test_the_mean_that_a_last_layer_norm_loses_is_below_the_floor(family: str) -> None:
    """In exact arithmetic the smallest value is 0: what rounding makes of it is not known."""
    found = step_scales(tiny_decoder(family).as_float64(), IDS, ["norm"])
    assert [False] * 4 == [one.known for one in found]


def test_what_is_not_finite_is_refused() -> None:
    """No singular value is made of it."""
    decoder = plant_nan(tiny_decoder("gpt2"), 2).as_float64()
    with pytest.raises(ModelError, match="the Jacobian at layer02, position 1 is not finite"):
        step_scales(decoder, IDS, [1, 2], [1])


@pytest.mark.parametrize("position", [4, -1])
def test_a_position_that_is_not_there_is_refused(position: int) -> None:
    """The message says which there are."""
    with pytest.raises(OptionError, match=f"position {position} of 4 tokens: give 0 to 3"):
        step_scales(tiny_decoder("gpt2").as_float64(), IDS, [1], [position])


def test_a_layer_or_a_token_that_is_not_there_is_refused() -> None:
    """As everywhere."""
    decoder = tiny_decoder("gpt2").as_float64()
    with pytest.raises(LayerError):
        step_scales(decoder, IDS, [3])
    with pytest.raises(PromptError):
        step_scales(decoder, torch.tensor([1, 64, 2]), [1], [2])
