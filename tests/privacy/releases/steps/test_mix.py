import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.binding import bind
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.protocol import Secret, draws
from pytest_injectivity.privacy.releases.steps.mix import MixRelease

IDS = (1, 2, 3)
_WIDTH = 16

Observe = Callable[..., Observed]


@pytest.mark.parametrize("positions", [True, False])
def test_the_matrix_is_fresh_for_each_prompt_and_inverted(rows: Tensor, positions: bool) -> None:  # noqa: FBT001
    """The receiver has the draw of the prompt."""
    release = MixRelease(_WIDTH, positions=positions, orthogonal=False)
    sent, other = (release.apply(rows, draws(0, ids)) for ids in (IDS, (9,)))
    assert not torch.allclose(sent, other)
    torch.testing.assert_close(rows, release.undo(sent, draws(0, IDS)))


def test_an_orthogonal_matrix_keeps_inner_products(rows: Tensor) -> None:
    """Of the rows where coordinates are mixed, of the coordinates where positions are."""
    sent, mixed = (
        MixRelease(_WIDTH, positions=positions, orthogonal=True).apply(rows, draws(0, IDS))
        for positions in (False, True)
    )
    torch.testing.assert_close(rows @ rows.T, sent @ sent.T, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rows.T @ rows, mixed.T @ mixed, atol=1e-4, rtol=1e-4)


def test_an_invertible_matrix_keeps_lengths_within_a_factor_of_two(rows: Tensor) -> None:
    """So that float32 inverts it, and inner products are not kept."""
    sent = MixRelease(_WIDTH, positions=False, orthogonal=False).apply(rows, draws(0, IDS))
    ratio = torch.linalg.vector_norm(sent, dim=1) / torch.linalg.vector_norm(rows, dim=1)
    assert bool(((ratio > 0.5) & (ratio < 2.0)).all())
    assert not torch.allclose(rows @ rows.T, sent @ sent.T, atol=0.1)


def test_what_is_hidden() -> None:
    """No released row is a position's where positions are mixed."""
    positions, coordinates = (
        MixRelease(_WIDTH, positions=one, orthogonal=True) for one in (True, False)
    )
    assert (Secret.MIXED_POSITIONS, False) == (positions.secret, positions.ordered)
    assert (Secret.MIXED_COORDINATES, True) == (coordinates.secret, coordinates.ordered)


def _batched(observe: Observe, arguments: str, place: str = "1") -> tuple[MixRelease, Observed]:
    found = observe(place)
    release = bind(parse(f"mix({arguments})@{place}"), found)
    assert isinstance(release, MixRelease)
    return release, found


@pytest.mark.parametrize("place", ["1", "1 kv"])
@pytest.mark.parametrize("matrix", ["orthogonal", "invertible"])
def test_the_receiver_gets_a_prompts_rows_of_a_batch(
    observed: Observe, place: str, matrix: str
) -> None:
    """The others and the shield vectors are left out, and the prompt's own rows come back."""
    release, found = _batched(observed, f"matrix={matrix}, batch=2, shield=4", place)
    for rows, ids in zip(found.rows, found.prompts, strict=True):
        sent = release.apply(rows, draws(0, ids))
        assert (2 * len(rows) + 4, found.width) == sent.shape
        torch.testing.assert_close(rows, release.undo(sent, draws(0, ids)), atol=1e-5, rtol=1e-4)


def test_a_batch_has_the_prompt_once_and_others_at_random(observed: Observe) -> None:
    """An orthogonal matrix leaves the sum of squares, which tells whose rows were mixed."""
    release, found = _batched(observed, "matrix=orthogonal, batch=2")
    own, *others = (rows.T.double() @ rows.double() for rows in found.rows)
    drawn = set()
    for seed in range(16):
        sent = release.apply(found.rows[0], draws(seed, IDS)).double()
        (which,) = (
            at
            for at, other in enumerate(others)
            if torch.allclose(own + other, sent.T @ sent, atol=1e-4)
        )
        drawn.add(which)
    assert {0, 1} == drawn


def test_rows_from_elsewhere_are_mixed_with_any_prompts(observed: Observe, rows: Tensor) -> None:
    """An attacker who practises has prompts that are not among those released."""
    release, found = _batched(observed, "matrix=orthogonal, batch=3")
    sent = release.apply(rows, draws(0, IDS))
    assert len(rows) + 2 * len(found.rows[0]) == len(sent)


def test_shield_vectors_are_as_long_as_rows(observed: Observe) -> None:
    """Their coordinates have the size of a typical one."""
    release, found = _batched(observed, "matrix=orthogonal, shield=1000")
    rows = found.rows[0].double()
    sent = release.apply(found.rows[0], draws(0, IDS)).double()
    drawn = (sent.square().sum() - rows.square().sum()) / (1000 * _WIDTH)
    assert abs(float(drawn.sqrt()) / release.batch.typical - 1) < 0.02


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mix(over=coordinates, batch=2)@1", "a batch has rows of several prompts"),
        ("mix(over=coordinates, shield=2)@1", "give over=positions, or neither batch= nor shield="),
        ("mix(batch=4)@1", "of which there are 3: give at least 4"),
        ("gaussian(sigma=1)|mix(batch=2)@1", "as the model made them: give this step first"),
        ("mix(batch=0)@1", "'0' (character 11) is not accepted as batch: give an integer from 1"),
        ("mix(shield=-1)@1", "'-1' (character 12) is not accepted as shield: give an integer from"),
    ],
)
def test_what_is_no_batch_is_refused(observed: Observe, text: str, message: str) -> None:
    """With what is accepted."""
    with pytest.raises(OptionError, match=re.escape(message)):
        bind(parse(text), observed("1"))


def test_a_batch_is_of_prompts_of_one_length(observed: Observe) -> None:
    """The receiver could not tell whose rows are whose."""
    found = observed("1", [(3, 4), (9, 1, 2)])
    with pytest.raises(OptionError, match="of one length, and these have 2 to 3 rows"):
        bind(parse("mix(batch=2)@1"), found)
