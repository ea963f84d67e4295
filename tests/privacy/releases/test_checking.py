from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.errors import OptionError
from pytest_injectivity.privacy.releases.base import DeterministicRelease
from pytest_injectivity.privacy.releases.binding import bind
from pytest_injectivity.privacy.releases.checking import check_release
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.steps.round import RoundRelease

Observe = Callable[..., Observed]


def _bound(text: str, observe: Observe) -> tuple[Release, Observed]:
    spec = parse(text)
    found = observe(str(spec.place))
    return bind(spec, found), found


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
