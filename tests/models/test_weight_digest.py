import pytest
import torch

from pytest_injectivity.models.weight_digest import WeightDigest
from pytest_injectivity.testing import tiny_decoder


@pytest.mark.parametrize("sample", [None, 16])
def test_equal_weights_have_equal_digests(sample: int | None) -> None:
    """Whatever the model is called and its configuration says."""
    models = [tiny_decoder("llama", rms_norm_eps=eps).model for eps in (1e-5, 1e-6)]
    assert WeightDigest.of(models[0], sample=sample) == WeightDigest.of(models[1], sample=sample)


def test_one_number_is_enough_to_differ() -> None:
    """Of the last element of any tensor."""
    digests = [WeightDigest.of(tiny_decoder("llama").model)]
    names = list(tiny_decoder("llama").model.state_dict())
    for name in names:
        model = tiny_decoder("llama").model
        model.state_dict()[name].reshape(-1)[-1] += 1.0
        digests.append(WeightDigest.of(model))
    assert len(names) > 10
    assert len(names) + 1 == len({one.text for one in digests})


def test_swapped_blocks_and_other_dtypes_differ() -> None:
    """Names and dtypes count, and not the bytes alone."""
    plain, swapped = (tiny_decoder("llama").model for _ in range(2))
    layers = swapped.model.layers
    layers[0], layers[1] = layers[1], layers[0]
    wide = tiny_decoder("llama", dtype=torch.bfloat16).model
    digests = {
        WeightDigest.of(one, sample=sample).text
        for one in (plain, swapped, wide)
        for sample in (None, 16)
    }
    assert 6 == len(digests)


def test_a_sample_leaves_numbers_out() -> None:
    """Of tensors with more numbers than it has."""
    models = [tiny_decoder("llama", hidden=64, vocab=256).model for _ in range(2)]
    models[1].state_dict()["model.embed_tokens.weight"].reshape(-1)[5] += 1.0
    assert WeightDigest.of(models[0], sample=4096) == WeightDigest.of(models[1], sample=4096)
    assert WeightDigest.of(models[0]) != WeightDigest.of(models[1])


@pytest.mark.parametrize("sample", [None, 16])
def test_a_bias_of_zeros_makes_no_other_model(sample: int | None) -> None:
    """One of other numbers does."""
    digests = []
    for value in (None, 0.0, 0.5):
        model = tiny_decoder("llama", attention_bias=value is not None).model
        for name, tensor in model.named_parameters():
            if name.endswith("bias"):
                tensor.data.fill_(value)
        model.load_state_dict(tiny_decoder("llama").model.state_dict(), strict=False)
        digests.append(WeightDigest.of(model, sample=sample))
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_rows_beyond_those_asked_for_are_left_out() -> None:
    """Of the embeddings and the head; every other number counts."""
    models = [tiny_decoder("llama", vocab=96, tie_word_embeddings=False).model for _ in range(3)]
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        models[1].state_dict()[name][90:] = 7.0
    models[2].state_dict()["lm_head.weight"][89] = 7.0
    found = [WeightDigest.of(model, rows=90) for model in models]
    assert found[0] == found[1]
    assert found[0] != found[2]
