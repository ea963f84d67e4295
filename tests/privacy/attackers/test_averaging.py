import pytest

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.averaging import AveragingAttacker
from pytest_injectivity.privacy.attackers.mahalanobis import MahalanobisAttacker
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.stats import clustered_rate
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import by_name, case, drawn_prompts
from tests.repetitions import mostly_slow

PROMPTS = drawn_prompts(24, 4)
_BOTH = (MahalanobisAttacker(), AveragingAttacker())
LOUD = "gaussian(sigma=4)"


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A generic decoder."""
    return tiny_decoder("gpt2")


def _read(
    decoder: Decoder, release: str, queries: int, prompts: int = len(PROMPTS)
) -> dict[str, tuple[float, float, float]]:
    """The token rate of each attacker that is run, and its interval."""
    sent = case(decoder, "1", [release], PROMPTS[:prompts], queries=queries)
    found = by_name(run_attacks(decoder, [sent], seed=0, attackers=_BOTH, free_running=0))
    rates = {}
    for (_, attacker, _), one in found.items():
        interval = clustered_rate(one.right.sum(axis=1), one.judged.sum(axis=1), 0.95)
        rates[attacker] = (one.token_rate, interval.low, interval.high)
    return rates


@pytest.mark.parametrize("queries", mostly_slow([4, 16], 4))
def test_noise_with_queries_is_read_as_less_noise_with_one(decoder: Decoder, queries: int) -> None:
    """Over the square root of their number: each rate lies in the interval of the other."""
    averaged = _read(decoder, LOUD, queries)["averaging"]
    quieter = f"gaussian(sigma={4 / queries**0.5})"
    once = _read(decoder, quieter, 1)["mahalanobis"]
    assert once[1] <= averaged[0] <= once[2]
    assert averaged[1] <= once[0] <= averaged[2]
    assert averaged[0] > 2 * _read(decoder, LOUD, 1)["mahalanobis"][0]


@pytest.mark.parametrize(
    ("release", "queries"), [(LOUD, 1), ("round(bits=4)", 4), ("permute|gaussian(sigma=1)", 4)]
)
def test_it_is_run_where_a_mean_says_more_than_one(
    decoder: Decoder, release: str, queries: int
) -> None:
    """Not of one release, not where nothing is drawn, and not of shuffled rows."""
    assert "averaging" not in _read(decoder, release, queries, prompts=2)
