import pytest

from pytest_injectivity.privacy.evaluation import texts
from pytest_injectivity.privacy.evaluation.texts import NO_BLEU, decoded, text_scores
from pytest_injectivity.testing import byte_tokenizer

TRUTH = "the cat sat on the mat"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (TRUTH, 1.0),
        ("The cat, on the MAT!", 10 / 11),
        ("mat the on sat cat the", 2 * 3 / 12),
        ("a dog", 0.0),
        ("", 0.0),
    ],
)
def test_rouge_l_is_the_common_words_in_order(answer: str, expected: float) -> None:
    """As rouge-score computes it: twice the longest common subsequence over both lengths."""
    (found,) = text_scores([TRUTH], [answer]).rouge_l
    assert pytest.approx(expected) == found


def test_a_prompt_without_words_has_no_rouge_l() -> None:
    """Of punctuation nothing can be told."""
    assert (1.0,) == text_scores(["...", TRUTH], ["a", TRUTH]).rouge_l


def test_bleu_is_sacrebleus_of_all_prompts() -> None:
    """One number of both, and not the mean of two."""
    bleu = pytest.importorskip("sacrebleu.metrics.bleu").BLEU()
    truths, answers = [TRUTH, "one two three four five"], ["the cat sat on it", "one two three"]
    expected = bleu.corpus_score(answers, [truths]).score / 100
    assert 0.0 < expected < 1.0
    assert (expected, "") == (text_scores(truths, answers).bleu, "")


def test_texts_of_three_words_have_no_bleu() -> None:
    """It would be 0 of a text that was read to the last word."""
    pytest.importorskip("sacrebleu")
    found = text_scores(["one two three"], ["one two three"])
    assert (None, "no prompt has four words") == (found.bleu, found.no_bleu)


def test_without_sacrebleu_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """ROUGE-L needs no library of its own."""
    monkeypatch.setattr(texts, "installed_version", lambda _: None)
    found = text_scores([TRUTH], [TRUTH])
    assert ((1.0,), None, NO_BLEU) == (found.rouge_l, found.bleu, found.no_bleu)
    assert "pytest-injectivity[text-metrics]" in found.no_bleu


def test_text_is_decoded_as_it_stands() -> None:
    """Spaces before punctuation stay."""
    assert "a . b" == decoded(byte_tokenizer(), list(b"a . b"))
