"""Distance to the discriminant (SPEC section 11), for ``./dev bench theory discriminant MODELS``.

For each model and layer: the closest pair of a prompt set, the smallest change of weights found at which
it collides (of all weights, of the input embedding, of the layer's own block), and how far roundings of
all matrices to 8 and to 4 bits move the same weights: in all, and in the directions that matter. These
last columns are of the first part that ``--over`` names.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from real_tables import markdown, told

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.geometry.search.neighbors import nearest_neighbors
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.theory.changed_weights import rounding_of
from pytest_injectivity.theory.discriminant import CollidingChange, colliding_change

BITS = (8, 4)
PARTS = ("all", "embedding", "block")
COLUMNS = (
    "model",
    "layer",
    "margin",
    "all weights",
    "estimate",
    "embedding",
    "block",
    *(f"{bits} bits" for bits in BITS),
    *(f"{bits} bits, what matters" for bits in BITS),
    *(f"roundings to {bits} bits" for bits in BITS),
    "left",
    "steps",
    "time",
)


def add_discriminant(parts: Any) -> None:
    """Add the subcommand."""
    one = parts.add_parser("discriminant", description=__doc__.partition("\n")[0])
    one.add_argument("models", nargs="+", help="folders or builtins")
    one.add_argument("--prompts", type=int, default=100, help="among which the closest pair is")
    one.add_argument("--length", type=int, default=8, help="tokens of each")
    one.add_argument(
        "--layers", type=int, nargs="*", help="default: 1, the middle and the last one"
    )
    one.add_argument("--over", nargs="*", default=PARTS, choices=PARTS, help="the weights changed")
    one.set_defaults(run=discriminant)


def discriminant(given: argparse.Namespace) -> None:
    """Measure, and print the table in Markdown; changes are shares of the weights that may change."""
    rows = [row for model in given.models for row in _rows(model, given)]
    title = (
        f"Distance to the discriminant, closest of {given.prompts} prompts of {given.length} tokens"
    )
    print(markdown(title, COLUMNS, rows))


def _rows(model: str, given: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    asked = {"length": given.length, "max_prompts": given.prompts, "no_cache": True}
    ids = [tuple(one) for one in Audit(AuditConfig(model=model, **asked)).prompts.ids]
    decoder = load_decoder(model, device="cpu").as_float64()
    middle = (decoder.n_layers + 1) // 2
    for layer in given.layers or sorted({1, middle, decoder.n_layers}):
        rows = torch.cat(
            [decoder.states(torch.tensor([one]), [layer])[layer][:, -1] for one in ids]
        )
        nearest = nearest_neighbors(rows)
        one = int(nearest.distance.argmin())
        pair = ids[one], ids[int(nearest.index[one])]
        first, *others = [layer if over == "block" else over for over in given.over]
        rounded = {f"{bits}": rounding_of(decoder, first, bits) for bits in BITS}
        begun = time.perf_counter()
        found = {given.over[0]: colliding_change(decoder, pair, layer, first, roundings=rounded)}
        took = time.perf_counter() - begun
        for name, over in zip(given.over[1:], others, strict=True):
            found[name] = colliding_change(decoder, pair, layer, over)
        row = (Path(model).name, str(layer), *_cells(found), f"{took:.0f} s")
        told(" ".join(row))
        yield row


def _cells(found: dict[str, CollidingChange]) -> Iterator[str]:
    first = next(iter(found.values()))
    shares = {name: _share(one) for name, one in found.items()}
    yield f"{first.distance:.3g}"
    yield shares.get("all", "")
    yield f"{first.first_order / first.weights:.2e}"
    yield from (shares.get(name, "") for name in PARTS[1:])
    sizes = [first.roundings[f"{bits}"] for bits in BITS]
    yield from (f"{size.norm / first.weights:.2e}" for size in sizes)
    yield from (f"{size.projected / first.weights:.2e}" for size in sizes)
    yield from (f"{size.roundings(first.norm):.3g}" for size in sizes)
    yield f"{first.left:.0e}"
    yield str(first.steps)


def _share(found: CollidingChange) -> str:
    if found.merged:
        return f"{found.relative:.2e} (rows made equal)"
    return f"{found.relative:.2e}" if found.reached else f"not found ({found.left:.0e} left)"
