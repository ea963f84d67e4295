"""Rows that continue a prefix kept in memory, one prefix or many of different lengths."""

import pytest
import torch

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import LayerError
from pytest_injectivity.models.candidate_passes import CandidateLimits
from pytest_injectivity.testing import SLIDING_WINDOW, tiny_decoder
from tests.models.rows import FAMILIES, Relative, random_rows, right_padded
from tests.repetitions import SOME_FAMILIES, mostly_slow


@pytest.mark.parametrize("family", mostly_slow(FAMILIES, *SOME_FAMILIES))
class TestPrefix:
    """A cached prefix gives the states of the whole row, also past a sliding window."""

    @pytest.mark.parametrize("cut", [0, 3, SLIDING_WINDOW, 3 * SLIDING_WINDOW])
    def test_several_tokens_continue_a_prefix(
        self, family: str, cut: int, relative: Relative
    ) -> None:
        """Rows that continue one prefix have the states they have in full."""
        decoder = tiny_decoder(family, layers=3, dtype=torch.float64)
        start, *ends = random_rows(cut, 12, 12, 12)
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
        short, more, tokens = random_rows(9, 11, 6)
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

    @pytest.mark.parametrize("cuts", [(1,), (1, 2, 7, 8), (SLIDING_WINDOW, 3 * SLIDING_WINDOW)])
    def test_rows_run_in_parts_have_their_states(
        self, family: str, cuts: tuple[int, ...], relative: Relative
    ) -> None:
        """From the first cut on, at every layer, layer 0 alone included."""
        decoder = tiny_decoder(family, layers=3, dtype=torch.float64)
        ids = torch.stack(random_rows(40, 40, 40))
        layers = [0, *decoder.layers]
        expected = decoder.states(ids, layers)
        found = decoder.states_in_parts(ids, cuts, layers)
        assert layers == list(found)
        for layer in layers:
            assert relative(found[layer], expected[layer][:, cuts[0] :]) <= 1e-6
        assert expected[0][:, cuts[0] :].equal(decoder.states_in_parts(ids, cuts, [0])[0])

    def test_a_prefix_kept_to_layer_0_knows_its_length(self, family: str) -> None:
        """The embeddings of what follows stand at their positions after the prefix."""
        decoder = tiny_decoder(family)
        start, row = random_rows(7, 5)
        expected = decoder.states(torch.cat([start, row])[None], [0])[0][:, 7:]
        prefix = decoder.extend(decoder.prefix(start[:3], 0), start[3:])
        assert expected.equal(decoder.states(row[None], [0], prefix=prefix)[0])

    def test_candidates_are_the_one_step_map(self, family: str, relative: Relative) -> None:
        """Candidate i is the last state of the prefix followed by token i, in any batching."""
        decoder = tiny_decoder(family)
        decoder.limits = CandidateLimits(rows=5)
        start, tokens = random_rows(13, 12)
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
        start, row = random_rows(10, 9)
        embeddings = decoder.embedding_matrix()[row][None]
        layers = [0, *decoder.layers]
        assert [0, 1, 2, "norm"] == layers
        for prefix in (None, decoder.prefix(start, "norm")):
            expected = decoder.states(row[None], layers, prefix=prefix)
            found = decoder.states_from_embeddings(embeddings, layers, prefix=prefix)
            for layer in layers:
                assert expected[layer].shape == found[layer].shape
                assert relative(found[layer], expected[layer]) <= 1e-6


def test_a_prefix_is_not_changed_by_what_follows_it() -> None:
    """Keys and values of a prefix are the same after batches have continued it."""
    decoder, (start, row) = tiny_decoder("gemma2"), random_rows(20, 5)
    prefix = decoder.prefix(start, "norm")
    before = [(x.keys.clone(), x.values.clone()) for x in prefix.cache.layers]
    decoder.states(row.expand(7, -1), ["norm"], prefix=prefix)
    decoder.extend(prefix, row)
    decoder.candidates(prefix, row, [1])
    assert 2 == len(before)
    for (keys, values), layer in zip(before, prefix.cache.layers, strict=True):
        assert keys.equal(layer.keys)
        assert values.equal(layer.values)


@pytest.mark.parametrize("family", mostly_slow(FAMILIES, *SOME_FAMILIES))
@pytest.mark.parametrize("depth", [0, 2, "norm"])
def test_prefixes_of_many_lengths_continue_as_whole_rows(
    family: str, depth: Layer, relative: Relative
) -> None:
    """Rows that advance by different steps, past a sliding window, up to the context's last token."""
    decoder = tiny_decoder(family, layers=3, context=20).as_float64()
    rows, cached = random_rows(20, 9, 3, 1, 17), [0] * 5
    whole = [decoder.states(row[None], [depth])[depth][0] for row in rows]
    prefixes = decoder.prefix_buffer(5, 20, depth)
    for steps in ((3, 2, 1, 1, 0), (13, 1, 0, 0, 9), (1, 1, 1, 0, 3)):
        active = [at for at in range(5) if cached[at] < len(rows[at])]
        assert active
        ids = right_padded([rows[at][cached[at] :] for at in active])
        found = decoder.continued(prefixes, active, torch.nn.functional.pad(ids, (0, 3), value=1))
        for row, at in enumerate(active):
            expected = whole[at][cached[at] :]
            assert relative(found.states[row, : len(expected)], expected) <= 1e-12
        prefixes.keep(found, [steps[at] for at in active])
        cached = [length + steps[at] for at, length in enumerate(cached)]
        assert [tuple(row[:length].tolist()) for row, length in zip(rows, cached, strict=True)] == (
            prefixes.ids
        )


@pytest.mark.parametrize("family", mostly_slow(FAMILIES, *SOME_FAMILIES))
def test_prefixes_of_many_continue_at_each_layer(family: str, relative: Relative) -> None:
    """At those asked for and at the depth; no deeper one is given."""
    decoder = tiny_decoder(family, layers=3, context=20).as_float64()
    rows, cached = random_rows(9, 12), [3, 5]
    prefixes = decoder.prefix_buffer(2, 20, 2)
    prefixes.keep(decoder.continued(prefixes, [0, 1], right_padded(list(rows))), cached)
    ids = right_padded([row[length:] for row, length in zip(rows, cached, strict=True)])
    found = decoder.continued(prefixes, [0, 1], ids, layers=[0, 1])
    assert {0, 1, 2} == set(found.at)
    for layer, states in found.at.items():
        for at, (row, length) in enumerate(zip(rows, cached, strict=True)):
            expected = decoder.states(row[None], [layer])[layer][0, length:]
            assert relative(states[at, : len(expected)], expected) <= 1e-12
    with pytest.raises(LayerError, match="deeper than the prefix"):
        decoder.continued(prefixes, [0, 1], ids, layers=["norm"])


@pytest.mark.parametrize("family", mostly_slow(FAMILIES, *SOME_FAMILIES))
@pytest.mark.parametrize("depth", [0, 2])
def test_one_of_many_prefixes_stands_alone(family: str, depth: Layer, relative: Relative) -> None:
    """Its beginning, too; and after it was cut it grows differently."""
    decoder = tiny_decoder(family).as_float64()
    rows, tokens = torch.stack(random_rows(12, 12)), torch.arange(6)
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
    rows, tokens = torch.stack(random_rows(9, 9, 9)), torch.stack(random_rows(4, 4, 4, seed=1))
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
    decoder, (row,) = tiny_decoder(), random_rows(4)
    with pytest.raises(LayerError, match=f"layer {deep} lies deeper .* layer 1"):
        decoder.states(row[None], [deep], prefix=decoder.prefix(row, 1))


@pytest.mark.parametrize("depth", [1, 2, "norm"])
def test_a_prefix_reaches_its_own_depth(depth: Layer) -> None:
    """The deepest layer that a prefix was kept to may be asked of its continuation."""
    decoder, (row,) = tiny_decoder(), random_rows(4)
    found = decoder.states(row[None], [depth], prefix=decoder.prefix(row, depth))
    assert (1, 4, decoder.hidden_size) == found[depth].shape
