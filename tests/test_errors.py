"""What is raised on purpose arrives from another process as it was."""

import pickle

import pytest

from pytest_injectivity import errors
from pytest_injectivity.errors import InjectivityError

RAISED = [
    one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, InjectivityError)
]


@pytest.mark.parametrize("kind", RAISED)
def test_an_error_survives_pickling(kind: type[InjectivityError]) -> None:
    """Its class and its message."""
    arrived = pickle.loads(pickle.dumps(kind("what, and what is accepted")))  # noqa: S301 - own
    assert kind is type(arrived)
    assert "what, and what is accepted" == str(arrived)
