"""Every attacker reads a release that it is made for, and nothing of noise.

Prompts are of tokens that are all equally likely, so that no text tells which token comes next: whoever
sees nothing is right once in as many answers as the vocabulary has tokens.
"""

from dataclasses import replace
from functools import cache
from itertools import cycle, product

import pytest
from scipy.stats import binom

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.base import NO_TOKEN
from pytest_injectivity.privacy.attackers.registry import ATTACKERS
from pytest_injectivity.privacy.evaluation.attack import AttackCase, run_attacks
from pytest_injectivity.privacy.releases.base import NoiseRelease
from pytest_injectivity.privacy.releases.binding import typical_coordinate
from pytest_injectivity.privacy.releases.composition import ChainedRelease
from pytest_injectivity.privacy.releases.noise import Noise
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import case, drawn_prompts
from tests.obedient import obedient_decoder
from tests.repetitions import mostly_slow

VOCAB, LENGTH, QUERIES = 16, 2, 4
PROMPTS = drawn_prompts(32, LENGTH, vocab=VOCAB)
BY_NAME = {one.name: one for one in ATTACKERS}
MADE_FOR = {
    "injection": ("-1 cache", "identity"),
    "embedding": ("0", "identity"),
    "lens": ("1", "identity"),
    "linear inverter": ("1", "identity"),
    "network inverter": ("1", "topk(share=0.5)"),
    "pairs inverter": ("1", "identity"),
    "last-state inverter": ("1 last", "identity"),
    "fixed ball": ("1", "identity"),
    "ball": ("1", "gaussian(sigma=0.05)"),
    "argmin": ("1", "gaussian(sigma=0.5)"),
    "collision": ("1 kv", "gaussian(sigma=0.1)"),
    "collision+": ("1 kv", "gaussian(sigma=0.1)"),
    "difference": ("1 and 2", "same_noise(sigma=4)"),
    "mahalanobis": ("1", "lowrank(rank=2, sigma=4)"),
    "prior": ("1", "gaussian(sigma=0.5)"),
    "averaging": ("1", "gaussian(sigma=2)"),
    "matching": ("1", "permute"),
    "procrustes": ("1", "rotate(seed=1)"),
    "known plaintext": ("1", "gaussian(sigma=0.1)|rotate(seed=1)"),
    "gram": ("1", "mix(over=coordinates, matrix=orthogonal)"),
    "components": ("1", "mix(over=positions)"),
    "scatter": ("1", "mix(batch=10)"),
    "span": ("1", "mix(over=positions)"),
    "joint search": ("1 last", "identity"),
    "beam": ("1", "gaussian(sigma=0.5)"),
}
"""For each attacker a place and a release that it is made for: a new attacker has a row here."""

RARE = 1e-4
"""How often an attacker that sees nothing is right so often or so seldom that a test fails."""


class _UntoldNoise(NoiseRelease):
    """Noise of which nobody tells the attackers."""

    @property
    def noise(self) -> Noise:
        """None, it says."""
        return Noise.none(self.width)


@cache
def _random_decoder() -> Decoder:
    return tiny_decoder("llama", vocab=VOCAB)


def _decoder(name: str) -> Decoder:
    """A model of few tokens; one that obeys, for the attacker that asks."""
    return obedient_decoder() if name == "injection" else _random_decoder()


def _others(count: int, seed: int) -> list[tuple[int, ...]]:
    """Further prompts, none of which is read."""
    drawn = drawn_prompts(count, LENGTH, vocab=VOCAB, seed=seed)
    return [ids for ids in drawn if ids not in PROMPTS]


@cache
def _case(decoder: Decoder, place: str, release: str) -> AttackCase:
    """A release, with prompts to learn from."""
    practice, known = _others(80, 1), _others(20, 2)
    return case(decoder, place, [release], PROMPTS, practice=practice, known=known, queries=QUERIES)


def _in_noise(sent: AttackCase, noise: type[NoiseRelease]) -> AttackCase:
    """What is released, in Gaussian noise of 100 times the length of its rows."""
    width = sent.observed.width
    typical = typical_coordinate(sent.observed.rows, sent.observed)
    ((name, release),) = sent.releases.items()
    drowned = noise(width, Noise.isotropic(width, 100 * typical))
    return replace(sent, releases={name: ChainedRelease((release, drowned))})


def _right_of(name: str, decoder: Decoder, sent: AttackCase) -> list[tuple[int, int]]:
    """How many answers of an attacker are right, and of how many, each way that it is run."""
    (found,) = run_attacks(
        decoder, [sent], seed=0, attackers=(BY_NAME[name],), free_running=8, keep_ids=True
    )
    given = [sum(token != NO_TOKEN for ids in one.ids for token in ids) for one in found.attacks]
    right = [int(one.right.sum()) for one in found.attacks]
    return list(zip(right, given, strict=True))


def test_every_attacker_has_a_release_that_it_is_made_for() -> None:
    """The table has a row for each."""
    assert set(MADE_FOR) == set(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_an_attacker_reads_more_than_chance_of_what_it_is_made_for(name: str) -> None:
    """Each way that it is run, and however many answers it gives."""
    decoder = _decoder(name)
    found = _right_of(name, decoder, _case(decoder, *MADE_FOR[name]))
    assert found
    assert all(binom.sf(right - 1, given, 1 / VOCAB) < RARE for right, given in found)


@pytest.mark.parametrize(
    ("name", "noise"),
    mostly_slow(
        [*product(BY_NAME, (NoiseRelease, _UntoldNoise))],
        *zip(BY_NAME, cycle((NoiseRelease, _UntoldNoise)), strict=False),
    ),
)
def test_an_attacker_is_at_chance_on_noise(name: str, noise: type[NoiseRelease]) -> None:
    """Its answers are right no more often than drawn ones, told of noise or not.

    The default run tells every second attacker.
    """
    decoder = _decoder(name)
    sent = _in_noise(_case(decoder, *MADE_FOR[name]), noise)
    found = _right_of(name, decoder, sent)
    assert all(binom.sf(right - 1, given, 1 / VOCAB) > RARE for right, given in found)
