"""Guards a checkpoint's tokenizer: what its library raises of a hostile file becomes a `ModelError`.

The library that reads ``tokenizer.json`` is written in Rust. It accepts many files that it cannot work
with, and panics at a text or at a token id. A panic is no `Exception`: without a guard it ends pytest.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_injectivity.core.panics import is_panic, without_quotes
from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import ModelError


def guarded(tokenizer: Any, source: str) -> Any:
    """The tokenizer, of a subclass whose calls raise `ModelError` where its library fails.

    Args:
        tokenizer: as transformers loads it; its class is changed in place.
        source: the checkpoint, for messages.

    Returns:
        The same object.
    """
    kind = type(tokenizer)
    tokenizer.__class__ = type(kind.__name__, (_Guard, kind), {"_injx_source": source})
    return tokenizer


class _Guard:
    """The calls of a tokenizer that reach its library with a text or with token ids."""

    _injx_source: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with _refusing(self._injx_source, "encode a text"):
            return super().__call__(*args, **kwargs)  # type: ignore[misc] # the class beside has it

    def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any:
        with _refusing(self._injx_source, "encode a chat"):
            return super().apply_chat_template(*args, **kwargs)  # type: ignore[misc] # as above

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        with _refusing(self._injx_source, "decode token ids"):
            return super().decode(*args, **kwargs)  # type: ignore[misc] # as above


@contextmanager
def _refusing(source: str, what: str) -> Iterator[None]:
    """Turns a panic, and the `Exception` that the library raises itself, into a `ModelError`."""
    try:
        yield
    except BaseException as error:
        if not is_panic(error) and type(error) is not Exception:
            raise
        # What the library quotes may be a piece of a prompt.
        said = one_line(without_quotes(" ".join(str(error).split())))
        failed = "panicked" if is_panic(error) else "failed"
        raise ModelError(
            f"the tokenizer of {source} cannot {what}: its library {failed} ({said}): give a tokenizer"
            " that is not damaged, or prompts of token ids"
        ) from error
