"""States that an engine wrote, held against the audited model and its parent."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pytest_injectivity import Audit, OptionError, Verdict
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import byte_tokenizer, round_weights, tiny_decoder
from tests.audits import audit_against, audit_of, small_samples
from tests.served_files import in_dtype, served, write
from tests.served_plants import PLANTS, Scene

AUDITED = [[1, 2, 3], [4, 5, 9, 2], [6, 7, 8]]
IDS = [[at, 30 + at, 7, at + 20, 5, 9, 40, 3 * at + 1, 11, 2 * at] for at in range(1, 6)]
LAYERS = (1, 3)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    small_samples(monkeypatch)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all: a resolution is measured once."""
    return str(tmp_path_factory.mktemp("store"))


def _decoder(seed: int = 0) -> Decoder:
    return tiny_decoder("llama", layers=4, seed=seed)


def _folder(folder: Path, decoder: Decoder, dtype: torch.dtype = torch.float32) -> Path:
    """A folder of files as vLLM writes them."""
    for at, ids in enumerate(IDS):
        path = write("vllm", folder, in_dtype(decoder, ids, LAYERS, dtype))
        path.rename(folder / f"{at}.safetensors")
    return folder


def _audit(folder: Path, store: str, states: Path, **config: object) -> Audit:
    return audit_of(folder, _decoder(), AUDITED, states=str(states), cache_dir=store, **config)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_models_own_states_pass(tmp_path: Path, store: str, dtype: torch.dtype) -> None:
    """At all layers of the files; the report says where they are from and of how many prompts."""
    audit = _audit(tmp_path, store, _folder(tmp_path / "s", _decoder(), dtype))
    verdict = audit.check_served_as_audited()
    assert (True, ["layer01", "layer03"]) == (verdict.passed, [x.where for x in verdict.reasons])
    said = verdict.reasons[0].evidence
    assert "5 prompts looked at" in said[0]
    assert f"5 files of layout vllm; N = 5, {str(dtype)[6:]}" in said[1]


def _judged(folder: Path, store: str, plant: str, **config: object) -> Verdict:
    for at, ids in enumerate(IDS):
        written = PLANTS[plant][0](Scene(_decoder(), tuple(ids), LAYERS))
        write("vllm", folder / "s", written).rename(folder / "s" / f"{at}.safetensors")
    return _audit(folder, store, folder / "s", **config).check_served_as_audited()


def test_a_fault_fails_every_layer_in_its_own_words(tmp_path: Path, store: str) -> None:
    """The first line is what the states look like instead."""
    verdict = _judged(tmp_path, store, "layer off by one")
    assert "FAIL served_as_audited layer01: layer 1 of the file is layer 2 of the model" in (
        verdict.first_line
    )
    assert ["FAIL", "FAIL"] == [str(one.status) for one in verdict.reasons]
    assert "(in 5 of 5 prompts looked at)" in verdict.text


@pytest.mark.parametrize("plant", ["zero rows", "shuffled tokens", "fp8 KV cache", "not finite"])
def test_other_faults_are_named_in_the_evidence(tmp_path: Path, store: str, plant: str) -> None:
    """By their kind."""
    verdict = _judged(tmp_path, store, plant)
    (kind,) = PLANTS[plant][1]
    assert not verdict.passed
    assert f"{kind}: " in verdict.text


def test_a_bound_of_the_users_own_is_judged(tmp_path: Path, store: str) -> None:
    """Where the states are as claimed."""
    audit = _audit(tmp_path, store, _folder(tmp_path / "s", _decoder(), torch.bfloat16))
    assert not audit.check_served_as_audited(3, relative=1e-9)
    assert audit.check_served_as_audited(3, relative=0.5)
    with pytest.raises(OptionError, match="relative=-1"):
        audit.check_served_as_audited(3, relative=-1)


def test_a_layer_that_no_file_has_is_refused(tmp_path: Path, store: str) -> None:
    """Those that there are, are named."""
    audit = _audit(tmp_path, store, _folder(tmp_path / "s", _decoder()))
    with pytest.raises(
        OptionError, match="layer02: the states captured elsewhere are those of lay"
    ):
        audit.check_served_as_audited([1, 2])


Against = Callable[[Decoder], Verdict]


@pytest.fixture
def against(tmp_path: Path, store: str) -> Against:
    """The verdict on a 4-bit child, with a parent, of the states that a model serves."""

    def judged(engine: Decoder) -> Verdict:
        audit = audit_against(
            tmp_path,
            round_weights(_decoder(), 4),
            _decoder(),
            AUDITED,
            states=str(_folder(tmp_path / "s", engine)),
            cache_dir=store,
        )
        return audit.check_served_as_audited()

    return judged


def test_a_served_child_is_the_audited_child(against: Against) -> None:
    """Its distance from the parent is said."""
    verdict = against(round_weights(_decoder(), 4))
    assert verdict.passed
    assert verdict.reasons[0].figures["from_parent"] > 10 * verdict.reasons[0].value
    assert "from the reference's: median" in verdict.reasons[0].evidence[-1]


def test_an_engine_that_serves_the_parent_is_found_out(against: Against) -> None:
    """The child was audited, and the full-precision model is what runs."""
    verdict = against(_decoder())
    assert not verdict.passed
    assert "the engine serves the parent, not this model" in verdict.text


def test_a_child_that_the_tolerance_does_not_tell_from_its_parent(
    tmp_path: Path, store: str
) -> None:
    """States within the tolerance and clearly nearer to the parent's are the parent's."""
    child = _decoder()
    weight = child.parts.blocks[0].mlp.down_proj.weight
    weight.add_(2e-3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    states = _folder(tmp_path / "s", _decoder())
    (states / "states.json").write_text('{"layers": [1, 3], "dtype": "bfloat16"}')
    audit = audit_against(tmp_path, child, _decoder(), AUDITED, states=str(states), cache_dir=store)
    verdict = audit.check_served_as_audited()
    assert "FAIL served_as_audited layer01: these are the reference's states" in verdict.first_line


def test_prompts_that_lack_the_tokenizers_bos_are_named(tmp_path: Path, store: str) -> None:
    """Unless it is said that this is meant."""
    decoder = tiny_decoder("llama", layers=4, vocab=300, tokenizer=byte_tokenizer(bos=True))
    write("vllm", tmp_path / "s", served(decoder, IDS[0], LAYERS))
    verdicts = [
        audit_of(
            tmp_path,
            decoder,
            AUDITED,
            states=str(tmp_path / "s"),
            cache_dir=store,
            special_tokens=said,
        ).check_served_as_audited()
        for said in ("auto", "no")
    ]
    assert ([False, True]) == [one.passed for one in verdicts]
    assert "missing BOS: " in verdicts[0].text


def test_a_claimed_cache_is_what_is_held_against(tmp_path: Path, store: str) -> None:
    """An engine with an fp8 cache that says so serves what was audited, behind that cache."""
    written = PLANTS["fp8 KV cache"][0](Scene(_decoder(), tuple(IDS[0]), LAYERS))
    write("vllm", tmp_path / "s", replace(written, said={"kv_cache_dtype": "fp8_e4m3"}))
    verdict = _audit(tmp_path, store, tmp_path / "s").check_served_as_audited()
    assert verdict.passed
    assert "KV cache fp8_e4m3" in verdict.reasons[0].evidence[-1]


def test_states_of_folders_are_read_at_every_layer(tmp_path: Path, store: str) -> None:
    """SipIt recovers the prompts from what the engine wrote."""
    audit = _audit(tmp_path, store, _folder(tmp_path / "s", _decoder()))
    verdict = audit.check_states_recoverable(certify=0)
    assert [1.0, 1.0] == [one.value for one in verdict.reasons]
    assert "5 of 5 prompts recovered (wants 1)" == verdict.reasons[0].headline


def test_nothing_is_recovered_from_states_that_are_not_as_claimed(
    tmp_path: Path, store: str
) -> None:
    """The fault is the verdict."""
    folder = _folder(tmp_path / "s", _decoder())
    (folder / "states.json").write_text(json.dumps({"layers": [2, 3]}))
    verdict = _audit(tmp_path, store, folder).check_states_recoverable()
    assert "layer 2 of the file is layer 1 of the model" in verdict.text
