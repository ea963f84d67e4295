"""Tests of the settings of a prompt set."""

from typing import Any

import pytest

from pytest_injectivity.errors import OptionError
from pytest_injectivity.prompts.settings import Settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "length 0 is not accepted: give an integer from 1"),
        ({"length": True}, "length True is not accepted"),
        ({"max_prompts": 1}, "max_prompts 1 is not accepted: give an integer from 2"),
        ({"max_prompts": -5}, "max_prompts -5"),
        ({"seed": -1}, "seed -1 is not accepted: give an integer from 0"),
        ({"context": 0}, "context 0"),
        ({"vocab_size": 0}, "vocab_size 0"),
        ({"overlong": "cut"}, "overlong 'cut' is not accepted: give one of refuse, drop"),
        (
            {"special_tokens": True},
            "special_tokens True is not accepted: give one of auto, yes, no",
        ),
        ({"length": 9, "context": 8}, "length 9: the model's context is 8 tokens"),
    ],
)
def test_values_that_are_not_accepted_are_refused(arguments: dict[str, Any], message: str) -> None:
    """Each is refused with its name, its value and what is accepted."""
    with pytest.raises(OptionError, match=message):
        Settings(**arguments)


def test_the_limits_themselves_are_accepted() -> None:
    """The smallest accepted values, and a window as long as the context, are accepted."""
    settings = Settings(length=1, max_prompts=2, seed=0, context=1, vocab_size=1)

    assert 1 == settings.length == settings.context
