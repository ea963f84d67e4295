"""The text that names a release and what of it is observed (SPEC section 5), as flags and ini write it.

::

    release  = step {"|" step} "@" place            round(bits=4) | rotate(seed=1) @ 8
    step     = name ["(" argument {"," argument} ")"]
    argument = [name "="] value                     sigma=0.1, sigma=0.1 rel, bits=4, fp8
    place    = layer ["and" layer | what] [which]   8, -1 kv, norm logits last
    which    = "last" | "mean" | "answer" | "every=" integer ["run=" integer]

A text becomes a frozen `ReleaseSpec`, and the ``str()`` of a `ReleaseSpec` is the canonical text. Steps
and their parameters are listed in `release_steps`, places are described in `release_place`. What a
release does to rows is decided where the rows are known (`privacy.releases.binding`). Standard library
only: options are read on every start of pytest.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from pytest_injectivity.config.release_place import NAMED, Place, What
from pytest_injectivity.config.release_steps import STEPS, StepParameter, Value, integer
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import OptionError

GRAMMAR = (
    "step|step@place, with steps "
    + ", ".join(example for step in STEPS.values() for example in step.examples)
    + ", and places 8, -1, norm, 8 last, 8 mean, 8 answer, 8 every=2, 8 every=3 run=2, 8 keys, 8 values,"
    " 8 kv, -1 cache, 8 attention, 8 routing, -1 experts, norm logits, 8 and 9"
)
"""The grammar in one line, as messages show it."""

_V = TypeVar("_V", bound=Value)


@dataclass(frozen=True)
class StepSpec:
    """One step of a release as it was written, with a value for every parameter."""

    name: str
    arguments: tuple[tuple[str, Value], ...] = ()

    def value(self, parameter: str, kind: type[_V]) -> _V:
        """The value of a parameter.

        Args:
            parameter: its name.
            kind: its type.

        Raises:
            TypeError: the value is of another type: the step's row in `STEPS` and its module disagree.
        """
        value = dict(self.arguments)[parameter]
        if not isinstance(value, kind):
            raise TypeError(f"{self}: {parameter} is a {type(value).__name__}, not {kind.__name__}")
        return value

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.arguments)
        return f"{self.name}({given})" if given else self.name


@dataclass(frozen=True)
class ReleaseSpec:
    """A release as it was written: its steps in order, and the place they are applied to.

    Example:
        >>> spec = parse("round(4) | permute @ 8 last")
        >>> spec.name, spec.place.layer, spec.is_identity
        ('round(bits=4)|permute', 8, False)
    """

    steps: tuple[StepSpec, ...]
    place: Place

    def __str__(self) -> str:
        return f"{self.name}@{self.place}"

    @property
    def name(self) -> str:
        """The text of the steps without the place."""
        return "|".join(map(str, self.steps))

    @property
    def is_identity(self) -> bool:
        """Whether every step is ``identity``."""
        return all(step.name == "identity" for step in self.steps)


def parse(text: object) -> ReleaseSpec:
    """Reads the text of a release.

    >>> spec = parse("round(4) | permute @ -1 kv")
    >>> str(spec)
    'round(bits=4)|permute@-1 kv'
    >>> spec.steps[0].value("bits", int)
    4

    Args:
        text: such as ``round(bits=4)@8``.

    Raises:
        OptionError: the text does not follow the grammar; the message says where, and shows the grammar.
    """
    return _Reader(text).release()


def parse_place(text: object) -> Place:
    """Reads the text of a place alone.

    Args:
        text: such as ``8 kv``.

    Raises:
        OptionError: the text does not follow the grammar; the message says where, and shows the grammar.
    """
    return _Reader(text).place()


def filled(text: str, strength: object) -> str:
    """The text of a sweep with its strength in the place of ``?``.

    Args:
        text: such as ``gaussian(sigma=?)@8``.
        strength: replaces the question mark.

    Raises:
        OptionError: the text has no ``?``, or more than one.
    """
    if text.count("?") != 1:
        raise OptionError(
            f"{text!r} names {text.count('?')} places for a strength: write one ?, as in"
            " gaussian(sigma=?)@8"
        )
    return text.replace("?", str(strength))


class _Token(NamedTuple):
    """A word, a number or a sign of a text, and the character it begins at."""

    text: str
    at: int


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

    def release(self) -> ReleaseSpec:
        steps = [self._step()]
        while self._took("|"):
            steps.append(self._step())
        if not self._took("@"):
            raise self._wrong(self._seen, "stands where | and a step, or @ and a layer, should")
        return ReleaseSpec(tuple(steps), self.place())

    def place(self) -> Place:
        place = self._place()
        if self._seen is not self.end:
            raise self._wrong(self._seen, "is too much: a release ends with its place")
        return place

    def _step(self) -> StepSpec:
        named = self._take()
        if named.text not in STEPS:
            raise self._wrong(named, f"is no step: give one of {', '.join(STEPS)}")
        parameters = STEPS[named.text].parameters
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
            if one.name not in given:
                if one.default is None:
                    raise self._wrong(named, f"needs {one.name}=")
                given[one.name] = one.default
        return StepSpec(named.text, tuple((one.name, given[one.name]) for one in parameters))

    def _argument(
        self, step: _Token, parameters: tuple[StepParameter, ...], given: dict[str, Value]
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
        layer, also = self._layer(), None
        what: What = "states"
        if self._took("and"):
            layer, also = self._layer(), layer
        else:
            what = next((one for one in NAMED if self._took(one)), what)
        if self._took("last"):
            return Place(layer, what, last=True, also=also)
        if self._took("mean"):
            return Place(layer, what, also=also, mean=True)
        if self._took("answer"):
            return Place(layer, what, also=also, answer=True)
        if not self._took("every"):
            return Place(layer, what, also=also)
        every = self._count("every")
        run = self._count("run") if self._took("run") else 1
        # Every run is every position, however long it is.
        return Place(layer, what, every, run=run if every > 1 else 1, also=also)

    def _count(self, name: str) -> int:
        if not self._took("="):
            raise self._wrong(self._seen, f"stands where = should: write {name}=2")
        number = self._take()
        try:
            return integer(1, 10**6)(number.text)
        except ValueError as error:
            raise self._wrong(number, f"is not accepted as {name}: give {error}") from None

    def _layer(self) -> Layer:
        named = self._take()
        if named.text != "norm" and not re.fullmatch(r"[+-]?\d{1,6}", named.text):
            raise self._wrong(named, "is no layer: give an integer or norm")
        return "norm" if named.text == "norm" else int(named.text)

    @property
    def _seen(self) -> _Token:
        """The next token, not taken yet."""
        return self.tokens[self.next] if self.next < len(self.tokens) else self.end

    def _take(self) -> _Token:
        token = self._seen
        self.next += 1
        return token

    def _took(self, text: str) -> bool:
        """Takes the next token if it is this one; whether it was."""
        if self._seen.text != text:
            return False
        self.next += 1
        return True

    def _wrong(self, token: _Token, what: str) -> OptionError:
        shown = f"{token.text!r} (character {token.at + 1})" if token.text else "its end"
        return OptionError(f"release {self.text!r}: {shown} {what}; the grammar: {GRAMMAR}")
