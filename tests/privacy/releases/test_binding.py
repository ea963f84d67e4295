from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.binding import bind, check_release, typical_coordinate
from pytest_injectivity.privacy.releases.composition import ChainedRelease, SidewiseRelease
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.steps import (
    DeterministicRelease,
    PermuteRelease,
    RoundRelease,
)

Observe = Callable[..., Observed]


def _bound(text: str, observe: Observe) -> tuple[Release, Observed]:
    recipe = parse(text)
    found = observe(str(recipe.place))
    return bind(recipe, found), found


def test_a_typical_coordinate_is_a_mean_norm_over_the_width(observed: Observe) -> None:
    """Of the rows of every position but the first."""
    found = observed("1")
    norms = [np.sqrt((row**2).sum()) for rows in found.rows for row in rows[1:].double().numpy()]
    expected = np.mean(norms) / np.sqrt(found.width)
    assert np.isclose(expected, typical_coordinate(found.rows, found))


def test_the_first_position_counts_where_there_is_no_other(observed: Observe) -> None:
    """A prompt of one token has a size too."""
    alone = observed("1", [(3,), (9,)])
    norms = [float(rows[0].double().norm()) for rows in alone.rows]
    assert np.isclose(np.mean(norms) / 4, typical_coordinate(alone.rows, alone))


def test_a_relative_strength_is_in_units_of_it(observed: Observe) -> None:
    """And an absolute one in the states' own."""
    relative, found = _bound("gaussian(sigma=0.5 rel)@1", observed)
    assert np.isclose(0.5 * typical_coordinate(found.rows, found), relative.noise.rms)
    absolute, _ = _bound("gaussian(sigma=0.5)@1", observed)
    assert np.isclose(0.5, absolute.noise.rms)


def test_noise_in_few_directions_is_as_much_as_noise_in_all(observed: Observe) -> None:
    """Of one sigma: the root mean square of a coordinate; and it has as many directions as said."""
    low, _ = _bound("lowrank(rank=3, sigma=0.5)@1", observed)
    assert np.isclose(0.5, low.noise.rms)
    assert 3 == int(torch.linalg.matrix_rank(low.noise.covariance()))
    values = torch.linalg.eigvalsh(low.noise.covariance())[-3:]
    assert np.allclose(0.25 * 16 / 3, values)


def test_as_many_directions_as_there_are_is_refused(observed: Observe) -> None:
    """That is gaussian noise."""
    with pytest.raises(OptionError, match="rank=16 of rows of width 16: give a rank below"):
        _bound("lowrank(rank=16, sigma=1)@1", observed)


def test_steps_become_a_chain(observed: Observe) -> None:
    """In their order; one alone stays alone."""
    one, _ = _bound("round(bits=4)@1", observed)
    assert isinstance(one, RoundRelease)
    chain, _ = _bound("round(bits=4)|permute@1", observed)
    assert isinstance(chain, ChainedRelease)
    assert [RoundRelease, PermuteRelease] == [type(step) for step in chain.steps]


def test_keys_and_values_have_scales_of_their_own(observed: Observe) -> None:
    """And are shuffled together."""
    both, found = _bound("gaussian(sigma=1 rel)|permute@1 kv", observed)
    assert isinstance(both, ChainedRelease)
    assert [SidewiseRelease, PermuteRelease] == [type(step) for step in both.steps]
    keys, values = both.noise.sigma[0], both.noise.sigma[-1]
    apart = [torch.split(rows, list(found.sides), dim=1) for rows in found.rows]
    for sigma, side in ((keys, 0), (values, 1)):
        assert np.isclose(float(sigma), typical_coordinate([one[side] for one in apart], found))


def test_a_share_keeps_at_least_one_coordinate(observed: Observe) -> None:
    """And the nearest whole number of them."""
    for share, kept in ((0.01, 1), (0.1, 2), (0.5, 8)):
        release, found = _bound(f"topk(share={share})@1", observed)
        sent = release.image(found.rows[0])
        assert {kept} == set((sent != 0).sum(dim=1).tolist())


@pytest.mark.parametrize(
    "text",
    [
        *("identity@1", "gaussian(0.1)@1", "lowrank(2, 0.1)@2", "round(4)@norm", "topk(0.2)@0"),
        *("rotate(1)@1", "rotate(1, known)@1", "permute@1", "cast(bf16)@1", "cast(fp16)@1"),
        *("cast(fp8)@1 kv", "round(4)|rotate(1)|permute@1 kv", "gaussian(0.1)@1 last"),
    ],
)
def test_the_releases_there_are_pass_their_own_checks(text: str, observed: Observe) -> None:
    """On real states."""
    release, found = _bound(text, observed)
    check_release(release, found, 0, text, same=parse(text).is_identity)


@dataclass(frozen=True, eq=False)
class _Wrong(DeterministicRelease):
    """A release that does what it should not."""

    what: Callable[[Tensor], Any] = torch.clone
    back: Callable[[Tensor], Any] = torch.clone
    seen: Callable[[Tensor], Any] = torch.clone

    def apply(self, rows: Any, draw: Any) -> Any:  # noqa: ARG002
        return self.what(rows)

    def undo(self, released: Any, draw: Any) -> Any:  # noqa: ARG002
        return self.back(released)

    def image(self, candidates: Any) -> Any:
        return self.seen(candidates)


def _nan(rows: Tensor) -> Tensor:
    found = rows.clone()
    found[1, 2] = torch.nan
    return found


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"what": lambda rows: rows[:, :3]},
            r"apply returns \(5, 3\) of torch.float32, where \(5, 16\)",
        ),
        ({"what": lambda rows: rows[1:]}, r"apply returns \(4, 16\)"),
        ({"what": lambda rows: rows.double()}, "float64"),
        ({"what": lambda rows: rows.tolist()}, "apply returns <class 'list'>"),
        ({"what": _nan}, "apply returns a NaN or an infinity in 1 of 5 rows"),
        ({"what": lambda rows: rows / 0}, "apply returns a NaN or an infinity in 5 of 5 rows"),
        ({"what": torch.clone}, "changes nothing on these 3 prompts"),
        ({"what": lambda rows: rows.mul_(2)}, "apply changes the rows it is given"),
        ({"what": lambda rows: rows + torch.rand(1)}, "when it is run again"),
        ({"what": lambda rows: rows + 1, "back": _nan}, "undo returns a NaN"),
        ({"what": lambda rows: rows + 1, "back": lambda rows: rows[:, 1:]}, "undo returns"),
        ({"what": lambda rows: rows + 1, "seen": _nan}, "image returns a NaN"),
    ],
)
def test_what_is_no_release_is_refused(
    observed: Observe, wrong: dict[str, Any], message: str
) -> None:
    """By its name, with what it does and what is accepted."""
    with pytest.raises(OptionError, match=message) as error:
        check_release(_Wrong(16, **wrong), observed("1"), 0, "mine", same=False)
    assert str(error.value).startswith("release mine: ")


def test_a_strength_below_the_dtypes_digits_changes_nothing(observed: Observe) -> None:
    """The identity by mistake is not a release that hides nothing: it is a mistake."""
    release, found = _bound("gaussian(sigma=1e-30)@1", observed)
    with pytest.raises(OptionError, match="its strength is below what the states' dtype can show"):
        check_release(release, found, 0, "gaussian(sigma=1e-30)@1", same=False)


def test_one_row_cannot_be_shuffled(observed: Observe) -> None:
    """That is said too."""
    release, found = _bound("permute@1 last", observed)
    with pytest.raises(OptionError, match="or it acts on one row alone"):
        check_release(release, found, 0, "permute@1 last", same=False)


def test_states_that_are_not_finite_are_the_models_fault(observed: Observe) -> None:
    """Said before anything is released."""
    found = observed("1")
    broken = Observed(found.place, found.prompts, tuple(_nan(rows) for rows in found.rows), (16,))
    with pytest.raises(OptionError, match="the states it is for have a NaN"):
        check_release(RoundRelease(16, 4), broken, 0, "round(bits=4)@1", same=False)
