"""What quantizing does to a model: the table of docs/quantized-checkpoints.md.

    ./dev bench quantized MODEL_FOLDERS... [--prompts 200]

Each full-precision folder is quantized in every way that can be written here, SAVED, and the saved
folder is audited against it on a sample of ``builtin:stdlib``. Margins and co-Lipschitz constants are
1 % quantiles over the parent's, from the least to the largest layer; drift is the 99 % quantile of the
worst layer; resolution is the worst layer's over its mean norm; SipIt at the middle layer, on 20
prompts of 10 tokens. What cannot be written or read is named, with what was said of it.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from side_by_side import table

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.results.summary import Estimate

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests' writers of published formats
from tests import quantized

# What divides the widths of small models, such as 336.
quantized.GROUP = quantized.FLOAT8_BLOCK = 16

COLUMNS = (
    "kind",
    "share",
    "coll.",
    "new",
    "margin kept",
    "α kept",
    "drift",
    "resolution / norm",
    "SipIt",
)
_SAID = 150


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--kinds", default=",".join(quantized.KINDS), help="such as bnb-nf4,gptq")
    given = parser.parse_args()
    for model in given.models:
        rows, refused = [], []
        with tempfile.TemporaryDirectory() as folder:
            for kind, row, reason in measured(
                model, given.kinds.split(","), given.prompts, Path(folder)
            ):
                print(model.name, kind, *row, reason, flush=True)
                rows += [row] if row else []
                refused += [f"{kind}: {reason}"] if reason else []
        table(f"{model.name}, {given.prompts} prompts", COLUMNS, rows)
        print(*refused, "", sep="\n")


def measured(
    model: Path, kinds: list[str], prompts: int, folder: Path
) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Each kind with its row of the table, or with the reason why there is none."""
    bare = without_tokenizer(model, folder / "parent")
    shared = {
        "prompts": str(written(model, prompts, folder)),
        "cache_dir": str(folder / "store"),
        "device": "cpu",
    }
    for kind, path, reason in children(bare, kinds, folder):
        if path is None:
            yield kind, (), reason
            continue
        try:
            audit = Audit(AuditConfig(model=str(path), reference=str(bare), **shared))
            yield kind, row(kind, audit), ""
        except Exception as error:  # noqa: BLE001 - whatever a library says is what is reported
            yield kind, (), said(error, folder)


def children(
    bare: Path, kinds: Sequence[str], folder: Path
) -> Iterator[tuple[str, Path | None, str]]:
    """Each kind with what it made of a folder in full precision, or with the reason why it did not."""
    for kind in kinds:
        try:
            yield kind, quantized.write(kind, bare, folder / kind), ""
        except Exception as error:  # noqa: BLE001 - whatever a library says is what is reported
            yield kind, None, said(error, folder)


def said(error: Exception, folder: Path) -> str:
    """The beginning of a library's message, without the folder's name."""
    words = " ".join(str(error).replace(str(folder), "").split())
    return f"{type(error).__name__}: {words[:_SAID]}"


def without_tokenizer(model: Path, bare: Path) -> Path:
    """A copy for prompts of token ids: no kind needs the tokenizer, which GGUF writes in its own way."""
    shutil.copytree(model, bare, ignore=shutil.ignore_patterns("tokenizer*", "*.txt"))
    return bare


def written(model: Path, prompts: int, folder: Path) -> Path:
    """Prompts of the standard library as token ids: the same for a child that brings no tokenizer."""
    found = Audit(AuditConfig(model=str(model), max_prompts=prompts, no_cache=True)).prompts
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"ids": ids}) for ids in found.ids))
    return path


def row(kind: str, audit: Audit) -> tuple[str, ...]:
    """What is measured of a saved folder."""
    middle = max(1, audit.n_layers // 2)
    own, parents = audit.sipit_rates(middle, prompts=20, tokens=10)
    layers = [audit.layer_summary(layer) for layer in audit.layers]
    against = [audit.comparison(layer) for layer in audit.layers]
    found = audit.run_summary().quantized
    return (
        kind,
        f"{100 * (0.0 if found is None else found.share):.0f} %",
        str(sum(layer.collisions for layer in layers)),
        str(sum(one.new_collisions for one in against)),
        between([one.margin for one in against]),
        between([one.colipschitz for one in against]),
        f"{max(one.drift_q99 for one in against):.3f}",
        f"{max(layer.resolution / layer.mean_norm for layer in layers):.1e}",
        f"{own.value:.2f} ({parents.value:.2f})",
    )


def between(kept: list[Estimate | None]) -> str:
    """The smallest and the largest share over the layers."""
    shares = [one.value for one in kept if one is not None and one.value is not None]
    return f"{min(shares):.2f} to {max(shares):.2f}"


if __name__ == "__main__":
    main()
