from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from pytest_injectivity import testing
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models import families
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.families import (
    FAMILIES,
    TABLE,
    Family,
    context_length,
    find_family,
    find_parts,
    refuse_unless_decoder,
)
from pytest_injectivity.models.verification import verify_view
from pytest_injectivity.testing import tiny_decoder
from scripts.families.small_models import small_config, small_model

LibraryStates = Callable[[Decoder, Tensor], dict[Layer, Tensor]]
Relative = Callable[[Tensor, Tensor], float]


COMMON = {"num_hidden_layers": 3, "hidden_size": 16, "num_attention_heads": 4, "vocab_size": 64}
MLP = {**COMMON, "intermediate_size": 32}
GPT = {"n_layer": 3, "n_embd": 16, "n_head": 4, "vocab_size": 64}
IDS = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
UNLISTED = {
    "bloom": {"n_layer": 3, "hidden_size": 16, "n_head": 4, "vocab_size": 64},
    "cohere": MLP,
    "gpt_bigcode": GPT,
    "gptj": {**GPT, "rotary_dim": 4},
    "granite": MLP,
    "mixtral": {**MLP, "num_key_value_heads": 2, "num_local_experts": 2},
    "olmo2": MLP,
    "phi": MLP,
    "recurrent_gemma": {**MLP, "lru_width": 16, "attention_window_size": 8, "head_dim": 4},
    "stablelm": {**MLP, "num_key_value_heads": 2},
    "starcoder2": {**MLP, "num_key_value_heads": 2, "sliding_window": 8},
}


def _unlisted(name: str) -> Decoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(name, **{**IDS, **UNLISTED[name]})
        )
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return Decoder(name, model)


class TestContract:
    """What every row of the table keeps, and the whole table together."""

    def test_no_two_rows_share_a_name(self) -> None:
        """A second row of a name would never be found."""
        assert len(FAMILIES) == len(TABLE)
        assert FAMILIES

    def test_every_family_can_be_made_small(self) -> None:
        """The testing module makes decoders of the families of the table, and of no others."""
        assert set(TABLE) == set(testing._SETTINGS)

    @pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
    def test_a_row_is_found_by_its_model_type(self, family: Family) -> None:
        """The name is that of transformers' configuration, and the row counts as known."""
        decoder = tiny_decoder(family.name)
        assert family.name == decoder.model.config.model_type
        assert family is decoder.family
        assert family.known

    @pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
    def test_a_row_is_a_causal_decoder(self, family: Family) -> None:
        """No family of the table is refused, and its view of a small model is verified."""
        decoder = tiny_decoder(family.name)
        refuse_unless_decoder(decoder.model.config, "x")
        assert verify_view(decoder) <= 1e-5


@pytest.mark.parametrize("name", TABLE)
def test_the_rule_finds_what_the_table_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its entry a family's blocks, embeddings, norm and prefix are found all the same."""
    model = tiny_decoder(name, layers=3).model
    listed = find_family(model)
    expected = find_parts(model, listed)
    monkeypatch.setattr(families, "TABLE", {})
    found = find_family(model)
    assert not found.known
    assert listed.prefix == found.prefix
    assert expected.base is find_parts(model, found).base
    assert expected.blocks is find_parts(model, found).blocks
    assert expected.embeddings is find_parts(model, found).embeddings
    # OPT's norm stands before its blocks.
    assert (None if name == "opt" else expected.norm) is find_parts(model, found).norm


@pytest.mark.parametrize("name", UNLISTED)
def test_an_unlisted_family_is_seen_as_the_library_sees_it(
    name: str, library_states: LibraryStates, relative: Relative
) -> None:
    """The rule's view of a family not in the table has the library's states, and is verified."""
    decoder = _unlisted(name)
    row = torch.randint(64, (20,), generator=torch.Generator().manual_seed(0))
    expected = library_states(decoder, row)
    found = decoder.states(row[None], list(expected))
    verify_view(decoder)
    assert not decoder.family.known
    for layer, states in expected.items():
        assert relative(found[layer][0], states) <= 1e-5


@pytest.mark.parametrize("name", UNLISTED)
def test_an_unlisted_family_continues_a_prefix(name: str, relative: Relative) -> None:
    """From cached keys and values where that is safe, else by running the prefix again."""
    decoder = _unlisted(name)
    rows = torch.randint(64, (3, 25), generator=torch.Generator().manual_seed(0))
    rows[:, :20] = rows[0, :20]
    prefix = decoder.prefix(rows[0, :20], "norm")
    expected = decoder.states(rows, [1, 3, "norm"])
    found = decoder.states(rows[:, 20:], [1, 3, "norm"], prefix=prefix)
    assert ("recompute" == decoder.family.prefix) == (prefix.cache is None)
    for layer, states in found.items():
        assert relative(states, expected[layer][:, 20:]) <= 1e-5


def test_a_model_without_a_list_of_blocks_is_refused() -> None:
    """The message names the class and the families known."""
    model = tiny_decoder("llama").model
    model.config.model_type = "unheard_of"
    model.config.num_hidden_layers = 7
    with pytest.raises(ModelError, match=r"LlamaForCausalLM .* finds 0 modules .* gpt2, gpt_neo"):
        find_family(model)


@pytest.mark.parametrize("name", ["bert", "roberta", "electra", "distilbert", "modernbert"])
def test_an_encoder_is_refused_by_name(name: str) -> None:
    """The message says that it is an encoder and what is accepted."""
    with pytest.raises(ModelError, match=rf"x is an encoder-only model \({name}\): .* gpt2"):
        refuse_unless_decoder(AutoConfig.for_model(name), "x")


@pytest.mark.parametrize("name", ["t5", "bart", "mt5", "marian", "pegasus"])
def test_an_encoder_decoder_is_refused_by_name(name: str) -> None:
    """The message says that it is an encoder-decoder and what is accepted."""
    with pytest.raises(ModelError, match=rf"encoder-decoder model \({name}\): .* gpt2"):
        refuse_unless_decoder(AutoConfig.for_model(name), "x")


def test_what_is_no_language_model_is_refused() -> None:
    """The message names the model type of a vision model."""
    with pytest.raises(ModelError, match=r"not a causal language model \(vit\)"):
        refuse_unless_decoder(AutoConfig.for_model("vit"), "x")


def test_a_bidirectional_decoder_is_refused() -> None:
    """Gemma 3 can be made to attend to what follows: then no prefix has a state of its own."""
    config = AutoConfig.for_model("gemma3_text", use_bidirectional_attention=True)
    with pytest.raises(ModelError, match=r"\(gemma3_text\) has bidirectional attention"):
        refuse_unless_decoder(config, "x")


def test_attention_both_ways_among_the_tokens_of_images_alone_is_accepted() -> None:
    """Gemma 4's unified models see an image as a whole; text stays causal."""
    config = small_config("gemma4_unified_text")
    assert "vision" == config.use_bidirectional_attention
    refuse_unless_decoder(config, "x")


def test_rotary_embeddings_rescaled_by_length_limit_the_context(relative: Relative) -> None:
    """Past its original context Phi-3 rescales the whole row, so a padded row is another row."""
    half = 2
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * half,
        "long_factor": [4.0] * half,
        "original_max_position_embeddings": 16,
    }
    decoder = tiny_decoder(
        "phi3", rope_parameters=rope, original_max_position_embeddings=16, sliding_window=None
    )
    assert 16 == decoder.context
    row = torch.arange(20)[None]
    with torch.no_grad():
        alone = decoder.parts.base(row[:, :10]).last_hidden_state
        padded = decoder.parts.base(row).last_hidden_state[:, :10]
    assert relative(padded, alone) > 1e-3
    assert relative(decoder.states(row[:, :16], ["norm"])["norm"][:, :10], alone) <= 1e-5


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_the_limit_is_found_in_each_kind_of_attention(kind: str) -> None:
    """Gemma 3 has one set of rotary parameters for each kind of attention."""
    model = tiny_decoder("gemma3_text", context=64).model
    assert 64 == context_length(model)
    model.config.rope_parameters["full_attention"] = {
        "rope_type": kind,
        "original_max_position_embeddings": 16,
    }
    assert 16 == context_length(model)


def test_a_family_without_positions_has_no_limit() -> None:
    """Mamba reads prompts of any length."""
    assert context_length(tiny_decoder("mamba").model) is None


def test_positions_where_no_token_stands_are_no_context() -> None:
    """RoBERTa's tokens stand behind the position of padding; the longest prompt accepted runs."""
    decoder = Decoder("x", small_model(small_config("roberta", {"is_decoder": True})))
    table = decoder.model.get_submodule("roberta.embeddings.position_embeddings")
    assert table.num_embeddings - 1 == decoder.context
    row = torch.arange(decoder.context)[None] % 90 + 5
    assert decoder.states(row, ["norm"])["norm"].isfinite().all()


def test_attention_that_chooses_among_all_tokens_limits_the_context() -> None:
    """In a row longer than Doge keeps, a token that follows can push out one that came before."""
    config = small_config("doge")
    decoder = Decoder("x", small_model(config))
    assert config.keep_window_size == decoder.context < config.max_position_embeddings
