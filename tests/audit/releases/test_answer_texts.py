import numpy as np

from pytest_injectivity.audit.releases.answer_texts import AnswerTexts
from pytest_injectivity.privacy.attackers.base import NO_TOKEN
from pytest_injectivity.privacy.evaluation.results import AttackResult
from pytest_injectivity.testing import byte_tokenizer

PROMPTS = [tuple(b"<call 030 now"), tuple(b"<the cat sat!")]


def _attack(*answers: bytes) -> AttackResult:
    """Answers of the prompts behind the token that all begin with."""
    right = np.array(
        [
            [False, *(a == b for a, b in zip(ids[1:], answer, strict=True))]
            for ids, answer in zip(PROMPTS, answers, strict=False)
        ]
        + [[False] * 13] * (len(PROMPTS) - len(answers))
    )
    judged = np.zeros_like(right)
    judged[: len(answers), 1:] = True
    ids = tuple(tuple(NO_TOKEN if one == ord("?") else one for one in answer) for answer in answers)
    return AttackResult(
        "argmin",
        "a paper",
        teacher_forced=True,
        right=right,
        judged=judged,
        verified=judged,
        ids=ids,
    )


def test_answers_are_judged_as_text_and_not_kept() -> None:
    """Named spans and words of what was read; answers are the prompts."""
    found = AnswerTexts(byte_tokenizer(), PROMPTS, 1).judged(
        _attack(b"call 030 now", b"the cat say!")
    )
    assert () == found.ids
    assert [("number", 1, 1)] == [(one.kind, one.read, one.found) for one in found.spans]
    assert found.texts is not None
    assert (1.0, 2 / 3) == found.texts.rouge_l


def test_no_answer_is_no_text_and_prompts_that_were_not_read_are_not_judged() -> None:
    """A free run reads the first prompts alone."""
    found = AnswerTexts(byte_tokenizer(), PROMPTS, 1).judged(_attack(b"call ???????"))
    assert found.texts is not None
    assert (2 * 1 / 4,) == found.texts.rouge_l


def test_without_a_tokenizer_there_is_no_text() -> None:
    """And answers are not kept either."""
    found = AnswerTexts(None, PROMPTS, 1).judged(_attack(b"call 030 now"))
    assert ((), None, ()) == (found.spans, found.texts, found.ids)
