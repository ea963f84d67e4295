import hashlib
import hmac
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_injectivity import Audit, AuditConfig, LayerError, ModelError, OptionError, PromptError
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states import capture as capturing
from pytest_injectivity.states.capture import capture
from pytest_injectivity.testing import byte_tokenizer, save_checkpoint, tiny_decoder
from tests import brute_force
from tests.audits import Witness, audit_of
from tests.resolutions import resolution_of

pytestmark = pytest.mark.usefixtures("empty_store")

IDS = [[at, (5 * at + 1) % 64, 7, at] for at in range(9)] + [[50], [51, 52]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """An audit of two layers that tests only look at."""
    return audit_of(tmp_path_factory.mktemp("audit"), tiny_decoder("llama"), IDS, layers="0,all")


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    """An audit of what is not there is made without complaint; each question then says why."""
    audit = Audit(AuditConfig(model="./nowhere", prompts="./nothing.txt"))
    for question in ("decoder", "prompts", "n_layers", "layers"):
        with pytest.raises(ModelError, match="no such folder"):
            getattr(audit, question)
    assert () == audit.measurements.measured


def test_missing_prompts_are_found_when_they_are_read(tmp_path: Path) -> None:
    """The model loads; the prompts do not."""
    save_checkpoint(tiny_decoder(), tmp_path / "m")
    audit = Audit(AuditConfig(model=str(tmp_path / "m"), prompts=str(tmp_path / "none.txt")))
    assert 2 == audit.decoder.n_layers
    with pytest.raises(PromptError, match=r"none\.txt"):
        _ = audit.prompts


def test_the_number_of_layers_needs_no_weights(tmp_path: Path) -> None:
    """It is in config.json."""
    folder = save_checkpoint(tiny_decoder(layers=5), tmp_path / "m")
    (folder / "model.safetensors").unlink()
    audit = Audit(AuditConfig(model=str(folder)))
    assert 5 == audit.n_layers
    assert (1, 2, 3, 4, 5, "norm") == audit.layers


def test_states_are_those_of_the_capture(shared: Audit) -> None:
    """Row i is prompt i's last token, in the model's dtype."""
    expected = capture(shared.decoder, shared.prompts.ids, [0, 1, 2, "norm"]).rows
    for layer in (0, 1, 2, "norm"):
        assert expected[layer].equal(shared.states(layer))
        assert (len(IDS), 16) == tuple(shared.states(layer).shape)


def test_one_pass_captures_all_layers_of_the_config(tmp_path: Path) -> None:
    """A layer beyond them takes a pass of its own; nothing is captured twice."""
    witness = Witness()
    audit = audit_of(tmp_path, tiny_decoder(), IDS, layers="1,norm", watcher=witness)
    first = audit.states(1)
    audit.states("norm")
    assert [("hidden states", len(IDS))] == [work[:2] for work in witness.works]
    assert len(IDS) == witness.works[0][2][-1]
    audit.states(2)
    assert 2 == len(witness.works)
    assert first is audit.states(1)


def test_geometry_is_computed_once(shared: Audit) -> None:
    """A layer by any of its names, rounded or not, is one object."""
    assert shared.geometry(2) is shared.geometry(-1) is shared.geometry("2")
    assert shared.geometry(2, bits=4) is shared.geometry(-1, bits=4)
    assert shared.geometry(2, bits=4) is not shared.geometry(2)
    assert {(2, None), (2, 4)} <= set(shared.measurements.measured)


@pytest.mark.parametrize("layer", ["all", "1:", "0,1"])
def test_geometry_is_of_one_layer(shared: Audit, layer: str) -> None:
    """A text that names several is refused."""
    with pytest.raises(OptionError, match=f"layer '{layer}' names . layers: give one"):
        shared.geometry(layer)
    with pytest.raises(LayerError, match="layer 3 is out of range"):
        shared.geometry(3)


@pytest.mark.parametrize("bits", [1, 0, -4, 33, True])
def test_bits_that_are_none_are_refused(shared: Audit, bits: int) -> None:
    """And leave nothing behind."""
    with pytest.raises(OptionError, match="give a whole number of bits from 2 to 32"):
        shared.geometry(1, bits=bits)
    assert not [one for one in shared.measurements.measured if one[1] == bits]


def test_the_resolution_is_that_of_a_sample(shared: Audit) -> None:
    """Of the prompts of smallest hash, against true float64."""
    ordered = [
        ids for _, ids in sorted(zip(shared.prompts.hashes, shared.prompts.ids, strict=True))
    ]
    size = shared.measurements._resolutions._sampled
    expected = resolution_of(shared.decoder, ordered, shared.layers, float64=True, size=size)[1]
    found = shared.resolution(1)
    assert expected.later.scale.values.tolist() == found.later.scale.values.tolist()
    assert (expected.value, expected.radii) == (found.value, found.radii)
    assert (expected.error, expected.prompts) == (found.error, found.prompts)
    assert shared.resolution(1) is shared.resolution(1)


def test_without_room_for_float64_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is then NaN, and somebody is told."""
    witness = Witness()
    audit = audit_of(tmp_path, tiny_decoder(), IDS, watcher=witness)
    monkeypatch.setattr(
        "pytest_injectivity.audit.measurements.float64_copies.free_bytes", lambda _: 1000
    )
    floor = audit.resolution(1)
    assert np.isnan(floor.later.error)
    assert floor.value > 0
    (sentence,) = [one for one in witness.sentences if "float64" in one]
    assert "the error of the states is not measured" in sentence
    assert audit.check_no_collisions("all").passed


def test_a_minimal_edit_is_looked_for_in_the_set(shared: Audit, tmp_path: Path) -> None:
    """[50] and [51, 52] are two edits apart; [50] and [51] one."""
    assert not audit_of(
        tmp_path, tiny_decoder(), [[50], [51, 52], [1, 2, 3]]
    ).measurements.has_minimal_edit
    assert shared.measurements.has_minimal_edit == any(
        brute_force.levenshtein(IDS[i], IDS[j]) == 1 for i, j in brute_force.pairs(len(IDS))
    )


def test_prompts_are_named_by_a_keyed_hash(shared: Audit) -> None:
    """HMAC-SHA-256 of the prompt's hash under the audit's key, and its number and length."""
    key = b"a key"
    audit = Audit(shared.config, key=key)
    ids = IDS[3]
    plain = hashlib.sha256(np.array(ids, "<i8").tobytes()).hexdigest()
    digest = hmac.new(key, plain.encode(), "sha256").hexdigest()[:10]
    assert f"prompt 3 ({digest}, 4 tokens)" == audit.name_of(3)
    assert shared.name_of(3) != audit.name_of(3)


def test_text_is_shown_only_when_asked_for(tmp_path: Path) -> None:
    """On one line, without control characters."""
    decoder = tiny_decoder(vocab=256, tokenizer=byte_tokenizer())
    save_checkpoint(decoder, tmp_path / "m")
    (tmp_path / "p.jsonl").write_text('{"text": "a\\n\\u001bb"}\n{"text": "c"}\n')
    plain = {"model": str(tmp_path / "m"), "prompts": str(tmp_path / "p.jsonl")}
    assert Audit(AuditConfig(**plain)).name_of(0).endswith(" 4 tokens)")
    shown = Audit(AuditConfig(**plain, show_prompts=True)).name_of(0)
    assert shown.endswith(" 4 tokens) a\\n\\x1bb")


def test_the_run_summary_describes_model_and_prompts(shared: Audit) -> None:
    """Everything a stored number needs beside it (DESIGN, rule 5)."""
    found = shared.run_summary()
    assert ("llama", 2, 16, 64, "float32", "cpu") == (
        *(found.family, found.n_layers, found.hidden, found.vocab, found.dtype, found.device),
    )
    assert (len(IDS), 1, 4, False) == (found.n, found.shortest, found.longest, found.special_tokens)
    assert shared.prompts.hash == found.prompt_hash
    assert ("levenshtein", 0) == (found.prompt_metric, found.seed)
    for name in ("pytest-injectivity", "torch", "transformers", "numpy"):
        assert version(name) == found.versions[name]


def test_the_layer_summary_is_that_of_brute_force(shared: Audit) -> None:
    """Norms, margins, constants, collisions and the ladder of fractions, at each layer."""
    for layer in (0, 1, "norm"):
        states, found = shared.states(layer), shared.layer_summary(layer)
        norms, nearest = brute_force.norms(states), brute_force.nearest(states)[0]
        smallest = brute_force.ratios(states, IDS, "levenshtein").smallest()[0]
        expected = {
            "mean_norm": norms.mean(),
            "median_norm": np.median(norms),
            "margin": nearest.min(),
            "margin_q": brute_force.lower_quantile(nearest, 0.01),
            "colipschitz": smallest.min(),
            "colipschitz_q": brute_force.lower_quantile(smallest, 0.01),
        }
        for name, value in expected.items():
            assert pytest.approx(value, rel=1e-12) == getattr(found, name), name
        assert len(brute_force.colliding(states)) == found.collisions
        assert (len(IDS), 0) == (found.n, found.not_finite)
        pairs = len(brute_force.pairs(len(IDS)))
        assert found.near_fractions is not None
        assert ["0.01", "0.001", "0.0001", "1e-05", "1e-06"] == list(found.near_fractions)
        for eps, fraction in found.near_fractions.items():
            assert len(brute_force.near(states, float(eps))) / pairs == fraction
        assert found.nearest is not None
        assert ["0", "0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99", "1"] == list(
            found.nearest
        )
        for q, distance in found.nearest.items():
            expected_quantile = brute_force.lower_quantile(nearest, float(q))
            assert pytest.approx(expected_quantile, rel=1e-12) == distance


def test_a_summary_of_rounded_states_has_no_resolution(shared: Audit) -> None:
    """Between points of a grid there is none."""
    found = shared.layer_summary(1, bits=3)
    assert (("layer01", 3), None, None) == (found.key, found.resolution, found.nearest)


def test_hamming_without_partners_has_no_constant(tmp_path: Path) -> None:
    """The summary leaves it out instead of failing."""
    audit = audit_of(tmp_path, tiny_decoder(), [[1], [2, 3], [4, 5, 6]], prompt_metric="hamming")
    found = audit.layer_summary(1)
    assert (None, None) == (found.colipschitz, found.colipschitz_q)
    assert found.margin is not None


def test_the_order_of_prompts_does_not_matter(tmp_path: Path) -> None:
    """The same prompts in another order: the same hash and numbers, layer by layer."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = audit_of(tmp_path / "a", tiny_decoder(), IDS)
    other = audit_of(tmp_path / "b", tiny_decoder(), IDS[::-1])
    assert one.prompts.hash == other.prompts.hash
    for layer in (1, 2, "norm"):
        assert one.layer_summary(layer) == other.layer_summary(layer)


def test_the_dtype_is_the_configs(tmp_path: Path) -> None:
    """States are kept in the dtype the model computed them in."""
    for name in ("bfloat16", "float64"):
        audit = audit_of(tmp_path, tiny_decoder(), IDS, dtype=name)
        assert getattr(torch, name) == audit.states(1).dtype
        assert name == audit.run_summary().dtype
        assert audit.layer_summary(1).margin is not None


def test_what_a_check_asks_for_is_captured_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layers of the config and all that the check names, whatever order they are asked for in."""
    captured: list[tuple[Layer, ...]] = []
    whole = capturing.capture

    def counted(decoder: Decoder, prompts: Any, layers: Any, **settings: Any) -> Any:
        captured.append(tuple(layers))
        return whole(decoder, prompts, layers, **settings)

    monkeypatch.setattr(capturing, "capture", counted)
    audit = audit_of(tmp_path, tiny_decoder(layers=4), IDS, layers="1,norm")
    audit.check_margin_above("all", 1e-12)
    audit.check_no_collisions("1:")
    assert [(1, 2, 3, 4, "norm")] == captured
