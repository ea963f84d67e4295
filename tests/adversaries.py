"""Rows and prompts that break careless geometry: each kind has a name and is drawn from a seed."""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from pytest_injectivity.store.codec import from_bytes, to_bytes

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

Draw = Callable[[int, int, torch.Generator], Tensor]


def _gaussian(n: int, d: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def _integers(n: int, d: int, generator: torch.Generator) -> Tensor:
    return torch.randint(-2, 3, (n, d), generator=generator).double()


def _classes(n: int, d: int, generator: torch.Generator) -> Tensor:
    chosen = torch.randint(0, 3, (n,), generator=generator)
    return _gaussian(3, d, generator)[chosen]


def _signed_zeros(n: int, d: int, generator: torch.Generator) -> Tensor:
    values = torch.tensor([0.0, -0.0, 1.0], dtype=torch.float64)
    return values[torch.randint(0, 3, (n, d), generator=generator)]


def _magnitudes(n: int, d: int, generator: torch.Generator) -> Tensor:
    exponents = torch.empty(n, 1, dtype=torch.float64).uniform_(-28, 28, generator=generator)
    return _gaussian(n, d, generator) * 10**exponents


def _opposed(n: int, d: int, generator: torch.Generator) -> Tensor:
    """Two opposite rows, huge beside the others, whose squares underflow in float32."""
    rows = _gaussian(n, d, generator) * 10.0 ** torch.linspace(-24, -17, n)[:, None].double()
    rows[0], rows[-1] = 1.0, -1.0
    return rows


def _sink(n: int, d: int, generator: torch.Generator) -> Tensor:
    rows = _gaussian(n, d, generator)
    rows[torch.randint(0, n, (1,), generator=generator)] *= 1e4
    return rows


def _twins(n: int, d: int, generator: torch.Generator) -> Tensor:
    """Rows of norm about 1000 that come in groups 1e-4 to 1e-2 apart."""
    centers = 1000.0 * _classes(n, d, generator) / d**0.5
    apart = 10 ** torch.empty(n, 1, dtype=torch.float64).uniform_(-4, -2, generator=generator)
    return centers + apart * _gaussian(n, d, generator)


def _simplex(n: int, d: int, generator: torch.Generator) -> Tensor:  # noqa: ARG001 - same shape
    return torch.eye(n, max(n, d), dtype=torch.float64)[:, :d]


KINDS: dict[str, Draw] = {
    "gaussian": _gaussian,
    "offset 1e3": lambda *shape: 1e3 + _gaussian(*shape),
    "offset 1e6": lambda *shape: 1e6 + _gaussian(*shape),
    "norm 1e3": lambda *shape: 1e3 * _gaussian(*shape),
    "norm 1e30": lambda *shape: 1e30 * _gaussian(*shape),
    "norm 1e-30": lambda *shape: 1e-30 * _gaussian(*shape),
    "integer grid": _integers,
    "equal classes": _classes,
    "signed zeros": _signed_zeros,
    "all magnitudes": _magnitudes,
    "opposed": _opposed,
    "sink": _sink,
    "twins": _twins,
    "simplex": _simplex,
}
FEW_KINDS = ("equal classes", "integer grid", "offset 1e3", "sink", "twins")
"""Those that the default run looks at where each is repeated for sizes that change nothing."""


def draw_rows(
    kind: str, n: int, d: int, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Float[Tensor, "n d"]:
    """Finite rows of a kind; what a dtype cannot hold becomes the largest it can."""
    rows = KINDS[kind](n, d, torch.Generator().manual_seed(seed))
    largest = torch.finfo(dtype).max
    return rows.clamp(-largest, largest).to(dtype)


def draw_prompts(n: int, seed: int = 0, *, longest: int = 6, vocab: int = 3) -> list[list[int]]:
    """Distinct prompts of 1 to ``longest`` tokens; few tokens make small edit distances common."""
    generator = torch.Generator().manual_seed(seed)
    found: set[tuple[int, ...]] = set()
    while len(found) < n:
        length = int(torch.randint(1, longest + 1, (1,), generator=generator))
        found.add(tuple(torch.randint(0, vocab, (length,), generator=generator).tolist()))
    order = torch.randperm(n, generator=generator).tolist()
    ordered = sorted(found)
    return [list(ordered[at]) for at in order]


SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def any_rows(draw: st.DrawFn, *, most: int = 30, widest: int = 20) -> Tensor:
    """Rows of any kind, shape and dtype; N = 2 and d = 1 among them."""
    return draw_rows(
        draw(st.sampled_from(sorted(KINDS))),
        draw(st.integers(2, most)),
        draw(st.integers(1, widest)),
        draw(st.sampled_from(DTYPES)),
        draw(SEEDS),
    )


@st.composite
def exact_rows(draw: st.DrawFn) -> Tensor:
    """Rows of small integers: distances are exact in any order of summation, and ties are heavy."""
    n, d = draw(st.integers(2, 30)), draw(st.integers(1, 6))
    largest = draw(st.integers(0, 3))
    values = st.integers(-largest, largest)
    rows = draw(st.lists(st.lists(values, min_size=d, max_size=d), min_size=n, max_size=n))
    offset = draw(st.sampled_from([0, 1000]))
    return torch.tensor(rows, dtype=draw(st.sampled_from(DTYPES[:2]))) + offset


class Kept:
    """Remembers numbers as a store does, by their bytes.

    Attributes:
        made: the numbers computed, in order.
    """

    def __init__(self) -> None:
        self.made: dict[object, bytes] = {}

    def __call__(self, key: object, compute: Callable[[], Any]) -> Any:
        """The number, from its bytes."""
        if key not in self.made:
            self.made[key] = to_bytes(compute())
        return from_bytes(self.made[key])

    def until(self, most: int) -> Callable[[object, Callable[[], Any]], Any]:
        """The same, and is ended when one more is to be made."""

        def remember(key: object, compute: Callable[[], Any]) -> Any:
            if key not in self.made and len(self.made) == most:
                raise KeyboardInterrupt
            return self(key, compute)

        return remember
