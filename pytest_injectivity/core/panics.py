"""Tells a panic of a library that is written in Rust from what must never be caught.

pyo3 raises a panic as ``pyo3_runtime.PanicException``, which derives from `BaseException` as
`KeyboardInterrupt` does, and has no name that could be imported: each extension module has a class of
its own.
"""

import re

_MODULE, _NAME = "pyo3_runtime", "PanicException"
_QUOTE = re.compile(r"[`'\"“]")


def is_panic(error: BaseException) -> bool:
    """Whether an exception is a panic of a library that is written in Rust."""
    return any((kind.__module__, kind.__name__) == (_MODULE, _NAME) for kind in type(error).__mro__)


def without_quotes(said: str) -> str:
    """The words of a panic up to its first quotation, which may be a piece of a prompt.

    Example:
        >>> without_quotes("byte index 1 is not a char boundary; it is inside 'é' of `aé`")
        'byte index 1 is not a char boundary; it is inside …'
    """
    found = _QUOTE.search(said)
    return said if found is None else f"{said[: found.start()].rstrip()} …"
