"""A hostile tokenizer.json: the library's panics become errors of this package."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from pytest_injectivity.core.panics import is_panic
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.checkpoint import Checkpoint, resolve
from pytest_injectivity.testing import byte_tokenizer, save_checkpoint, tiny_decoder

Hostile = Callable[..., Checkpoint]

# What Sequence and SpecialToken name is not there.
_FRAME = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}}
_SECOND = {**_FRAME, "single": [{"Sequence": {"id": "B", "type_id": 0}}]}
_MISSING = {**_FRAME, "single": [{"SpecialToken": {"id": "Q", "type_id": 0}}]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a model and a tokenizer of bytes, as they should be."""
    folder = tmp_path_factory.mktemp("whole")
    return save_checkpoint(tiny_decoder(vocab=256), folder, byte_tokenizer())


@pytest.fixture
def hostile(whole: Path, tmp_path: Path) -> Hostile:
    """Makes the checkpoint with some fields of its tokenizer.json changed."""

    def made(model: dict[str, Any] | None = None, **fields: Any) -> Checkpoint:
        for path in whole.iterdir():
            (tmp_path / path.name).hardlink_to(path)
        written = json.loads((whole / "tokenizer.json").read_text())
        (tmp_path / "tokenizer.json").unlink()
        changed = written | fields | {"model": written["model"] | (model or {})}
        (tmp_path / "tokenizer.json").write_text(json.dumps(changed))
        return resolve(str(tmp_path))

    return made


@pytest.mark.parametrize("charsmap", ["", "AAAA", "////////"])
def test_a_panic_while_loading_is_refused(hostile: Hostile, charsmap: str) -> None:
    """A table of characters that is none: the library panics as it reads the file."""
    checkpoint = hostile(normalizer={"type": "Precompiled", "precompiled_charsmap": charsmap})
    said = r"^the tokenizer of .* cannot be loaded: Precompiled: Error\("
    with pytest.raises(ModelError, match=said) as refused:
        _ = checkpoint.tokenizer
    assert refused.value.__cause__ is not None
    assert is_panic(refused.value.__cause__)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "chunk size must be non-zero"),
        ({"post_processor": _SECOND}, "index out of bounds"),
        ({"post_processor": _MISSING}, "no entry found for key"),
        (
            {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "BAAAAP////8="}},
            "index out of bounds",
        ),
    ],
)
def test_a_panic_at_a_text_is_refused(hostile: Hostile, fields: Any, said: str) -> None:
    """The file loads; the message says what could not be done, in the library's words."""
    tokenizer = hostile(**fields).tokenizer
    whole = rf"^the tokenizer of .* cannot encode a text: its library panicked \({said}.*\): give"
    with pytest.raises(ModelError, match=whole):
        tokenizer(["a text"])


def test_what_the_library_raises_itself_at_a_text_is_refused(hostile: Hostile) -> None:
    """A token for what is unknown that is itself unknown is no panic, and no bug of ours."""
    tokenizer = hostile({"unk_token": "nope", "vocab": {"b": 0}}, added_tokens=[]).tokenizer
    with pytest.raises(ModelError, match=r"cannot encode a text: its library failed \(Unk token"):
        tokenizer(["a text"])


@pytest.mark.parametrize("cut", [{"start": 3, "stop": 3}, {"start": 0, "stop": 2**40}])
def test_a_panic_at_token_ids_is_refused(hostile: Hostile, cut: dict[str, int]) -> None:
    """A decoder that cuts more characters off than there are."""
    tokenizer = hostile(decoder={"type": "Strip", "content": "a", **cut}).tokenizer
    with pytest.raises(ModelError, match=r"cannot decode token ids: its library panicked \(index"):
        tokenizer.decode([97])


def test_a_guarded_tokenizer_is_what_it_was(whole: Path) -> None:
    """Of the library's class, under its own name; mistakes of callers keep their type."""
    tokenizer = resolve(str(whole)).tokenizer
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert [104, 105] == tokenizer.encode("hi") == tokenizer(["hi"])["input_ids"][0]
    assert "hi" == tokenizer.decode([104, 105])
    assert type(tokenizer).__name__ == type(tokenizer).__mro__[2].__name__
    with pytest.raises(TypeError):
        tokenizer.decode(["no id"])
