"""What goes along with margins ([N] appendix E.5), for ``./dev bench papers correlations MODELS``.

Of every block of every model: anisotropy and intrinsic dimension of the last tokens' states, and their
smallest distance, raw and over the mean norm. Below: Spearman's rank correlations of these and of depth,
over all blocks and over the last of each model, with 95 % intervals by drawing models; and over the
blocks of each model that has ten or more, by drawing blocks.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from real_tables import markdown, told

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.geometry.dimension import anisotropy, intrinsic_dimension
from pytest_injectivity.stats import RankCorrelation, rank_correlation

COLUMNS = (
    "model, layer",
    "anisotropy",
    "intrinsic dimension",
    "smallest distance",
    "over the mean norm",
)
QUANTITIES = ("anisotropy", "dimension", "depth")
MARGINS = ("smallest", "relative")
_BLOCKS = 10


def add_correlations(parts: Any) -> None:
    """Add the subcommand."""
    one = parts.add_parser("correlations", description=__doc__.partition("\n")[0])
    one.add_argument("models", nargs="+", help="folders, .gguf files or builtins")
    one.add_argument("--prompts", type=int, default=500)
    one.add_argument("--length", type=int, default=20, help="tokens of each")
    one.set_defaults(run=correlations)


@dataclass(frozen=True)
class _Block:
    """The states behind one block."""

    model: str
    layer: int
    depth: float
    anisotropy: float
    dimension: float
    smallest: float
    relative: float

    def cells(self) -> tuple[str, ...]:
        """Its row of the table."""
        return (
            f"{self.model}, {self.layer}",
            f"{self.anisotropy:.3f}",
            f"{self.dimension:.1f}",
            f"{self.smallest:.4g}",
            f"{self.relative:.4f}",
        )


def correlations(given: argparse.Namespace) -> None:
    """Measure, and print both tables in Markdown."""
    blocks = [
        block for model in given.models for block in _blocks(model, given.prompts, given.length)
    ]
    title = f"{given.prompts} prompts of {given.length} tokens, float32"
    print(markdown(title, COLUMNS, [block.cells() for block in blocks]), end="\n\n")
    names = [block.model for block in blocks]
    groups = {
        "all": blocks,
        "the last of each": [block for block in blocks if block.depth == 1.0],
        **{
            name: [block for block in blocks if block.model == name]
            for name in dict.fromkeys(names)
            if names.count(name) >= _BLOCKS
        },
    }
    rows = [(group, *_correlated(members)) for group, members in groups.items()]
    pairs = [f"{one} with {other}" for one in QUANTITIES for other in MARGINS]
    print(markdown("Rank correlations over blocks", ("models", "blocks", *pairs), rows))


def _blocks(model: str, count: int, length: int) -> Iterator[_Block]:
    audit = Audit(
        AuditConfig(
            model=model,
            length=length,
            max_prompts=count,
            dtype="float32",
            device="cpu",
            no_cache=True,
        )
    )
    for layer in range(1, audit.n_layers + 1):
        states, geometry = audit.states(layer), audit.geometry(layer)
        yield _Block(
            model=Path(model).name,
            layer=layer,
            depth=layer / audit.n_layers,
            anisotropy=anisotropy(states),
            dimension=intrinsic_dimension(states),
            smallest=geometry.closest.distance,
            relative=geometry.margin(0.0, normalized=True),
        )
    told(f"{model}: {audit.n_layers} blocks")


def _correlated(blocks: Sequence[_Block]) -> Iterator[str]:
    names = sorted({block.model for block in blocks})
    models = np.array([names.index(block.model) for block in blocks])
    yield str(len(blocks))
    for one in QUANTITIES:
        for other in MARGINS:
            left, right = (
                np.array([getattr(block, name) for block in blocks]) for name in (one, other)
            )
            yield shown(rank_correlation(left, right, models if len(names) > 1 else None))


def shown(found: RankCorrelation) -> str:
    """A correlation and its interval; a dash where the points say nothing of others."""
    if (found.interval.low, found.interval.high) == (-1.0, 1.0):
        return "–"
    return f"{found.value:+.2f} ({found.interval.low:+.2f} to {found.interval.high:+.2f})"
