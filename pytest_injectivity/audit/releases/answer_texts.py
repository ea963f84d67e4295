"""What attackers' answers say as text: the named spans in them, and how near they are to the prompts."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from pytest_injectivity.privacy.attackers.base import NO_TOKEN
from pytest_injectivity.privacy.evaluation.recognizers import recognized_spans
from pytest_injectivity.privacy.evaluation.results import AttackResult
from pytest_injectivity.privacy.evaluation.spans import Span, offsets_of, span_rates
from pytest_injectivity.privacy.evaluation.texts import decoded, text_scores


class AnswerTexts:
    """Judges answers by their text; without a tokenizer there is none.

    Args:
        tokenizer: the model's tokenizer, or None.
        prompts: the token ids of the prompts.
        known: number of tokens that all begin with, which no attacker is asked for.
    """

    def __init__(self, tokenizer: Any, prompts: Sequence[tuple[int, ...]], known: int) -> None:
        self._tokenizer = tokenizer
        self._prompts = prompts
        self._known = known

    def judged(self, attack: AttackResult) -> AttackResult:
        """The result with what is known of its text, and without the answers: they are the prompts."""
        kept = replace(attack, ids=())
        if self._tokenizer is None:
            return kept
        read = np.flatnonzero(attack.judged.any(axis=1)).tolist()
        answers = [
            decoded(self._tokenizer, [token for token in ids if token != NO_TOKEN])
            for ids in attack.ids
        ]
        return replace(
            kept,
            spans=span_rates(
                self._offsets, attack.right, attack.judged, recognized=self._recognized
            ),
            texts=text_scores([self._truths[one] for one in read], answers),
        )

    @cached_property
    def _offsets(self) -> list[tuple[str, tuple[tuple[int, int], ...]]]:
        """The text of each prompt and the characters of its tokens."""
        return [offsets_of(self._tokenizer, ids) for ids in self._prompts]

    @cached_property
    def _recognized(self) -> list[tuple[Span, ...]]:
        """The spans that presidio recognizes in each prompt."""
        return [recognized_spans(text) for text, _ in self._offsets]

    @cached_property
    def _truths(self) -> list[str]:
        """The text of each prompt behind the known tokens."""
        return [decoded(self._tokenizer, ids[self._known :]) for ids in self._prompts]
