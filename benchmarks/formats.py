"""Quantized checkpoints of every format: the table of docs/quantized-checkpoints.md.

    ./dev bench formats [--prompts 100] [--only NAMES] [--kept FOLDER]

A small trained model is quantized in every format, by the format's own tool where its environment is
there (`./dev tools NAME`), and by the tests' writers. Each folder is loaded as it would be published.
The table says what was proved of it; how many of its matrices have the bits of the tool's own
dequantized weights, and by how much the others differ; the drift of its states against the model (99 %
of the prompts, worst layer; first block). Then the second matrix of the first block is damaged in three
ways. The gate is a bound on the drift of each layer, a quarter above the sound checkpoint's: "red"
names the first bad layer, "refused" is an error that names the matrix.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from quantized import written
from safetensors.torch import load_file
from side_by_side import table
from torch import Tensor

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import InjectivityError
from pytest_injectivity.models.loading import load_decoder

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests' writers of published formats
from tests.damaged_codes import DAMAGES, rewritten
from tests.encoders import ENCODERS
from tests.tools.schemes import SCHEMES
from tests.tools.support import TRAINED, environment, make, version, widened

LAYER = "model.layers.0.mlp.down_proj."
ROOM = 1.25
_ANY = 1e9  # a bound that no drift exceeds
COLUMNS = (
    "format",
    "made by",
    "proved",
    "held",
    "weights as the tool's",
    "drift",
    "first block",
    *DAMAGES,
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint to be measured.

    Attributes:
        name: of its format.
        maker: the tool and its version.
        folder: as it would be published.
        dense: the weights that the tool itself makes of it, by parameter.
    """

    name: str
    maker: str
    folder: Path
    dense: Mapping[str, Tensor]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--only", default="", help="a part of the names, such as NVFP4")
    parser.add_argument(
        "--kept", type=Path, help="what the tools make is kept there, and found again"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parent = widened(TRAINED, Path(folder) / "parent")
        prompts = written(parent, given.prompts, Path(folder))
        gate = Gate(parent, prompts, Path(folder))
        rows = []
        for one in checkpoints(parent, given.kept or Path(folder), Path(folder), given.only):
            rows.append(gate.row(one))
            print(f"| {' | '.join(rows[-1])} |", flush=True)
    table(f"{TRAINED.name}, {given.prompts} prompts", COLUMNS, rows)


def checkpoints(parent: Path, kept: Path, folder: Path, only: str) -> Iterator[Checkpoint]:
    """Each checkpoint, those of the tools that are there first."""
    kept.mkdir(exist_ok=True, parents=True)
    for scheme in SCHEMES:
        if only in scheme.id and environment(scheme.tool) is not None:
            at = kept / scheme.id.replace(":", "-").replace("=", "-")
            dense = Path(f"{at}.dense.safetensors")
            if not dense.exists():
                make(scheme.tool, scheme.name, parent, at)
            yield Checkpoint(scheme.name, version(scheme.tool), at, load_file(dense))
    for name, encoder in ENCODERS.items():
        if only in name:
            path, dense = encoder.write(parent, folder / f"by-hand-{name}")
            yield Checkpoint(name, "by hand", path, dense)


class Gate:
    """Judges checkpoints against their parent.

    Args:
        parent: the folder of the model that all of them were made of.
        prompts: the file of the prompts.
        folder: where damaged copies and the store are written.
    """

    def __init__(self, parent: Path, prompts: Path, folder: Path) -> None:
        self._shared = {
            "reference": str(parent),
            "prompts": str(prompts),
            "cache_dir": str(folder / "store"),
            "device": "cpu",
        }
        self._folder = folder

    def row(self, one: Checkpoint) -> tuple[str, ...]:
        """The row of a checkpoint."""
        audit = self._audit(one.folder)
        layers = [layer for layer in audit.layers if layer != 0]
        drifts = {
            layer: audit.check_state_drift_below(layer, relative=_ANY).reasons[0].value
            for layer in layers
        }
        bounds = {layer: ROOM * drift for layer, drift in drifts.items()}
        found = load_decoder(str(one.folder), device="cpu").quantized
        return (
            one.name,
            one.maker,
            "" if found is None else f"{found.bits:g} bits in {100 * found.share:.0f} %",
            "dense" if found is not None and found.dense else "packed",
            equal_weights(one),
            f"{max(drifts.values()):.3f}",
            f"{drifts[1]:.3f}",
            *(self._judged(one, name, bounds) for name in DAMAGES),
        )

    def _judged(self, one: Checkpoint, damage: str, bounds: Mapping[Layer, float]) -> str:
        """What is said of a damaged copy: the first bad layer, or that it is refused."""
        copy = self._folder / "damaged" / one.folder.name / damage.replace(" ", "-")
        rewritten(one.folder, copy, lambda tensors: DAMAGES[damage](tensors, LAYER))
        try:
            verdict = self._audit(copy).check_state_drift_below(relative=dict(bounds))
        except InjectivityError as error:
            return "refused" if LAYER.rstrip(".") in str(error) else f"refused: {error}"
        return "GREEN" if verdict.passed else f"red {verdict.first_line.split()[2].rstrip(':')}"

    def _audit(self, folder: Path) -> Audit:
        return Audit(AuditConfig(model=str(folder), **self._shared))


def equal_weights(one: Checkpoint) -> str:
    """How many matrices have the tool's bits, and by how much of their norm the others differ."""
    held = dict(
        load_decoder(str(one.folder), device="cpu", dtype="float32").model.named_parameters()
    )
    apart = [
        float((held[name].to(want.dtype).double() - want.double()).norm() / want.double().norm())
        for name, want in one.dense.items()
        if "_proj" in name and name in held
    ]
    others = [far for far in apart if far > 0]
    equal = f"{len(apart) - len(others)} of {len(apart)}"
    return f"{equal}, others within {max(others):.1e}" if others else equal


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
