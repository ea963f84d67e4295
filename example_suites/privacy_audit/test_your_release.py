"""The gates of what you send: name it in pytest.ini or by --injx-release, and set the two bounds.

Every attacker runs, those that go on from their own answers too.
"""

import pytest
from conftest import MAX_TOKEN_RATE, MIN_AGREEMENT, SIZE


@pytest.fixture
def size(injx_release):
    """As everything, and the length that attackers read a last state alone up to."""
    return SIZE | ({"tokens": None} if injx_release.endswith(" last") else {})


def test_your_release_hides_enough(injx, injx_release, size):
    """No attacker's upper bound is above the rate you allow."""
    injx.assert_not_recoverable(injx_release, MAX_TOKEN_RATE, **size)


def test_your_release_is_of_use(injx, injx_release, size):
    """The receiver's next token is mostly the model's own."""
    injx.assert_utility_kept(injx_release, MIN_AGREEMENT, **size)
