import pytest
from tokenizers import Tokenizer

from pytest_injectivity.core.panics import is_panic, without_quotes


def test_a_panic_is_known_by_its_class() -> None:
    """A real one of a library; it derives from no `Exception`."""
    hostile = '{"model": {"type": "BPE", "vocab": {}, "merges": []}, "normalizer":'
    hostile += ' {"type": "Precompiled", "precompiled_charsmap": ""}}'
    with pytest.raises(BaseException, match="charsmap") as raised:
        Tokenizer.from_str(hostile)
    assert not isinstance(raised.value, Exception)
    assert is_panic(raised.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, ValueError])
def test_nothing_else_is_a_panic(error: type[BaseException]) -> None:
    """What ends a program on purpose passes."""
    assert not is_panic(error("PanicException"))


def test_a_quotation_of_a_prompt_is_cut_off() -> None:
    """Rust quotes the text whose characters it could not cut."""
    said = "byte index 1 is not a char boundary; it is inside 'é' (bytes 0..2) of `é secret`"
    assert "byte index 1 is not a char boundary; it is inside …" == without_quotes(said)
    assert "index out of bounds" == without_quotes("index out of bounds")
