from collections.abc import Callable

import pytest
from torch import Tensor

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.privacy.releases.binding import bind
from pytest_injectivity.privacy.releases.observed import Observed
from pytest_injectivity.privacy.releases.steps.topk import TopKRelease

_WIDTH = 16


@pytest.mark.parametrize("kept", [1, 5, 15])
def test_topk_keeps_the_largest(rows: Tensor, kept: int) -> None:
    """By magnitude, as they are; the rest is zero."""
    found = TopKRelease(_WIDTH, kept).image(rows)
    assert rows.shape == found.shape
    assert len(rows) > 0
    for row, sent in zip(rows, found, strict=True):
        largest = sorted(range(_WIDTH), key=lambda at: -abs(float(row[at])))[:kept]
        assert [float(row[at]) if at in largest else 0.0 for at in range(_WIDTH)] == sent.tolist()


@pytest.mark.parametrize(("share", "kept"), [(0.01, 1), (0.1, 2), (0.5, 8)])
def test_a_share_is_a_whole_number_of_coordinates(
    share: float, kept: int, observed: Callable[..., Observed]
) -> None:
    """The nearest one, and at least one."""
    found = observed("1")
    sent = bind(parse(f"topk(share={share})@1"), found).image(found.rows[0])
    assert {kept} == set((sent != 0).sum(dim=1).tolist())
