"""Tests of what a tokenizer loses of texts."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.prompts.loading import load_prompts
from pytest_injectivity.prompts.losses import Restoring, SeenPrompts, TextLosses
from pytest_injectivity.prompts.place import Place


def loaded(folder: Path, tokenizer: Any, texts: list[str], **settings: Any) -> Any:
    path = folder / "a.txt"
    path.write_text("".join(f"{text}\n" for text in texts))
    return load_prompts(path, tokenizer, **settings)


def test_a_set_that_loses_nothing_says_nothing(characters: Any, tmp_path: Path) -> None:
    """Duplicates are no losses."""
    prompts = loaded(tmp_path, characters, ["one", "two", "one"])

    assert (1, 0) == (prompts.dropped_duplicates, prompts.dropped_indistinguishable)
    assert [] == list(prompts.losses.lines())
    assert (3, 0) == (prompts.losses.looked_at, prompts.losses.not_restored)


def test_texts_that_cannot_be_told_apart(characters: Any, tmp_path: Path) -> None:
    """They are counted apart from duplicates, and the first two are named by their lines."""
    texts = ["two", "one", "one", "on\N{EURO SIGN}e", "t\N{EURO SIGN}wo", "three"]
    prompts = loaded(tmp_path, characters, texts)

    lines = list(prompts.losses.lines())
    assert ("two", "one", "three") == prompts.texts
    assert (1, 2) == (prompts.dropped_duplicates, prompts.dropped_indistinguishable)
    assert ("a.txt, line 2", "line 4") == prompts.losses.pair
    assert lines[0].startswith("2 texts have the token ids of another text: this tokenizer cannot")
    assert lines[1].startswith(
        "2 of the 6 texts looked at come back from this tokenizer as another"
    )
    assert not any("\N{EURO SIGN}" in line for line in lines)


def test_windows_of_texts_that_cannot_be_told_apart(characters: Any, tmp_path: Path) -> None:
    """Windows have no text of their own; the texts that they are cut from are compared."""
    prompts = loaded(tmp_path, characters, ["abcdef", "abc\N{EURO SIGN}def", "ghijkl"], length=3)

    assert (2, 1) == (prompts.dropped_duplicates, prompts.dropped_indistinguishable)
    assert ("a.txt, line 1", "line 2") == prompts.losses.pair


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc")), max_size=40))
def test_every_prompt_is_new_a_duplicate_or_indistinguishable(
    rows: list[tuple[int, str]],
) -> None:
    """Against a list that is looked through from its beginning."""
    seen, first = SeenPrompts(), dict[int, str]()
    for number, (ids, text) in enumerate(rows):
        known = seen.add(bytes([ids]), text, Place("a", "line", number))
        expected = "new" if ids not in first else "duplicate"
        if first.setdefault(ids, text) != text:
            expected = "indistinguishable"
        assert expected == known
    assert len(first) == len(seen)


def test_a_bounded_number_of_texts_is_decoded() -> None:
    """The first ones; the place of the first that differs is kept."""
    decoded: list[tuple[int, ...]] = []

    def decode(ids: tuple[int, ...]) -> str:
        decoded.append(ids)
        return "a"

    restoring = Restoring(decode, most=3)
    for number, text in enumerate("abcde"):
        restoring.look_at(text, (number,), Place("x", "line", number))

    assert [(0,), (1,), (2,)] == decoded
    assert (3, 2, "x, line 1") == (restoring.looked_at, restoring.not_restored, restoring.where)


def test_one_loss_is_in_the_singular() -> None:
    """Sentences are for people."""
    (line,) = TextLosses(1, ("a, line 1", "line 2")).lines()

    assert line.startswith("1 text has the token ids of another text: ")
    assert line.endswith(", such as a, line 1 and line 2")
