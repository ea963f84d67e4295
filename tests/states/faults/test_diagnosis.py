"""Faults are named by what they are, and sound files have none."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pytest_injectivity.audit.measurements.served_sample import case_of, claims_of
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.facts import ModelFacts
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.states.faults.base import Case, Claims, Kind
from pytest_injectivity.states.faults.diagnosis import Finding, diagnose, findings
from pytest_injectivity.states.served import read_served
from pytest_injectivity.testing import plant_nan, tiny_decoder
from tests.served_files import Written, in_dtype, served, write
from tests.served_plants import (
    PLANTS,
    Sampled,
    Scene,
    named_kinds,
    plants_for,
    sample,
    small_models,
)

IDS = (7, 30, 2, 9, 11, 54, 3, 8, 21, 40, 33, 17)
MODELS = small_models()
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2.0**-5, torch.float16: 2.0**-8}
PAIRS = [(name, plant) for name, one in MODELS.items() for plant in plants_for("own+", one)]


def _case(decoder: Decoder, written: Written, **claims: object) -> Case:
    said = Claims(stored=str(written.dtype)[6:], computed=str(written.dtype)[6:], starts=(0,))
    return Case(
        decoder,
        written.ids,
        {layer: one.to(written.dtype) for layer, one in written.states.items()},
        replace(said, **claims),  # type: ignore[arg-type] # fields of Claims
        dict.fromkeys(written.states, TOLERANCE[written.dtype]),
    )


def _line(decoder: Decoder, written: Written, **claims: object) -> str:
    (fault, *_) = diagnose(_case(decoder, written, **claims))
    return fault.line


@pytest.mark.parametrize(("model", "plant"), PAIRS)
def test_a_planted_fault_is_named(model: str, plant: str) -> None:
    """By its own kind and no other."""
    make, kinds = PLANTS[plant]
    written = make(Scene(MODELS[model], IDS, (1, 2, 3, 4)))
    found = diagnose(_case(MODELS[model], written))
    assert kinds == {one.kind for one in found}
    assert all(len(one.words) <= 60 for one in found)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_sound_file_has_no_fault(model: str, dtype: torch.dtype) -> None:
    """An engine that computes in another dtype rounds elsewhere, which its dtype explains."""
    written = in_dtype(MODELS[model], IDS, (1, 2, 3, 4, "norm"), dtype)
    assert () == diagnose(_case(MODELS[model], written))


def test_a_model_that_is_not_finite_accuses_no_file() -> None:
    """It is said that the model is at fault."""
    decoder = tiny_decoder("llama")
    line = _line(plant_nan(tiny_decoder("llama"), 2), served(decoder, IDS, (2,)))
    assert line.startswith("layer 2: the model's own states are not finite: nothing tells what")


def test_a_layer_off_by_one_is_said_to_be_the_next() -> None:
    """The number that it has in the model stands in the sentence."""
    written = PLANTS["layer off by one"][0](Scene(MODELS["llama"], IDS, (3,)))
    assert "layer 3 of the file is layer 4 of the model" in _line(MODELS["llama"], written)


def test_the_side_of_the_norm_is_said() -> None:
    """The last layer is claimed, and the states after the norm are there; and the other way round."""
    decoder = MODELS["gpt2"]
    written = PLANTS["other side of the norm"][0](Scene(decoder, IDS, (4,)))
    assert "layer 4 of the file is after the final norm" in _line(decoder, written)
    written = PLANTS["other side of the norm"][0](Scene(decoder, IDS, ("norm",)))
    assert "norm of the file is before the final norm" in _line(decoder, written)


def test_a_missing_residual_is_named_by_its_module() -> None:
    """What wrote the states instead of the residual stream."""
    written = PLANTS["missing residual"][0](Scene(MODELS["llama"], IDS, (2, 3)))
    assert "layer 3 of the file is the output of mlp" in _line(MODELS["llama"], written)


def test_what_a_block_adds_is_no_state() -> None:
    """The difference of two layers lacks the residual too."""
    both = served(MODELS["gpt2"], IDS, (2, 3)).states
    line = _line(MODELS["gpt2"], Written(IDS, {3: both[3] - both[2]}))
    assert "layer 3 of the file is what the block adds" in line


def test_axes_that_shapes_do_not_tell_are_told_by_values() -> None:
    """As many tokens as layers."""
    states = served(MODELS["llama"], IDS[:4], (1, 2, 3, 4)).states
    whole = torch.stack(list(states.values()), dim=1).transpose(0, 1)
    written = Written(IDS[:4], {layer: whole[:, at] for at, layer in enumerate(states)})
    (fault,) = diagnose(_case(MODELS["llama"], written))
    assert (Kind.AXES, None) == (fault.kind, fault.layer)


def test_a_single_row_of_another_token_is_named() -> None:
    """The other rows fit, and their median does not hide it."""
    written = served(MODELS["llama"], IDS, (2,))
    states = {2: written.states[2].clone()}
    states[2][5] += 1.0
    (fault,) = diagnose(_case(MODELS["llama"], replace(written, states=states)))
    assert (Kind.ROWS, "layer 2: position 5") == (fault.kind, fault.line[:19])


@pytest.mark.parametrize("dtype", ["fp8_e4m3", "fp8_e5m2", "bfloat16"])
def test_a_rounded_cache_is_named_by_its_dtype(dtype: str) -> None:
    """From the direction in which it moves states; where it is claimed, nothing is wrong."""
    from pytest_injectivity.states.faults.rounded_cache import states_behind_cache

    for_this = MODELS["llama"]
    found = states_behind_cache(for_this, IDS, (2, 4), dtype)
    assert found is not None
    written = Written(IDS, {layer: one.float() for layer, one in found.items()})
    assert f"KV cache looks like {dtype}" in _line(for_this, written)
    assert () == diagnose(_case(for_this, written, kv_cache=dtype))


def test_a_rounded_cache_is_seen_below_the_noise_of_bfloat16() -> None:
    """An engine in bfloat16 whose cache is fp8 lies within the tolerance, and is named."""
    from pytest_injectivity.states.faults.rounded_cache import states_behind_cache
    from tests.served_files import cast_to

    coarse = cast_to(MODELS["llama"], torch.bfloat16)
    found = states_behind_cache(coarse, IDS, (2, 4), "fp8_e4m3")
    assert found is not None
    written = Written(IDS, {k: one.bfloat16() for k, one in found.items()}, torch.bfloat16)
    assert "KV cache looks like fp8_e4m3" in _line(MODELS["llama"], written)


def test_noise_that_grows_with_position_is_said_to() -> None:
    """A cache that nobody here knows rounds in its own way."""
    written = served(MODELS["llama"], IDS, (2,))
    noise = torch.randn(written.states[2].shape, generator=torch.Generator().manual_seed(1))
    grown = noise * torch.linspace(0, 0.02, len(IDS))[:, None]
    line = _line(MODELS["llama"], replace(written, states={2: written.states[2] + grown}))
    assert "as behind a cache of keys and values in lower precision" in line


def test_coarse_arithmetic_is_named_where_values_are_not_rounded() -> None:
    """Noise of one size at all positions."""
    written = served(MODELS["llama"], IDS, (2,))
    noise = torch.randn(written.states[2].shape, generator=torch.Generator().manual_seed(1))
    states = {2: written.states[2] * (1 + 0.003 * noise)}
    assert "as float16 arithmetic makes it (TF32" in _line(
        MODELS["llama"], replace(written, states={2: written.states[2] * (1 + 0.0005 * noise)})
    )
    assert "as bfloat16 arithmetic" in _line(MODELS["llama"], replace(written, states=states))


def test_prompts_without_the_tokenizers_bos_are_named() -> None:
    """The engine was given other prompts than the model is for."""
    written = served(MODELS["llama"], IDS, (2,))
    assert "token_ids begin without" in _line(MODELS["llama"], written, frame=(0,))
    assert () == diagnose(_case(MODELS["llama"], written, frame=IDS[:1]))


def test_findings_count_prompts() -> None:
    """The most frequent first, with how many of how many."""
    make = PLANTS["zero rows"][0]
    faults = [
        diagnose(_case(MODELS["llama"], make(Scene(MODELS["llama"], IDS[at:], (2,)))))
        for at in range(3)
    ]
    (found,) = findings([*faults, ()])
    assert isinstance(found, Finding)
    assert (Kind.ZERO_ROWS, 3, 4) == (found.fault.kind, found.prompts, found.sampled)
    assert "(in 3 of 4 prompts looked at)" in found.line


def test_long_prompts_are_looked_at_by_their_beginning(tmp_path: Path) -> None:
    """All layers of a prompt are in memory while it is."""
    decoder = tiny_decoder("llama", context=320)
    ids = [at % 64 for at in range(300)]
    path = write("vllm", tmp_path, served(decoder, ids, (1, 2)))
    found = read_served(path, ModelFacts.of(decoder))
    case = case_of(decoder, found, 0, claims_of(found, (), decoder), (1e-5, 1e-5))
    assert (256, 256) == (len(case.ids), len(case.states[1]))
    assert () == diagnose(case)


def _wrong(files: Iterable[Sampled], models: dict[str, Decoder]) -> list[tuple[str, ...]]:
    """The files whose fault is not named, or that have one they should not have."""
    return [
        (one.model, one.layout, one.plant, *sorted(found))
        for one in files
        for found in [named_kinds(models[one.model], one.path)]
        if found != one.kinds
    ]


def test_faults_in_files_of_all_layouts_are_named(tmp_path: Path) -> None:
    """Half of them sound; read as a user's would be."""
    files = sample(tmp_path, MODELS, 48)
    assert 24 == sum(not one.kinds for one in files)
    assert [] == _wrong(files, MODELS)


@pytest.mark.slow
def test_two_hundred_files(tmp_path: Path) -> None:
    """With the trained model that is shipped among the models: every fault named, no false alarm."""
    models = {**MODELS, "shipped": load_decoder("builtin:gpt2-stdlib", device="cpu")}
    files = sample(tmp_path, models, 200)
    assert {one.plant for one in files} >= {"", *PLANTS, "transposed axes"}
    assert [] == _wrong(files, models)
