import pytest

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.components import ComponentsAttacker
from pytest_injectivity.privacy.attackers.span import SpanAttacker
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import attacks, drawn_prompts

PROMPTS = drawn_prompts(12, 4)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A generic decoder."""
    return tiny_decoder("llama")


def test_separated_rows_say_less_than_their_space(decoder: Decoder) -> None:
    """Few coordinates are few samples: more than chance is read, and not all."""
    found = attacks(
        decoder, "1", ["mix"], PROMPTS, attackers=(ComponentsAttacker(), SpanAttacker())
    )
    rates = {name: one.token_rate for (_, name, forced), one in found.items() if forced}
    assert 1.0 == rates["span"]
    assert 0.2 < rates["components"] < 1.0


@pytest.mark.parametrize("release", ["permute", "mix(over=coordinates)", "mix(batch=4)"])
def test_it_separates_fewer_rows_than_coordinates(decoder: Decoder, release: str) -> None:
    """Of as many rows, every turn is as likely as any other."""
    assert {} == attacks(decoder, "1", [release], PROMPTS, attackers=(ComponentsAttacker(),))
