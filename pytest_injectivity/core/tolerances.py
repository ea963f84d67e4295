"""Near-collision tolerances, absolute or relative, and values given by layer."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id, resolve_layers
from pytest_injectivity.errors import OptionError

_RELATIVE = re.compile(r"(?P<value>[^\s]+)\s+rel", re.IGNORECASE)

T = TypeVar("T")

PerLayer: TypeAlias = T | Mapping[int | str, T]
"""One value for every layer, or a value for each layer spec."""


@dataclass(frozen=True)
class Tolerance:
    """A tolerance ``eps``: a distance in the states' units, or a fraction of the layer's mean norm.

    Attributes:
        value: finite and at least 0.
        relative: whether it is a fraction of the mean norm.
    """

    value: float
    relative: bool = False

    @classmethod
    def parse(cls, eps: "float | str | Tolerance") -> "Tolerance":
        """Read ``1e-6``, ``"1e-6"`` (absolute) or ``"1e-5 rel"``.

        Raises:
            OptionError: it is none of these, negative, infinite or NaN.
        """
        if isinstance(eps, Tolerance):
            return eps
        found = _RELATIVE.fullmatch(eps.strip()) if isinstance(eps, str) else None
        try:
            value = float(found["value"] if found else eps)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not 0.0 <= value < math.inf or isinstance(eps, bool):
            raise OptionError(
                f"eps={eps!r} is not a tolerance: give a finite number of at least 0, or a fraction"
                ' of the mean norm such as "1e-5 rel"'
            )
        return cls(value, relative=found is not None)

    def absolute(self, mean_norm: float) -> float:
        """The tolerance in the states' units at a layer of this mean norm."""
        return self.value * mean_norm if self.relative else self.value

    def __str__(self) -> str:
        return f"{self.value:g} rel" if self.relative else f"{self.value:g}"


def by_layer(
    name: str, given: PerLayer[T], layer: LayerSpec | None, n_layers: int, default: LayerSpec
) -> dict[Layer, T]:
    """The value of each layer asked for, shallow first.

    Args:
        name: the argument's name, for errors.
        given: one value, or a mapping from layer specs to values, such as ``{":3": 1, "norm": 2}``.
        layer: the layers asked for; None: those the mapping names, else ``default``.
        n_layers: the model's number of blocks.
        default: the layers of a plain value where none are asked for.

    Raises:
        OptionError: a layer asked for has no value, or has two.
        LayerError: a layer spec is not one of the model's.
    """
    if not isinstance(given, Mapping):
        return dict.fromkeys(resolve_layers(default if layer is None else layer, n_layers), given)
    values: dict[Layer, T] = {}
    for spec, value in given.items():
        for one in resolve_layers(spec, n_layers):
            if one in values:
                raise OptionError(f"{name} names {layer_id(one)} twice: give each layer one value")
            values[one] = value
    asked = resolve_layers(layer if layer is not None else list(values), n_layers)
    if missing := [layer_id(one) for one in asked if one not in values]:
        raise OptionError(
            f"{name} has no value for {_listed(missing)}: give each layer asked for one"
        )
    return {one: values[one] for one in asked}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")  # noqa: PLR2004 - a few will do
