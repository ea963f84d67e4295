"""The text that names a grid: what it means, what it is called, and what is refused."""

import math
import re
from dataclasses import asdict
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.errors import OptionError
from pytest_injectivity.quantization.grid import FLOATS, Grid, Rounded

GRIDS = st.builds(
    Grid,
    bits=st.integers(2, 32),
    symmetric=st.booleans(),
    clip=st.none() | st.floats(50, 100),
    per=st.sampled_from(["layer", "token", "channel"]),
)
CALIBRATED = st.builds(
    Grid,
    bits=st.integers(2, 32),
    per=st.sampled_from(["layer", "channel"]),
    calibrated=st.integers(1, 10**9 - 1),
)
FLOATING = st.builds(
    Grid,
    bits=st.just(8),
    clip=st.none() | st.floats(50, 100),
    per=st.sampled_from(["layer", "token", "channel"]),
    floats=st.sampled_from(list(FLOATS)),
)


@given(GRIDS | CALIBRATED | FLOATING)
def test_a_grid_is_read_back_from_its_text(grid: Grid) -> None:
    """And stands for itself; what Python shows of it is how to make it."""
    assert grid == Grid.parse(str(grid)) == Grid.parse(grid)
    assert f"Grid.parse({str(grid)!r})" == repr(grid)


@given(GRIDS | CALIBRATED, st.randoms())
def test_the_order_of_the_words_is_free(grid: Grid, random: Any) -> None:
    """Upper case and the word bits change nothing either."""
    bits, *words = str(grid).split()
    random.shuffle(words)
    assert grid == Grid.parse(" ".join([bits, *words]))
    assert grid == Grid.parse("  ".join([bits, "BITS", *words]).upper())


@pytest.mark.parametrize(
    ("given_as", "grid", "text"),
    [
        (4, Grid(4), "4"),
        (np.int64(8), Grid(8), "8"),
        ("8", Grid(8), "8"),
        (" 8 bits ", Grid(8), "8"),
        ("8 symmetric per-layer", Grid(8), "8"),
        ("8 clip=100", Grid(8), "8"),
        ("4 asymmetric", Grid(4, symmetric=False), "4 asymmetric"),
        ("4 per-token", Grid(4, per="token"), "4 per-token"),
        ("4 per-channel clip=99.9", Grid(4, clip=99.9, per="channel"), "4 per-channel clip=99.9"),
        ("4 clip=99", Grid(4, clip=99), "4 clip=99"),
        ("4 calibrated=16", Grid(4, calibrated=16), "4 calibrated=16"),
        (
            "3 clip=99.9 per-token asymmetric",
            Grid(3, symmetric=False, clip=99.9, per="token"),
            "3 asymmetric per-token clip=99.9",
        ),
    ],
)
def test_texts_and_what_they_mean(given_as: int | str, grid: Grid, text: str) -> None:
    """Each grid has one canonical text, with its defaults left out."""
    assert grid == Grid.parse(given_as)
    assert text == str(grid)
    assert text.replace(str(grid.bits), f"{grid.bits} bits", 1) == grid.words


def test_floats_are_named_instead_of_their_bits() -> None:
    """They have 8 bits, and are no plain grid of 8."""
    grid = Grid.parse("E4M3 per-token")
    assert Grid(8, per="token", floats="e4m3") == grid
    assert ("e4m3 per-token", "e4m3 per-token", 8) == (str(grid), grid.words, grid.bits)
    assert ("e5m2", False) == (Grid.parse("e5m2").key, Grid.parse("e5m2").plain)


@pytest.mark.parametrize(
    "text",
    [
        *("", "four", "4.0", "-4", "1", "33", "444", "4 5", "\u0664"),
        *("4 asymetric", "asymmetric", "4 per-row", "4 per-", "4,asymmetric", "4-bit"),
        *("4 clip", "4 clip=", "4 clip=0.999", "4 clip=101", "4 clip=-99", "4 clip=nan"),
        *("4 clip=9_9", "4 clip=1e2", "4 calibrated=0", "4 calibrated=x"),
        *("4 symmetric asymmetric", "4 per-token per-layer", "4 clip=99 clip=99", "4 bits bits"),
        *("4 per-token calibrated=8", "e4m3 bits", "e4m3 asymmetric", "e3m4", "8 e4m3", "fp8"),
        *(True, 4.0, None, [4], b"4", 0, -8, math.nan),
    ],
)
def test_what_is_no_grid_is_refused(text: Any) -> None:
    """The message has the value and the whole grammar."""
    with pytest.raises(OptionError, match=r"give a whole number of bits from 2 to 32, alone or in"):
        Grid.parse(text)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"bits": 4, "clip": 0.999}, "clip=0.999"),
        ({"bits": 4, "clip": True}, "clip=True"),
        ({"bits": 4, "clip": math.nan}, "clip=nan"),
        ({"bits": 4, "per": "row"}, "per='row'"),
        ({"bits": 4, "calibrated": True}, "calibrated=True per-layer"),
        ({"bits": 4, "calibrated": 3, "per": "token"}, "calibrated=3 per-token"),
        ({"bits": 4, "floats": "e4m3"}, "floats='e4m3' bits=4"),
        ({"bits": 8, "floats": "e3m4"}, "floats='e3m4' bits=8"),
        ({"bits": 8, "floats": "e5m2", "symmetric": False}, "floats='e5m2' bits=8 asymmetric"),
    ],
)
def test_values_that_are_not_accepted_are_named(values: dict[str, Any], named: str) -> None:
    """A value is refused as an argument just as it is in a text."""
    with pytest.raises(OptionError, match=f"^{re.escape(named)}: give"):
        Grid(**values)


@given(GRIDS)
def test_codes_are_as_many_as_the_bits_allow(grid: Grid) -> None:
    """One less about zero, so that both signs have the same."""
    low, high = grid.ends
    assert 2**grid.bits - grid.symmetric == high - low + 1
    assert low == (-high if grid.symmetric else 0)


@given(clip=st.decimals(50, 100, places=3), values=st.integers(1, 10**6), symmetric=st.booleans())
def test_no_more_values_are_left_out_than_the_percentile_allows(
    clip: Decimal,
    values: int,
    symmetric: bool,  # noqa: FBT001 - given by name
) -> None:
    """Counted exactly: so many percent stay inside, and one more at each end would be too many."""
    grid = Grid(8, symmetric=symmetric, clip=float(clip))
    ends = 1 if symmetric else 2
    left_out = ends * grid.left_out(values)
    assert 100 * (values - left_out) >= clip * values
    assert 100 * (values - left_out - ends) < clip * values


def test_a_thousandth_of_a_thousand_is_one() -> None:
    """The share that is left out is exact, whatever binary fractions make of 99.9."""
    assert 1 == Grid(8, clip=99.9).left_out(1000)
    assert 0 == Grid(8, clip=99.9).left_out(999)
    assert 0 == Grid(8).left_out(10**9)


def test_where_a_scale_comes_from_is_said() -> None:
    """The text names no more prompts than there are."""
    assert "the set itself" == Grid(4).source(100) == Grid(4, per="channel").source(100)
    assert "each token's own" == Grid(4, per="token").source(100)
    assert "the 16 prompts of smallest hash" == Grid(4, calibrated=16).source(100)
    assert "the 9 prompts of smallest hash" == Grid(4, calibrated=16).source(9)


def test_a_number_of_bits_is_plain_data_as_a_number() -> None:
    """Reports keep what they had; other grids are texts."""
    assert (4, True) == (Grid(4).key, Grid(4).plain)
    grid = Grid(4, symmetric=False)
    assert ("4 asymmetric", False) == (grid.key, grid.plain)
    assert not Grid(4, calibrated=3).plain


def test_what_is_said_of_a_model_that_rounds() -> None:
    """The lines of reports are made from plain data."""
    static = Rounded(**asdict(Rounded("8 per-channel", 64, "ab" * 32)))
    assert (
        "every block's output rounded to 8 bits per-channel as it runs, scales of 64 prompts"
        " [abababababab] in full precision"
    ) == static.line
    assert "activations rounded to 8 bits per-channel" == static.short
    assert Rounded("4 per-token").line.endswith("as it runs, each token's scale its own")
