"""The ways in which every prompt begins: at once, or after the tokenizer's special tokens."""

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pytest_injectivity.audit.target.target import Target
    from pytest_injectivity.prompts.settings import SpecialTokens


def special_beginning(target: "Target") -> tuple[int, ...]:
    """The special tokens before every text; none where they fill the context."""
    from pytest_injectivity.prompts.framing import text_frame

    if target.tokenizer is None:
        return ()
    setting = cast("SpecialTokens", target.config.special_tokens)
    special, context = text_frame(target.tokenizer, setting).prefix, target.facts.context
    return special if context is None or len(special) < context else ()
