from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import LayerError, PromptError
from pytest_injectivity.models.decoder import CandidateLimits, Decoder
from pytest_injectivity.models.families import TABLE
from pytest_injectivity.testing import SLIDING_WINDOW, tiny_decoder

LibraryStates = Callable[[Decoder, Tensor], dict[Layer, Tensor]]
Relative = Callable[[Tensor, Tensor], float]


FAMILIES = list(TABLE)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
LONG = 200


def _rows(*lengths: int, vocab: int = 64, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(vocab, (length,), generator=generator) for length in lengths]


def _right_padded(rows: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=5)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
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
        (row,) = _rows(length)
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
        rows = _rows(1, LONG, 7, LONG - 1)
        last = torch.tensor([len(row) - 1 for row in rows])
        found = decoder.states(_right_padded(rows), decoder.layers, positions=last)
        assert (1, 2, 3, "norm") == decoder.layers
        for i, row in enumerate(rows):
            expected = library_states(decoder, row)
            for layer in decoder.layers:
                assert relative(found[layer][i], expected[layer][-1]) <= TOLERANCE[dtype]


@pytest.mark.parametrize("family", FAMILIES)
class TestPrefix:
    """A cached prefix gives the states of the whole row, also past a sliding window."""

    @pytest.mark.parametrize("cut", [0, 3, SLIDING_WINDOW, 3 * SLIDING_WINDOW])
    def test_several_tokens_continue_a_prefix(
        self, family: str, cut: int, relative: Relative
    ) -> None:
        """Rows that continue one prefix have the states they have in full."""
        decoder = tiny_decoder(family, layers=3, dtype=torch.float64)
        start, *ends = _rows(cut, 12, 12, 12)
        ends = torch.stack(ends)
        layers = [0, *decoder.layers]
        full = torch.cat([start.expand(3, -1), ends], dim=1)
        expected = decoder.states(full, layers)
        found = decoder.states(ends, layers, prefix=decoder.prefix(start, "norm"))
        assert [0, 1, 2, 3, "norm"] == list(found)
        for layer in layers:
            assert relative(found[layer], expected[layer][:, cut:]) <= 1e-6

    def test_an_extended_prefix_equals_one_made_at_once(
        self, family: str, relative: Relative
    ) -> None:
        """Extending leaves the old prefix usable and gives the states of the longer one."""
        decoder = tiny_decoder(family, layers=3)
        short, more, tokens = _rows(9, 11, 6)
        prefix = decoder.prefix(short, 2)
        before = decoder.candidates(prefix, tokens, [2])
        longer = decoder.extend(decoder.extend(prefix, more[:1]), more[1:])
        expected = decoder.prefix(torch.cat([short, more]), 2)
        assert (20, 9) == (len(longer), len(prefix))
        assert expected.ids.equal(longer.ids)
        for layer in (0, 1, 2):
            found = decoder.candidates(longer, tokens, [layer])[layer]
            assert relative(found, decoder.candidates(expected, tokens, [layer])[layer]) <= 1e-6
        assert before[2].equal(decoder.candidates(prefix, tokens, [2])[2])

    def test_a_prefix_kept_to_layer_0_knows_its_length(self, family: str) -> None:
        """The embeddings of what follows stand at their positions after the prefix."""
        decoder = tiny_decoder(family)
        start, row = _rows(7, 5)
        expected = decoder.states(torch.cat([start, row])[None], [0])[0][:, 7:]
        prefix = decoder.extend(decoder.prefix(start[:3], 0), start[3:])
        assert expected.equal(decoder.states(row[None], [0], prefix=prefix)[0])

    def test_candidates_are_the_one_step_map(self, family: str, relative: Relative) -> None:
        """Candidate i is the last state of the prefix followed by token i, in any batching."""
        decoder = tiny_decoder(family)
        decoder.limits = CandidateLimits(rows=5)
        start, tokens = _rows(13, 12)
        full = torch.cat([start.expand(12, -1), tokens[:, None]], dim=1)
        last = torch.full((12,), 13)
        expected = decoder.states(full, [1, "norm"], positions=last)
        found = decoder.candidates(decoder.prefix(start, "norm"), tokens, [1, "norm"])
        first = decoder.candidates(None, tokens, ["norm"])["norm"]
        for layer in (1, "norm"):
            assert relative(found[layer], expected[layer]) <= 1e-6
        alone = decoder.states(tokens[:, None], ["norm"])["norm"][:, 0]
        assert relative(first, alone) <= 1e-6

    def test_embeddings_give_the_states_of_their_tokens(
        self, family: str, relative: Relative
    ) -> None:
        """Rows of the embedding matrix stand for their tokens, after a prefix or without."""
        decoder = tiny_decoder(family)
        start, row = _rows(10, 9)
        embeddings = decoder.embedding_matrix()[row][None]
        layers = [0, *decoder.layers]
        assert [0, 1, 2, "norm"] == layers
        for prefix in (None, decoder.prefix(start, "norm")):
            expected = decoder.states(row[None], layers, prefix=prefix)
            found = decoder.states_from_embeddings(embeddings, layers, prefix=prefix)
            for layer in layers:
                assert expected[layer].shape == found[layer].shape
                assert relative(found[layer], expected[layer]) <= 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_next_token_logits_are_the_last_of_the_full_model(family: str) -> None:
    """The logits equal those of the whole model at the last position."""
    decoder = tiny_decoder(family)
    (row,) = _rows(11)
    with torch.no_grad():
        expected = decoder.model(row[None]).logits[0, -1]
    torch.testing.assert_close(decoder.next_token_logits(row), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gradient_reaches_the_embeddings(family: str) -> None:
    """The gradient of a state with respect to an embedding is its finite difference."""
    decoder = tiny_decoder(family, dtype=torch.float64).as_float64()
    embeddings = decoder.embedding_matrix()[_rows(4)[0]][None].requires_grad_()
    direction = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(1)).double()

    def value(at: Tensor) -> Tensor:
        return decoder.states_from_embeddings(at, [2])[2].square().sum()

    (gradient,) = torch.autograd.grad(value(embeddings), embeddings)
    step = 1e-5 * direction
    numerical = (value(embeddings + step) - value(embeddings - step)).detach() / 2e-5
    torch.testing.assert_close((gradient * direction).sum(), numerical, rtol=1e-6, atol=0)


def test_blocks_below_the_deepest_layer_do_not_run() -> None:
    """Asking for layers 0 and 2 of 4 runs two blocks, asking for layer 0 none."""
    decoder, (row,) = tiny_decoder("llama", layers=4), _rows(5)
    ran = []
    for number, block in enumerate(decoder.parts.blocks, start=1):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    decoder.states(row[None], [2, 0])
    assert [1, 2] == ran
    decoder.states(row[None], [0])
    assert [1, 2] == ran


def test_the_language_model_head_never_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No logits are computed for states, prefixes or candidates."""
    decoder, (row,) = tiny_decoder("qwen3"), _rows(5)
    monkeypatch.setattr(decoder.model.lm_head, "forward", pytest.fail)
    states = decoder.states(row[None], decoder.layers)
    candidates = decoder.candidates(decoder.prefix(row, "norm"), row, decoder.layers)
    assert list(decoder.layers) == list(states) == list(candidates)


def test_no_hook_is_left_behind() -> None:
    """A pass, stopped early or not, or failed, leaves no hook on the model."""
    decoder, (row,) = tiny_decoder("gpt2"), _rows(5)
    decoder.states(row[None], [0, 1, "norm"])
    decoder.states(row[None], [1])
    with pytest.raises(RuntimeError):
        decoder.states_from_embeddings(torch.zeros(1, 5, 3), [1])
    for block in decoder.parts.blocks:
        assert 0 == len(block._forward_hooks) + len(block._forward_pre_hooks)


@pytest.mark.parametrize("positions", [None, torch.tensor([3, 0])], ids=["all", "one a row"])
def test_kept_rows_own_their_memory(positions: Tensor | None) -> None:
    """What is returned holds no more memory than its own elements, and no gradient."""
    decoder, rows = tiny_decoder("gpt2"), torch.stack(_rows(9, 9))
    found = decoder.states(rows, [0, 1, 2, "norm"], positions=positions)
    assert 4 == len(found)
    for states in found.values():
        assert states.numel() * states.element_size() == states.untyped_storage().nbytes()
        assert not states.requires_grad


def test_a_prefix_is_not_changed_by_what_follows_it() -> None:
    """Keys and values of a prefix are the same after batches have continued it."""
    decoder, (start, row) = tiny_decoder("gemma2"), _rows(20, 5)
    prefix = decoder.prefix(start, "norm")
    before = [(x.keys.clone(), x.values.clone()) for x in prefix.cache.layers]
    decoder.states(row.expand(7, -1), ["norm"], prefix=prefix)
    decoder.extend(prefix, row)
    decoder.candidates(prefix, row, [1])
    assert 2 == len(before)
    for (keys, values), layer in zip(before, prefix.cache.layers, strict=True):
        assert keys.equal(layer.keys)
        assert values.equal(layer.values)


@given(seed=st.integers(0, 2**31), length=st.integers(2, 30), same=st.integers(1, 29))
@settings(max_examples=25, deadline=None)
def test_a_state_depends_on_its_own_prefix_only(seed: int, length: int, same: int) -> None:
    """Rows that share their first tokens share the states there, at every layer."""
    decoder = tiny_decoder("mistral")
    one, other = _rows(length, length, seed=seed)
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
    (row,) = _rows(17)
    with pytest.raises(PromptError, match=r"17 tokens exceeds .* at most 16"):
        attempt(tiny_decoder(context=16), row)


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_the_model_does_not_have_is_refused(layer: int) -> None:
    """The message names the layer and the layers there are."""
    decoder, (row,) = tiny_decoder(), _rows(4)
    with pytest.raises(LayerError, match=f"layer {layer} .* 0 to 2"):
        decoder.states(row[None], [1, layer])
    with pytest.raises(LayerError, match=f"layer {layer} "):
        decoder.prefix(row, layer)
    with pytest.raises(LayerError, match="no layer"):
        decoder.states(row[None], [])


def test_candidates_are_batched_within_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows beside a long prefix, more beside a short one; never none."""
    sizes = []
    decoder = tiny_decoder("gpt2")
    states = decoder.states
    monkeypatch.setattr(
        decoder,
        "states",
        lambda ids, *args, **named: sizes.append(len(ids)) or states(ids, *args, **named),
    )
    prefix = decoder.prefix(torch.arange(10), 2)
    assert 2 * 2 * 10 * 16 * 4 == prefix.nbytes  # 2 layers of keys and values, 10 rows of 16 floats
    for budget in (1, 7 * prefix.nbytes, 1000 * prefix.nbytes):
        decoder.limits = CandidateLimits(cpu_bytes=budget)
        decoder.candidates(prefix, torch.arange(20), [1], side_by_side=False)
    assert [*[1] * 20, 7, 7, 6, 20] == sizes


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("float64", [False, True])
def test_candidates_side_by_side_are_those_of_a_row_each(
    family: str,
    float64: bool,  # noqa: FBT001
    relative: Relative,
) -> None:
    """Any number of them, full rows and not, at every layer; in true float64 to its last places."""
    decoder = tiny_decoder(family, layers=3)
    decoder = decoder.as_float64() if float64 else decoder
    decoder.limits = CandidateLimits(side_by_side=4, side_rows=2)
    start, tokens = _rows(13, 21)
    layers: list[Layer] = [0, *decoder.layers]
    prefix = decoder.prefix(start, "norm")
    assert [0, 1, 2, 3, "norm"] == layers
    for some in (tokens, tokens[:1], tokens[:3]):
        expected = decoder.candidates(prefix, some, layers, side_by_side=False)
        found = decoder.candidates(prefix, some, layers)
        for layer in layers:
            assert relative(found[layer], expected[layer]) <= (1e-14 if float64 else 2e-6)


def test_side_by_side_is_used_where_the_family_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full attention by PyTorch's own kernel; not past a sliding window, nor in a recurrence."""
    taking = {family for family in FAMILIES if tiny_decoder(family).masks}
    assert {"gpt2", "gpt_neox", "opt", "llama", "qwen2", "qwen3", "falcon"} <= taking
    assert not {"gpt_neo", "mistral", "gemma2", "gemma3_text", "phi3", "mamba"} & taking
    assert tiny_decoder("mistral", sliding_window=None).masks
    assert not tiny_decoder("falcon", alibi=True).masks
    rows = []
    decoder = tiny_decoder("llama")
    monkeypatch.setattr(decoder, "states", lambda *_, **__: rows.append(1))
    decoder.candidates(decoder.prefix(torch.arange(4), 2), torch.arange(64), [2])
    assert [] == rows


def test_a_candidate_that_is_not_finite_spoils_no_other_beside_it() -> None:
    """Zero times NaN is NaN: they are then computed in a row each."""
    decoder = tiny_decoder("llama")
    prefix = decoder.prefix(torch.arange(5), 2)
    expected = decoder.candidates(prefix, torch.arange(64), [2])[2]
    decoder.parts.embeddings.weight[63] = torch.nan
    found = decoder.candidates(prefix, torch.arange(64), [2])[2]
    assert found[63].isnan().all()
    assert torch.allclose(expected[:63], found[:63], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("depth", [0, 2, "norm"])
def test_prefixes_of_many_lengths_continue_as_whole_rows(
    family: str, depth: Layer, relative: Relative
) -> None:
    """Rows that advance by different steps, past a sliding window, up to the context's last token."""
    decoder = tiny_decoder(family, layers=3, context=20).as_float64()
    rows, cached = _rows(20, 9, 3, 1, 17), [0] * 5
    prefixes = decoder.prefix_buffer(5, 20, depth)
    for steps in ((3, 2, 1, 1, 0), (13, 1, 0, 0, 9), (1, 1, 1, 0, 3)):
        active = [at for at in range(5) if cached[at] < len(rows[at])]
        assert active
        ids = _right_padded([rows[at][cached[at] :] for at in active])
        found = decoder.continued(prefixes, active, torch.nn.functional.pad(ids, (0, 3), value=1))
        for row, at in enumerate(active):
            expected = decoder.states(rows[at][None], [depth])[depth][0, cached[at] :]
            assert relative(found.states[row, : len(expected)], expected) <= 1e-12
        prefixes.keep(found, [steps[at] for at in active])
        cached = [length + steps[at] for at, length in enumerate(cached)]
        assert [tuple(row[:length].tolist()) for row, length in zip(rows, cached, strict=True)] == (
            prefixes.ids
        )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("depth", [0, 2])
def test_one_of_many_prefixes_stands_alone(family: str, depth: Layer, relative: Relative) -> None:
    """Its beginning, too; and after it was cut it grows differently."""
    decoder = tiny_decoder(family).as_float64()
    rows, tokens = torch.stack(_rows(12, 12)), torch.arange(6)
    prefixes = decoder.prefix_buffer(2, 12, depth)
    prefixes.keep(decoder.continued(prefixes, [0, 1], rows), [12, 5])
    prefixes.cut(0, 4)
    prefixes.keep(decoder.continued(prefixes, [0], rows[:1].flip(1)), [3])
    begun = torch.cat([rows[0, :4], rows[0].flip(0)[:3]])
    for row, length, ids in ((0, 7, begun), (0, 2, rows[0, :2]), (1, 5, rows[1, :5])):
        expected = decoder.candidates(decoder.prefix(ids, depth), tokens, [depth])[depth]
        found = decoder.candidates(decoder.alone(prefixes, row, length), tokens, [depth])[depth]
        assert relative(found, expected) <= 1e-12


def test_alternatives_of_many_prefixes_share_a_pass(relative: Relative) -> None:
    """Each row's candidates see its own prefix and themselves."""
    decoder = tiny_decoder("qwen3").as_float64()
    rows, tokens = torch.stack(_rows(9, 9, 9)), torch.stack(_rows(4, 4, 4, seed=1))
    prefixes = decoder.prefix_buffer(3, 9, 2)
    prefixes.keep(decoder.continued(prefixes, [0, 1, 2], rows), [9, 0, 3])
    found = decoder.continued(prefixes, [0, 1, 2], tokens, side_by_side=True).states
    for row, length in enumerate((9, 0, 3)):
        prefix = decoder.prefix(rows[row, :length], 2)
        expected = decoder.candidates(prefix, tokens[row], [2], side_by_side=False)[2]
        assert relative(found[row], expected) <= 1e-12


@pytest.mark.parametrize("deep", [2, "norm"])
def test_a_layer_deeper_than_the_prefix_is_refused(deep: Layer) -> None:
    """A prefix kept up to layer 1 cannot be continued to layer 2 or the norm."""
    decoder, (row,) = tiny_decoder(), _rows(4)
    with pytest.raises(LayerError, match=f"layer {deep} lies deeper .* layer 1"):
        decoder.states(row[None], [deep], prefix=decoder.prefix(row, 1))


@pytest.mark.parametrize("depth", [1, 2, "norm"])
def test_a_prefix_reaches_its_own_depth(depth: Layer) -> None:
    """The deepest layer that a prefix was kept to may be asked of its continuation."""
    decoder, (row,) = tiny_decoder(), _rows(4)
    found = decoder.states(row[None], [depth], prefix=decoder.prefix(row, depth))
    assert (1, 4, decoder.hidden_size) == found[depth].shape
