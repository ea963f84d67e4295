"""The numbers of a layer by their names, each one of `METRICS`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.metrics import Number, by_name, metric_of


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Something that has the numbers of a layer; each is an attribute by its metric's name.

    Attributes:
        numbers: by the names of `METRICS`; one that is left out was not measured.

    Raises:
        OptionError: a name is no metric's, or a value is no number of that metric.
    """

    numbers: Mapping[str, Number] = field(default_factory=dict, metadata={"flat": True})

    def __post_init__(self) -> None:
        known = by_name()
        for name, value in self.numbers.items():
            if name not in known:
                raise OptionError(f"{name!r} is no metric: {', '.join(known)} are")
            if value is not None and known[name].rungs != isinstance(value, Mapping):
                kind = "a number for each rung" if known[name].rungs else "one number"
                raise OptionError(f"{name} has {kind}, and this is {value!r}")
        complete = {name: self.numbers.get(name) for name in known}
        object.__setattr__(self, "numbers", complete)

    def __getattr__(self, name: str) -> Any:
        numbers = self.__dict__.get("numbers", {})
        if name in numbers:
            return numbers[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    def with_numbers(self, **numbers: Number) -> Self:
        """A copy with other numbers, for a measurement derived from this one."""
        return replace(self, numbers={**self.numbers, **numbers})

    def __getitem__(self, number: str) -> float | None:
        """A number by name, one of a ladder with its rung: ``near_fractions 0.01``.

        Raises:
            OptionError: it is no number of a layer.
        """
        metric, rung = metric_of(number), number.partition(" ")[2]
        value = self.numbers[metric.name]
        return value.get(rung) if isinstance(value, Mapping) else value


def flat(numbers: Mapping[str, Number]) -> dict[str, float]:
    """The numbers of a layer that were measured, one for each rung of a ladder."""
    found: dict[str, float] = {}
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            found |= {f"{name} {rung}": one for rung, one in value.items()}
        elif value is not None:
            found[name] = value
    return found
