"""The settings of loading a prompt set, checked before the source is read."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from pytest_injectivity.errors import OptionError

Overlong: TypeAlias = Literal["refuse", "drop"]
SpecialTokens: TypeAlias = Literal["auto", "yes", "no"]
Conversations: TypeAlias = Literal["prompt", "whole"]


@dataclass(frozen=True)
class Settings:
    """The arguments of `load_prompts` other than the source and the tokenizer; see there.

    Raises:
        OptionError: a number is out of its range, a word is not accepted, or no window fits the
            context.
    """

    field: str | None = None
    length: int | None = None
    overlong: Overlong = "refuse"
    special_tokens: SpecialTokens = "auto"
    conversations: Conversations = "prompt"
    max_prompts: int | None = None
    seed: int = 0
    context: int | None = None
    vocab_size: int | None = None

    def __post_init__(self) -> None:
        _check("length", self.length, 1)
        _check("max_prompts", self.max_prompts, 2)  # one prompt collides with nothing
        _check("seed", self.seed, 0)
        _check("context", self.context, 1)
        _check("vocab_size", self.vocab_size, 1)
        _check_word("overlong", self.overlong, get_args(Overlong))
        _check_word("special_tokens", self.special_tokens, get_args(SpecialTokens))
        _check_word("conversations", self.conversations, get_args(Conversations))
        if self.length is not None and self.context is not None and self.length > self.context:
            raise OptionError(
                f"length {self.length}: the model's context is {self.context} tokens;"
                f" give a length of 1 to {self.context}"
            )


def _check(name: str, value: object, smallest: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
        raise OptionError(f"{name} {value!r} is not accepted: give an integer from {smallest}")


def _check_word(name: str, value: object, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise OptionError(f"{name} {value!r} is not accepted: give one of {', '.join(accepted)}")
