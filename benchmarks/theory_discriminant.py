"""Distance to the discriminant (SPEC section 11), for ``./dev bench theory discriminant MODELS``.

For each model and layer: the closest pair of a prompt set, the smallest change of weights found at which
it collides (of all weights, of the input embedding, of the layer's own block), and how far roundings of
all matrices to 8 and to 4 bits move the same weights: in all, and in the directions that matter.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from real_tables import markdown

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.geometry.search.neighbors import nearest_neighbors
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.theory.changed_weights import rounding_of
from pytest_injectivity.theory.discriminant import CollidingChange, colliding_change

BITS = (8, 4)
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
    one.set_defaults(run=discriminant)


def discriminant(given: argparse.Namespace) -> None:
    """Measure, and print the table in Markdown; changes are shares of the weights that may change."""
    rows = [row for model in given.models for row in _rows(model, given.prompts, given.length)]
    title = (
        f"Distance to the discriminant, closest of {given.prompts} prompts of {given.length} tokens"
    )
    print(markdown(title, COLUMNS, rows))


def _rows(model: str, count: int, length: int) -> Iterator[tuple[str, ...]]:
    audit = Audit(AuditConfig(model=model, length=length, max_prompts=count, no_cache=True))
    ids = [tuple(one) for one in audit.prompts.ids]
    decoder = load_decoder(model, device="cpu").as_float64()
    rounded = {f"{bits}": rounding_of(decoder, "all", bits) for bits in BITS}
    middle = (decoder.n_layers + 1) // 2
    for layer in sorted({1, middle, decoder.n_layers}):
        rows = torch.cat(
            [decoder.states(torch.tensor([one]), [layer])[layer][:, -1] for one in ids]
        )
        nearest = nearest_neighbors(rows)
        one = int(nearest.distance.argmin())
        pair = ids[one], ids[int(nearest.index[one])]
        begun = time.perf_counter()
        every = colliding_change(decoder, pair, layer, roundings=rounded)
        took = time.perf_counter() - begun
        parts = [colliding_change(decoder, pair, layer, over) for over in ("embedding", layer)]
        yield Path(model).name, str(layer), *_told(every, parts), f"{took:.0f} s"


def _told(every: CollidingChange, parts: list[CollidingChange]) -> Iterator[str]:
    yield f"{every.distance:.3g}"
    yield _share(every)
    yield f"{every.first_order / every.weights:.2e}"
    yield from map(_share, parts)
    sizes = [every.roundings[f"{bits}"] for bits in BITS]
    yield from (f"{size.norm / every.weights:.2e}" for size in sizes)
    yield from (f"{size.projected / every.weights:.2e}" for size in sizes)
    yield from (f"{size.roundings(every.norm):.3g}" for size in sizes)
    yield f"{every.left:.0e}"
    yield str(every.steps)


def _share(found: CollidingChange) -> str:
    if found.merged:
        return f"{found.relative:.2e} (rows made equal)"
    return f"{found.relative:.2e}" if found.reached else f"not found ({found.left:.0e} left)"
