"""Weights in fewer bits ([N] table 2), for ``./dev bench papers weights MODELS``.

Each model is quantized by the libraries that are installed, and by writers of the published formats, and
saved. Of each child: the smallest distance of two prompts at the last layer, raw and over its mean norm,
beside the model's own. A ``.gguf`` file is its own full precision: its decoded weights.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantized import children, said, without_tokenizer, written
from real_tables import markdown, told

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.models.loading import load_decoder

KINDS = (
    "bnb-fp4",
    "bnb-nf4",
    "torchao-int4",
    "ct-W4A16",
    "gguf-Q4_0",
    "bnb-int8",
    "torchao-int8",
    "ct-W8A16",
    "gguf-Q8_0",
)
FULL = "as it is"
COLUMNS = (
    "model, weights",
    "quantized",
    "collisions",
    "smallest distance",
    "of the model's own",
    "over the mean norm",
    "of the model's own",
    "1 % quantile over the mean norm",
)


def add_weights(parts: Any) -> None:
    """Add the subcommand."""
    one = parts.add_parser("weights", description=__doc__.partition("\n")[0])
    one.add_argument("models", nargs="+", type=Path, help="folders or .gguf files")
    one.add_argument("--prompts", type=int, default=1000)
    one.add_argument("--kinds", default=",".join(KINDS))
    one.set_defaults(run=weights)


def weights(given: argparse.Namespace) -> None:
    """Measure, and print the table in Markdown, and what could not be made."""
    rows, refused = [], []
    for model in given.models:
        with tempfile.TemporaryDirectory() as folder:
            for kind, row in _measured(model, given.kinds.split(","), given.prompts, Path(folder)):
                told(f"{model.name} {kind}: {row}")
                if isinstance(row, str):
                    refused.append(f"{model.name}, {kind}: {row}")
                else:
                    rows.append((f"{model.name}, {kind}", *row))
    print(markdown(f"{given.prompts} prompts, last layer, float32", COLUMNS, rows))
    print(*refused, sep="\n")


def parent(model: Path, folder: Path) -> Path:
    """The folder in full precision that is quantized."""
    if model.is_dir():
        return without_tokenizer(model, folder)
    load_decoder(str(model), dtype="float32", device="cpu").model.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class _Found:
    """What the last layer of one set of weights has."""

    quantized: str
    collisions: int
    smallest: float
    norm: float
    quantile: float

    @classmethod
    def of(cls, path: Path, prompts: str) -> "_Found":
        """Audits a folder or file on token ids."""
        audit = Audit(
            AuditConfig(
                model=str(path), prompts=prompts, dtype="float32", device="cpu", no_cache=True
            )
        )
        geometry = audit.geometry(audit.n_layers)
        info = audit.run_summary().quantized
        return cls(
            quantized="no" if info is None else f"{info.bits:.0f} bits in {info.share:.0%}",
            collisions=geometry.equal.pairs,
            smallest=geometry.closest.distance,
            norm=geometry.mean_norm,
            quantile=geometry.margin(0.01, normalized=True),
        )

    def cells(self, own: "_Found") -> tuple[str, ...]:
        """Its row of the table, beside the model's own weights."""
        relative, theirs = self.smallest / self.norm, own.smallest / own.norm
        return (
            self.quantized,
            str(self.collisions),
            f"{self.smallest:.4g}",
            f"{self.smallest / own.smallest:.2f}",
            f"{relative:.4f}",
            f"{relative / theirs:.2f}",
            f"{self.quantile:.4f}",
        )


def _measured(
    model: Path, kinds: Sequence[str], count: int, folder: Path
) -> Iterator[tuple[str, tuple[str, ...] | str]]:
    bare = parent(model, folder / "parent")
    prompts = str(written(model, count, folder))
    own = _Found.of(bare, prompts)
    yield FULL, own.cells(own)
    for kind, path, reason in children(bare, kinds, folder):
        if path is None:
            yield kind, reason
            continue
        try:
            found = _Found.of(path, prompts)
            plain = found.quantized == own.quantized
            yield kind, "nothing in it is quantized" if plain else found.cells(own)
        except Exception as error:  # noqa: BLE001 - whatever a library says is what is reported
            yield kind, said(error, folder)
