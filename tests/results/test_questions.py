"""What each check asks, in plain sentences."""

import pytest

from pytest_injectivity.plugin import check_names
from pytest_injectivity.results.questions import QUESTIONS, UNKNOWN, Question


def test_every_check_has_its_question() -> None:
    """A new check is explained, and a check that is gone is not."""
    assert list(check_names()) == sorted(QUESTIONS)


@pytest.mark.parametrize("question", [*QUESTIONS.values(), UNKNOWN], ids=[*QUESTIONS, "unknown"])
def test_a_question_is_whole_sentences(question: Question) -> None:
    """One question, and sentences with a full stop; short enough to be read."""
    assert question.asked.endswith("?")
    assert 1 == question.asked.count("?")
    assert question.means.endswith(".")
    assert question.then.endswith(".")
    assert max(map(len, (question.asked, question.means, question.then))) < 300
