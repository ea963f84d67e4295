"""Whether the gate against the parent sees damage, names the block, and blames the module.

    ./dev bench damage [--seeds 20] [--prompts 4] [--models …] [--bases …] [--workers 2]

Children of three small models with heads of their own, in float32, bfloat16, int8 (torchao) and nf4
(bitsandbytes), are damaged in one part: each kind of part by each kind of damage. A seed draws the
block, the row and the prompts. A child is red where `assert_weight_error_below` or
`assert_block_error_below` is, at its default bounds; "named" is the block in the first line of the first
that is red, in the gate's order; "blamed" is the module that the causal exchange names. Damage after
which the mean KL(parent || child) stays within what the sound child has on other prompts is counted
apart.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import torch

from pytest_injectivity import Audit, AuditConfig, load_decoder
from pytest_injectivity.core.layers import HEAD, Layer, layer_id
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.reference.blame.blame import blame
from pytest_injectivity.reference.errors.block_bounds import explained
from pytest_injectivity.reference.errors.block_error import block_errors
from pytest_injectivity.reference.errors.proved_bits import bits_at
from pytest_injectivity.reference.errors.rescaled import taken_back
from pytest_injectivity.reference.errors.weight_error import weight_errors
from pytest_injectivity.reference.errors.weight_finding import finding
from pytest_injectivity.reference.next_token import compare_next_tokens
from pytest_injectivity.reference.parts import Part, parts_of
from pytest_injectivity.testing import save_checkpoint

sys.path.insert(0, str(Path(__file__).parent))  # a test imports this file as well
from damaged_parts import DAMAGES, KINDS, another, parts_of_kind, used_row, weight_of, with_weight
from side_by_side import table

MODELS = ("gpt2-1m", "qwen3-1m", "stories260k-llama")
BASES = {
    "float32": {},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"quantization": "torchao-int8"},
    "nf4": {"quantization": "bnb-nf4"},
}
COLUMNS = ("", "trials", "red", "block named", "module blamed", "without effect", "of them red")
LENGTH = 32

Prompts = Sequence[tuple[int, ...]]


@dataclass
class Cell:
    """The trials of one kind of part and one kind of damage."""

    red: list[bool] = field(default_factory=list)
    named: list[bool] = field(default_factory=list)
    blamed: list[bool] = field(default_factory=list)
    silent: list[bool] = field(default_factory=list)


Cells = dict[tuple[str, str], Cell]
"""By kind of part and kind of damage."""


@dataclass(frozen=True)
class Judged:
    """What the gate says of a child.

    Attributes:
        weights: the layers whose weight error is red, shallow first.
        blocks: likewise of the block error.
        worst: the layer that errs most by what its bits explain.
    """

    weights: tuple[str, ...]
    blocks: tuple[str, ...]
    worst: Layer

    @property
    def named(self) -> str:
        """The layer of the first red line."""
        return next(iter((*self.weights, *self.blocks)), "")


class Pair:
    """A child in memory and its parent."""

    def __init__(self, child: Decoder, parent: Decoder) -> None:
        self.child, self.parent = child, parent
        self.parts = parts_of(parent)
        self.layers: tuple[Layer, ...] = (0, *parent.layers)
        self.bits = {layer_id(layer): bits_at(child, layer) for layer in self.layers}
        self.dtypes = [str(one.dtype).removeprefix("torch.") for one in (child, parent)]

    def judged(self, prompts: Prompts) -> Judged:
        """What the gate says at its default bounds."""
        times: dict[str, list[float]] = {layer_id(layer): [0.0, 0.0] for layer in self.layers}
        errors = weight_errors(self.child, self.parent)
        for one in taken_back(self.child, self.parent, self.parts, errors):
            at = times["norm" if one.site == HEAD else one.site]
            at[0] = max(
                at[0], finding(one, self.bits["norm" if one.site == HEAD else one.site]).times
            )
        for block in block_errors(self.child, self.parent, prompts):
            site = "norm" if block.site == HEAD else block.site
            bound = explained(block, self.bits[site], dtypes=self.dtypes, rounds_activations=False)
            value = math.inf if math.isnan(block.value) else block.value / bound
            times[site][1] = max(times[site][1], value)
        worst = max(times, key=lambda site: max(times[site]))
        return Judged(
            tuple(site for site, (weight, _) in times.items() if weight > 1),
            tuple(site for site, (_, block) in times.items() if block > 1),
            next(layer for layer in self.layers if layer_id(layer) == worst),
        )

    def divergence(self, prompts: Prompts) -> float:
        """The mean ``KL(parent || child)``."""
        return float(compare_next_tokens(self.child, self.parent, prompts).nats.mean())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2, help="children that are tried at once")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--bases", default=",".join(BASES))
    given = parser.parse_args()
    asked = [(name, base) for name in given.models.split(",") for base in given.bases.split(",")]
    with ProcessPoolExecutor(
        given.workers, get_context("spawn"), torch.set_num_threads, (1,)
    ) as pool:
        runs = {
            f"{name} {base}": pool.submit(
                damaged, given.shared, name, base, range(given.seeds), given.prompts
            )
            for name, base in asked
        }
        for child, one in runs.items():
            print(child, *_row(_sum(one.result().values())), sep=" | ", file=sys.stderr, flush=True)
    children = {child: one.result() for child, one in runs.items()}
    titles = (("by damage", 1), ("by part", 0))
    cells = {
        key: _sum(child[key] for child in children.values() if key in child)
        for key in {key: None for child in children.values() for key in child}
    }
    for title, side in titles:
        names = {key[side]: None for key in cells}
        by = {
            name: _sum(cell for key, cell in cells.items() if key[side] == name) for name in names
        }
        table(title, COLUMNS, [(name, *_row(cell)) for name, cell in by.items()])
    by = {child: _sum(found.values()) for child, found in children.items()}
    rows = [(name, *_row(cell)) for name, cell in by.items()]
    table("by child", COLUMNS, [*rows, ("all", *_row(_sum(by.values())))])
    _print_misses(cells)


def damaged(shared: Path, name: str, base: str, seeds: range, count: int) -> Cells:
    """What came of every damage to one child of one model.

    Args:
        shared: the folder of models and prompts.
        name: of the model.
        base: one of `BASES`.
        seeds: those that draw the block, the row and the prompts.
        count: how many prompts a trial takes.
    """
    with tempfile.TemporaryDirectory() as folder:
        parent = untied(shared / "models" / name, Path(folder) / name)
        every = prompts_of(parent, shared)
        pair = Pair(load_decoder(str(parent), device="cpu", **BASES[base]), load(parent))
        cells: Cells = {}
        for kind, damage, cell in trials(pair, every, seeds, count):
            cells[kind, damage] = _sum([cells.get((kind, damage), Cell()), cell])
    return cells


def trials(pair: Pair, every: Prompts, seeds: range, count: int) -> Iterator[tuple[str, str, Cell]]:
    """Each kind of part, damage, and what came of it."""
    sound = max(pair.divergence(every[at : at + count]) for at in range(0, 4 * count, count))
    for seed in seeds:
        draw = torch.Generator().manual_seed(seed)
        for kind in KINDS:
            parts = parts_of_kind(pair.parent, kind)
            for name, damage in DAMAGES.items() if parts else ():
                part = parts[int(torch.randint(len(parts), (1,), generator=draw))]
                first = 4 * count + int(torch.randint(len(every) - 5 * count, (1,), generator=draw))
                prompts = every[first : first + count]
                exact = weight_of(pair.parent, part)
                other = another(pair.parent, part, parts)
                if name == "stale copy" and other is None:
                    continue
                ids = sorted({token for one in prompts for token in one})
                row = used_row(part, kind, exact, ids, draw)
                damaged = damage(exact, exact if other is None else other, row)
                with with_weight(pair.child, part, damaged):
                    yield kind, name, tried(pair, part, prompts, sound)


def tried(pair: Pair, part: Part, prompts: Prompts, sound: float) -> Cell:
    """What the gate says of a damaged child."""
    judged = pair.judged(prompts)
    silent = pair.divergence(prompts) <= sound
    site = "norm" if part.site == HEAD else part.site
    red = bool(judged.named)
    blamed = False
    if red:
        worst = judged.worst
        bits = pair.bits[layer_id(worst)]
        found = blame(pair.child, pair.parent, worst, prompts, bits=bits, downstream=False)
        blamed = found.culprit == part.name
    return Cell([red], [judged.named == site], [blamed], [silent])


def untied(source: Path, folder: Path) -> Path:
    """A copy of a model whose head has a matrix of its own."""
    decoder = load_decoder(str(source), device="cpu")
    model = decoder.model
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = False
    return save_checkpoint(decoder, folder)


def load(folder: Path) -> Decoder:
    """A model as it is stored."""
    return load_decoder(str(folder), device="cpu")


def prompts_of(model: Path, shared: Path) -> Prompts:
    """The first `LENGTH` tokens of the prompts that have as many, in the order of their hashes."""
    config = AuditConfig(
        model=str(model),
        prompts=str(shared / "prompts" / "prompts-1k.jsonl"),
        overlong="drop",
        no_cache=True,
    )
    found = Audit(config).prompts
    ranked = sorted(range(len(found)), key=found.hashes.__getitem__)
    return [found.ids[at][:LENGTH] for at in ranked if len(found.ids[at]) >= LENGTH]


def _sum(cells: Iterable[Cell]) -> Cell:
    total = Cell()
    for cell in cells:
        for name in ("red", "named", "blamed", "silent"):
            getattr(total, name).extend(getattr(cell, name))
    return total


def _row(cell: Cell) -> tuple[str, ...]:
    """The trials that have an effect, and of them those red, named, blamed; those without, apart."""
    loud = [at for at, silent in enumerate(cell.silent) if not silent]
    silent = [at for at, one in enumerate(cell.silent) if one]
    shares = (
        f"{sum(numbers[at] for at in loud)}" for numbers in (cell.red, cell.named, cell.blamed)
    )
    return (str(len(loud)), *shares, str(len(silent)), str(sum(cell.red[at] for at in silent)))


def _print_misses(cells: Cells) -> None:
    for (kind, damage), cell in cells.items():
        green, unnamed, unblamed = (
            sum(not one for one, silent in zip(numbers, cell.silent, strict=True) if not silent)
            for numbers in (cell.red, cell.named, cell.blamed)
        )
        if green or unnamed or unblamed:
            print(f"{kind}, {damage}: {green} green, {unnamed} not named, {unblamed} not blamed")


if __name__ == "__main__":
    main()
