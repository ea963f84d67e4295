"""What sound quantizations of each number of bits do to weights and blocks: the default bounds.

    ./dev bench healthy [MODELS...] [--prompts 40] [--subsets 5] [--shared ../shared]

Each model in full precision is quantized in every way that loading offers (`--injx-quantization`) and
by every writer of a published format in the tests, and held against itself on disjoint subsets of the
prompts. A row for each number of bits that was proved: the largest relative error of a tensor, of a row
of a tensor, and of a row relative to the root mean square of the rows' norms at least; the largest
distance of a tensor's gain from 1, and of a row's; the largest gain of a group of usual size, less 1;
the largest block error, over all blocks, children and subsets. Models whose activations are rounded as
they run have rows of their own. Below it: how many pairs of a child and a subset are red at the default
bounds; and at bounds made likewise of the OTHER children, 1.5 times their largest, on the other subsets
(`red_among_others`).
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from side_by_side import table

from pytest_injectivity import Audit, AuditConfig, load_decoder
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.errors import InjectivityError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.quantization.while_loading import WHILE_LOADING
from pytest_injectivity.reference.errors.block_bounds import explained, of_arithmetic
from pytest_injectivity.reference.errors.block_error import BlockError, block_errors
from pytest_injectivity.reference.errors.bounds import bounds_of
from pytest_injectivity.reference.errors.proved_bits import bits_at
from pytest_injectivity.reference.errors.rescaled import taken_back
from pytest_injectivity.reference.errors.weight_error import weight_errors
from pytest_injectivity.reference.errors.weight_finding import finding
from pytest_injectivity.reference.parts import parts_of

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests' writers of published formats
from tests.encoders import ENCODERS
from tests.tools.support import widened

Prompts = Sequence[tuple[int, ...]]
TRAINED = ("gpt2-1m", "qwen3-1m", "stories260k-llama", "slm4096-gpt2")
SHIPPED = "builtin:gpt2-stdlib"
COLUMNS = (
    "bits",
    "activations",
    "children",
    "tensor",
    "row",
    "row of usual size",
    "gain",
    "gain of a row",
    "gain of a group",
    "block",
    "its 99 %",
)
ROOM = 1.5
FEW = 4  # bits in which a light row may round to nothing
FEWEST = 2  # bits in which the gain of a group is not judged


@dataclass(frozen=True)
class Measured:
    """The largest numbers of one child.

    Attributes:
        name: of the model and the kind.
        bits: proved of its first block.
        rounds: activations are rounded as it runs.
        weights: the largest error of a tensor, of a row, of a row of at least usual size, distance of a
            gain from 1, of a row's gain; the largest gain of a group, less 1.
        blocks: the largest block error on each subset.
        beyond: likewise of what the arithmetic does not explain of it.
        q99: the largest 99 % quantile of a block on any subset.
        red: the subsets on which it is red at the default bounds.
    """

    name: str
    bits: int
    rounds: bool
    weights: tuple[float, float, float, float, float, float]
    blocks: tuple[float, ...]
    beyond: tuple[float, ...]
    q99: float
    red: int

    @property
    def kind(self) -> tuple[int, bool]:
        """What bounds it shares with other children."""
        return self.bits, self.rounds


def measured(name: str, child: Decoder, parent: Decoder, subsets: list[Prompts]) -> Measured:
    """Measures a child on each subset of the prompts."""
    info = child.quantized
    rounds = info is not None and info.rounds_activations
    bits = {site: bits_at(child, site) for site in (0, *parent.layers)}
    every = taken_back(child, parent, parts_of(parent), weight_errors(child, parent))
    found = [finding(one, bits[layer_of(one.site)]).times for one in every]
    inner = [one for one in every if one.matrix and inside(one.site)]
    weights = (
        max(one.error for one in inner),
        max(one.row.error for one in inner),
        max(one.heavy_row.error for one in inner),
        max(abs(one.gain - 1) for one in inner),
        max(abs(one.row.gain - 1) for one in inner),
        max(one.loud_group.gain - 1 for one in inner),
    )
    dtypes = [str(one.dtype).removeprefix("torch.") for one in (child, parent)]
    blocks, beyond, q99, red = [], [], 0.0, 0
    for ids in subsets:
        errors = block_errors(child, parent, ids)
        times = [
            one.value
            / explained(one, bits[layer_of(one.site)], dtypes=dtypes, rounds_activations=rounds)
            for one in errors
        ]
        blocks_alone = [one for one in errors if inside(one.site)]
        blocks.append(max(one.value for one in blocks_alone))
        beyond.append(max(_beyond(one, dtypes) for one in blocks_alone))
        q99 = max(q99, *(one.q99 for one in blocks_alone))
        red += not max(*found, *times) <= 1
    return Measured(name, int(bits[1]), rounds, weights, tuple(blocks), tuple(beyond), q99, red)


def _beyond(one: BlockError, dtypes: Sequence[str]) -> float:
    return math.sqrt(max(0.0, one.value**2 - of_arithmetic(one, dtypes=dtypes) ** 2))


def inside(site: str) -> bool:
    """Whether a site is a block."""
    return site.startswith("layer") and site != layer_id(0)


def layer_of(site: str) -> Layer:
    """The layer that a site is judged with."""
    return int(site.removeprefix("layer")) if site.startswith("layer") else "norm"


def red_among_others(one: Measured, found: list[Measured]) -> int:
    """The subsets on which a child is red at bounds of other children, on other subsets.

    The bounds are those of the children of as many bits, with two exceptions: of a gain its share of
    the tensor's error counts, over all children; and a row in few bits has the default bound, which no
    sample made. Groups in 2 bits have none. As by default, a block's is beside what the arithmetic
    explains.
    """
    others = [other for other in found if other is not one]
    alike = [other for other in others if other.kind == one.kind]
    if not alike:
        return len(one.beyond)
    tensor, row, heavy = (ROOM * max(each.weights[at] for each in alike) for at in range(3))
    if one.bits <= FEW:
        row = bounds_of(one.bits).row
    gain = tensor * max(each.weights[3] / each.weights[0] for each in others)
    group = ROOM * max(each.weights[5] for each in alike) if one.bits > FEWEST else math.inf
    judged = zip((*one.weights[:4], one.weights[5]), (tensor, row, heavy, gain, group), strict=True)
    wrong = any(not value <= bound for value, bound in judged)
    red = 0
    for at, value in enumerate(one.beyond):
        rest = [error for each in alike for n, error in enumerate(each.beyond) if n != at]
        red += wrong or not value <= ROOM * max(rest)
    return red


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", help="default: those of --shared and the shipped one")
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--subsets", type=int, default=5)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    given = parser.parse_args()
    found: list[Measured] = []
    trained = [str(given.shared / "models" / name) for name in TRAINED]
    models = given.models or [*trained, SHIPPED]
    for model in models:
        ids = Audit(AuditConfig(model=model, max_prompts=given.prompts, no_cache=True)).prompts.ids
        subsets = [ids[at :: given.subsets] for at in range(given.subsets)]
        with tempfile.TemporaryDirectory() as folder:
            for name, child, parent in children(model, Path(folder)):
                found.append(measured(f"{Path(model).name} {name}", child, parent, subsets))
                print(found[-1], file=sys.stderr, flush=True)
    kinds = sorted({one.kind for one in found})
    rows = [_row(kind, [one for one in found if one.kind == kind]) for kind in kinds]
    table(f"the largest of {len(models)} models, {given.prompts} prompts", COLUMNS, rows)
    pairs = f"of {len(found) * given.subsets} pairs of a child and a subset are red at"
    left_out = {one.name: red_among_others(one, found) for one in found}
    print(f"{sum(one.red for one in found)} {pairs} the default bounds")
    print(f"{sum(left_out.values())} {pairs} bounds of the other children")
    print(*(f"  {name}: {red}" for name, red in left_out.items() if red), sep="\n")
    print(
        f"no child red: at 95 % less than {1 - 0.05 ** (1 / len(found)):.3f} of such children are"
    )
    for bits, rounds in kinds:
        names = ", ".join(one.name for one in found if one.kind == (bits, rounds))
        print(f"{bits} bits{', activations rounded' if rounds else ''}: {names}")


def _row(kind: tuple[int, bool], some: list[Measured]) -> tuple[str, ...]:
    bits, rounds = kind
    return (
        str(bits),
        "rounded" if rounds else "",
        str(len(some)),
        *(f"{max(one.weights[at] for one in some):.4f}" for at in range(len(COLUMNS) - 5)),
        f"{max(max(one.blocks) for one in some):.4f}",
        f"{max(one.q99 for one in some):.3f}",
    )


def children(model: str, folder: Path) -> Iterator[tuple[str, Decoder, Decoder]]:
    """Each child of a model by name, with its parent."""
    parent = load_decoder(model, device="cpu")
    for dtype in ("bfloat16", "float16"):
        yield dtype, load_decoder(model, device="cpu", dtype=dtype), parent
    for kind in WHILE_LOADING:
        try:
            yield kind, load_decoder(model, device="cpu", quantization=kind), parent
        except InjectivityError as error:
            print(f"{model} {kind}: {error}", file=sys.stderr)
    if parent.family.name not in {"llama", "qwen3"}:
        return
    full = widened(Path(model), folder / "full")
    for name, encoder in ENCODERS.items():
        try:
            path, _ = encoder.write(full, folder / name)
            yield name, load_decoder(str(path), device="cpu"), load_decoder(str(full), device="cpu")
        except (InjectivityError, RuntimeError) as error:  # a width that its groups do not divide
            print(f"{model} {name}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
