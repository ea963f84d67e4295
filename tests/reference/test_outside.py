"""Parts outside the blocks, in models whose library keeps more than a decoder needs."""

import pytest

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.reference.parts import left_out, parts_of
from pytest_injectivity.testing import tiny_decoder
from scripts.families.small_models import small_config, small_model


def _decoder(kind: str) -> Decoder:
    settings = {"is_decoder": True} if kind in {"bert", "big_bird", "roberta"} else {}
    return Decoder(kind, small_model(small_config(kind, settings)))


def _at(decoder: Decoder, site: str) -> list[str]:
    return [part.module for part in parts_of(decoder) if part.site == site]


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        (
            "bert",
            [
                "cls.predictions",
                "cls.predictions.transform.dense",
                "cls.predictions.transform.LayerNorm",
            ],
        ),
        ("roberta", ["lm_head", "lm_head.dense", "lm_head.layer_norm"]),
        ("modernbert-decoder", ["model.final_norm", "lm_head.dense", "lm_head.norm"]),
    ],
)
def test_what_stands_before_the_head_is_behind_the_blocks(kind: str, after: list[str]) -> None:
    """Transforms of heads are judged with the final norm."""
    assert after == _at(_decoder(kind), "norm")


def test_a_norm_of_the_embeddings_is_before_the_blocks() -> None:
    """BART's only norm outside its blocks, whatever it is taken for."""
    assert "model.decoder.layernorm_embedding" in _at(_decoder("bart"), "layer00")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("big_bird", ("bert.pooler",)),
        ("git", ("git.image_encoder", "git.visual_projection")),
        ("mllama", ("model.layers.1",)),
        (
            "llava_next",
            ("model.vision_tower", "model.multi_modal_projector", "model.image_newline"),
        ),
        ("prophetnet", ()),
    ],
)
def test_what_the_logits_do_not_depend_on_is_left_out(kind: str, names: tuple[str, ...]) -> None:
    """A pooler that runs, towers, blocks for images; not embeddings that are read without a call."""
    decoder = _decoder(kind)
    assert names == left_out(decoder)
    assert not [part for part in parts_of(decoder) if part.module.startswith(names or ("none",))]


def test_looking_changes_nothing() -> None:
    """Weights are as they were, and nothing listens any more."""
    decoder = _decoder("big_bird")
    before = {name: one.clone() for name, one in decoder.model.named_parameters()}
    left_out(decoder)
    assert all(one.equal(before[name]) for name, one in decoder.model.named_parameters())
    assert not any(one._forward_pre_hooks for one in decoder.model.modules())


def test_weights_that_are_not_finite_hide_nothing() -> None:
    """Where the logits are NaN anyway nothing is left out."""
    decoder = tiny_decoder("gpt2")
    decoder.model.get_submodule("transformer.ln_f").bias.data.fill_(float("nan"))  # type: ignore[union-attr, operator]
    assert () == left_out(decoder)
    assert ["transformer.ln_f"] == _at(decoder, "norm")
