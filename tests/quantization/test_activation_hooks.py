"""Activations rounded as a model runs: against a slow pass of the test's own, on every path."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import ModelError, OptionError
from pytest_injectivity.models.assumptions import assumptions
from pytest_injectivity.models.calibration import calibrate
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.facts import ModelFacts
from pytest_injectivity.models.repeated_rows import times_repeated
from pytest_injectivity.quantization.activation_hooks import (
    Rounding,
    residual_stream,
    with_residual_stream,
)
from pytest_injectivity.quantization.grid import Grid
from pytest_injectivity.store.codec import from_bytes, to_bytes
from pytest_injectivity.testing import additive_decoder, plant_nan, tiny_decoder
from tests.geometry.test_rounded_rows import by_hand

Relative = Callable[[Tensor, Tensor], float]

# Keys and values in a cache, behind a window, masked by the model itself, and none at all.
FAMILIES = ["gpt2", "llama", "gemma3_text", "gpt_neo", "mamba"]
GRIDS = ["6", "6 asymmetric clip=99", "6 per-token", "6 asymmetric per-channel"]


def _rows(*lengths: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(64, (length,), generator=generator) for length in lengths]


def _sample(seed: int = 9) -> list[list[int]]:
    """Prompts to calibrate on, of many lengths."""
    return [row.tolist() for row in _rows(1, 5, 12, 30, 17, seed=seed)]


def _rounded(decoder: Decoder, grid: str) -> Decoder:
    return decoder.rounded(calibrate(decoder, _sample(), Grid.parse(grid)))


def _by_hooks(
    decoder: Decoder, row: Sequence[int], change: Callable[[int, Tensor], Tensor]
) -> list[Tensor]:
    """What the blocks of the library's model give of one row alone, each changed as it passes.

    A short row is repeated as a decoder repeats it, because passes of few rows round differently.
    """
    kept: list[Tensor] = []

    def hook(_block: object, _args: object, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        kept.append(change(len(kept), states[0]))
        changed = kept[-1].expand_as(states)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    with ExitStack() as hooks, torch.no_grad():
        for block in decoder.parts.blocks:
            hooks.enter_context(block.register_forward_hook(hook))
        decoder.model(torch.tensor([list(row)] * times_repeated(1, len(row), None)))
    return kept


class TestAgainstASlowPass:
    """The library's own model, and numbers rounded one at a time."""

    @pytest.mark.parametrize("grid", [*GRIDS, "8", "2 asymmetric", "4 per-channel clip=90"])
    @pytest.mark.parametrize(
        ("family", "dtype"),
        [("gpt2", torch.float32), ("llama", torch.float32), ("llama", torch.bfloat16)],
        ids=str,
    )
    def test_states_are_those_of_hooks(self, family: str, grid: str, dtype: torch.dtype) -> None:
        """Bit for bit: scales of a layer or channel from all tokens of the sample in full precision."""
        decoder, wanted = tiny_decoder(family, dtype=dtype), Grid.parse(grid)
        plain = [_by_hooks(decoder, prompt, lambda _, states: states) for prompt in _sample()]
        sources = [torch.cat([states[block] for states in plain]) for block in range(2)]

        def change(block: int, states: Tensor) -> Tensor:
            source = None if wanted.per == "token" else sources[block]
            codes, steps, zeros = (np.array(one) for one in by_hand(states, wanted, source))
            return torch.from_numpy((codes - zeros) * steps).to(states.dtype)

        (row,) = _rows(20)
        expected = _by_hooks(decoder, row.tolist(), change)
        found = _rounded(decoder, grid).states(row[None], [1, 2, "norm"])
        assert expected[0].equal(found[1][0])
        assert expected[1].equal(found[2][0])
        assert decoder.parts.norm(expected[1]).equal(found["norm"][0])

    def test_the_error_propagates(self) -> None:
        """The second block sees the rounded output of the first, not what it was before."""
        decoder, (row,) = tiny_decoder("llama"), _rows(20)
        rounded = _rounded(decoder, "4")
        found, plain = rounded.states(row[None], [1, 2]), decoder.states(row[None], [1, 2])
        after = _by_hooks(decoder, row.tolist(), lambda at, one: found[1][0] if at == 0 else one)
        assert rounded.rounding is not None
        assert rounded.rounding.rounded(1, after[1][None]).equal(found[2])
        assert not rounded.rounding.rounded(1, plain[2]).equal(found[2])


@pytest.fixture(params=FAMILIES, scope="module")
def decoder(request: pytest.FixtureRequest) -> Decoder:
    """Of each family, with a grid of each kind in turn."""
    exact = tiny_decoder(request.param, dtype=torch.float64).as_float64()
    return _rounded(exact, GRIDS[FAMILIES.index(request.param) % len(GRIDS)])


class TestEveryPath:
    """Whatever way a state is computed, its tokens are rounded the same (true float64: no flips)."""

    def test_rows_do_not_depend_on_their_batch(self, decoder: Decoder, relative: Relative) -> None:
        """Neighbors and padding change nothing, of static scales and of each token's own."""
        rows = _rows(3, 25, 11)
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=5)
        found = decoder.states(padded, decoder.layers)
        assert (1, 2, "norm") == decoder.layers
        for at, row in enumerate(rows):
            alone = decoder.states(row[None], decoder.layers)
            for layer in decoder.layers:
                assert relative(found[layer][at, : len(row)], alone[layer][0]) <= 1e-12

    def test_a_prefix_gives_the_states_of_the_whole(
        self, decoder: Decoder, relative: Relative
    ) -> None:
        """Cached, extended or run again; one row or several."""
        start, more, *ends = _rows(9, 6, 7, 7)
        ends = torch.stack(ends)
        whole = torch.cat([start, more]).expand(2, -1)
        expected = decoder.states(torch.cat([whole, ends], dim=1), decoder.layers)
        prefix = decoder.extend(decoder.prefix(start, "norm"), more)
        found = decoder.states(ends, decoder.layers, prefix=prefix)
        assert (1, 2, "norm") == decoder.layers
        for layer in decoder.layers:
            assert relative(found[layer], expected[layer][:, 15:]) <= 1e-12

    @pytest.mark.parametrize("side_by_side", [True, False])
    def test_candidates_are_the_one_step_map(
        self,
        decoder: Decoder,
        relative: Relative,
        side_by_side: bool,  # noqa: FBT001 - given by name
    ) -> None:
        """Side by side under a mask, or a row each; after a prefix and first."""
        start, tokens = _rows(13, 12)
        full = torch.cat([start.expand(12, -1), tokens[:, None]], dim=1)
        for prefix, rows in ((decoder.prefix(start, 2), full), (None, tokens[:, None])):
            expected = decoder.states(rows, [1, 2])
            found = decoder.candidates(prefix, tokens, [1, 2], side_by_side=side_by_side)
            for layer in (1, 2):
                assert relative(found[layer], expected[layer][:, -1]) <= 1e-12

    def test_many_prefixes_are_continued(self, decoder: Decoder, relative: Relative) -> None:
        """Each of its own length, in one pass, as SipIt does."""
        rows, prefixes = torch.stack(_rows(10, 10)), decoder.prefix_buffer(2, 20, 2)
        prefixes.keep(decoder.continued(prefixes, [0, 1], rows), [4, 7])
        found = decoder.continued(prefixes, [0, 1], torch.stack([rows[0, 4:7], rows[1, 7:10]]))
        expected = decoder.states(rows, [2])[2]
        assert relative(found.states[0], expected[0, 4:7]) <= 1e-12
        assert relative(found.states[1], expected[1, 7:10]) <= 1e-12

    def test_embeddings_give_the_states_of_their_tokens(
        self, decoder: Decoder, relative: Relative
    ) -> None:
        """Input embeddings are rounded like their tokens, with a gradient or without."""
        start, row = _rows(10, 9)
        rows, prefix = decoder.embedding_matrix()[row][None], decoder.prefix(start, "norm")
        expected = decoder.states(row[None], decoder.layers, prefix=prefix)
        assert (1, 2, "norm") == decoder.layers
        for given_rows in (rows, rows.clone().requires_grad_()):
            found = decoder.states_from_embeddings(given_rows, decoder.layers, prefix=prefix)
            for layer in decoder.layers:
                assert relative(found[layer].detach(), expected[layer]) <= 1e-12

    def test_logits_are_those_of_the_rounded_states(self, decoder: Decoder) -> None:
        """The model's own ranking is that of the model that rounds."""
        (row,) = _rows(11)
        last = decoder.states(row[None], ["norm"])["norm"][0, -1]
        with decoder.running(), torch.no_grad():
            head: Any = decoder.model.get_output_embeddings()
            expected = head(last)
        found = decoder.next_token_logits(row)
        soft: Any = getattr(decoder.model.config, "final_logit_softcapping", None)
        expected = expected if soft is None else torch.tanh(expected / soft) * soft
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("family", ["gpt2", "mamba"])
@pytest.mark.parametrize("grid", ["16", "16 asymmetric", "16 per-token", "16 per-channel"])
def test_many_bits_move_little_and_few_bits_much(
    family: str, grid: str, relative: Relative
) -> None:
    """As a share of the norm: less than a thousandth at 16 bits, more than a tenth at 2.

    The scale is the prompt's own: what it would leave out of another's is clipped at any bits.
    """
    decoder, (row,) = tiny_decoder(family), _rows(30)
    plain, fine, coarse = (
        one.states(row[None], decoder.layers)
        for one in (
            decoder,
            *(
                decoder.rounded(calibrate(decoder, [row.tolist()], Grid.parse(text)))
                for text in (grid, grid.replace("16", "2", 1))
            ),
        )
    )
    assert (1, 2, "norm") == decoder.layers
    for layer in decoder.layers:
        assert 0 < relative(fine[layer], plain[layer]) < 1e-3
        assert relative(coarse[layer], plain[layer]) > 0.1


def test_layer_0_is_no_blocks_output() -> None:
    """The embeddings, layer 0, are not rounded."""
    decoder, (row,) = tiny_decoder("gpt2"), _rows(8)
    found = _rounded(decoder, "2").states(row[None], [0])[0]
    assert decoder.states(row[None], [0])[0].equal(found)


FOUR_BITS = _rounded(tiny_decoder("gpt2"), "4")


@given(seed=st.integers(0, 2**31))
def test_every_state_is_on_its_blocks_grid(seed: int) -> None:
    """At most 15 values of 4 bits, whatever the prompt: all the others were clipped or rounded."""
    (row,), steps = _rows(20, seed=seed), FOUR_BITS.rounding.steps
    found = FOUR_BITS.states(row[None], [1, 2])
    assert [1, 2] == list(found)
    for layer, states in found.items():
        codes = states.double() / float(steps[int(layer) - 1, 0])
        assert float((codes - codes.round()).abs().max()) < 1e-5
        assert float(codes.abs().max()) < 7.0001


def test_the_plain_model_stays_as_it_is() -> None:
    """The two share their modules: neither leaves a hook on them, failed passes among them."""
    decoder, (row,) = tiny_decoder("gpt2"), _rows(8)
    before = decoder.states(row[None], decoder.layers)
    rounded = _rounded(decoder, "2")
    assert rounded.model is decoder.model
    rounded.states(row[None], [1])
    rounded.next_token_logits(row)
    with pytest.raises(RuntimeError):
        rounded.states_from_embeddings(torch.zeros(1, 5, 3), [1])
    for block in decoder.parts.blocks:
        assert 0 == len(block._forward_hooks) + len(block._forward_pre_hooks)
    for layer, states in decoder.states(row[None], decoder.layers).items():
        assert before[layer].equal(states)


def test_the_gradient_passes_as_if_nothing_were_rounded() -> None:
    """Rounding has none of its own: proposals by gradient would stand still."""
    exact = tiny_decoder("llama", dtype=torch.float64).as_float64()
    gradients = []
    for decoder in (_rounded(exact, "24"), exact):
        rows = decoder.embedding_matrix()[_rows(6)[0]][None].requires_grad_()
        states = decoder.states_from_embeddings(rows, [2])[2]
        gradients += torch.autograd.grad(states.square().sum(), rows)
    assert float(gradients[1].norm()) > 0
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("lost", [torch.nan, -torch.inf])
def test_what_is_not_finite_stays_so(grid: str, lost: float) -> None:
    """Rounding does not hide it: an infinity is not clipped to the end of the grid."""
    decoder = tiny_decoder("gpt2")
    rounding = _rounded(decoder, grid).rounding
    assert rounding is not None
    states = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(1))
    clean = rounding.rounded(0, states)
    states[0, 1, 4] = lost
    found = rounding.rounded(0, states)
    assert not bool(found[0, 1, 4].isfinite())
    assert clean[0, 0].equal(found[0, 0])
    assert clean[0, 2].equal(found[0, 2])


@pytest.mark.parametrize("grid", GRIDS)
def test_a_block_of_nans_fails_by_its_states(grid: str) -> None:
    """Its scale cannot be calibrated; the layers before it are as they would be."""
    decoder = plant_nan(tiny_decoder("gpt2", layers=3), 2)
    (row,) = _rows(8)
    found = _rounded(decoder, grid).states(row[None], [1, 2, 3])
    assert _rounded(tiny_decoder("gpt2", layers=3), grid).states(row[None], [1])[1].equal(found[1])
    assert bool(found[2].isnan().all())
    assert bool(found[3].isnan().all())


class TestCalibration:
    """Static scales: what they are made of, and what has no part in them."""

    @pytest.mark.parametrize("grid", ["8", "8 asymmetric", "8 per-channel", "8 clip=95"])
    def test_neither_order_nor_repetition_of_lengths_matters(self, grid: str) -> None:
        """The same prompts in any order give the same bits."""
        decoder, sample = tiny_decoder("llama"), _sample()
        one = calibrate(decoder, sample, Grid.parse(grid))
        other = calibrate(decoder, sample[::-1], Grid.parse(grid))
        assert one.steps is not None
        np.testing.assert_array_equal(one.steps, other.steps)
        np.testing.assert_array_equal(one.zeros, other.zeros)

    def test_one_number_a_block_or_one_a_channel(self) -> None:
        """Static scales have one number a block or one a channel; scales of tokens are not static."""
        decoder, sample = tiny_decoder("gpt2", layers=3), _sample()
        shapes = {
            grid: getattr(calibrate(decoder, sample, Grid.parse(grid)).steps, "shape", None)
            for grid in ("8", "8 per-channel", "8 per-token")
        }
        assert {"8": (3, 1), "8 per-channel": (3, 16), "8 per-token": None} == shapes

    def test_it_is_made_in_full_precision(self) -> None:
        """The scale of the second block does not know what becomes of the first one's output."""
        decoder = tiny_decoder("gpt2")
        coarse, fine = (calibrate(decoder, _sample(), Grid(bits)) for bits in (2, 16))
        assert coarse.steps is not None
        assert fine.steps is not None
        np.testing.assert_allclose(coarse.steps * 1, fine.steps * (2**15 - 1), rtol=1e-12)

    @pytest.mark.parametrize("grid", ["8", "8 asymmetric", "8 per-channel"])
    def test_a_block_that_gives_nothing_but_zeros_is_refused(self, grid: str) -> None:
        """The message names the block by its number."""
        decoder = additive_decoder(torch.zeros(8, 8), torch.zeros(16, 8))
        with pytest.raises(OptionError, match=r"output of block 1 is zero .* of 2 prompts: it has"):
            calibrate(decoder, [[1, 2], [3]], Grid.parse(grid))

    @pytest.mark.parametrize("grid", GRIDS)
    def test_what_was_found_can_be_kept(self, grid: str) -> None:
        """A rounding survives the bytes of a store."""
        decoder, (row,) = tiny_decoder("gpt2"), _rows(8)
        rounding = calibrate(decoder, _sample(), Grid.parse(grid))
        before = decoder.rounded(rounding).states(row[None], [2])[2]
        read: Rounding = from_bytes(to_bytes(rounding))
        assert before.equal(decoder.rounded(read).states(row[None], [2])[2])


def test_there_is_no_float64_copy() -> None:
    """A copy that does not round is another function, and one that does is as coarse."""
    with pytest.raises(
        ModelError, match=r"\(activations on 6 bits\) rounds activations as it runs"
    ):
        _rounded(tiny_decoder("gpt2"), "6").as_float64()


def test_a_model_in_true_float64_may_round() -> None:
    """It stays in true float64: its states differ from those of float32 models on the same grid."""
    exact = tiny_decoder("llama", dtype=torch.float64).as_float64()
    (row,) = _rows(8)
    states = _rounded(exact, "16").states(row[None], [2])[2]
    assert torch.float64 == states.dtype
    rough = _rounded(tiny_decoder("llama", dtype=torch.float64), "16").states(row[None], [2])[2]
    assert not rough.equal(states)


def test_what_is_known_of_a_model_says_so() -> None:
    """Facts and assumptions: no draw of weights speaks for a model that rounds."""
    decoder = _rounded(tiny_decoder("gpt2"), "6 per-token")
    facts = ModelFacts.of(decoder)
    assert ("6 per-token", "float32") == (facts.activations, facts.dtype)
    found = assumptions(decoder)
    assert not found.analytic_architecture
    assert found.line.endswith(", activations ROUNDED to 6 bits per-token")
    assert assumptions(tiny_decoder("gpt2")).analytic_architecture
    assert "" == ModelFacts.of(tiny_decoder("gpt2")).activations


def test_layers_are_named_as_ever() -> None:
    """What is hooked changes neither the layers nor their widths."""
    decoder = _rounded(tiny_decoder("gpt2"), "6")
    layers: tuple[Layer, ...] = decoder.layers
    assert (1, 2, "norm") == layers
    found = decoder.states(_rows(5)[0][None], layers, positions=torch.tensor([4]))
    assert {(1, 16)} == {tuple(states.shape) for states in found.values()}


@pytest.mark.parametrize("kind", [tuple, list])
def test_a_blocks_states_are_the_first_of_what_it_returns(kind: type) -> None:
    """Some blocks return a tuple, OpenAI's GPT a list; what stands behind the states stays there."""
    states, other = torch.zeros(2), torch.ones(2)
    output = kind([states, "weights"])
    assert states is residual_stream(output)
    assert kind([other, "weights"]) == with_residual_stream(output, other)
    assert other is with_residual_stream(states, other)
