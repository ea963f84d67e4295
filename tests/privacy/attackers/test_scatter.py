from collections.abc import Sequence

import numpy as np
import pytest

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.scatter import ScatterAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import case, drawn_prompts

PROMPTS = drawn_prompts(12, 3)
PRACTICE = drawn_prompts(60, 3, seed=1)
TURNED, MIXED = ("mix(matrix=orthogonal, batch=6)", "mix(batch=6)")
SHIELDED, LARGE = "mix(batch=5, shield=3)", "mix(batch=12)"


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A generic decoder of 16 coordinates."""
    return tiny_decoder("llama")


@pytest.fixture(scope="module")
def right(decoder: Decoder) -> dict[str, float]:
    """By release, the share of right answers behind the first token; 1 of 64 is guessed."""
    return _right(decoder, [TURNED, MIXED, SHIELDED, LARGE])


def _right(
    decoder: Decoder,
    releases: Sequence[str],
    practice: Sequence[Sequence[int]] = PRACTICE,
) -> dict[str, float]:
    sent = case(decoder, "1", releases, PROMPTS, practice=practice)
    found = run_attacks(decoder, [sent], seed=0, attackers=(ScatterAttacker(),))
    return {
        one.release: float(np.mean(attack.right[:, 1:])) for one in found for attack in one.attacks
    }


@pytest.mark.parametrize("release", [TURNED, MIXED, SHIELDED])
def test_a_batch_of_more_rows_than_coordinates_is_read(
    right: dict[str, float], release: str
) -> None:
    """Its 18 rows span all 16 coordinates, and their sum of squares still tells them."""
    assert right[release] > 0.2


def test_larger_batches_hide_more(right: dict[str, float]) -> None:
    """Each row is a smaller part of the sum."""
    assert right[LARGE] < right[MIXED]


def test_other_releases_are_not_its_own(decoder: Decoder) -> None:
    """Fewer rows than coordinates have a space, which is `span`'s."""
    assert {} == _right(decoder, ["permute", "mix", "mix(batch=6)|rotate"])


def test_without_texts_of_its_own_it_is_not_run(decoder: Decoder) -> None:
    """It would not know what rows are usual."""
    assert {} == _right(decoder, [MIXED], PRACTICE[:3])
