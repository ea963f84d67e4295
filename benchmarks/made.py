"""Checkpoints that the tools themselves make, against the tools' own weights and against the parent.

    ./dev bench made [TOOLS...]     # of scripts/tools; all whose environments are there by default

Each tool quantizes a small trained Qwen3 on the CPU. Equal: parameters that have the bits which the
tool itself makes of codes and scales, of all, and how far the others are (relative, the farthest).
Drift: the 99 % quantile over prompts, at the layer where it is largest. Damage is done to one matrix
of the first block: its scales half as large again, its scales taken away, its codes moved by one place.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from side_by_side import CONSOLE, table

from pytest_injectivity import load_decoder

sys.path.insert(0, str(Path(__file__).parent.parent))  # what the tests know of the tools
from tests.tools.schemes import SCHEMES, Scheme
from tests.tools.support import (
    ROOT,
    TRAINED,
    Made,
    against,
    apart,
    make,
    python_of,
    said_against,
    widened,
    with_larger_scale,
    with_shifted_codes,
    without_scale,
)

COLUMNS = (
    "made by",
    "scheme",
    "read as",
    "bits",
    "share",
    "held",
    "equal",
    "drift",
    "scales x 1.5",
    "scales gone",
    "codes moved",
)
_DAMAGES = (with_larger_scale, without_scale, with_shifted_codes)


def version(tool: str) -> str:
    """The tool and its version: the first line of its list that is no comment."""
    lines = (ROOT / "scripts" / "tools" / f"{tool}.txt").read_text().splitlines()
    return next(line for line in lines if not line.startswith("#")).replace("==", " ")


def equal(made: Made) -> str:
    """How many parameters have the tool's bits."""
    ours = dict(load_decoder(str(made.folder), device="cpu").model.named_parameters())
    far = [apart(ours[name], made.dense[name]) for name in ours.keys() & made.dense.keys()]
    same = sum(one == 0 for one in far)
    return f"{same} of {len(far)}" + (f", {max(far):.1e}" if same < len(far) else "")


def drift(made: Made, parent: Path) -> str:
    """The drift of the worst layer."""
    verdict = against(made.folder, parent).check_state_drift_below(relative=10.0)
    return f"{max(reason.value for reason in verdict.reasons):.3f}"


def verdicts(made: Made, parent: Path, scheme: Scheme, folder: Path) -> Iterator[str]:
    """What becomes of each damage."""
    for at, damage in enumerate(_DAMAGES):
        said = said_against(damage(made, folder / f"damaged{at}"), parent, scheme.drift)
        yield ("red" if said.startswith("FAIL") else "refused") if said else "GREEN"


def row(scheme: Scheme, parent: Path, folder: Path) -> tuple[str, ...]:
    """What is said of one checkpoint."""
    made = make(scheme.tool, scheme.name, parent, folder / "made")
    found = load_decoder(str(made.folder), device="cpu").quantized
    if found is None:
        return (version(scheme.tool), scheme.name, "not quantized")
    return (
        version(scheme.tool),
        scheme.name,
        found.kind,
        f"{found.bits:g}",
        f"{100 * found.share:.0f} %",
        "dense" if found.dense else "packed",
        equal(made),
        drift(made, parent),
        *verdicts(made, parent, scheme, folder),
    )


def main() -> None:
    """Measure and print."""
    asked = sys.argv[1:] or sorted({one.tool for one in SCHEMES if python_of(one.tool).exists()})
    rows = []
    with tempfile.TemporaryDirectory() as place:
        parent = widened(TRAINED, Path(place) / "parent")
        for scheme in (one for one in SCHEMES if one.tool in asked):
            folder = Path(place) / str(len(rows))
            folder.mkdir()
            rows.append(row(scheme, parent, folder))
            CONSOLE.print(*rows[-1])
    table("made by the tools themselves", COLUMNS, rows)


if __name__ == "__main__":
    main()
