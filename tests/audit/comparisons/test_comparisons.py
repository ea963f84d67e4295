"""A model held against its parent: what is refused, what is loaded when, what is told."""

import gc
import json
import math
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_injectivity import Audit, AuditConfig, OptionError, stats
from pytest_injectivity.audit.comparisons.against import Against
from pytest_injectivity.core.strict_json import dumps, loads, plain
from pytest_injectivity.models import loading
from pytest_injectivity.models.checkpoint import Checkpoint
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.results.summary import Comparison
from pytest_injectivity.testing import (
    byte_tokenizer,
    plant_nan,
    round_weights,
    save_checkpoint,
    tiny_decoder,
)
from tests.audits import audit_against, audit_of, few_noise_prompts

IDS = [[at, 5 * at % 64, 7, at * at % 64] for at in range(40)]


@pytest.fixture(autouse=True)
def _small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    few_noise_prompts(monkeypatch, 3)


def _rounded(bits: int = 5, **settings: Any) -> Decoder:
    return round_weights(tiny_decoder(**settings), bits)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """An audit of a rounded model that tests only look at."""
    return audit_against(tmp_path_factory.mktemp("pair"), _rounded(), tiny_decoder(), IDS)


def test_without_a_reference_the_checks_say_what_to_give(tmp_path: Path) -> None:
    """Each of them."""
    audit = audit_of(tmp_path, tiny_decoder(), IDS)
    for check in (
        lambda: audit.check_state_drift_below(relative=0.35),
        audit.check_no_new_collisions,
        lambda: audit.check_margin_retained(fraction=0.5),
        lambda: audit.check_colipschitz_retained(fraction=0.5),
        lambda: audit.check_not_read_by_reference(1, 0.5),
        lambda: audit.comparison(1),
    ):
        with pytest.raises(OptionError, match="no reference is named: give --injx-reference"):
            check()
    assert () == audit.comparisons.compared


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 3}, "layers 2 and 3;"),
        ({"hidden": 24}, "hidden size 16 and 24;"),
        ({"vocab": 66}, "vocabulary 64 and 66;"),
        ({"layers": 1, "hidden": 8}, "layers 2 and 1, hidden size 16 and 8;"),
    ],
)
def test_a_parent_of_another_shape_is_refused(
    settings: dict[str, int], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the numbers, and before any weights are loaded."""
    audit = audit_against(tmp_path, tiny_decoder(), tiny_decoder(**settings), IDS)
    monkeypatch.setattr(loading, "load", None)
    with pytest.raises(OptionError, match=message):
        audit.check_state_drift_below(relative=0.35)


def test_the_very_same_model_is_refused(tmp_path: Path) -> None:
    """Also as a copy, or with its own dtype named; computed in another dtype it is another model."""
    decoder = tiny_decoder()
    for given in (
        {"reference": str(tmp_path / "model")},
        {},
        {"dtype": "float32"},
        {"reference": str(tmp_path / "model"), "dtype": "float32"},
    ):
        audit = audit_against(tmp_path, decoder, decoder, IDS, **given)
        with pytest.raises(OptionError, match="comparing a model with itself proves nothing"):
            audit.check_state_drift_below(relative=0.35)
    other = audit_against(tmp_path, decoder, decoder, IDS, dtype="bfloat16")
    (reason,) = other.check_state_drift_below(1, relative=0.35).reasons
    assert 0 < reason.value < 0.1


def _texts(folder: Path, tokenizers: list[Any], **config: Any) -> Audit:
    decoders = [
        tiny_decoder(vocab=260, seed=0, tokenizer=tokenizers[0]),
        tiny_decoder(vocab=260, seed=1, tokenizer=tokenizers[1]),
    ]
    for name, decoder in zip(("model", "parent"), decoders, strict=True):
        save_checkpoint(decoder, folder / name)
    rows = [json.dumps({"text": f"prompt {at}{at * at}"}) for at in range(12)]
    (folder / "p.jsonl").write_text("\n".join(rows))
    return Audit(
        AuditConfig(
            model=str(folder / "model"),
            reference=str(folder / "parent"),
            prompts=str(folder / "p.jsonl"),
            device="cpu",
            **config,
        )
    )


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    """Of the same size, and with other ids for the same texts: how many prompts differ is said."""
    audit = _texts(tmp_path, [byte_tokenizer(), byte_tokenizer(bos=True)])
    with pytest.raises(OptionError, match="has another tokenizer: of 12 prompts 12 have other"):
        audit.check_state_drift_below(relative=0.35)
    (tmp_path / "without").mkdir()
    alike = _texts(
        tmp_path / "without", [byte_tokenizer(), byte_tokenizer(bos=True)], special_tokens="no"
    )
    assert alike.reference.target.prompts is alike.prompts


def test_rows_of_ids_need_no_tokenizer(tmp_path: Path) -> None:
    """Nor does a parent that has none contradict."""
    audit = _texts(tmp_path, [byte_tokenizer(), None])
    assert audit.reference.target.prompts is audit.prompts
    assert 12 == len(audit.against.drift(1).relative)


def test_the_parent_shares_what_is_not_the_models_own(tmp_path: Path) -> None:
    """Prompts, metric, seed, layers, store; not dtype, quantization or states from elsewhere."""
    audit = audit_against(
        tmp_path,
        tiny_decoder(),
        _rounded(),
        IDS,
        dtype="bfloat16",
        prompt_metric="hamming",
        layers="1",
        seed=3,
        cache_dir=str(tmp_path / "store"),
    )
    config = audit.reference.target.config
    assert ("auto", None, None, None) == (
        config.dtype,
        config.quantization,
        config.states,
        config.reference,
    )
    assert ("hamming", "1", 3) == (config.prompt_metric, config.layers, config.seed)
    assert "float32" == audit.reference.target.facts.dtype
    assert audit.target.identity != audit.reference.target.identity
    assert audit.reference.target.name_of(3) == audit.name_of(3)


def test_nothing_is_kept_where_nothing_is_to_be_kept(tmp_path: Path) -> None:
    """Both use one folder, which goes with the audit."""
    audit = audit_against(tmp_path, _rounded(), tiny_decoder(), IDS, no_cache=True)
    audit.comparison(1)
    folder = audit.target.kept.store.folder
    assert folder == audit.reference.target.kept.store.folder
    assert folder.exists()
    del audit
    gc.collect()
    assert not folder.exists()


class Counter:
    """Counts what is loaded, and how many models are alive as one more is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loaded: list[str] = []
        self.alive: list[int] = []
        self._decoders: list[weakref.ref[Decoder]] = []
        load = loading.load

        def counted(checkpoint: Checkpoint, **settings: Any) -> Decoder:
            gc.collect()
            self.alive.append(sum(one() is not None for one in self._decoders))
            decoder = load(checkpoint, **settings)
            self._decoders.append(weakref.ref(decoder))
            self.loaded.append(Path(checkpoint.source).name)
            return decoder

        monkeypatch.setattr(loading, "load", counted)


@pytest.mark.parametrize("free", [0])
def test_two_models_that_do_not_fit_are_never_there_together(
    free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is loaded once for what is captured, whatever is compared."""
    counter = Counter(monkeypatch)
    monkeypatch.setattr("pytest_injectivity.states.memory.free_memory", lambda *_, **_named: free)
    audit = audit_against(tmp_path, _rounded(), tiny_decoder(), IDS, layers="1,2")
    audit.check_state_drift_below("1,2", relative=0.35)
    assert ["model", "parent"] == counter.loaded[:2]
    assert {0} == set(counter.alive)
    audit.check_margin_retained(fraction=0.5)
    audit.check_no_new_collisions("1,2")
    audit.cross_inversion(1, prompts=2, tokens=3)
    assert {0} == set(counter.alive)
    assert len(counter.loaded) <= 8


def test_two_models_that_fit_are_loaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And stay."""
    counter = Counter(monkeypatch)
    monkeypatch.setattr("pytest_injectivity.states.memory.free_memory", lambda *_, **_named: 2**40)
    audit = audit_against(tmp_path, _rounded(), tiny_decoder(), IDS)
    audit.check_state_drift_below(relative=0.35)
    audit.check_no_new_collisions()
    audit.cross_inversion(1, prompts=2, tokens=3)
    assert ["model", "parent"] == counter.loaded
    assert [0, 1] == counter.alive


def test_what_the_store_has_is_not_loaded_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second audit loads neither and says the same; a new child loads itself alone."""
    audit = audit_against(tmp_path, _rounded(), tiny_decoder(), IDS, hash_key="k")
    first = [plain(check()) for check in _checks(audit)]
    told = audit.news().comparisons
    counter = Counter(monkeypatch)
    again = Audit(audit.config)
    assert first == [plain(check()) for check in _checks(again)]
    assert told == again.news().comparisons
    assert [] == counter.loaded
    save_checkpoint(_rounded(4), tmp_path / "model")
    other = Audit(audit.config)
    # What the parent reads of it is read with the parent.
    assert first[:-1] != [plain(check()) for check in _checks(other)[:-1]]
    assert {"model"} == set(counter.loaded)


def _checks(audit: Audit) -> list[Any]:
    return [
        lambda: audit.check_state_drift_below(relative=0.35),
        audit.check_no_new_collisions,
        lambda: audit.check_margin_retained(fraction=0.5),
        lambda: audit.check_colipschitz_retained(fraction=0.5),
        lambda: audit.check_not_read_by_reference(1, 0.999, prompts=2, tokens=3),
    ]


def test_a_comparison_is_what_the_numbers_are(shared: Audit) -> None:
    """Each by its own definition, from the two models' states."""
    found = shared.comparison(1)
    own, parents = (one.states(1).double().numpy() for one in (shared, shared.reference))
    drift = np.linalg.norm(own - parents, axis=1) / np.linalg.norm(parents, axis=1)
    assert (found.drift_median, found.drift_q99, found.drift_max) == pytest.approx(
        (stats.lower_quantile(drift, 0.5), stats.upper_quantile(drift, 0.01), drift.max())
    )
    for name, number in (
        ("margin", lambda one: one.geometry(1).margin()),
        ("normalized_margin", lambda one: one.geometry(1).margin(normalized=True)),
        ("colipschitz", lambda one: one.geometry(1).colipschitz()),
        ("normalized_colipschitz", lambda one: one.geometry(1).colipschitz(normalized=True)),
    ):
        kept = getattr(found, name)
        assert number(shared) / number(shared.reference) == pytest.approx(kept.value)
        assert 0 < kept.low <= kept.value <= kept.high
    assert 0 == found.new_collisions
    assert shared.noise(1).value == found.noise
    assert shared.reference.noise(1).value == found.reference_noise
    assert (None, None, None) == (found.sipit, found.reference_sipit, found.cross)
    assert found == loads(Comparison, dumps(found))


def test_the_spread_is_that_of_halves_searched_by_brute_force(shared: Audit) -> None:
    """The interval of what is kept: `paired_ratio` over the same halves, without short lists."""

    def margin(audit: Any) -> Any:
        points = audit.states(2).double()

        def number(rows: np.ndarray) -> float:
            apart = torch.cdist(points[rows], points[rows]).fill_diagonal_(math.inf)
            return stats.lower_quantile(apart.min(dim=1).values.numpy(), 0.05)

        return number

    def ratio(audit: Any) -> Any:
        points, ids = audit.states(2).double(), IDS

        def number(rows: np.ndarray) -> float:
            apart = torch.cdist(points[rows], points[rows]).fill_diagonal_(math.inf).numpy()
            edits = [
                [max(1, sum(a != b for a, b in zip(ids[i], ids[j], strict=True))) for j in rows]
                for i in rows
            ]
            return stats.lower_quantile((apart / np.array(edits)).min(axis=1), 0.05)

        return number

    both = (shared, shared.reference)
    expected = stats.paired_ratio(*map(margin, both), len(IDS))
    found = shared.against.margin_kept(2, 0.05)
    assert (expected.value, expected.spread) == pytest.approx((found.value, found.spread))
    hamming = Audit(AuditConfig(**{**vars(shared.config), "prompt_metric": "hamming"}))
    expected = stats.paired_ratio(*map(ratio, (hamming, hamming.reference)), len(IDS))
    found = hamming.against.colipschitz_kept(2, 0.05)
    assert (expected.value, expected.spread) == pytest.approx((found.value, found.spread))


def test_beyond_what_is_done_in_halves_a_sample_stands_for_all(tmp_path: Path) -> None:
    """The ratio stays that of all prompts; the spread is that of the smaller sample."""
    audit = audit_against(tmp_path, _rounded(3), tiny_decoder(), IDS)
    whole = audit.against.margin_kept(1, 0.1)
    (tmp_path / "some").mkdir()
    other = audit_against(tmp_path / "some", _rounded(3), tiny_decoder(), IDS, no_cache=True)
    some = Against(other.measurements, other.against.parent, margin_prompts=10)
    assert whole.value == some.margin_kept(1, 0.1).value
    assert whole.spread != some.margin_kept(1, 0.1).spread


def test_rows_lost_are_counted_and_nothing_else(tmp_path: Path) -> None:
    """A comparison says whose."""
    audit = audit_against(tmp_path, _rounded(), plant_nan(tiny_decoder(), 2), IDS)
    assert (0, 0) == (audit.comparison(1).not_finite, audit.comparison(1).reference_not_finite)
    found = audit.comparison("norm")
    assert (0, 40, None, None) == (
        found.not_finite,
        found.reference_not_finite,
        found.margin,
        found.new_collisions,
    )


def test_rates_are_measured_where_they_are_asked_for(tmp_path: Path) -> None:
    """SipIt's of both models, and the parent's of the child; then they stand in the comparison."""
    audit = audit_against(tmp_path, _rounded(8), tiny_decoder(), IDS)
    own, parents = audit.sipit_rates(1, prompts=4, tokens=3)
    assert (1.0, 1.0) == (own.value, parents.value)
    read = audit.cross_inversion(1, prompts=4, tokens=3)
    assert (4, 3) == (read.prompts, read.tokens)
    assert 1.0 == read.argmin_prompts.value == read.argmin_tokens.value
    assert read.drift is not None
    assert 0 < read.drift < 0.1
    found = audit.comparison(1)
    assert (own, parents, read) == (found.sipit, found.reference_sipit, found.cross)
    assert found == loads(Comparison, dumps(found))
    (told,) = audit.news().comparisons
    assert found == told
    assert () == audit.news().comparisons


def test_news_tell_each_layer_once_and_again_when_more_is_known(tmp_path: Path) -> None:
    """A check of one layer, the same again, then a rate of it."""
    audit = audit_against(tmp_path, _rounded(8), tiny_decoder(), IDS)
    audit.check_state_drift_below(1, relative=0.35)
    assert ["layer01"] == [one.layer for one in audit.news().comparisons]
    audit.check_margin_retained("1,2", fraction=0.5)
    assert ["layer02"] == [one.layer for one in audit.news().comparisons]
    audit.sipit_rates(1, prompts=2, tokens=2)
    news = audit.news()
    assert ["layer01"] == [one.layer for one in news.comparisons]
    assert news.run is not None
    assert f"{tmp_path / 'parent'} (float32, cpu)" == news.run.reference


def test_the_run_names_no_reference_that_nobody_asked_for(tmp_path: Path) -> None:
    """A check of the model alone loads no parent."""
    audit = audit_against(tmp_path, _rounded(8), tiny_decoder(), IDS)
    audit.check_no_collisions(1)
    assert audit.run_summary().reference is None
    assert audit.target.beside is None


def test_reading_is_judged_by_its_upper_limit(tmp_path: Path) -> None:
    """Of the attack that read more; nothing read of a few prompts proves little."""
    audit = audit_against(tmp_path, _rounded(8), tiny_decoder(), IDS)
    verdict = audit.check_not_read_by_reference(1, 0.9, prompts=4, tokens=3)
    assert verdict.first_line.startswith("FAIL not_read_by_reference layer01: ")
    assert verdict.first_line.endswith(" 1, wants <= 0.9")
    assert "nearest candidate: 4 of 4 prompts read whole, tokens 1" in verdict.text
    assert "that others read no more is not shown" in verdict.text
    with pytest.raises(OptionError, match=r"max_rate=1\.0 passes whatever is measured"):
        audit.check_not_read_by_reference(1, 1.0, prompts=4, tokens=3)
    assert audit.comparison(1).cross is not None
    (tmp_path / "other").mkdir()
    stranger = audit_against(tmp_path / "other", tiny_decoder(seed=9), tiny_decoder(), IDS)
    (reason,) = stranger.check_not_read_by_reference(2, 0.9, prompts=6, tokens=3).reasons
    assert reason.figures["rate"] < 0.3 < reason.value < 0.9


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompts": 40, "tokens": 4}, "40 prompts of 4 tokens were asked for, and one more"),
        ({"prompts": 0}, "0 prompts of 20 tokens"),
        ({"prompts": 2, "tokens": 5}, "0 of 40 prompts have 5"),
    ],
)
def test_too_few_prompts_to_attack_are_refused(
    given: dict[str, int], message: str, shared: Audit
) -> None:
    """The drift is measured on others than are attacked."""
    with pytest.raises(OptionError, match=message):
        shared.cross_inversion(1, **given)


def test_prompts_attacked_that_begin_alike_count_once(tmp_path: Path) -> None:
    """Neither as prompts attacked, nor as others that the drift is measured on."""
    ids = [[*range(4), at] for at in range(20)] + [[at, *range(4)] for at in range(1, 3)]
    audit = audit_against(tmp_path, _rounded(8), tiny_decoder(), ids)
    said = "3 prompts of 4 tokens .* one more at least .*; 3 of 22 prompts have 4 and differ"
    with pytest.raises(OptionError, match=said):
        audit.cross_inversion(1, prompts=3, tokens=4)
    assert 2 == audit.cross_inversion(1, prompts=2, tokens=4).prompts


def test_states_that_are_not_finite_are_not_read(tmp_path: Path) -> None:
    """The gate fails with whose they are; the measurement refuses."""
    audit = audit_against(tmp_path, plant_nan(_rounded(), 1), tiny_decoder(), IDS)
    verdict = audit.check_not_read_by_reference(1, 0.5, prompts=2, tokens=3)
    assert "40 of 40 rows are not finite" in verdict.first_line
    with pytest.raises(OptionError, match="drift of 32 prompts is not finite"):
        audit.cross_inversion(1, prompts=2, tokens=3)


def test_each_assertion_is_its_check(shared: Audit) -> None:
    """It returns the verdict, or raises its text."""
    assert shared.assert_state_drift_below(1, 10.0).passed
    assert shared.assert_no_new_collisions(1).passed
    assert shared.assert_margin_retained(1, 0.01).passed
    assert shared.assert_colipschitz_retained(1, 0.01).passed
    with pytest.raises(AssertionError, match="FAIL state_drift_below layer01"):
        shared.assert_state_drift_below(1, 0.0)
