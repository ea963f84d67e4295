"""The shapes and element types of arrays in annotations: ``Float[Tensor, "rows width"]``.

The names are jaxtyping's, which checks them in this package's tests. An installation for use has no
jaxtyping, because jaxtyping registers a pytest plugin that imports numpy at every start of pytest, with
or without an audit. There ``Float[Tensor, "rows width"]`` is ``Tensor``. Type checkers read every name
as ``Annotated``, as they do jaxtyping's own.
"""

from typing import TYPE_CHECKING, Any

__all__ = [
    "Bool",
    "Float",
    "Float32",
    "Float64",
    "Int",
    "Int8",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt64",
]

if TYPE_CHECKING:
    from typing import Annotated as Bool
    from typing import Annotated as Float
    from typing import Annotated as Float32
    from typing import Annotated as Float64
    from typing import Annotated as Int
    from typing import Annotated as Int8
    from typing import Annotated as Int64
    from typing import Annotated as UInt8
    from typing import Annotated as UInt16
    from typing import Annotated as UInt64
else:
    try:
        from jaxtyping import (
            Bool,
            Float,
            Float32,
            Float64,
            Int,
            Int8,
            Int64,
            UInt8,
            UInt16,
            UInt64,
        )
    except ModuleNotFoundError:

        class _Unchecked:
            """Replaces jaxtyping's names where it is missing: they evaluate to the array's type."""

            def __class_getitem__(cls, described: tuple[Any, str]) -> Any:
                array, _ = described
                return array

        Bool = Float = Float32 = Float64 = Int = Int8 = Int64 = UInt8 = UInt16 = UInt64 = _Unchecked
