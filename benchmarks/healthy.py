"""What sound quantizations of each number of bits do to weights and blocks: the default bounds.

    ./dev bench healthy [MODELS...] [--prompts 60] [--shared ../shared]

Each model in full precision is quantized in every way that loading offers (`--injx-quantization`) and
by every writer of a published format in the tests, and held against itself. A row for each number of
bits that was proved: the largest relative error of a tensor, and of a row of a tensor; the largest
distance of a tensor's gain from 1, and of a row's; the largest block error, over all blocks of all
children. Models whose activations are rounded as they run have rows of their own. The last lines name
the children.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from side_by_side import table

from pytest_injectivity import Audit, AuditConfig, load_decoder
from pytest_injectivity.errors import InjectivityError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.quantization.while_loading import WHILE_LOADING
from pytest_injectivity.reference.errors.block_error import block_errors
from pytest_injectivity.reference.errors.proved_bits import bits_at
from pytest_injectivity.reference.errors.weight_error import weight_errors

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests' writers of published formats
from tests.encoders import ENCODERS
from tests.tools.support import widened

TRAINED = ("gpt2-1m", "qwen3-1m", "stories260k-llama")
COLUMNS = (
    "bits",
    "activations",
    "children",
    "tensor",
    "row",
    "gain",
    "gain of a row",
    "block",
    "its 99 %",
)


@dataclass
class Largest:
    """The largest numbers of children of one number of bits."""

    children: list[str] = field(default_factory=list)
    tensor: float = 0.0
    row: float = 0.0
    gain: float = 0.0
    row_gain: float = 0.0
    block: float = 0.0
    q99: float = 0.0

    def add(self, child: Decoder, parent: Decoder, ids: tuple[tuple[int, ...], ...]) -> None:
        """Adds a child."""
        for one in weight_errors(child, parent):
            if one.matrix and one.site.startswith("layer") and one.site != "layer00":
                self.tensor = max(self.tensor, one.error)
                self.row = max(self.row, one.row.error)
                self.gain = max(self.gain, abs(one.gain - 1))
                self.row_gain = max(self.row_gain, abs(one.row.gain - 1))
        for block in block_errors(child, parent, ids):
            if block.site.startswith("layer") and block.site != "layer00":
                self.block = max(self.block, block.value)
                self.q99 = max(self.q99, block.q99)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", help="folders; default: those of --shared")
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    given = parser.parse_args()
    found: dict[tuple[int, bool], Largest] = {}
    models = given.models or [str(given.shared / "models" / name) for name in TRAINED]
    for model in models:
        ids = Audit(AuditConfig(model=model, max_prompts=given.prompts, no_cache=True)).prompts.ids
        with tempfile.TemporaryDirectory() as folder:
            for name, child, parent in children(model, Path(folder)):
                info = child.quantized
                key = (int(bits_at(child, 1)), info is not None and info.rounds_activations)
                largest = found.setdefault(key, Largest())
                largest.children.append(f"{Path(model).name} {name}")
                largest.add(child, parent, ids)
                print(key, largest.children[-1], file=sys.stderr, flush=True)
    rows = [
        (
            str(bits),
            "rounded" if rounded else "",
            str(len(one.children)),
            *(f"{value:.4f}" for value in (one.tensor, one.row, one.gain, one.row_gain)),
            f"{one.block:.4f}",
            f"{one.q99:.3f}",
        )
        for (bits, rounded), one in sorted(found.items())
    ]
    table(f"the largest of {len(models)} models, {given.prompts} prompts", COLUMNS, rows)
    for (bits, _), one in sorted(found.items()):
        print(f"{bits} bits: {', '.join(one.children)}")


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
