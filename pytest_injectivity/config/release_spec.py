"""The text that names a release and what of it is observed (SPEC section 5): flags and ini use it.

::

    release  = step {"|" step} "@" place            round(bits=4) | rotate(seed=1) @ 8
    step     = name ["(" argument {"," argument} ")"]
    argument = [name "="] value                     sigma=0.1, sigma=0.1 rel, bits=4, fp8
    place    = layer ["keys" | "values" | "kv"] ["last" | "every=" integer]

A place is a layer's states (0 to L, ``norm``, negative from the end), or what its block caches, at all
positions, of the last token alone, or at every g-th position counted back from the last. A standard
deviation followed by ``rel`` is in units of a typical coordinate (`binding.typical_coordinate`).

Text becomes a frozen `ReleaseSpec`, whose ``str()`` is the canonical text; what it does to rows is
decided where rows are known (``binding``). Standard library only: options are read on every start of
pytest.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from pytest_injectivity.core.layers import Layer, layer_id, resolve_layers
from pytest_injectivity.errors import LayerError, OptionError

GRAMMAR = (
    "step|step@place, with steps identity, gaussian(sigma=0.1), gaussian(sigma=0.1 rel),"
    " lowrank(rank=4, sigma=1.0), round(bits=4), topk(share=0.1), rotate(seed=1), permute,"
    " cast(fp8), and places 8, -1, norm, 8 last, 8 every=2, 8 keys, 8 values, 8 kv"
)

What: TypeAlias = Literal["states", "keys", "values", "kv"]

_CACHED: tuple[What, ...] = ("keys", "values", "kv")
_MOST_BITS = 16


@dataclass(frozen=True)
class Amount:
    """A standard deviation, in the rows' units or in those of a typical coordinate."""

    value: float
    relative: bool = False

    def __str__(self) -> str:
        return f"{repr(self.value).removesuffix('.0')}{' rel' * self.relative}"


Value: TypeAlias = Amount | int | float | str


@dataclass(frozen=True)
class StepSpec:
    """One step of a release: its name and what it is given, every parameter in its place."""

    name: str
    arguments: tuple[tuple[str, Value], ...] = ()

    def __getitem__(self, parameter: str) -> Value:
        return dict(self.arguments)[parameter]

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.arguments)
        return f"{self.name}({given})" if given else self.name


@dataclass(frozen=True)
class Place:
    """What is observed of a prompt.

    Attributes:
        layer: as it was written: it may count back from the last.
        what: the layer's states, or the keys, values or both that its block caches.
        every: at every so many positions, counted back from the last; 1: at all.
        last: of the last token alone.
    """

    layer: Layer
    what: What = "states"
    every: int = 1
    last: bool = False

    def __str__(self) -> str:
        what = "" if self.what == "states" else f" {self.what}"
        which = " last" if self.last else f" every={self.every}" if self.every > 1 else ""
        return f"{self.layer}{what}{which}"

    @property
    def cached(self) -> bool:
        """Whether keys or values are observed, not states."""
        return self.what != "states"

    @property
    def everywhere(self) -> bool:
        """Whether every position is observed."""
        return self.every == 1 and not self.last

    @property
    def name(self) -> str:
        """As reports name it: ``layer08``, ``layer08 kv``, ``norm last``."""
        return f"{layer_id(self.layer)}{str(self).removeprefix(str(self.layer))}"

    def positions(self, length: int) -> tuple[int, ...]:
        """The positions observed of a prompt of so many tokens."""
        if self.last:
            return (length - 1,)
        return tuple(range((length - 1) % self.every, length, self.every))

    def resolved(self, n_layers: int) -> "Place":
        """The same with the layer counted from the first.

        Raises:
            LayerError: the model has no such layer, or no block of it caches anything.
        """
        (layer,) = resolve_layers(self.layer, n_layers)
        if self.cached and not (isinstance(layer, int) and layer >= 1):
            raise LayerError(
                f"{self.what} of layer {self.layer}: keys and values are cached by blocks, give a"
                f" layer from 1 to {n_layers}"
            )
        return Place(layer, self.what, self.every, self.last)


@dataclass(frozen=True)
class ReleaseSpec:
    """A release as it was written: steps in their order, and what they are applied to."""

    steps: tuple[StepSpec, ...]
    place: Place

    def __str__(self) -> str:
        return f"{'|'.join(map(str, self.steps))}@{self.place}"

    @property
    def name(self) -> str:
        """The steps alone."""
        return "|".join(map(str, self.steps))

    @property
    def is_identity(self) -> bool:
        """Whether it says that nothing is changed."""
        return all(step.name == "identity" for step in self.steps)


class _Token(NamedTuple):
    """A word, a number or a sign, and where it stands."""

    text: str
    at: int


class _Parameter(NamedTuple):
    """What a step may be given.

    Attributes:
        name: in the text.
        read: gives the value; raises ValueError with what is accepted.
        default: where nothing is given; None: it must be.
    """

    name: str
    read: Callable[[str], Value]
    default: Value | None = None


def parse(text: object) -> ReleaseSpec:
    """Reads a release.

    Raises:
        OptionError: the text is not of the grammar; says where, and shows the grammar.
    """
    return _Reader(text).spec()


def filled(text: str, strength: object) -> str:
    """The text of a sweep with its strength in the place of ``?``.

    Raises:
        OptionError: there is no ``?``, or more than one.
    """
    if text.count("?") != 1:
        raise OptionError(
            f"{text!r} names {text.count('?')} places for a strength: write one ?, as in"
            " gaussian(sigma=?)@8"
        )
    return text.replace("?", str(strength))


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


def _integer(low: int, high: int) -> Callable[[str], int]:
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


_SEED = _Parameter("seed", _integer(0, 10**9 - 1), 0)

STEPS: dict[str, tuple[_Parameter, ...]] = {
    "identity": (),
    "gaussian": (_Parameter("sigma", _amount),),
    "lowrank": (_Parameter("rank", _integer(1, 10**6)), _Parameter("sigma", _amount), _SEED),
    "round": (_Parameter("bits", _integer(2, _MOST_BITS)),),
    "topk": (_Parameter("share", _share),),
    "rotate": (_SEED, _Parameter("key", _one_of("secret", "known"), "secret")),
    "permute": (),
    "cast": (_Parameter("dtype", _one_of("bf16", "fp16", "fp8")),),
}
"""The steps there are, and their parameters in the order of what is given without a name."""

_TOKEN = re.compile(r"\s*(?:([A-Za-z_]\w*)|([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|([()=,|@]))")


class _Reader:
    """Reads one text, token by token."""

    def __init__(self, text: object) -> None:
        if not isinstance(text, str) or not text.strip():
            raise OptionError(f"{text!r} is no release: give {GRAMMAR}")
        self.text = text
        self.tokens: list[_Token] = []
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._wrong(_Token(text[at:].strip()[:1], at), "is no part of a release")
            self.tokens.append(_Token(found[0].strip(), found.end() - len(found[0].strip())))
            at = found.end()
        self.end = _Token("", len(text))
        self.next = 0

    def spec(self) -> ReleaseSpec:
        steps = [self._step()]
        while self._took("|"):
            steps.append(self._step())
        if not self._took("@"):
            raise self._wrong(self._seen, "stands where | and a step, or @ and a layer, should")
        place = self._place()
        if self._seen is not self.end:
            raise self._wrong(self._seen, "is too much: a release ends with its place")
        return ReleaseSpec(tuple(steps), place)

    def _step(self) -> StepSpec:
        named = self._take()
        if named.text not in STEPS:
            raise self._wrong(named, f"is no step: give one of {', '.join(STEPS)}")
        parameters = STEPS[named.text]
        given: dict[str, Value] = {}
        if self._took("(") and not self._took(")"):
            while True:
                name, value = self._argument(named, parameters, given)
                given[name] = value
                if self._took(")"):
                    break
                if not self._took(","):
                    raise self._wrong(self._seen, "stands where , or ) should")
        for one in parameters:
            if one.name not in given and one.default is None:
                raise self._wrong(named, f"needs {one.name}=")
            given.setdefault(one.name, one.default)  # type: ignore[arg-type] # not None, see above
        return StepSpec(named.text, tuple((one.name, given[one.name]) for one in parameters))

    def _argument(
        self, step: _Token, parameters: tuple[_Parameter, ...], given: dict[str, Value]
    ) -> tuple[str, Value]:
        first = self._take()
        if self._took("="):
            by_name = {one.name: one for one in parameters}
            if first.text not in by_name:
                accepted = ", ".join(by_name) or "nothing"
                raise self._wrong(first, f"is no parameter of {step.text}: it takes {accepted}")
            parameter, first = by_name[first.text], self._take()
        else:
            free = [one for one in parameters if one.name not in given]
            if not free:
                accepted = ", ".join(one.name for one in parameters) or "nothing"
                raise self._wrong(first, f"is too much: {step.text} takes {accepted}")
            parameter = free[0]
        if parameter.name in given:
            raise self._wrong(first, f"gives {parameter.name} again")
        text = first.text + (" rel" if self._took("rel") else "")
        try:
            return parameter.name, parameter.read(text)
        except ValueError as error:
            accepted = str(error) if error.args and "convert" not in str(error) else "a number"
            raise self._wrong(
                first, f"is not accepted as {parameter.name}: give {accepted}"
            ) from None

    def _place(self) -> Place:
        named = self._take()
        if named.text != "norm" and not re.fullmatch(r"[+-]?\d{1,6}", named.text):
            raise self._wrong(named, "is no layer: give an integer or norm")
        layer: Layer = "norm" if named.text == "norm" else int(named.text)
        what: What = "states"
        for one in _CACHED:
            if what == "states" and self._took(one):
                what = one
        if self._took("last"):
            return Place(layer, what, last=True)
        if not self._took("every"):
            return Place(layer, what)
        if not self._took("="):
            raise self._wrong(self._seen, "stands where = should: write every=2")
        number = self._take()
        try:
            return Place(layer, what, _integer(1, 10**6)(number.text))
        except ValueError as error:
            raise self._wrong(number, f"is not accepted as every: give {error}") from None

    @property
    def _seen(self) -> _Token:
        return self.tokens[self.next] if self.next < len(self.tokens) else self.end

    def _take(self) -> _Token:
        token = self._seen
        self.next += 1
        return token

    def _took(self, text: str) -> bool:
        if self._seen.text != text:
            return False
        self.next += 1
        return True

    def _wrong(self, token: _Token, what: str) -> OptionError:
        shown = f"{token.text!r} (character {token.at + 1})" if token.text else "its end"
        return OptionError(f"release {self.text!r}: {shown} {what}; the grammar: {GRAMMAR}")
