from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.errors import GateFailure, LayerError, ModelError, OptionError
from pytest_injectivity.privacy.releases.custom import CustomRelease
from pytest_injectivity.testing import save_checkpoint, tiny_decoder
from tests.audits import audit_of

# Twelve prompts of 6 tokens, and one that is too short.
IDS = [[at, 3 * at % 40, 7, at + 20, 5, at + 1] for at in range(12)] + [[1, 2]]
# What attackers learn from practice is tested in test_learning.py.
FEW: dict[str, Any] = {"prompts": 3, "tokens": 4, "free_running": 0, "practice": 0}
PLACES = ("1", "2", "norm", "1 keys", "2 values", "1 kv")


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A generic decoder."""
    return audit_of(tmp_path_factory.mktemp("generic"), tiny_decoder("llama"), IDS)


def test_what_is_sent_as_it_is_is_read(audit: Audit) -> None:
    """All of it, at every layer, from keys and values alone: the attackers work."""
    texts = [f"identity@{place}" for place in PLACES]
    for found in audit.exposures(texts, **(FEW | {"free_running": 1})):
        strongest = found.summary(0.95).strongest
        assert (12, 12) == (strongest.tokens.right, strongest.tokens.of)
        assert {True, False} == {attack.teacher_forced for attack in found.attacks}
    verdict = audit.check_not_recoverable(texts, 0.2, **(FEW | {"free_running": 1}))
    assert ["FAIL"] * len(PLACES) == [str(reason.status) for reason in verdict.reasons]


def test_the_assertion_raises_with_the_attackers(audit: Audit) -> None:
    """Its first line says who read how much."""
    with pytest.raises(
        GateFailure, match=r"FAIL not_recoverable identity@1: tokens read by"
    ) as error:
        audit.assert_not_recoverable("identity@1", 0.2, **FEW)
    assert "not broken, not private" in str(error.value)
    assert len(str(error.value).splitlines()[0]) <= 80


def test_noise_that_drowns_all_is_not_broken(audit: Audit) -> None:
    """And is of no use."""
    release = "gaussian(sigma=1000 rel)@1"
    verdict = audit.assert_not_recoverable(release, 0.99, **FEW)
    assert "not broken by these" in verdict.first_line
    with pytest.raises(GateFailure, match="next-token agreement"):
        audit.assert_utility_kept(release, 0.9, **FEW)


def test_what_a_model_guesses_anyway_may_be_read(audit: Audit) -> None:
    """No attacker reads much more than that from noise, and all of it from what is sent as it is."""
    verdict = audit.check_not_recoverable(
        ["gaussian(sigma=1000 rel)@1", "identity@1"], max_excess=0.5, confidence=None, **FEW
    )
    assert ["PASS", "FAIL"] == [str(one.status) for one in verdict.reasons]
    guessed, read = verdict.reasons[1].figures["guessed"], verdict.reasons[1].value
    assert 1.0 == pytest.approx(guessed + read)
    with pytest.raises(OptionError, match="neither was given of max_token_rate= and max_excess="):
        audit.check_not_recoverable("identity@1", **FEW)


def test_a_rotation_keeps_its_use(audit: Audit) -> None:
    """The receiver turns it back."""
    assert audit.assert_utility_kept(["rotate(seed=3)@1", "permute@2"], 1.0, **FEW).passed


def test_releases_are_judged_together(audit: Audit) -> None:
    """One reason each, under its own name."""
    texts = ["identity@1", "gaussian(1000 rel)@-1", "identity@norm"]
    verdict = audit.check_not_recoverable(texts, 0.5, confidence=None, **FEW)
    assert ["identity@1", "gaussian(sigma=1000 rel)@2", "identity@norm"] == [
        reason.where for reason in verdict.reasons
    ]
    assert ["FAIL", "PASS", "FAIL"] == [str(reason.status) for reason in verdict.reasons]


def test_measured_together_or_alone_is_the_same(tmp_path: Path, audit: Audit) -> None:
    """What is shared is the work, not the numbers."""
    texts = ["round(bits=3)@1", "gaussian(0.5 rel)@1"]
    together = audit.exposures(texts, **FEW)
    other = audit_of(tmp_path, tiny_decoder("llama"), IDS)
    assert 2 == len(together)
    for text, found in zip(texts, together, strict=True):
        (alone,) = other.exposures(text, **FEW)
        assert found.attacks
        for one, two in zip(found.attacks, alone.attacks, strict=True):
            assert (one.attacker, one.teacher_forced) == (two.attacker, two.teacher_forced)
            assert np.array_equal(one.right, two.right)
        assert found.utility is not None
        assert alone.utility is not None
        assert found.utility.agreed == alone.utility.agreed


def test_numbers_come_from_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second audit of the same model and prompts measures nothing."""
    audit = audit_of(tmp_path, tiny_decoder("llama"), IDS)
    size: dict[str, Any] = {"prompts": 3, "tokens": 4, "free_running": 0}  # and practice by default
    (found,) = audit.exposures("round(bits=3)@1", **size)
    again = Audit(audit.config)
    monkeypatch.setattr("pytest_injectivity.audit.releases.release_evaluation.expose", None)
    (kept,) = again.exposures("round(bits=3)@1", **size)
    learned = [one for one in found.attacks if "inverter" in one.attacker]
    assert learned
    assert found.summary(0.95) == kept.summary(0.95)


def test_ones_own_release_is_measured(audit: Audit) -> None:
    """By the same attackers; nothing of it is kept under a name that would not say what it does."""
    own = CustomRelease("doubled", "1", apply=lambda rows: rows * 2, undo=lambda rows: rows / 2)
    verdict = audit.check_not_recoverable(own, 0.5, **FEW)
    assert "doubled@1" == verdict.reasons[0].where
    assert 1.0 == verdict.reasons[0].value
    assert audit.assert_utility_kept(own, 1.0, **FEW).passed
    other = CustomRelease("doubled", "1", apply=lambda rows: rows * 0 + 1)
    (found,) = audit.exposures(other, **FEW)
    assert found.utility is not None
    assert found.utility.agreement < 1.0


@pytest.mark.parametrize("place", ["1 last", "1 every=2"])
def test_a_part_of_the_positions_is_attacked(audit: Audit, place: str) -> None:
    """By joint search, of three tokens at most where the last alone is seen."""
    tokens = 3 if place == "1 last" else 4
    given = None if place == "1 last" else tokens
    (found,) = audit.exposures(f"identity@{place}", prompts=2, tokens=given, free_running=0)
    assert 2 * tokens == found.summary(0.95).strongest.tokens.of


def test_a_sweep_finds_where_both_hold(audit: Audit) -> None:
    """The more noise the less is read and the less is left; here no strength has both."""
    found = audit.sweep(
        "gaussian(sigma=? rel)@1",
        [0.01, 1, 100],
        max_token_rate=0.95,
        min_agreement=0.9,
        **FEW,
    )
    assert ["0.01", "1", "100"] == [point.strength for point in found.points]
    assert [False, True] == [found.points[0].hidden, found.points[-1].hidden]
    assert [True, False] == [found.points[0].useful, found.points[-1].useful]
    read = [point.release.strongest.tokens.value for point in found.points]
    assert sorted(read, reverse=True) == read
    assert found.subject.startswith(audit.config.model)


def test_a_check_of_a_release_of_the_config_measures_all_of_them(tmp_path: Path) -> None:
    """One walk for all that are named in a flag or an ini."""
    release = ("round(bits=3)@1", "identity@2")
    audit = audit_of(tmp_path, tiny_decoder("llama"), IDS, release=release)
    verdict = audit.check_not_recoverable(release[0], 0.5, **FEW)
    assert [release[0]] == [reason.where for reason in verdict.reasons]
    assert set(release) == {f"{one.release}@{one.place}" for one in audit.releases.exposed}


def test_exposures_measure_what_is_asked_and_no_more(tmp_path: Path) -> None:
    """The releases that the config names wait until they are asked for."""
    audit = audit_of(tmp_path, tiny_decoder("llama"), IDS, release=("round(bits=3)@1",))
    (found,) = audit.exposures("identity@1", **FEW)
    assert ["identity@1"] == [f"{one.release}@{one.place}" for one in audit.releases.exposed]
    assert found is audit.releases.exposed[0]


def test_news_carry_what_was_measured(tmp_path: Path) -> None:
    """Each release once."""
    audit = audit_of(tmp_path, tiny_decoder("llama"), IDS)
    assert () == audit.news().releases
    audit.exposures(["identity@1", "round(4)@1"], **FEW)
    assert ["identity@1", "round(bits=4)@1"] == [one.name for one in audit.news().releases]
    assert () == audit.news().releases


@pytest.mark.parametrize(
    ("release", "error", "message"),
    [
        ("gausian(0.1)@1", OptionError, "is no step"),
        ("identity@7", LayerError, "layer 7 is out of range"),
        ("identity@norm kv", LayerError, "cached by blocks"),
        ("gaussian(sigma=1e-30)@1", OptionError, "changes nothing"),
        ("lowrank(rank=99, sigma=1)@1", OptionError, "rank=99 of rows of width 16"),
        ([], OptionError, "no release is named"),
    ],
)
def test_bad_releases_are_refused(
    audit: Audit, release: Any, error: type[Exception], message: str
) -> None:
    """By name, before anything is attacked."""
    with pytest.raises(error, match=message):
        audit.check_not_recoverable(release, 0.5, **FEW)


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (lambda rows: rows[:2], r"release mine@1: apply returns \(2, 16\)"),
        (lambda rows: rows / 0, "release mine@1: apply returns a NaN or an infinity"),
        (torch.clone, "release mine@1: apply changes nothing"),
    ],
)
def test_bad_releases_of_ones_own_are_refused(audit: Audit, apply: Any, message: str) -> None:
    """As the others."""
    with pytest.raises(OptionError, match=message):
        audit.exposures(CustomRelease("mine", "1", apply=apply), **FEW)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"max_token_rate": 1.5}, "max_token_rate=1.5 is not a fraction"),
        ({"max_token_rate": float("nan")}, "is not a fraction"),
        ({"max_token_rate": 0.5, "confidence": 1.0}, "confidence=1.0"),
        ({"max_token_rate": 0.5, "prompts": 99}, "99 prompts of 4 tokens were asked for, and 12"),
        ({"max_token_rate": 0.5, "prompts": 0}, "prompts=0: give an integer of at least 1"),
        ({"max_token_rate": 0.5, "tokens": 0}, "tokens=0: give an integer of at least 1"),
    ],
)
def test_bad_numbers_are_refused(audit: Audit, asked: dict[str, Any], message: str) -> None:
    """With what is accepted."""
    with pytest.raises(OptionError, match=message):
        audit.check_not_recoverable("identity@1", **(FEW | asked))


def test_prompts_that_begin_alike_count_once(tmp_path: Path) -> None:
    """Cut to one length they would be one prompt twice, and no two independent draws."""
    ids = [[1, 2, 3, at] for at in range(8)] + [[5, 2, 3, 4]]
    audit = audit_of(tmp_path, tiny_decoder("llama"), ids)
    with pytest.raises(OptionError, match="3 prompts of 3 tokens were asked for, and 2 of 9"):
        audit.exposures("identity@1", prompts=3, tokens=3)


def test_several_releases_of_a_prompt_are_averaged(audit: Audit) -> None:
    """``queries=`` of every check of releases; it belongs to what is kept of a release."""
    loud = "gaussian(sigma=2 rel)@1"
    once, often = (audit.exposures(loud, queries=queries, **FEW)[0] for queries in (1, 64))
    read = {one.attacker: one.token_rate for one in often.attacks}
    assert not any("averaging" == one.attacker for one in once.attacks)
    assert read["averaging"] > read["mahalanobis"]


def test_no_query_at_all_is_refused(audit: Audit) -> None:
    """By its name."""
    with pytest.raises(OptionError, match="queries=0: give an integer of at least 1"):
        audit.exposures("identity@1", queries=0, **FEW)


def test_no_utility_is_refused(audit: Audit) -> None:
    """A gate that could not fail is none."""
    with pytest.raises(OptionError, match="has no utility to judge"):
        audit.check_utility_kept("identity@1 kv last", 0.5, prompts=2, tokens=3, free_running=0)


def test_nobody_attacks_what_no_attacker_is_made_for(audit: Audit) -> None:
    """Which is red."""
    verdict = audit.check_not_recoverable(
        "identity@1 kv last", 0.9, prompts=2, tokens=3, free_running=0, practice=0
    )
    assert "FAIL" == str(verdict.status)
    assert "nothing was compared" in verdict.text


def test_an_attacker_of_another_precision_reads_as_well(audit: Audit) -> None:
    """The weights are known, if not to the last digit."""
    (found,) = audit.exposures("identity@1", attacker="bfloat16", **FEW)
    assert 1.0 == found.summary(0.95).strongest.tokens.value


def test_an_attacker_with_other_weights_reads_little(audit: Audit, tmp_path: Path) -> None:
    """That is not the release's doing, and is not judged as such unless it is asked for."""
    other = save_checkpoint(tiny_decoder("llama", seed=5), tmp_path / "other")
    (found,) = audit.exposures("identity@2", attacker=str(other), **FEW)
    (own,) = audit.exposures("identity@2", **FEW)
    assert found.summary(0.95).strongest.tokens.value < 0.5
    assert 1.0 == own.summary(0.95).strongest.tokens.value


@pytest.mark.parametrize("attacker", ["", 5])
def test_an_attacker_that_names_no_model_is_refused(audit: Audit, attacker: object) -> None:
    """Before anything is loaded."""
    with pytest.raises(OptionError, match=f"attacker={attacker!r}: give a checkpoint or a dtype"):
        audit.exposures("identity@1", attacker=attacker, **FEW)  # type: ignore[misc] # the test


def test_an_attacker_of_another_shape_is_refused(audit: Audit, tmp_path: Path) -> None:
    """It could not compute a candidate."""
    other = save_checkpoint(tiny_decoder("llama", hidden=32), tmp_path / "other")
    with pytest.raises(OptionError, match=r"layers \(32, 64, 2\), and the model .* \(16, 64, 2\)"):
        audit.exposures("identity@1", attacker=str(other), **FEW)


def test_a_model_without_a_cache_has_none_to_transfer(tmp_path: Path) -> None:
    """Wrong use, by name."""
    audit = audit_of(tmp_path, tiny_decoder("mamba"), IDS)
    with pytest.raises(ModelError, match="caches no keys and values"):
        audit.exposures("identity@1 kv", **FEW)


@pytest.mark.slow
def test_whoever_knows_more_reads_no_less() -> None:
    """200 prompts of the shipped model: ball, argmin and Mahalanobis in this order, and the prior last.

    Noise that defeats the ball but not argmin is not hidden, and noise in few directions that fools
    argmin does not fool whoever knows them.
    """
    audit = Audit(AuditConfig(device="cpu", no_cache=True))
    texts = ["gaussian(sigma=1 rel)@2", "round(bits=2)@2", "lowrank(rank=4, sigma=4 rel)@2"]
    found = audit.exposures(texts, prompts=200, tokens=2, free_running=0)
    read = [
        {one.attacker: one.tokens.value for one in exposure.summary(0.95).attacks}
        for exposure in found
    ]
    for rates in read:
        assert rates["ball"] <= rates["argmin"] <= rates["mahalanobis"] <= rates["prior"] + 0.02
    noisy, rounded, low = read
    assert noisy["ball"] < 0.1
    assert noisy["argmin"] > 0.8
    assert rounded["argmin"] > 0.99
    assert low["argmin"] < 0.5
    assert low["mahalanobis"] > 0.99
    assert not audit.check_not_recoverable(texts, 0.5, prompts=200, tokens=2, free_running=0).passed


def test_with_a_confidence_the_use_is_what_the_sample_proves(audit: Audit) -> None:
    """A few positions that all agree pass by their share, and prove no share of 0.99."""
    assert audit.check_utility_kept("rotate(seed=3)@1", 0.99, **FEW).passed
    proved = audit.check_utility_kept("rotate(seed=3)@1", 0.99, confidence=0.95, **FEW)
    assert "INSUFFICIENT" == str(proved.status)
