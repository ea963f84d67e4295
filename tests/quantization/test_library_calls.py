import pytest
from tokenizers import Tokenizer

from pytest_injectivity.errors import ModelError
from pytest_injectivity.quantization.library_calls import refusing


@pytest.mark.parametrize("error", [ZeroDivisionError, IndexError, TypeError, Exception, OSError])
def test_what_a_library_raises_is_the_checkpoints_fault(error: type[Exception]) -> None:
    """The message holds what was tried, the library's own words on one line, and the advice."""
    with (
        pytest.raises(ModelError, match=r"^x\.json cannot be read: no\\x1b heads; copy it$"),
        refusing("x.json cannot be read", "copy it"),
    ):
        raise error("no\x1b\n heads")


def test_a_library_that_says_nothing_is_named_by_its_error() -> None:
    """An empty message becomes the error's type."""
    with pytest.raises(ModelError, match=r"^x: AssertionError$"), refusing("x"):
        raise AssertionError


class _OtherError(Exception):
    pass


def test_a_panic_is_the_checkpoints_fault() -> None:
    """Though it is no `Exception`."""
    said = "^x cannot be read: Precompiled: Error"
    hostile = '{"model": {"type": "BPE", "vocab": {}, "merges": []}, "normalizer":'
    hostile += ' {"type": "Precompiled", "precompiled_charsmap": ""}}'
    with pytest.raises(ModelError, match=said), refusing("x cannot be read"):
        Tokenizer.from_str(hostile)


@pytest.mark.parametrize(
    "error", [_OtherError, ModelError, KeyboardInterrupt, SystemExit, MemoryError]
)
def test_what_no_library_raises_of_a_checkpoint_passes(error: type[BaseException]) -> None:
    """Errors of other kinds, this package's own among them, keep their type and words."""
    with pytest.raises(error, match=r"^as it was$"), refusing("x"):
        raise error("as it was")
