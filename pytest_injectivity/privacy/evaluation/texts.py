"""How near the text of an attacker's answers is to the prompts', by ROUGE-L and BLEU-4.

Both are what papers state of inverted texts. ROUGE-L of a prompt is the harmonic mean of the shares of
both texts' words that their longest common subsequence has (Lin, "ROUGE: A Package for Automatic
Evaluation of Summaries", 2004): right words that stand one place off still count. Words are runs of
letters and digits in small letters. BLEU-4 is sacrebleu's, of all prompts together. Wrong tokens may
write right words, and a right token may be no word.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rapidfuzz.distance import LCSseq

from pytest_injectivity.core.versions import installed_version

NO_BLEU = "not measured: install pytest-injectivity[text-metrics]"
"""Why there is no BLEU-4 where sacrebleu is missing."""

_SHORT = "no prompt has four words"
_GRAM = 4
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class TextScores:
    """How near the texts of an attacker's answers are.

    Attributes:
        rouge_l: one number a prompt that has words.
        bleu: BLEU-4 of all prompts together, at most 1; None: not measured.
        no_bleu: why there is no BLEU-4; empty where there is.
    """

    rouge_l: tuple[float, ...]
    bleu: float | None
    no_bleu: str = ""


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of token ids as it stands, special tokens included."""
    text: str = tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
    return text


def text_scores(truths: Sequence[str], answers: Sequence[str]) -> TextScores:
    """Compares the texts of answers with those of the prompts.

    Args:
        truths: the text of each prompt, without what every attacker knows of it.
        answers: the text that was read of each.
    """
    words = [(_words(truth), _words(answer)) for truth, answer in zip(truths, answers, strict=True)]
    rouge_l = tuple(_rouge_l(truth, answer) for truth, answer in words if truth)
    if installed_version("sacrebleu") is None:
        return TextScores(rouge_l, None, NO_BLEU)
    if max((len(truth) for truth, _ in words), default=0) < _GRAM:
        return TextScores(rouge_l, None, _SHORT)
    from sacrebleu.metrics.bleu import BLEU

    return TextScores(rouge_l, BLEU().corpus_score(list(answers), [list(truths)]).score / 100)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _rouge_l(truth: Sequence[str], answer: Sequence[str]) -> float:
    # Twice the common part over both lengths is the harmonic mean of its shares of them.
    return 2 * LCSseq.similarity(truth, answer) / (len(truth) + len(answer))
