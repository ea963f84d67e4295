"""Tests of special tokens."""

from typing import Any

import pytest

from pytest_injectivity.errors import OptionError, PromptError
from pytest_injectivity.prompts.framing import Frame, encode, ids_frame, text_frame

BOS, EOS = 41, 42


@pytest.mark.parametrize(
    ("name", "mode", "expected"),
    [
        ("characters", "auto", Frame()),
        ("characters", "no", Frame()),
        ("knows_bos", "auto", Frame()),
        ("knows_bos", "yes", Frame((BOS,))),
        ("with_bos", "auto", Frame((BOS,))),
        ("with_bos", "yes", Frame((BOS,))),
        ("with_bos", "no", Frame()),
        ("with_both", "auto", Frame((BOS,), (EOS,))),
        ("with_both", "yes", Frame((BOS,), (EOS,))),
        ("with_both", "no", Frame()),
    ],
)
def test_text_frame(request: pytest.FixtureRequest, name: str, mode: Any, expected: Frame) -> None:
    """Auto is what the tokenizer does, yes makes sure of BOS, no adds nothing."""
    assert expected == text_frame(request.getfixturevalue(name), mode)


@pytest.mark.parametrize("name", ["characters", "with_bos", "with_both"])
@pytest.mark.parametrize("text", ["the cat", "", "€", "<s>a"])
def test_frame_equals_what_the_tokenizer_does(
    request: pytest.FixtureRequest, name: str, text: str
) -> None:
    """A framed text has the ids the tokenizer gives when left to itself."""
    tokenizer = request.getfixturevalue(name)
    frame = text_frame(tokenizer, "auto")

    assert encode(tokenizer, [text], framed=True)[0] == frame.around(
        encode(tokenizer, [text], framed=False)[0]
    )


def test_a_text_of_bos_does_not_mislead_the_frame(with_bos: Any) -> None:
    """A text that is BOS itself leaves open which BOS was added; the other texts decide."""
    assert Frame((BOS,)) == text_frame(with_bos, "auto", ["<s>", "a<s>"])


def test_yes_needs_a_bos(characters: Any) -> None:
    """Asking for a BOS that the tokenizer does not have is refused."""
    with pytest.raises(OptionError, match="the tokenizer has none: give 'auto' or 'no'"):
        text_frame(characters, "yes")


@pytest.mark.parametrize(("mode", "expected"), [("auto", ()), ("no", ()), ("yes", (BOS,))])
def test_ids_frame(with_bos: Any, mode: Any, expected: tuple[int, ...]) -> None:
    """Rows of ids are taken as they are; only yes adds BOS."""
    assert Frame(expected) == ids_frame(with_bos, mode)


def test_ids_frame_needs_a_tokenizer() -> None:
    """BOS cannot be put before ids where no tokenizer says what it is."""
    with pytest.raises(OptionError, match="there is no tokenizer"):
        ids_frame(None, "yes")


class _Capricious:
    """Frames long texts otherwise than short ones."""

    bos_token_id = 9

    def __call__(self, text: list[str], *, add_special_tokens: bool, **_: Any) -> Any:
        rows = [[1] * len(each) for each in text]
        if add_special_tokens:
            rows = [[9, *row] if len(row) < 3 else [*row, 9] for row in rows]
        return {"input_ids": rows}

    def decode(self, token_ids: list[int], **_: Any) -> str:
        return "a" * len(token_ids)


def test_a_tokenizer_that_frames_texts_differently_is_refused() -> None:
    """Where texts are not framed alike, windows cannot be framed for them."""
    with pytest.raises(PromptError, match="same special tokens around every text"):
        text_frame(_Capricious(), "auto", ["long text"])


class _Deaf:
    """Has no token for any text; only its BOS is left."""

    bos_token_id = 9

    def __call__(self, text: list[str], *, add_special_tokens: bool, **_: Any) -> Any:
        return {"input_ids": [[9] if add_special_tokens else [] for _ in text]}

    def decode(self, token_ids: list[int], **_: Any) -> str:
        return "" * len(token_ids)


def test_special_tokens_alone_are_a_prefix() -> None:
    """Where no text has tokens of its own, special tokens are taken to stand first."""
    assert Frame((9,)) == text_frame(_Deaf(), "auto")


@pytest.mark.parametrize(
    ("ids", "expected"),
    [((8, 1, 2, 9), (1, 2)), ((1, 2, 9), (1, 2)), ((8, 1, 2), (1, 2)), ((1, 2), (1, 2))],
)
def test_inside(ids: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Ids lose as much of the frame as they have."""
    assert expected == Frame((8,), (9,)).inside(ids)


def test_inside_undoes_around() -> None:
    """A body that begins and ends like its frame comes back whole."""
    frame = Frame((8, 8), (9,))

    assert (8, 1, 9) == frame.inside(frame.around((8, 1, 9)))


def test_encode_does_not_truncate(with_bos: Any) -> None:
    """A text far longer than the tokenizer's own limit keeps all its tokens."""
    assert 5001 == len(encode(with_bos, ["a" * 5000], framed=True)[0])
