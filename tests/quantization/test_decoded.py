"""Layouts that this package decodes itself: every weight to the last bit, every damage seen."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.loading import load_decoder
from tests.damaged_codes import Damage, half_larger, rewritten, shifted, without_scale
from tests.encoders import ENCODERS
from tests.layouts import Tensors
from tests.quantized import needs

Written = tuple[Path, Tensors]
IDS = torch.arange(32).view(2, 16) * 7 % 256
FIRST = "model.layers.0.mlp.up_proj."


@pytest.fixture(scope="session")
def written(full: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Written]:
    """The checkpoint of an encoder, written once, and its matrices."""
    made: dict[str, Written] = {}

    def get(name: str) -> Written:
        needs(name)
        if name not in made:
            made[name] = ENCODERS[name].write(full, tmp_path_factory.mktemp(name) / "checkpoint")
        return made[name]

    return get


@pytest.mark.parametrize("name", ENCODERS)
def test_every_weight_is_the_one_its_codes_stand_for(
    name: str, written: Callable[[str], Written]
) -> None:
    """The decoded matrices have the bits of those that the writer computed from its own codes."""
    folder, dense = written(name)
    decoder = load_decoder(str(folder), device="cpu")
    held = dict(decoder.model.named_parameters())
    assert len(dense) == 14
    assert {} == {at: one for at, one in dense.items() if not held[at].equal(one)}


@pytest.mark.parametrize("name", ENCODERS)
def test_what_was_decoded_is_proved(name: str, written: Callable[[str], Written]) -> None:
    """Kind, bits and share come from what the files hold."""
    wanted = ENCODERS[name]
    found = load_decoder(str(written(name)[0]), device="cpu").quantized
    assert found is not None
    assert (wanted.kind, wanted.bits, 1.0) == (found.kind, found.bits, found.share)
    assert (True, wanted.rounded, wanted.left) == (
        found.dense,
        found.rounds_activations,
        found.leaves_activations,
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["ct-NVFP4A16", "modelopt-NVFP4", "ct-MXFP4A16", "ct-MXFP8A16"])
def test_floats_of_few_bits_run_in_every_dtype(
    name: str, dtype: str, written: Callable[[str], Written]
) -> None:
    """The weights are the decoded ones, rounded once to the dtype that was asked for."""
    folder, dense = written(name)
    decoder = load_decoder(str(folder), device="cpu", dtype=dtype)
    held = dict(decoder.model.named_parameters())
    asked = getattr(torch, dtype)
    assert asked == decoder.dtype
    assert {} == {at: one for at, one in dense.items() if not held[at].equal(one.to(asked))}
    assert decoder.states(IDS, ["norm"])["norm"].isfinite().all()


@pytest.mark.parametrize("name", ENCODERS)
def test_a_scale_that_was_dropped_is_refused(
    name: str, written: Callable[[str], Written], tmp_path: Path
) -> None:
    """Codes without their scales are no weights; the layer is named."""
    folder = rewritten(
        written(name)[0], tmp_path / "dropped", lambda tensors: without_scale(tensors, FIRST)
    )
    with pytest.raises(ModelError, match=r"model\.layers\.0\.mlp\.up_proj"):
        load_decoder(str(folder), device="cpu")


@pytest.mark.parametrize("change", [half_larger, shifted])
@pytest.mark.parametrize("name", ENCODERS)
def test_other_codes_or_scales_are_other_weights(
    name: str,
    change: Damage,
    written: Callable[[str], Written],
    tmp_path: Path,
) -> None:
    """A damaged matrix is far from what the codes stood for; nothing hides the damage."""
    folder, dense = written(name)
    damaged = rewritten(folder, tmp_path / "damaged", lambda tensors: change(tensors, FIRST))
    held = dict(load_decoder(str(damaged), device="cpu").model.named_parameters())
    apart = {
        at: float((held[at] - one).norm() / one.norm())
        for at, one in dense.items()
        if not held[at].equal(one)
    }
    assert [f"{FIRST}weight"] == list(apart)
    assert apart[f"{FIRST}weight"] > 0.3


@pytest.mark.parametrize("name", ["ct-NVFP4A16", "modelopt-NVFP4"])
def test_a_swapped_reciprocal_moves_the_first_block(
    name: str, full: Path, written: Callable[[str], Written], tmp_path: Path
) -> None:
    """The one format divides by what the other multiplies by: mixed up, states are off at once."""

    def swapped(tensors: Tensors) -> Tensors:
        ends = ("weight_global_scale", "weight_scale_2")
        return {at: 1 / one if at.endswith(ends) else one for at, one in tensors.items()}

    folder, _ = written(name)
    parent, sound, wrong = (
        load_decoder(str(path), device="cpu").states(IDS, [1])[1]
        for path in (full, folder, rewritten(folder, tmp_path / "swapped", swapped))
    )

    def drift(states: Tensor) -> float:
        return float((states - parent).norm() / parent.norm())

    assert drift(sound) < 0.5
    assert not drift(wrong) < 1


@pytest.mark.parametrize("name", ["ct-NVFP4A16", "modelopt-FP8", "quark-int4", "hqq-4", "gptq-2"])
def test_a_matrix_stored_twice_is_refused(
    name: str, written: Callable[[str], Written], tmp_path: Path
) -> None:
    """Which of the two a server takes is not guessed."""
    folder, dense = written(name)
    at = f"{FIRST}weight"

    def twice(tensors: Tensors) -> Tensors:
        more = f"{FIRST}weight_packed" if at in tensors else at
        return {**tensors, more: torch.zeros_like(dense[at])}

    with pytest.raises(ModelError, match=r"up_proj\.weight"):
        load_decoder(str(rewritten(folder, tmp_path / "twice", twice)), device="cpu")


def test_a_scale_of_inputs_that_other_blocks_have_is_missed(
    written: Callable[[str], Written], tmp_path: Path
) -> None:
    """ModelOpt's configuration does not say which layers have one; the blocks are alike."""
    lost = f"{FIRST}pre_quant_scale"

    def without(tensors: Tensors) -> Tensors:
        return {at: one for at, one in tensors.items() if at != lost}

    folder = rewritten(written("modelopt-INT4")[0], tmp_path / "dropped", without)
    with pytest.raises(ModelError, match=r"layers\.0\.mlp\.up_proj has no pre_quant_scale"):
        load_decoder(str(folder), device="cpu")


@pytest.mark.parametrize("name", ["awq", "quark-int4"])
def test_decoded_weights_stay_on_disk(name: str, full: Path, tmp_path: Path) -> None:
    """They are written to a folder of the run, matrices that were stored the other way round too."""
    folder, _ = ENCODERS[name].write(full, tmp_path / "checkpoint")
    whole, streamed = (
        load_decoder(str(folder), device="cpu", mode=mode) for mode in ("whole", "stream")
    )
    ids = torch.tensor([[1, 2, 3, 4]])
    found = [one.states(ids, one.layers) for one in (whole, streamed)]
    assert streamed.streamed is not None
    assert all(torch.equal(found[0][layer], found[1][layer]) for layer in whole.layers)
