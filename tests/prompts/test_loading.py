"""Tests of loading prompts: from a source to a prompt set."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.errors import OptionError, PromptError
from pytest_injectivity.prompts.framing import Frame
from pytest_injectivity.prompts.loading import load_prompts

BOS, EOS = 41, 42
SHARED = Path(__file__).parents[3] / "shared"


def written(folder: Path, rows: list[Any]) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_texts_become_ids(characters: Any, encoded: Any, tmp_path: Path) -> None:
    """Each text becomes its token ids, in file order, under the file's name."""
    prompts = load_prompts(written(tmp_path, ["one", "two"]), characters)

    assert ((encoded("one"), encoded("two")), ("one", "two")) == (prompts.ids, prompts.texts)
    assert ("prompts.jsonl", False) == (prompts.name, prompts.special_tokens)


def test_more_than_one_batch(characters: Any, tmp_path: Path) -> None:
    """A file of several batches comes whole and in order."""
    texts = ["a" * (i // 60 + 1) + "b" * (i % 60 + 1) for i in range(2500)]

    prompts = load_prompts(written(tmp_path, texts), characters)

    assert tuple(texts) == prompts.texts


def test_duplicates_are_by_ids(characters: Any, tmp_path: Path) -> None:
    """Texts that differ in dropped characters only are duplicates, and the first text stays."""
    prompts = load_prompts(written(tmp_path, ["cost €", "cost £", "cost", "co:st"]), characters)

    assert ("cost €", "cost") == prompts.texts
    assert (0, 2) == (prompts.dropped_duplicates, prompts.dropped_indistinguishable)


def test_empty_prompts_are_dropped_and_counted(with_bos: Any, tmp_path: Path) -> None:
    """A text without a token of its own is no prompt, although BOS would make it one."""
    prompts = load_prompts(written(tmp_path, ["one", "", "€", "two", "\n"]), with_bos)

    assert ("one", "two", "\n") == prompts.texts
    assert 2 == prompts.dropped_empty


@pytest.mark.parametrize(
    ("tokenizer", "mode", "frame"),
    [
        ("with_bos", "auto", Frame((BOS,))),
        ("with_bos", "no", Frame()),
        ("knows_bos", "auto", Frame()),
        ("knows_bos", "yes", Frame((BOS,))),
        ("with_both", "auto", Frame((BOS,), (EOS,))),
    ],
)
def test_special_tokens(
    request: pytest.FixtureRequest, tmp_path: Path, tokenizer: str, mode: Any, frame: Frame
) -> None:
    """Special tokens stand around each text as the setting says, and the set knows it."""
    path = written(tmp_path, ["one", "two"])
    encoded = request.getfixturevalue("encoded")

    prompts = load_prompts(path, request.getfixturevalue(tokenizer), special_tokens=mode)

    expected = tuple((*frame.prefix, *encoded(text), *frame.suffix) for text in ("one", "two"))
    assert (expected, frame != Frame()) == (prompts.ids, prompts.special_tokens)


def test_rows_of_ids(tmp_path: Path) -> None:
    """Rows of ids need no tokenizer and are taken as they are."""
    prompts = load_prompts(written(tmp_path, [{"ids": [1, 2]}, {"ids": [3]}]), None, vocab_size=4)

    assert (((1, 2), (3,)), None) == (prompts.ids, prompts.texts)


@pytest.mark.parametrize("mode", ["auto", "no"])
def test_rows_of_ids_with_a_tokenizer(with_bos: Any, tmp_path: Path, mode: Any) -> None:
    """A tokenizer that adds BOS to texts adds nothing to ids."""
    path = written(tmp_path, [{"ids": [1, 2]}, {"ids": []}, {"ids": [BOS, 3]}])

    prompts = load_prompts(path, with_bos, special_tokens=mode)

    assert (((1, 2), (BOS, 3)), False) == (prompts.ids, prompts.special_tokens)
    assert 1 == prompts.dropped_empty


def test_bos_before_ids_where_it_is_absent(with_bos: Any, tmp_path: Path) -> None:
    """Asked for, BOS is put before rows of ids that do not begin with it."""
    path = written(tmp_path, [{"ids": [1, 2]}, {"ids": [BOS, 3]}])

    prompts = load_prompts(path, with_bos, special_tokens="yes")

    assert (((BOS, 1, 2), (BOS, 3)), True) == (prompts.ids, prompts.special_tokens)


@pytest.mark.parametrize(
    ("tokenizer", "expected", "leftover"),
    [
        ("characters", ["abcd", "efgh", "klmn"], 2 + 2 + 3),
        ("with_bos", ["abc", "def", "ghi", "klm", "nop", "xyz"], 1 + 0 + 0),
        ("with_both", ["ab", "cd", "ef", "gh", "ij", "kl", "mn", "op", "xy"], 0 + 0 + 1),
    ],
)
def test_windows(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tokenizer: str,
    expected: list[str],
    leftover: int,
) -> None:
    """Texts are cut into windows of exactly the length, each framed; what is left is counted."""
    path = written(tmp_path, ["abcdefghij", "klmnop", "xyz"])

    prompts = load_prompts(path, request.getfixturevalue(tokenizer), length=4, context=4)

    assert tuple(expected) == prompts.texts
    assert {4} == set(prompts.lengths.tolist())
    assert leftover == prompts.dropped_tokens


def test_each_window_begins_with_bos(with_bos: Any, encoded: Any, tmp_path: Path) -> None:
    """With special tokens on, a window looks like a prompt of its own."""
    prompts = load_prompts(written(tmp_path, ["abcdef"]), with_bos, length=4)

    assert ((BOS, *encoded("abc")), (BOS, *encoded("def"))) == prompts.ids


@given(
    st.lists(st.text("abc", min_size=0, max_size=30), min_size=2, max_size=8),
    st.integers(2, 9),
    st.sampled_from(["auto", "no"]),
)
def test_windows_lose_nothing_uncounted(
    tmp_path_factory: pytest.TempPathFactory,
    with_bos: Any,
    texts: list[str],
    length: int,
    mode: Any,
) -> None:
    """Windows kept, windows dropped as duplicates and leftover tokens are all the tokens."""
    path = written(tmp_path_factory.mktemp("windows"), texts)
    own = length - (mode == "auto")
    try:
        prompts = load_prompts(path, with_bos, length=length, special_tokens=mode)
    except PromptError:
        assert len({text[i : i + own] for text in texts for i in _starts(text, own)}) < 2
        return

    windows = len(prompts) + prompts.dropped_duplicates
    assert sum(map(len, texts)) == windows * own + prompts.dropped_tokens
    assert sum(not text for text in texts) == prompts.dropped_empty


def _starts(text: str, own: int) -> range:
    return range(0, len(text) - own + 1, own)


def test_windows_of_ids(with_bos: Any, tmp_path: Path) -> None:
    """Rows of ids are cut as well; BOS asked for stands before each window, once."""
    path = written(tmp_path, [{"ids": [BOS, 1, 2, 3, 4]}])

    prompts = load_prompts(path, with_bos, length=3, special_tokens="yes")

    assert ((BOS, 1, 2), (BOS, 3, 4)) == prompts.ids


def test_windows_need_room_beside_special_tokens(with_both: Any, tmp_path: Path) -> None:
    """A window that special tokens would fill is refused with the smallest that works."""
    with pytest.raises(OptionError, match=r"length 2 leaves no room beside 2 .* at least 3"):
        load_prompts(written(tmp_path, ["one", "two"]), with_both, length=2)


def test_texts_shorter_than_a_window(characters: Any, tmp_path: Path) -> None:
    """Texts that give no window are refused with the tokens that were left over."""
    with pytest.raises(PromptError, match=r"0 distinct of 2 .* windows of 9, with 6 tokens left"):
        load_prompts(written(tmp_path, ["one", "two"]), characters, length=9)


def test_overlong_counts_special_tokens(with_bos: Any, tmp_path: Path) -> None:
    """A text that fits only without its BOS is overlong."""
    path = written(tmp_path, ["abc", "abd", "abcd"])

    prompts = load_prompts(path, with_bos, context=4, overlong="drop")

    assert (("abc", "abd"), 1) == (prompts.texts, prompts.dropped_overlong)


def test_overlong_is_refused(characters: Any, tmp_path: Path) -> None:
    """By default a prompt longer than the context is refused, never cut."""
    with pytest.raises(PromptError, match=r"1 of its prompts .* --injx-overlong=drop"):
        load_prompts(written(tmp_path, ["a", "b", "abcde"]), characters, context=4)


def test_max_prompts_of_a_file(characters: Any, tmp_path: Path) -> None:
    """The sample of a file is the sieve's, in file order, and says what it left out."""
    texts = ["a" * n for n in range(1, 41)]

    sample = load_prompts(written(tmp_path, texts), characters, max_prompts=10, seed=4)
    reverse = load_prompts(written(tmp_path, texts[::-1]), characters, max_prompts=10, seed=4)

    assert (10, 30) == (len(sample), sample.left_out)
    assert sample.texts == tuple(reversed(reverse.texts or ()))
    assert sample.hash == reverse.hash


def test_a_tokenizer_that_does_not_fit(characters: Any, tmp_path: Path) -> None:
    """An id outside the embedding is refused with the id, the prompt, its line and the rows."""
    path = written(tmp_path, ["abc", "xyz"])

    with pytest.raises(
        PromptError,
        match=r"prompt 1 \(prompts\.jsonl, line 2\): token id 30 .* 20 rows .* do not fit",
    ):
        load_prompts(path, characters, vocab_size=20)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["one"], "1 distinct of 1 prompts read"),
        (["one", "one", "one"], "1 distinct of 3 prompts read: dropped 2 as duplicates"),
        (["", "\u20ac"], "0 distinct of 2 .* 2 as empty"),
        (["one", {"ids": [1]}], "line 2: holds token ids, and the first row a text"),
        ([{"ids": [1]}, "one"], "line 2: holds a text, and the first row token ids"),
    ],
)
def test_sets_that_cannot_be_audited(
    characters: Any, tmp_path: Path, rows: list[Any], message: str
) -> None:
    """Too few prompts, or two kinds of them, are refused with what was read."""
    with pytest.raises(PromptError, match=message):
        load_prompts(written(tmp_path, rows), characters)


def test_texts_without_a_tokenizer(tmp_path: Path) -> None:
    """Texts for a model without a tokenizer are refused with what it can take."""
    with pytest.raises(PromptError, match=r'no tokenizer: give {"ids": \[...\]} rows'):
        load_prompts(written(tmp_path, ["one", "two"]), None)


def test_the_working_folder_has_a_name(
    characters: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set is never nameless, even one from the folder that is called by a dot."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text(name)
    monkeypatch.chdir(tmp_path)

    assert "." == load_prompts(".", characters).name


def test_a_list_of_nothing(characters: Any, tmp_path: Path) -> None:
    """A file that is valid and holds no row is refused."""
    path = tmp_path / "none.json"
    path.write_text("[]")

    with pytest.raises(PromptError, match=r"none\.json has no prompts"):
        load_prompts(path, characters)


def _shared_tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    if not (SHARED / "models" / name).is_dir() or not (SHARED / "prompts").is_dir():
        pytest.skip(f"needs {name} and the prompt files of the shared folder, which is not here")
    return AutoTokenizer.from_pretrained(SHARED / "models" / name)


@pytest.mark.parametrize(
    ("model", "context", "vocab_size"),
    [
        ("gpt2-1m", 256, 2048),
        ("qwen3-1m", 256, 2048),
        ("slm4096-gpt2", 128, 54),
        ("stories260k-llama", 512, 512),
    ],
)
def test_shared_prompts_are_what_the_tokenizer_makes(
    model: str, context: int, vocab_size: int
) -> None:
    """On every shared model the kept prompts are the tokenizer's own ids of those that fit."""
    tokenizer = _shared_tokenizer(model)
    path = SHARED / "prompts" / "prompts-1k.jsonl"
    texts = [json.loads(line)["text"] for line in path.read_text().splitlines()]
    encoded = [tuple(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]]
    fitting = [ids for ids in encoded if len(ids) <= context]

    prompts = load_prompts(path, tokenizer, context=context, vocab_size=vocab_size, overlong="drop")

    assert tuple(dict.fromkeys(fitting)) == prompts.ids
    assert len(encoded) - len(fitting) == prompts.dropped_overlong
    dropped = prompts.dropped_duplicates + prompts.dropped_indistinguishable
    assert len(fitting) - len(set(fitting)) == dropped


def test_a_real_tokenizer_that_drops_characters(tmp_path: Path) -> None:
    """Texts that slm4096-gpt2's tokenizer cannot tell apart are dropped and counted."""
    tokenizer = _shared_tokenizer("slm4096-gpt2")
    lines = (SHARED / "prompts" / "prompts-1k.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in lines][:200]
    path = written(tmp_path, [*texts, *(text + "\u20ac" for text in texts)])

    twice = load_prompts(path, tokenizer)
    once = load_prompts(written(tmp_path, texts), tokenizer)

    assert once.ids == twice.ids
    assert once.dropped_duplicates == twice.dropped_duplicates
    assert 200 == twice.dropped_indistinguishable
