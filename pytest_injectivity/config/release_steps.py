"""THE table of release steps, as text: the name of each step and the parameters it takes.

A row says what a text may say of a step, so that options can be read without importing torch. What a
step does to rows is in ``privacy/releases/steps/``, in the module of the same name. A new step is a row
here, a module there, and its test.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

_MOST_BITS = 16


@dataclass(frozen=True)
class Amount:
    """A standard deviation, in the rows' units or relative to a typical coordinate.

    Attributes:
        value: the number, above 0.
        relative: whether the unit is the rows' typical coordinate (`binding.typical_coordinate`).
    """

    value: float
    relative: bool = False

    def __str__(self) -> str:
        return f"{repr(self.value).removesuffix('.0')}{' rel' * self.relative}"


Value: TypeAlias = Amount | int | float | str
"""What a parameter of a step may be."""


@dataclass(frozen=True)
class StepParameter:
    """One parameter of a step.

    Attributes:
        name: the name in the text.
        read: turns the text of a value into the value; raises ValueError with what is accepted.
        default: the value where the text gives none; None: the text must give one.
    """

    name: str
    read: Callable[[str], Value]
    default: Value | None = None


@dataclass(frozen=True)
class StepGrammar:
    """What a text may say of one step.

    Attributes:
        parameters: in the order in which values without a name are assigned.
        examples: texts of the step that the grammar shows, which the tests run as well.
    """

    parameters: tuple[StepParameter, ...]
    examples: tuple[str, ...]


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _amount(text: str) -> Amount:
    number, _, unit = text.partition(" ")
    amount = Amount(_number(number), unit == "rel")
    if unit not in {"", "rel"} or not amount.value > 0:
        raise ValueError("a number above 0, such as 0.1 or 0.1 rel")
    return amount


def integer(low: int, high: int) -> Callable[[str], int]:
    """Reads an integer from ``low`` to ``high``, both included."""

    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"an integer from {low} to {high}")
        return int(text)

    return read


def _share(text: str) -> float:
    share = _number(text)
    if not 0 < share < 1:
        raise ValueError("the share of coordinates kept, above 0 and below 1")
    return share


def _one_of(*accepted: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in accepted:
            raise ValueError(f"one of {', '.join(accepted)}")
        return text

    return read


_SIGMA = StepParameter("sigma", _amount)
_SEED = StepParameter("seed", integer(0, 10**9 - 1), 0)
_KEY = StepParameter("key", _one_of("secret", "known"), "secret")

STEPS: dict[str, StepGrammar] = {
    "identity": StepGrammar((), ("identity",)),
    "gaussian": StepGrammar((_SIGMA,), ("gaussian(sigma=0.1)", "gaussian(sigma=0.1 rel)")),
    "same_noise": StepGrammar((_SIGMA,), ("same_noise(sigma=0.1 rel)",)),
    "lowrank": StepGrammar(
        (StepParameter("rank", integer(1, 10**6)), _SIGMA, _SEED), ("lowrank(rank=4, sigma=1.0)",)
    ),
    "directed": StepGrammar((_SIGMA, _SEED), ("directed(sigma=0.1 rel)",)),
    "learned": StepGrammar((_SIGMA, _SEED), ("learned(sigma=0.5 rel)",)),
    "round": StepGrammar((StepParameter("bits", integer(2, _MOST_BITS)),), ("round(bits=4)",)),
    "topk": StepGrammar((StepParameter("share", _share),), ("topk(share=0.1)",)),
    "rotate": StepGrammar((_SEED, _KEY), ("rotate(seed=1)",)),
    "permute_coordinates": StepGrammar((_SEED, _KEY), ("permute_coordinates(seed=1)",)),
    "permute": StepGrammar((), ("permute",)),
    "mix": StepGrammar(
        (
            StepParameter("over", _one_of("positions", "coordinates"), "positions"),
            StepParameter("matrix", _one_of("orthogonal", "invertible"), "invertible"),
            StepParameter("batch", integer(1, 10**6), 1),
            StepParameter("shield", integer(0, 10**6), 0),
        ),
        (
            "mix(over=positions)",
            "mix(over=coordinates, matrix=orthogonal)",
            "mix(batch=3, shield=4)",
        ),
    ),
    "logprobs": StepGrammar(
        (StepParameter("top", integer(0, 10**6), 0),), ("logprobs", "logprobs(top=20)")
    ),
    "cast": StepGrammar((StepParameter("dtype", _one_of("bf16", "fp16", "fp8")),), ("cast(fp8)",)),
}
"""One row a step; the order is that of the grammar shown in messages."""
