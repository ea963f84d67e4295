import pytest
import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.prefix import cache_name
from pytest_injectivity.models.resume import logits, logits_from_cache, logits_from_states
from pytest_injectivity.testing import tiny_decoder
from tests.repetitions import SOME_FAMILIES, mostly_slow

IDS = torch.tensor([5, 1, 9, 30, 2, 7])
OTHER = torch.tensor([8, 8, 3, 1, 60, 2])
FAMILIES = ("gpt2", "llama", "gemma2", "phi3", "opt", "gpt_neox", "falcon", "mamba", "mistral")


def _states(decoder: Decoder, ids: Tensor, layer: Layer) -> Tensor:
    return decoder.states(ids[None], [layer])[layer]


@pytest.mark.parametrize("family", mostly_slow(FAMILIES, *SOME_FAMILIES))
@pytest.mark.parametrize("layer", [0, 1, 2, "norm"])
def test_a_pass_goes_on_from_its_own_states_as_it_was(family: str, layer: Layer) -> None:
    """Whatever was computed before them: nothing but the states given goes on."""
    decoder = tiny_decoder(family)
    expected = logits(decoder, IDS)
    states = _states(decoder, IDS, layer)
    # gpt2's mamba's and others' blocks see the tokens through the states alone.
    found = logits_from_states(decoder, OTHER, layer, states)[0]
    assert torch.allclose(expected, found, atol=1e-5)
    assert not torch.allclose(expected, logits(decoder, OTHER), atol=1e-2)


def test_logits_are_the_librarys() -> None:
    """The logits equal the library's at every position."""
    decoder = tiny_decoder("llama")
    with torch.no_grad():
        expected = decoder.model(IDS[None]).logits[0]
    assert torch.equal(expected, logits(decoder, IDS))
    assert torch.allclose(expected[-1], decoder.next_token_logits(IDS), atol=1e-6)


def test_versions_do_not_see_each_other() -> None:
    """Several versions of the states give what each gives alone."""
    decoder = tiny_decoder("gpt2")
    states = torch.cat([_states(decoder, ids, 1) for ids in (IDS, OTHER)])
    found = logits_from_states(decoder, IDS, 1, states)
    assert 2 == len(found)
    for one, ids in zip(found, (IDS, OTHER), strict=True):
        assert torch.allclose(logits(decoder, ids), one, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "opt"])
@pytest.mark.parametrize("at", [[1, 3, 5], [0, 1, 2], [5]])
def test_some_positions_see_those_that_are_there(family: str, at: list[int]) -> None:
    """In their places: as under a mask that hides the others from everybody."""
    decoder = tiny_decoder(family)
    states = _states(decoder, IDS, 0)
    hidden = torch.ones(6, 6, dtype=torch.bool).tril()
    for column in set(range(6)) - set(at):
        hidden[:, column] = column == torch.arange(6)  # itself, so that no row sees nothing
    # Layer 0 has its position in it where the family adds one, so that the model reads it anew.
    with torch.no_grad():
        expected = decoder.model(
            input_ids=IDS[None],
            position_ids=torch.arange(6)[None],
            attention_mask=hidden[None, None],
            use_cache=False,
        ).logits[0, at]
    found = logits_from_states(decoder, IDS[at], 0, states[:, at], at)[0]
    assert torch.allclose(expected, found, atol=1e-5)


def test_a_model_that_counts_by_itself_cannot_skip() -> None:
    """A model that counts its positions itself is refused where some are missing."""
    decoder = tiny_decoder("mamba")
    states = _states(decoder, IDS, 1)
    with pytest.raises(ModelError, match="cannot go on from some of the positions"):
        logits_from_states(decoder, IDS[[1, 3]], 1, states[:, [1, 3]], [1, 3])


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text", "mistral"])
@pytest.mark.parametrize("block", [1, 2])
def test_a_cache_put_back_changes_nothing(family: str, block: int) -> None:
    """The token after the prompt is as probable as without any cache."""
    decoder = tiny_decoder(family)
    sides = _cached(decoder, IDS[:-1], block)
    found = logits_from_cache(decoder, IDS, [block], [[sides], [sides]])
    assert (2, decoder.vocab_size) == found.shape
    for one in found:
        assert torch.allclose(decoder.next_token_logits(IDS), one, atol=1e-5)


def test_a_cache_of_other_tokens_changes_what_follows() -> None:
    """Keys and values of one block are replaced; those of other blocks stay."""
    decoder = tiny_decoder("llama")
    own, other = (_cached(decoder, ids[:-1], 2) for ids in (IDS, OTHER))
    found = logits_from_cache(decoder, IDS, [2], [[own], [other]])
    assert not torch.allclose(found[0], found[1], atol=1e-2)
    again = logits_from_cache(decoder, IDS, [2], [[own]])
    assert torch.equal(found[0], again[0])


def test_a_model_without_a_cache_is_refused() -> None:
    """A family that caches no keys and values is refused by name."""
    empty = torch.zeros(5, 8)
    with pytest.raises(ModelError, match="caches no keys and values"):
        logits_from_cache(tiny_decoder("mamba"), IDS, [1], [[(empty, empty)]])


def test_hooks_are_gone_afterwards() -> None:
    """No hook stays on the model, even after a pass that failed."""
    decoder = tiny_decoder("gpt2")
    expected = logits(decoder, IDS)
    with pytest.raises(RuntimeError):
        logits_from_states(decoder, IDS, 1, torch.zeros(1, 6, 3))
    assert torch.equal(expected, logits(decoder, IDS))


def _cached(decoder: Decoder, ids: Tensor, block: int) -> tuple[Tensor, Tensor]:
    cache = decoder.model(ids[None], use_cache=True)[cache_name(decoder.model)]
    layer = cache.layers[block - 1]
    keys, values = (side[0].transpose(0, 1).flatten(1) for side in (layer.keys, layer.values))
    return keys, values
