"""Checks the shapes of arrays in signatures: of arguments and results, once for each new shape.

jaxtyping's import hook decorates every function of a module with ``jaxtyping.jaxtyped``, whose check
takes about 50 microseconds a call. A fifth of the tests' time went into calls that no check could
refuse: of functions that name no shape, and of functions with shapes that were accepted before.
"""

import functools
import inspect
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jaxtyping
import numpy as np
from torch import Tensor

from pytest_injectivity.core import shapes

_checked_by_jaxtyping = jaxtyping.jaxtyped
_Decorated = TypeVar("_Decorated")
_SHAPE = re.compile(rf"\b({'|'.join(shapes.__all__)})\[")


def install(modules: list[str]) -> None:
    """Has the shapes in the signatures of these modules checked, once they are imported."""
    jaxtyping.jaxtyped = _jaxtyped  # type: ignore[assignment] # with the arguments that the hook gives
    jaxtyping.install_import_hook(modules, "beartype.beartype")


def _jaxtyped(*, typechecker: Any) -> Callable[[_Decorated], _Decorated]:
    return functools.partial(checked, typechecker=typechecker)


def checked(subject: Any, *, typechecker: Any) -> Any:
    """A class or a function whose shapes are checked; the function itself where it names none.

    Args:
        subject: what has annotations.
        typechecker: as for ``jaxtyping.jaxtyped``.
    """
    if inspect.isclass(subject):
        return _checked_by_jaxtyping(subject, typechecker=typechecker)
    if not names_shapes(subject):
        return subject
    by_jaxtyping = _checked_by_jaxtyping(subject, typechecker=typechecker)
    accepted: set[tuple[Any, ...]] = set()
    of_thread = threading.local()

    # Decorating takes milliseconds: once, and not for each result.
    @functools.cache
    def check_of_result() -> Callable[..., Any]:
        returned = functools.wraps(subject)(lambda *_args, **_kwargs: of_thread.result)
        found: Callable[..., Any] = _checked_by_jaxtyping(returned, typechecker=typechecker)
        return found

    @functools.wraps(subject)
    def call(*args: Any, **kwargs: Any) -> Any:
        before = (_kinds(args), tuple(kwargs), _kinds(kwargs.values()))
        if before not in accepted:
            result = by_jaxtyping(*args, **kwargs)
            accepted.add(before)
            accepted.add((before, _kind(result)))
            return result
        result = subject(*args, **kwargs)
        after = (before, _kind(result))
        if after not in accepted:
            of_thread.result = result
            check_of_result()(*args, **kwargs)
            accepted.add(after)
        return result

    return call


def names_shapes(function: Callable[..., Any]) -> bool:
    """Whether an annotation of a function has the shape of an array."""
    return any(_SHAPE.search(str(one)) for one in function.__annotations__.values())


def _kinds(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple([_kind(value) for value in values])


# A look into a set is several times faster than `isinstance`, whose answer torch computes.
_WITHOUT_SHAPE = {int, float, str, bool, type(None)}
_ARRAYS = (Tensor, np.ndarray)


def _kind(value: Any) -> Any:
    """What a check looks at: the shape and the element type of an array, else the type."""
    kind = type(value)
    if kind in _WITHOUT_SHAPE:
        return kind
    if kind is Tensor or isinstance(value, _ARRAYS):
        return kind, value.shape, value.dtype
    if isinstance(value, (tuple, list)):
        return kind, _kinds(value[:3])
    return kind
