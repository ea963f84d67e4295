import pytest

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.attackers.span import SpanAttacker
from pytest_injectivity.testing import tiny_decoder
from tests.attacks import attacks, drawn_prompts

PROMPTS = drawn_prompts(5, 4)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A generic decoder."""
    return tiny_decoder("llama")


@pytest.mark.parametrize("place", ["2", "1 kv"])
@pytest.mark.parametrize("matrix", ["orthogonal", "invertible"])
def test_the_space_of_mixed_rows_gives_them_away(decoder: Decoder, place: str, matrix: str) -> None:
    """Whatever the matrix is, and however fresh."""
    release = f"mix(over=positions, matrix={matrix})"
    found = attacks(decoder, place, [release], PROMPTS, attackers=(SpanAttacker(),))
    assert {(release, "span", True): 1.0, (release, "span", False): 1.0} == {
        key: one.token_rate for key, one in found.items()
    }


@pytest.mark.parametrize("batch", ["batch=3", "batch=3, shield=3"])
def test_a_batch_of_fewer_rows_than_coordinates_is_read(decoder: Decoder, batch: str) -> None:
    """The first token of each prompt lies in that space; behind it, the prompt's own tokens alone do."""
    release = f"mix({batch})"
    found = attacks(decoder, "2", [release], PROMPTS, attackers=(SpanAttacker(),))
    right = found[release, "span", True].right
    assert right[:, 1:].all()
    assert not right[:, 0].all()


def test_a_token_that_repeats_the_first_is_no_answer(decoder: Decoder) -> None:
    """Its row lies in the space because the row before it does, and not by its own part."""
    prompts = ((7, 9, 3), (7, 5, 1))
    found = attacks(decoder, "1", ["mix"], prompts, attackers=(SpanAttacker(),), known=(7,))
    assert [1.0, 1.0] == [one.token_rate for one in found.values()]


def test_as_many_rows_as_coordinates_span_everything(decoder: Decoder) -> None:
    """Nothing can be compared then, and the attacker is not run."""
    prompts = drawn_prompts(2, decoder.hidden_size)
    assert {} == attacks(decoder, "1", ["mix"], prompts, attackers=(SpanAttacker(),))
    batches = ["mix(batch=4)", f"mix(shield={decoder.hidden_size - 4})"]
    assert {} == attacks(decoder, "1", batches, PROMPTS, attackers=(SpanAttacker(),))


@pytest.mark.parametrize("release", ["permute", "mix(over=coordinates)", "mix|rotate"])
def test_other_secrets_are_not_its_own(decoder: Decoder, release: str) -> None:
    """Where coordinates are hidden as well, candidates have no place in that space."""
    assert {} == attacks(decoder, "1", [release], PROMPTS[:1], attackers=(SpanAttacker(),))
