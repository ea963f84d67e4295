from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.errors import LayerError, PromptError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import tiny_decoder
from scripts.families.small_models import small_config, small_model
from tests.models.rows import FAMILIES, LibraryStates, Relative, random_rows, right_padded
from tests.repetitions import SOME_FAMILIES, mostly_slow

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
LONG = 200


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("family", mostly_slow(FAMILIES, *SOME_FAMILIES))
class TestAgainstTheLibrary:
    """States equal output_hidden_states of the same row, unpadded and alone."""

    @pytest.mark.parametrize("length", [1, LONG])
    def test_alone(
        self,
        family: str,
        dtype: torch.dtype,
        length: int,
        library_states: LibraryStates,
        relative: Relative,
    ) -> None:
        """A row alone has the library's states at every position of every layer."""
        decoder = tiny_decoder(family, layers=3, context=256, dtype=dtype)
        (row,) = random_rows(length)
        expected = library_states(decoder, row)
        found = decoder.states(row[None], list(expected))
        assert {*expected, 0} == {0, *decoder.layers}
        for layer, states in expected.items():
            assert relative(found[layer][0], states) <= TOLERANCE[dtype]

    def test_in_a_right_padded_batch(
        self, family: str, dtype: torch.dtype, library_states: LibraryStates, relative: Relative
    ) -> None:
        """The position kept of a padded row has the state the row has alone."""
        decoder = tiny_decoder(family, layers=3, context=256, dtype=dtype)
        rows = random_rows(1, LONG, 7, LONG - 1)
        last = torch.tensor([len(row) - 1 for row in rows])
        found = decoder.states(right_padded(rows), decoder.layers, positions=last)
        assert (1, 2, 3, "norm") == decoder.layers
        for i, row in enumerate(rows):
            expected = library_states(decoder, row)
            for layer in decoder.layers:
                assert relative(found[layer][i], expected[layer][-1]) <= TOLERANCE[dtype]


@pytest.mark.parametrize("family", FAMILIES)
def test_next_token_logits_are_the_last_of_the_full_model(family: str) -> None:
    """The logits equal those of the whole model at the last position."""
    decoder = tiny_decoder(family)
    (row,) = random_rows(11)
    with torch.no_grad():
        expected = decoder.model(row[None]).logits[0, -1]
    torch.testing.assert_close(decoder.next_token_logits(row), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_last_logits_of_padded_rows_are_those_of_each_row_alone(family: str) -> None:
    """Rows of different lengths in one pass, padded on the right."""
    decoder = tiny_decoder(family)
    rows = random_rows(11, 4, 9)
    last = torch.tensor([len(row) - 1 for row in rows])
    found = decoder.last_logits(right_padded(rows), last)
    expected = torch.stack([decoder.next_token_logits(row) for row in rows])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_last_logits_of_a_family_that_gives_all_of_them_are_the_last() -> None:
    """TrOCR gives the logits of every position, whichever are asked for."""
    decoder = Decoder("trocr", small_model(small_config("trocr")))
    rows = torch.tensor([[5, 9, 3, 7, 2], [8, 1, 4, 4, 4]])
    last = torch.tensor([4, 1])
    with torch.no_grad():
        expected = [
            decoder.model(row[None, : end + 1]).logits[0, -1]
            for row, end in zip(rows, last, strict=True)
        ]
    found = decoder.last_logits(rows, last)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gradient_reaches_the_embeddings(family: str) -> None:
    """The gradient of a state with respect to an embedding is its finite difference."""
    decoder = tiny_decoder(family, dtype=torch.float64).as_float64()
    embeddings = decoder.embedding_matrix()[random_rows(4)[0]][None].requires_grad_()
    direction = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(1)).double()

    def value(at: Tensor) -> Tensor:
        return decoder.states_from_embeddings(at, [2])[2].square().sum()

    (gradient,) = torch.autograd.grad(value(embeddings), embeddings)
    step = 1e-5 * direction
    numerical = (value(embeddings + step) - value(embeddings - step)).detach() / 2e-5
    torch.testing.assert_close((gradient * direction).sum(), numerical, rtol=1e-6, atol=0)


def test_blocks_below_the_deepest_layer_do_not_run() -> None:
    """Asking for layers 0 and 2 of 4 runs two blocks, asking for layer 0 none."""
    decoder, (row,) = tiny_decoder("llama", layers=4), random_rows(5)
    ran = []
    for number, block in enumerate(decoder.parts.blocks, start=1):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    decoder.states(row[None], [2, 0])
    assert [1, 2] == ran
    decoder.states(row[None], [0])
    assert [1, 2] == ran


def test_the_language_model_head_never_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No logits are computed for states, prefixes or candidates."""
    decoder, (row,) = tiny_decoder("qwen3"), random_rows(5)
    monkeypatch.setattr(decoder.model.lm_head, "forward", pytest.fail)
    states = decoder.states(row[None], decoder.layers)
    candidates = decoder.candidates(decoder.prefix(row, "norm"), row, decoder.layers)
    assert list(decoder.layers) == list(states) == list(candidates)


def test_no_hook_is_left_behind() -> None:
    """A pass, stopped early or not, or failed, leaves no hook on the model."""
    decoder, (row,) = tiny_decoder("gpt2"), random_rows(5)
    decoder.states(row[None], [0, 1, "norm"])
    decoder.states(row[None], [1])
    with pytest.raises(RuntimeError):
        decoder.states_from_embeddings(torch.zeros(1, 5, 3), [1])
    for block in decoder.parts.blocks:
        assert 0 == len(block._forward_hooks) + len(block._forward_pre_hooks)


@pytest.mark.parametrize("positions", [None, torch.tensor([3, 0])], ids=["all", "one a row"])
def test_kept_rows_own_their_memory(positions: Tensor | None) -> None:
    """What is returned holds no more memory than its own elements, and no gradient."""
    decoder, rows = tiny_decoder("gpt2"), torch.stack(random_rows(9, 9))
    found = decoder.states(rows, [0, 1, 2, "norm"], positions=positions)
    assert 4 == len(found)
    for states in found.values():
        assert states.numel() * states.element_size() == states.untyped_storage().nbytes()
        assert not states.requires_grad


@given(seed=st.integers(0, 2**31), length=st.integers(2, 30), same=st.integers(1, 29))
@settings(max_examples=25, deadline=None)
def test_a_state_depends_on_its_own_prefix_only(seed: int, length: int, same: int) -> None:
    """Rows that share their first tokens share the states there, at every layer."""
    decoder = tiny_decoder("mistral")
    one, other = random_rows(length, length, seed=seed)
    same = min(same, length)
    other[:same] = one[:same]
    states = decoder.states(torch.stack([one, other]), [0, *decoder.layers])
    assert 4 == len(states)
    for found in states.values():
        torch.testing.assert_close(found[0, :same], found[1, :same], rtol=1e-5, atol=1e-6)


def test_a_hybrid_dtype_is_read_from_the_states() -> None:
    """Mamba keeps its residual stream in float32 when its weights are bfloat16."""
    decoder = tiny_decoder("mamba", dtype=torch.bfloat16, residual_in_fp32=True)
    assert torch.float32 == decoder.dtype
    assert torch.bfloat16 == tiny_decoder("gpt2", dtype=torch.bfloat16).dtype


def test_the_attributes_describe_the_model() -> None:
    """Sizes, context and layers are those of the configuration."""
    decoder = tiny_decoder("opt", layers=3, hidden=24, vocab=40, context=50)
    assert (3, 24, 40, 50) == (
        decoder.n_layers,
        decoder.hidden_size,
        decoder.vocab_size,
        decoder.context,
    )
    assert (1, 2, 3, "norm") == decoder.layers
    assert (torch.device("cpu"), torch.float32) == (decoder.device, decoder.dtype)
    assert "tiny:opt" in repr(decoder)


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text"])
def test_the_embedding_matrix_is_scaled_where_the_family_scales(family: str) -> None:
    """Gemma multiplies its embeddings by the root of the width before the first block."""
    decoder = tiny_decoder(family, dtype=torch.float64)
    weight = decoder.parts.embeddings.weight
    torch.testing.assert_close(decoder.embedding_matrix(), weight * 16**0.5)


def test_padding_tokens_do_not_warn(caplog: pytest.LogCaptureFixture) -> None:
    """A padding id in the row is a token like any other, and GPT-2 says nothing about it."""
    decoder = tiny_decoder("gpt2", pad_token_id=3)
    decoder.states(torch.tensor([[3, 1, 3]]), [1])
    assert "" == caplog.text


@pytest.mark.parametrize("bad", [-1, 64, 2**40])
def test_an_id_outside_the_embedding_is_refused(bad: int) -> None:
    """The message names the id and the ids accepted."""
    decoder = tiny_decoder()
    with pytest.raises(PromptError, match=rf"token id {bad} .* 0 to 63 are accepted"):
        decoder.states(torch.tensor([[1, bad]]), [1])


@pytest.mark.parametrize(
    "attempt",
    [
        lambda decoder, row: decoder.states(row[None], [1]),
        lambda decoder, row: decoder.states(
            row[None, 10:], [1], prefix=decoder.prefix(row[:10], 1)
        ),
        lambda decoder, row: decoder.extend(decoder.prefix(row[:10], 1), row[10:]),
        lambda decoder, row: decoder.prefix(row, 1),
        lambda decoder, row: decoder.next_token_logits(row),
    ],
    ids=["states", "states after a prefix", "extend", "prefix", "logits"],
)
def test_a_row_beyond_the_context_is_refused(attempt: Callable[[Decoder, Tensor], object]) -> None:
    """A prefix counts towards the context."""
    (row,) = random_rows(17)
    with pytest.raises(PromptError, match=r"17 tokens exceeds .* at most 16"):
        attempt(tiny_decoder(context=16), row)


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_the_model_does_not_have_is_refused(layer: int) -> None:
    """The message names the layer and the layers there are."""
    decoder, (row,) = tiny_decoder(), random_rows(4)
    with pytest.raises(LayerError, match=f"layer {layer} .* 0 to 2"):
        decoder.states(row[None], [1, layer])
    with pytest.raises(LayerError, match=f"layer {layer} "):
        decoder.prefix(row, layer)
    with pytest.raises(LayerError, match="no layer"):
        decoder.states(row[None], [])
