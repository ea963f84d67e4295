"""Errors of the libraries that read untrusted checkpoints, turned into `ModelError`.

A damaged or hostile checkpoint makes these libraries raise nearly anything (a configuration with no
attention heads divides by zero). Only the library's call itself stands inside `refusing`: what this
package's own code raises is a bug of this package and must not read as the checkpoint's fault.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from pytest_injectivity.core.panics import is_panic
from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import InjectivityError, ModelError

_LONGEST_REASON = 300
_RAISED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
    TypeError,
    ValueError,
)


@contextmanager
def refusing(what: str, advice: str = "") -> Iterator[None]:
    """Turns what a library raises inside into a `ModelError`.

    Args:
        what: what was tried, such as ``"x/config.json cannot be read"``; it begins the message.
        advice: what to do about it; it ends the message.

    Raises:
        ModelError: the library refused the checkpoint; the message holds the library's own words.
    """
    try:
        yield
    except InjectivityError:
        raise
    except BaseException as error:
        # The library tokenizers raises Exception itself, or panics.
        known = isinstance(error, _RAISED) or type(error) is Exception or is_panic(error)
        if not known:
            raise
        said = one_line(" ".join(str(error).split()), _LONGEST_REASON)
        end = f"; {advice}" if advice else ""
        raise ModelError(f"{what}: {said or type(error).__name__}{end}") from error
