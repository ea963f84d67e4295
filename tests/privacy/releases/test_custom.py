from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.checking import check_release
from pytest_injectivity.privacy.releases.custom import CustomRelease
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.protocol import Release, Secret, draws

Observe = Callable[..., Observed]


def _noisy(rows: Tensor, draw: np.random.Generator) -> Tensor:
    """Ten times as loud in the first coordinate, and shifted by 5."""
    scale = torch.ones(rows.shape[1])
    scale[0] = 10.0
    return rows + 5.0 + torch.from_numpy(draw.standard_normal(rows.shape)).float() * scale


def test_a_function_is_a_release(observed: Observe) -> None:
    """Sent by the one, undone by the other."""
    found = observed("1")
    own = CustomRelease("doubled", "1", apply=lambda rows: rows * 2, undo=lambda rows: rows / 2)
    release = own.bind(found, 0)
    assert isinstance(release, Release)
    check_release(release, found, 0, own.name, same=False)
    assert "doubled@1" == str(own)
    for sent, received, rows in zip(
        found.released(release, 0), found.received(release, 0), found.rows, strict=True
    ):
        assert torch.equal(2 * rows, sent)
        assert torch.equal(rows, received)
    assert torch.equal(2 * found.rows[0], release.image(found.rows[0]))
    assert release.noise.is_none


def test_arrays_are_taken_for_tensors(observed: Observe) -> None:
    """In the dtype of the rows, whatever the function computes in."""
    found = observed("1")
    own = CustomRelease("rounded", "1", apply=lambda rows: np.round(rows.double().numpy()))
    release = own.bind(found, 0)
    check_release(release, found, 0, own.name, same=False)
    sent = release.apply(found.rows[0], draws(0, (1,)))
    assert torch.equal(found.rows[0].round(), sent)


def test_both_sides_have_the_draw_where_they_take_it(observed: Observe) -> None:
    """A shuffle of one's own is put back."""
    found = observed("1")

    def shuffle(rows: Tensor, draw: np.random.Generator) -> Tensor:
        return rows[draw.permutation(len(rows)).tolist()]

    def back(rows: Tensor, draw: np.random.Generator) -> Tensor:
        return rows[np.argsort(draw.permutation(len(rows))).tolist()]

    own = CustomRelease("shuffled", "1", apply=shuffle, undo=back, ordered=False)
    release = own.bind(found, 3)
    check_release(release, found, 3, own.name, same=False)
    assert all(map(torch.equal, found.received(release, 3), found.rows))
    assert not release.ordered
    assert torch.equal(found.rows[0], release.image(found.rows[0]))


def test_the_law_of_ones_own_noise_is_learnt(observed: Observe) -> None:
    """An attacker who may run the release knows how loud it is and where, and what it shifts."""
    prompts = [[at % 60, 3, 2 * at % 60, 7, at % 7] for at in range(40)]
    found = observed("1", prompts)
    release = CustomRelease("noisy", "1", apply=_noisy).bind(found, 0)
    covariance = release.noise.covariance().numpy()
    expected = np.eye(16)
    expected[0, 0] = 100.0
    assert np.abs(covariance - expected)[1:, 1:].max() < 0.25
    assert abs(covariance[0, 0] - 100.0) < 15.0
    image = release.image(found.rows[0])
    assert float((image - found.rows[0] - 5.0)[:, 1:].abs().max()) < 3 / np.sqrt(8) * 1.5
    assert torch.equal(image, release.image(found.rows[0]))


def test_few_rows_teach_the_loudness_of_each_coordinate(observed: Observe) -> None:
    """Not more: a covariance of 16 coordinates is not learnt from three rows."""
    found = observed("1", [[3], [4], [5]])
    noise = CustomRelease("noisy", "1", apply=_noisy).bind(found, 0).noise
    assert 0 == len(noise.factor)
    assert int(noise.sigma.argmax()) == 0


def test_an_image_of_ones_own_is_used(observed: Observe) -> None:
    """Where the user knows better what an attacker can compute."""
    found = observed("1")
    own = CustomRelease("noisy", "1", apply=_noisy, image=lambda rows: rows + 5.0)
    assert torch.equal(found.rows[0] + 5.0, own.bind(found, 0).image(found.rows[0]))


def test_a_secret_of_ones_own_is_kept(observed: Observe) -> None:
    """Whoever turns rows by a secret matrix says so, and no image gives it away."""
    found = observed("1")
    own = CustomRelease("turned", "1", apply=lambda rows: rows.flip(1), secret=Secret.ROTATION)
    release = own.bind(found, 0)
    assert release.secret is Secret.ROTATION
    assert torch.equal(found.rows[0], release.image(found.rows[0]))


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (lambda rows: rows[:, :4], r"apply returns \(5, 4\)"),
        (lambda rows: rows * float("nan"), "NaN or an infinity"),
        (lambda rows: rows, "changes nothing"),
        (lambda rows: None, "apply returns <class 'NoneType'>"),  # noqa: ARG005
        (lambda rows: (rows * 3).int(), "torch.int32"),
        (lambda rows: rows + torch.rand(1), "when it is run again"),
    ],
)
def test_mistakes_are_refused_by_name(
    observed: Observe, apply: Callable[..., Any], message: str
) -> None:
    """As any release's."""
    found = observed("1")
    own = CustomRelease("mine", "1", apply=apply)
    with pytest.raises(OptionError, match=f"release mine: .*{message}"):
        check_release(own.bind(found, 0), found, 0, own.name, same=False)


def test_the_place_is_of_the_grammar() -> None:
    """And says so where it is not."""
    assert "3 kv" == str(CustomRelease("mine", "3 kv", apply=torch.clone).at)
    with pytest.raises(OptionError, match="is no layer"):
        _ = CustomRelease("mine", "all", apply=torch.clone).at


def test_a_name_is_one_line() -> None:
    """It stands in reports."""
    assert "a\\nb\\x1b[31m@1" == str(CustomRelease("a\nb\x1b[31m", "1", apply=torch.clone))
