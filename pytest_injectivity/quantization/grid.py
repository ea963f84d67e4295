"""The grids that activations are rounded to, and the grammar that names them (SPEC section 2).

One grammar serves the flag, the ini value and every ``bits=`` argument::

    grid = (bits ["bits"] | "e4m3" | "e5m2") {word}     a uniform grid, or floats of 8 bits
    word = "symmetric" | "asymmetric"                     the first unless named
         | "per-layer" | "per-token" | "per-channel"      what shares a scale; the first unless named
         | "clip=" percentile                             the share of values inside the grid, in percent
         | "calibrated=" prompts                          the scale comes from so many prompts

The order of the words is free, and each is said once: ``8``, ``"4 asymmetric"``, ``"4 per-channel
clip=99.9"``. Standard library only, so that options can be read without torch.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from operator import index
from typing import Literal, TypeAlias, get_args

from pytest_injectivity.core.text import number_of
from pytest_injectivity.errors import OptionError

BITS = range(2, 33)
"""A symmetric grid needs two bits; beyond 32 it is finer than float32 itself."""

Floats: TypeAlias = Literal["e4m3", "e5m2"]


@dataclass(frozen=True)
class FloatFormat:
    """Floats of 8 bits, which have no infinity here: what is beyond the largest becomes the largest.

    Attributes:
        mantissa: bits of the fraction.
        most: the largest, in units of the smallest above zero.
    """

    mantissa: int
    most: int


FLOATS: dict[Floats, FloatFormat] = {
    "e4m3": FloatFormat(3, 448 * 2**9),
    "e5m2": FloatFormat(2, 57_344 * 2**16),
}
_FLOAT_BITS = 8

Shared: TypeAlias = Literal["layer", "token", "channel"]

_PERCENT = 100.0
# Below it a grid leaves out more than it holds: who writes 0.999 means 99.9.
_LEAST_CLIP = 50.0
_GRAMMAR = (
    "give a whole number of bits from 2 to 32, alone or in a text such as"
    ' "4 asymmetric per-token" or "8 per-channel clip=99.9": after the bits symmetric or asymmetric,'
    " per-layer, per-token or per-channel, clip= a percentile from 50 to 100, calibrated= a number of"
    " prompts (not with per-token); or e4m3 or e5m2, floats of 8 bits, in place of the bits (symmetric)"
)


@dataclass(frozen=True, repr=False)
class Grid:
    """A uniform grid of ``2^b - 1`` codes about zero, or of ``2^b`` codes between two ends; or floats.

    Attributes:
        bits: ``b``, from 2 to 32; 8 of floats.
        symmetric: codes ``-(2^(b-1) - 1)`` to ``2^(b-1) - 1``, zero in the middle; else ``0`` to
            ``2^b - 1`` from the least value to the largest, zero exactly one of them.
        clip: percent of the values inside the grid, from 50 to 100; the others become its ends. Of a
            symmetric grid the percentile of ``|x|``; else half of the rest is left out at each end.
            None: all.
        per: what shares a scale: the layer, a token (a row), or a channel (a column).
        calibrated: how many prompts the scale comes from, those of smallest hash. None: captured states
            give their own scale, and a running model is calibrated on a sample of a fixed size.
        floats: ``e4m3`` or ``e5m2``: codes are floats of 8 bits, the largest value their largest;
            empty: codes are equally far apart.

    Raises:
        OptionError: a value is not accepted.

    Example:
        >>> from pytest_injectivity import Grid
        >>> grid = Grid.parse("4 asymmetric per-token")
        >>> grid.ends
        (0, 15)
        >>> grid.words
        '4 bits asymmetric per-token'
        >>> Grid(8, clip=99.9)
        Grid.parse('8 clip=99.9')
    """

    bits: int
    symmetric: bool = True
    clip: float | None = None
    per: Shared = "layer"
    calibrated: int | None = None
    floats: Floats | Literal[""] = ""

    def __post_init__(self) -> None:
        if (bits := _whole(self.bits)) not in BITS:
            raise OptionError(f"bits={self.bits!r}: {_GRAMMAR}")
        if self.floats and (self.floats not in FLOATS or bits != _FLOAT_BITS or not self.symmetric):
            symmetric = "" if self.symmetric else " asymmetric"
            raise OptionError(f"floats={self.floats!r} bits={bits}{symmetric}: {_GRAMMAR}")
        object.__setattr__(self, "bits", bits)
        if self.clip is not None:
            if isinstance(self.clip, bool) or not _LEAST_CLIP <= self.clip <= _PERCENT:
                raise OptionError(f"clip={self.clip!r}: {_GRAMMAR}")
            # All of the values is no clipping; 99 is 99.0.
            clip = None if self.clip == _PERCENT else float(self.clip)
            object.__setattr__(self, "clip", clip)
        if self.per not in get_args(Shared):
            raise OptionError(f"per={self.per!r}: {_GRAMMAR}")
        if self.calibrated is not None and (_whole(self.calibrated) < 1 or self.per == "token"):
            raise OptionError(f"calibrated={self.calibrated!r} per-{self.per}: {_GRAMMAR}")

    @classmethod
    def parse(cls, bits: "GridLike") -> "Grid":
        """Read a number of bits, a text of the grammar above, or what is a grid already.

        Raises:
            OptionError: it is none of these.
        """
        if isinstance(bits, Grid):
            return bits
        if not isinstance(bits, str):
            return cls(bits)
        number, *words = bits.lower().split() or [""]
        given: dict[str, object] = {}
        if number in FLOATS:
            given["floats"], number = number, str(_FLOAT_BITS)
        elif not re.fullmatch(r"\d{1,2}", number, re.ASCII):
            raise OptionError(f"bits={bits!r}: {_GRAMMAR}")
        elif words[:1] == ["bits"]:
            words = words[1:]
        for word in words:
            name, value = _read(word)
            if not name or name in given:
                raise OptionError(f"bits={bits!r}: {_GRAMMAR}")
            given[name] = value
        return cls(int(number), **given)  # type: ignore[arg-type] # as `_read` made them

    def __repr__(self) -> str:
        return f"Grid.parse({str(self)!r})"

    def __str__(self) -> str:
        """The text that `parse` reads back as this grid, defaults left out."""
        return f"{self.floats or self.bits}{self._words}"

    @property
    def words(self) -> str:
        """The grid in the words of reports: ``4 bits``, ``4 bits asymmetric per-token``, ``e4m3``."""
        return f"{self.floats or number_of(self.bits, 'bit')}{self._words}"

    @property
    def key(self) -> int | str:
        """The grid as plain data: the number of bits where all else is the default, or the text."""
        return self.bits if self.plain else str(self)

    @property
    def plain(self) -> bool:
        """Whether all but the number of bits is the default."""
        return not self._words and not self.floats

    @property
    def coarseness(self) -> tuple[int, int, str]:
        """What grids are sorted by, the finest first: many bits to few; of 8 uniform, e4m3, e5m2.

        >>> sorted(map(Grid.parse, ["e5m2", 4, "e4m3", 8]), key=lambda grid: grid.coarseness)
        [Grid.parse('8'), Grid.parse('e4m3'), Grid.parse('e5m2'), Grid.parse('4')]
        """
        told = FLOATS[self.floats].mantissa if self.floats else self.bits
        return -self.bits, -told, str(self)

    @property
    def ends(self) -> tuple[int, int]:
        """The least and the largest code."""
        most = FLOATS[self.floats].most if self.floats else 2 ** (self.bits - 1) - 1
        return (-most, most) if self.symmetric else (0, 2**self.bits - 1)

    def left_out(self, values: int) -> int:
        """How many values lie beyond one end of the grid at most.

        Args:
            values: how many there are in all.
        """
        share = 1 - Fraction(repr(self.clip or _PERCENT)) / 100
        return int(values * (share if self.symmetric else share / 2))

    def source(self, prompts: int) -> str:
        """Where the scale of captured states comes from, in words.

        Args:
            prompts: how many prompts' states there are.
        """
        if self.per == "token":
            return "each token's own"
        if self.calibrated is None:
            return "the set itself"
        return f"the {min(self.calibrated, prompts)} prompts of smallest hash"

    @property
    def _words(self) -> str:
        clip = "" if self.clip is None else f" clip={repr(self.clip).removesuffix('.0')}"
        return (
            f"{'' if self.symmetric else ' asymmetric'}"
            f"{'' if self.per == 'layer' else f' per-{self.per}'}{clip}"
            f"{'' if self.calibrated is None else f' calibrated={self.calibrated}'}"
        )


GridLike: TypeAlias = int | str | Grid
"""What `Grid.parse` reads: a number of bits, a text, or a grid."""


@dataclass(frozen=True)
class Rounded:
    """How activations are rounded as a model runs; plain data for reports and stores.

    Attributes:
        grid: as text.
        prompts: how many prompts' activations the scales come from; 0: each token has its own.
        prompt_hash: the hash of these prompts.
    """

    grid: str
    prompts: int = 0
    prompt_hash: str = ""

    @property
    def line(self) -> str:
        """One line for a report."""
        scales = (
            f"scales of {number_of(self.prompts, 'prompt')} [{self.prompt_hash[:12]}] in full precision"
            if self.prompts
            else "each token's scale its own"
        )
        return f"every block's output rounded to {Grid.parse(self.grid).words} as it runs, {scales}"

    @property
    def short(self) -> str:
        """The rounding in a few words, for a line that is about something else."""
        return f"activations rounded to {Grid.parse(self.grid).words}"


def _whole(number: object) -> int:
    """A whole number of any library as an int; -1, which no option accepts, for anything else."""
    try:
        return -1 if isinstance(number, bool) else index(number)  # type: ignore[arg-type] # tried
    except TypeError:
        return -1


def _read(word: str) -> tuple[str, object]:
    """The field and the value of a word; no field where it is not of the grammar."""
    if word in {"symmetric", "asymmetric"}:
        return "symmetric", word == "symmetric"
    if (per := word.removeprefix("per-")) != word and per in get_args(Shared):
        return "per", per
    if found := re.fullmatch(r"clip=(\d{1,3}(?:\.\d{1,17})?)", word, re.ASCII):
        return "clip", float(found[1])
    if found := re.fullmatch(r"calibrated=(\d{1,9})", word, re.ASCII):
        return "calibrated", int(found[1])
    return "", None
