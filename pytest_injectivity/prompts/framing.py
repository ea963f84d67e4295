"""Special tokens: finds those that a tokenizer puts around every text, and puts them around prompts.

A tokenizer puts the same special tokens before and after every text (``<s> ... ``, ``... </s>``). They
are found once, as a `Frame`, and put around token ids that were encoded without them. So each window cut
from one text begins with BOS if prompts do, and not only the first window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from pytest_injectivity.errors import OptionError, PromptError
from pytest_injectivity.prompts.settings import SpecialTokens

# Texts whose own tokens are looked for inside their frame: a tokenizer may drop any one of them.
PROBED = 32  # how many of the audited texts the frame is verified on
_PROBES = ("a", "The", "0", ".", " ", "\n", "あ")


@runtime_checkable
class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    bos_token_id: int | None

    def __call__(self, text: list[str], **options: Any) -> Any:
        """Encodes texts."""

    def decode(self, token_ids: list[int], **options: Any) -> str:
        """The text of token ids."""


@dataclass(frozen=True)
class Frame:
    """The special tokens around the tokens of a text."""

    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.prefix) + len(self.suffix)

    def around(self, body: tuple[int, ...]) -> tuple[int, ...]:
        """The tokens of a text with the special tokens around them."""
        return (*self.prefix, *body, *self.suffix)

    def inside(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """The ids without the special tokens, on each side where they have them."""
        start = len(self.prefix) if ids[: len(self.prefix)] == self.prefix else 0
        stop = len(ids) - len(self.suffix)
        return ids[start:stop] if ids[stop:] == self.suffix else ids[start:]


def text_frame(
    tokenizer: Tokenizer, special_tokens: SpecialTokens, texts: Sequence[str] = ()
) -> Frame:
    """The frame of texts: the tokenizer's own; with BOS first under "yes"; none under "no".

    Args:
        tokenizer: the model's.
        special_tokens: the setting.
        texts: some of the texts, on which the frame is verified.

    Raises:
        OptionError: "yes", and the tokenizer has no BOS.
        PromptError: the tokenizer does not frame every text alike.
    """
    if special_tokens == "no":
        return Frame()
    frame = _own_frame(tokenizer, [*_PROBES, *texts])
    if special_tokens == "auto" or frame.prefix[:1] == (bos := _bos(tokenizer),):
        return frame
    return Frame((bos, *frame.prefix), frame.suffix)


def ids_frame(tokenizer: Tokenizer | None, special_tokens: SpecialTokens) -> Frame:
    """The frame of rows of ids, which are taken as they are: BOS under "yes", else none.

    Raises:
        OptionError: "yes", and there is no tokenizer or it has no BOS.
    """
    return Frame((_bos(tokenizer),)) if special_tokens == "yes" else Frame()


def encode(tokenizer: Tokenizer, texts: list[str], *, framed: bool) -> list[tuple[int, ...]]:
    """The token ids of texts, with the tokenizer's own frame or without; nothing is truncated."""
    encoded = tokenizer(
        texts,
        add_special_tokens=framed,
        padding=False,
        truncation=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    return [tuple(row) for row in encoded["input_ids"]]


def _own_frame(tokenizer: Tokenizer, probes: list[str]) -> Frame:
    bodies = encode(tokenizer, probes, framed=False)
    framed = encode(tokenizer, probes, framed=True)
    possible = [_frames(*pair) for pair in zip(bodies, framed, strict=True)]
    common = set.intersection(*possible)
    if not common:
        raise PromptError(
            "this tokenizer does not put the same special tokens around every text:"
            " use --injx-special-tokens=no, or prompts of token ids"
        )
    # Texts without tokens of their own leave open on which side a special token stands.
    return max(common, key=lambda frame: len(frame.prefix))


def _frames(body: tuple[int, ...], ids: tuple[int, ...]) -> set[Frame]:
    """Every frame that makes ``ids`` of ``body``; several where the body resembles its frame."""
    starts = range(len(ids) - len(body) + 1)
    return {
        Frame(ids[:start], ids[start + len(body) :])
        for start in starts
        if ids[start : start + len(body)] == body
    }


def _bos(tokenizer: Tokenizer | None) -> int:
    bos = None if tokenizer is None else tokenizer.bos_token_id
    if bos is None:
        missing = "there is no tokenizer" if tokenizer is None else "the tokenizer has none"
        raise OptionError(
            f"special_tokens 'yes' puts a BOS token first, and {missing}: give 'auto' or 'no'"
        )
    return bos
