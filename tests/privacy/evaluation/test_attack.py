import time

import numpy as np
import pytest
import torch

from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.argmin import ArgminAttacker
from pytest_injectivity.privacy.attackers.base import Attack, AttackSetting
from pytest_injectivity.privacy.attackers.mahalanobis import MahalanobisAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.privacy.evaluation.cases import AttackCase
from pytest_injectivity.privacy.search.candidates import Candidates
from pytest_injectivity.privacy.search.one_step_tables import OneStepTable
from pytest_injectivity.store.codec import from_bytes, to_bytes
from tests.attacks import attacks, case, drawn_prompts


def test_no_token_is_kept_unless_asked_for(decoder: Decoder) -> None:
    """What is stored says which were read, not what they are; a text of it never does."""
    prompts = drawn_prompts(2, 2)
    kept, not_kept = (
        attacks(decoder, "1", ["identity"], prompts, attackers=(ArgminAttacker(),), keep_ids=keep)[
            "identity", "argmin", True
        ]
        for keep in (True, False)
    )
    assert prompts == kept.ids
    assert () == not_kept.ids
    assert "ids" not in repr(kept)
    read_again = from_bytes(to_bytes(not_kept))
    assert (read_again.right == not_kept.right).all()
    assert () == read_again.ids


class _SlowToBegin(ArgminAttacker):
    def begin(self, setting: AttackSetting) -> Attack:
        """Learns for a while."""
        time.sleep(0.3)
        return super().begin(setting)


def test_what_an_attacker_learns_before_it_looks_is_its_time(decoder: Decoder) -> None:
    """Training is most of what a trained one takes."""
    both = (_SlowToBegin(), MahalanobisAttacker())
    slow, other = attacks(
        decoder, "1", ["identity"], drawn_prompts(2, 2), attackers=both, free_running=0
    ).values()
    assert slow.seconds >= 0.3 > other.seconds


def test_robustness_is_measured_along_the_truth(decoder: Decoder) -> None:
    """Quantiles over all positions, by brute force over tables made one by one."""
    prompts, release = drawn_prompts(4, 3), "gaussian(sigma=0.1)"
    sent = case(decoder, "1", [release], prompts)
    (found,) = run_attacks(decoder, [sent], seed=0, attackers=(ArgminAttacker(),))
    robustness, argmin = found.robustness, found.attacks[0]
    assert robustness is not None
    radii, halves, certain = [], [], []
    place, released = sent.observed.place, sent.observed.released(sent.releases[release], 0)
    for ids, rows in zip(prompts, released, strict=True):
        for at, row in enumerate(rows):
            table = OneStepTable(decoder, decoder.prefix(_ids(ids[:at]), 1), [place]).rows(place)
            truth = _ids(ids[at : at + 1])
            radii.append(float(Candidates(table).scan(row[None]).radii(truth)[0]))
            away = (table.double() - table[ids[at]].double()).norm(dim=1)
            halves.append(float(away.sort().values[1]) / 2)
            nu = sent.nu[min(at, 1)]  # type: ignore[index]
            off = float((row.double() - table[ids[at]].double()).norm())
            certain.append(off + 2 * nu < halves[-1])
    assert 12 == robustness.positions
    quantiles = [np.quantile(radii, level, method="lower") for level in robustness.levels]
    np.testing.assert_allclose(robustness.worst_case, quantiles, rtol=1e-5)
    quantiles = [np.quantile(halves, level, method="lower") for level in robustness.levels]
    np.testing.assert_allclose(robustness.certified, quantiles, rtol=1e-5)
    assert np.mean(certain) == robustness.share_certified
    assert robustness.share_certified <= argmin.token_rate
    assert (np.mean(np.array(radii) > 0)) == argmin.token_rate


def test_places_of_the_same_prompts_are_attacked_together(decoder: Decoder) -> None:
    """Each has its own releases and floor, and entries in the order given."""
    prompts = drawn_prompts(3, 2)
    cases = [
        case(decoder, "1", ["identity", "round(bits=8)"], prompts),
        case(decoder, "2 kv", ["identity"], prompts),
    ]
    found = run_attacks(decoder, cases, seed=0, attackers=(MahalanobisAttacker(),), free_running=2)
    assert [
        ("1", "identity", True, 3),
        ("1", "identity", False, 2),
        ("1", "round(bits=8)", True, 3),
        ("1", "round(bits=8)", False, 2),
        ("2 kv", "identity", True, 3),
        ("2 kv", "identity", False, 2),
    ] == [
        (str(one.place), one.release, attack.teacher_forced, int(attack.judged.any(axis=1).sum()))
        for one in found
        for attack in one.attacks
    ]
    assert {1.0} == {attack.token_rate for one in found for attack in one.attacks}


def test_prompts_of_all_cases_are_the_same(decoder: Decoder) -> None:
    """And there is at least one case."""
    cases: list[AttackCase] = [
        case(decoder, "1", ["identity"], drawn_prompts(2, 3, seed=seed)) for seed in (0, 1)
    ]
    with pytest.raises(OptionError, match="different prompts"):
        run_attacks(decoder, cases, seed=0)
    with pytest.raises(OptionError, match="no case"):
        run_attacks(decoder, [], seed=0)


def test_known_tokens_stand_before_every_prompt(decoder: Decoder) -> None:
    """A prompt that does not begin with them, or ends there, is refused."""
    one = case(decoder, "1", ["identity"], [(0, 1), (0,)])
    with pytest.raises(OptionError, match="prompt 1 of 1 tokens"):
        run_attacks(decoder, [one], seed=0, known=(0,))
    with pytest.raises(OptionError, match="prompt 0 of 2 tokens"):
        run_attacks(decoder, [one], seed=0, known=(3,))


def _ids(ids: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor(ids, dtype=torch.long)
